"""Containers: layers in a row, side by side, and around a shortcut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, TypeVar, TypeVarTuple, overload

import jax

from phlox.core import Module, RangeError, describe

Layer = Callable[..., Any]
A = TypeVar("A")
Ls = TypeVarTuple("Ls")
L = TypeVar("L", bound=Layer)


class Chain(Module, Generic[*Ls]):
    r"""Layers one after another: $y = f_n(\dots f_2(f_1(x)))$. A tuple that a layer returns is spread over the next.

    ``Chain(a, b)`` holds them in a list ``layers``, ``Chain(first=a, second=b)`` in a dict; both are indexed
    and sliced by position, and the second by name. Functions are layers too.

    Shapes:
        those of the first layer's input and the last one's output.

    Arguments:
        layers: callables, either all positional or all named.

    Raises:
        RangeError: both positional and named layers, or one that cannot be called.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 2))
    >>> model(jnp.ones((3, 4))).shape, model[0].out_size, len(model[:1])
    ((3, 2), 8, 1)
    """

    _positional = "layers"
    layers: Any  # a list of callables, or a dict where they are named

    def __init__(self, *layers: *Ls, **named: Layer):
        if layers and named:
            raise RangeError(
                "layers all positional or all named",
                got="both",
                fix="give every layer a name: Chain(first=…, second=…), or none",
                where="Chain",
            )
        check_callable("Chain", (*layers, *named.values()))
        self.layers = dict(named) if named else list(layers)

    def _sequence(self) -> list[Any]:
        return list(self.layers.values()) if isinstance(self.layers, dict) else self.layers

    def __call__(self, *inputs: Any) -> Any:
        x: Any = inputs if len(inputs) != 1 else inputs[0]
        for layer in self._sequence():
            x = layer(*x) if isinstance(x, tuple) else layer(x)
        return x

    @overload
    def __getitem__(self: Chain[A, *tuple[Any, ...]], at: Literal[0]) -> A: ...
    @overload
    def __getitem__(self: Chain[Any, A, *tuple[Any, ...]], at: Literal[1]) -> A: ...
    @overload
    def __getitem__(self: Chain[Any, Any, A, *tuple[Any, ...]], at: Literal[2]) -> A: ...
    @overload
    def __getitem__(self: Chain[Any, Any, Any, A, *tuple[Any, ...]], at: Literal[3]) -> A: ...
    @overload
    def __getitem__(self: Chain[*tuple[Any, ...], A], at: Literal[-1]) -> A: ...
    @overload
    def __getitem__(self: Chain[*tuple[Any, ...], A, Any], at: Literal[-2]) -> A: ...
    @overload
    def __getitem__(self, at: int | str) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Chain[*tuple[Any, ...]]: ...
    def __getitem__(self, at: int | str | slice) -> Any:
        if isinstance(at, str):
            return self.layers[at]
        if isinstance(at, slice):
            if isinstance(self.layers, dict):
                return Chain(**dict(list(self.layers.items())[at]))
            return Chain(*self.layers[at])
        return self._sequence()[at]

    def __setitem__(self, at: int | str, layer: Layer) -> None:
        check_callable("Chain", (layer,))
        if isinstance(self.layers, dict) and isinstance(at, int):
            at = list(self.layers)[at]
        self.layers[at] = layer

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sequence())


class Parallel(Module):
    r"""Layers side by side, their results combined: $y = c(f_1(x_1), …, f_n(x_n))$.

    One input goes to every layer; as many inputs as layers go one to each; one layer takes each of many inputs.

    Shapes:
        those of the layers; what ``combine`` makes of their results.

    Arguments:
        combine: takes all results as arguments, for example ``px.concatenate`` or ``operator.add``.
        layers: callables, either all positional or all named.

    Raises:
        RangeError: no layers, both kinds, one that cannot be called, or another number of inputs.

    >>> import operator, jax.numpy as jnp, phlox as px
    >>> px.Parallel(operator.add, px.relu, px.tanh)(jnp.zeros(2)).tolist()
    [0.0, 0.0]
    """

    _positional = "layers"
    layers: Any  # a list of callables, or a dict where they are named

    def __init__(self, combine: Layer, *layers: Layer, **named: Layer):
        if bool(layers) == bool(named):
            raise RangeError(
                "layers, all positional or all named",
                got="both" if layers else "none",
                fix="give at least one layer after combine; every one with a name, or none",
                where="Parallel",
            )
        check_callable("Parallel", (combine, *layers, *named.values()))
        self.combine = combine
        self.layers = dict(named) if named else list(layers)

    def __call__(self, *inputs: Any) -> Any:
        layers = list(self.layers.values()) if isinstance(self.layers, dict) else self.layers
        if len(inputs) == 1:
            return self.combine(*[layer(inputs[0]) for layer in layers])
        if len(layers) == 1:
            return self.combine(*[layers[0](x) for x in inputs])
        if len(layers) != len(inputs):
            raise RangeError(
                f"one input, or {len(layers)}, one for each layer",
                got=f"{len(inputs)} inputs",
                fix="pass one input for all layers, or as many as there are layers",
            )
        return self.combine(*[layer(x) for layer, x in zip(layers, inputs, strict=True)])

    def __getitem__(self, at: int | str) -> Any:
        if isinstance(self.layers, dict) and isinstance(at, int):
            return list(self.layers.values())[at]
        return self.layers[at]

    def __len__(self) -> int:
        return len(self.layers)


class SkipConnection(Module, Generic[L]):
    r"""A layer with a shortcut around it: $y = c(f(x), x)$.

    Shapes:
        x: what the layer takes; y: what ``combine`` makes of the layer's result and x.

    Arguments:
        layer: f.
        combine: c, takes ``(layer(x), x)``; ``operator.add`` makes a residual block.

    Raises:
        RangeError: something that cannot be called.

    Source: He et al., "Deep residual learning for image recognition", 2016.

    >>> import operator, jax.numpy as jnp, phlox as px
    >>> px.SkipConnection(px.relu, operator.add)(jnp.array([-1.0, 2.0])).tolist()
    [-1.0, 4.0]
    """

    layer: L
    combine: Layer

    def __init__(self, layer: L, combine: Layer):
        check_callable("SkipConnection", (layer, combine))
        self.layer, self.combine = layer, combine

    def __call__(self, x: Any) -> Any:
        return self.combine(self.layer(x), x)


def flatten(x: Any) -> jax.Array:
    """All axes but the first as one: (batch, ...) → (batch, features).

    Raises:
        ShapeError: an input without a batch axis.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.flatten(jnp.ones((2, 3, 4))).shape
    (2, 12)
    """
    from phlox.core import ShapeError

    if x.ndim < 1:
        raise ShapeError("(batch, ...)", got=describe(x), fix="add a batch axis: x[None]", where="flatten")
    size = 1
    for n in x.shape[1:]:
        size *= n
    return x.reshape(x.shape[0], size)


def check_callable(where: str, layers: tuple[Any, ...]) -> None:
    """Refuse what cannot be called where it is given."""
    for layer in layers:
        if isinstance(layer, type) and issubclass(layer, Module):
            fix = f"make one: {layer.__name__}(…)"
            raise RangeError("layers that are made", got=f"the class {layer.__name__}", fix=fix, where=where)
        if not callable(layer):
            fix = (
                "put the layers of a list in with a star: *layers"
                if isinstance(layer, (list, tuple))
                else ("pass layers and functions, without calling the functions: px.relu")
            )
            raise RangeError("layers and functions that can be called", got=describe(layer), fix=fix, where=where)
