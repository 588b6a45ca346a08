"""Containers with several results, or several layers that compete: branches, pairwise fusion, maxout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.nn.containers._containers import Layer, check_callable
from phlox.nn.functional._bounds import greater


class _Row(Module):
    """Layers by position or by name."""

    _positional = "layers"
    layers: Any  # a list of callables, or a dict where they are named

    def _hold(self, layers: tuple[Layer, ...], named: dict[str, Layer]) -> None:
        name = type(self).__name__
        if bool(layers) == bool(named):
            got = "both" if layers else "none"
            raise RangeError(
                "layers, all positional or all named", got=got, fix="give at least one layer, of one kind", where=name
            )
        check_callable(name, (*layers, *named.values()))
        self.layers = dict(named) if named else list(layers)

    def _sequence(self) -> list[Any]:
        return list(self.layers.values()) if isinstance(self.layers, dict) else self.layers

    def __getitem__(self, at: int | str) -> Any:
        return self.layers[at] if isinstance(at, str) else self._sequence()[at]

    def __len__(self) -> int:
        return len(self.layers)


class Branch(_Row):
    r"""One input to several layers, and a tuple of their results: $(f_1(x), …, f_n(x))$.

    In a ``Chain`` the next layer gets the results as its arguments.

    Shapes:
        those of the layers.

    Arguments:
        layers: callables, either all positional or all named.

    Raises:
        RangeError: no layers, both kinds, or one that cannot be called.

    >>> import jax.numpy as jnp, phlox as px
    >>> [y.item() for y in px.nn.Branch(px.relu, jnp.negative)(jnp.array(2.0))]
    [2.0, -2.0]
    """

    def __init__(self, *layers: Layer, **named: Layer):
        self._hold(layers, named)

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        return tuple(layer(*inputs) for layer in self._sequence())


class PairwiseFusion(_Row):
    r"""Layers in a row, each joining the one before with an input: $y_1 = f_1(x_1)$, $y_i = f_i(c(y_{i-1}, x_i))$.

    One input serves as every $x_i$.

    Shapes:
        those of the layers; the result is the tuple of all y.

    Arguments:
        connection: c, takes ``(y, x)``, for example ``operator.add``.
        layers: callables, either all positional or all named.

    Raises:
        RangeError: no layers, both kinds, one that cannot be called, or another number of inputs.

    >>> import operator, jax.numpy as jnp, phlox as px
    >>> double = lambda x: 2 * x
    >>> [y.item() for y in px.nn.PairwiseFusion(operator.add, double, double)(jnp.array(1.0), jnp.array(5.0))]
    [2.0, 14.0]
    """

    def __init__(self, connection: Callable[[Any, Any], Any], *layers: Layer, **named: Layer):
        check_callable("PairwiseFusion", (connection,))
        self.connection = connection
        self._hold(layers, named)

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        layers = self._sequence()
        xs = inputs * len(layers) if len(inputs) == 1 else inputs
        if len(xs) != len(layers):
            raise RangeError(
                f"one input, or {len(layers)}, one for each layer",
                got=f"{len(inputs)} inputs",
                fix="pass one input for each layer",
            )
        ys = [layers[0](xs[0])]
        for layer, x in zip(layers[1:], xs[1:], strict=True):
            ys.append(layer(self.connection(ys[-1], x)))
        return tuple(ys)


class Maxout(_Row):
    r"""The largest of several layers' results, element by element: $y = \max_i f_i(x)$.

    Of two equal results each has half of the gradient.

    Shapes:
        those of the layers, which must agree.

    Arguments:
        layers: callables, either all positional or all named.

    Raises:
        RangeError: no layers, both kinds, or one that cannot be called.
        ShapeError: results of different shapes.

    Source: Goodfellow et al., "Maxout networks", 2013.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Maxout(px.identity, jnp.negative)(jnp.array([-3.0, 2.0])).tolist()
    [3.0, 2.0]
    """

    def __init__(self, *layers: Layer, **named: Layer):
        self._hold(layers, named)

    def __call__(self, *inputs: Any) -> jax.Array:
        ys = [layer(*inputs) for layer in self._sequence()]
        if len({jnp.shape(y) for y in ys}) > 1:
            raise ShapeError(
                "results of one shape", got=", ".join(map(describe, ys)), fix="give the layers equal output sizes"
            )
        best = ys[0]
        for y in ys[1:]:
            best = greater(best, y)
        return best
