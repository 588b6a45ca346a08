"""A model asked for one number of each row: of its output, of a layer's, or with a layer's output given."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from phlox.core import Module, StructureError, modules, tapped
from phlox.interpret.asking._targets import picked

Forward = Callable[[Any, Any], Any]


class Context(NamedTuple):
    """What goes with each row besides what is explained."""

    x: Any
    """The model's input, where a layer's output is explained."""
    index: Any
    """(rows, axes) which number of the output is meant."""


class Question(Module):
    """A model, how it is called, and what is asked: a function ``question(z, context)`` of what is explained.

    Without a layer z is the model's input. With a layer z is that layer's output, in whose place it is put; with a
    layer and ``neuron`` z is the input, and the output asked is the layer's.
    """

    model: Any
    forward: Forward | None
    layer: str | None
    neuron: bool
    pick: Callable[[Any], Any] | None
    """A number from one row of the output."""

    def __init__(self, model: Any, forward: Forward | None, layer: str | None, neuron: bool, pick: Any = None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that functions hold arrays: a question is not trained, and has no file
            self.model, self.forward, self.pick = model, forward, pick
        self.layer, self.neuron = layer, neuron

    def __call__(self, z: Any, context: Context) -> jax.Array:
        """(rows,) the numbers asked for."""
        return picked(self.output(z, context), self.pick, context.index)

    def output(self, z: Any, context: Context) -> Any:
        """The output that the number is one of."""
        if self.layer is None:
            return self._called(z)
        if self.neuron:
            return self.at_layer(z)
        return self._tapped(context.x, lambda y: z)[0]

    def at_layer(self, x: Any) -> Any:
        """What the layer gives."""
        return self._tapped(x, lambda y: y)[1]

    def both(self, x: Any) -> tuple[Any, Any]:
        """The model's output, and what the layer gives."""
        return self._tapped(x, lambda y: y)

    def _called(self, x: Any) -> Any:
        if self.forward is not None:
            return self.forward(self.model, x)
        if type(x) is tuple:
            return self.model(*x)
        return self.model(**x) if type(x) is dict else self.model(x)

    def _tapped(self, x: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
        """The model's output, and a layer's, which goes on as ``change`` makes it."""
        assert self.layer is not None
        path, _, nth = self.layer.partition("#")
        layer, wanted = modules(self.model)[path], int(nth or 1)
        calls, heard = 0, []

        def tap(module: Module, y: Any) -> Any:
            nonlocal calls
            if module is not layer or not module._px.at_home():
                return y
            calls += 1
            if calls != wanted:
                return y
            heard.append(y)
            return change(y)

        with tapped(tap):
            output = self._called(x)
        if not heard:
            raise StructureError(
                f"a layer that is called{f' {wanted} times' if wanted > 1 else ''} outside loops and maps",
                got=f"{self.layer}, called {calls} times",
                fix="choose one that px.capture(model, x) lists",
                where="layer=",
                located=True,
            )
        return output, heard[0]
