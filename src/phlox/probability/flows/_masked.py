"""Networks of which each output sees some inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import (
    Module,
    Param,
    RangeError,
    ShapeError,
    check_function,
    check_size,
    describe,
    harmonise,
    key_or_draw,
    param_dtype,
)
from phlox.nn.functional import identity, relu
from phlox.nn.init import glorot_uniform, zeros


class MaskedDense(Module):
    r"""An affine map in which an output sees the inputs of degrees up to its own: $y = \sigma(x (W \odot M) + b)$.

    Shapes:
        x: (..., in); weight: (in, out); bias: (out,); y: (..., out); $M_{ij} = 1$ where $d_i \le e_j$.

    Arguments:
        in_degrees: d, a whole number for each input.
        out_degrees: e, a whole number for each output.
        act: σ.
        init: initialiser of the weight, ``init(key, shape, dtype)``.
        key: where the weight is drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: no inputs or no outputs, or degrees that are no whole numbers.
        ShapeError: an input of other features.

    Source: Germain, Gregor, Murray and Larochelle, "MADE: masked autoencoder for distribution estimation", 2015.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> layer = px.probability.MaskedDense([1, 2], [1, 2, 2])
    >>> (jax.jacobian(layer)(jnp.ones(2)) != 0).astype(int).tolist()
    [[1, 0], [1, 1], [1, 1]]
    """

    weight: Param  # (in, out)
    bias: Param  # (out,)
    in_degrees: tuple[int, ...]
    out_degrees: tuple[int, ...]
    act: Callable[..., Any]
    parameter_kinds: ClassVar = {"weight": ("matrix", 2), "bias": ("bias", 1)}

    def __init__(
        self,
        in_degrees: Sequence[int],
        out_degrees: Sequence[int],
        act: Callable[..., Any] = identity,
        *,
        init: Callable[..., jax.Array] = glorot_uniform,
        key: Any = None,
    ):
        self.in_degrees = _degrees("in_degrees", in_degrees)
        self.out_degrees = _degrees("out_degrees", out_degrees)
        self.act = check_function("MaskedDense", "act", act, "as act(x)")
        self.weight = init(key_or_draw(key), (len(self.in_degrees), len(self.out_degrees)), param_dtype())
        self.bias = jnp.zeros(len(self.out_degrees), param_dtype())

    def __call__(self, x: Any) -> jax.Array:
        x, weight, bias = harmonise(self, x, self.weight, self.bias)
        if x.ndim < 1 or x.shape[-1] != weight.shape[0]:
            fix = "put the features along the last axis"
            raise ShapeError(f"(..., {weight.shape[0]})", got=describe(x), fix=fix)
        seen = np.less_equal.outer(self.in_degrees, self.out_degrees)
        return self.act(x @ jnp.where(seen, weight, 0) + bias)

    def _brief(self) -> str:
        return f"MaskedDense({len(self.in_degrees)} → {len(self.out_degrees)})"


def _degrees(name: str, given: Sequence[int]) -> tuple[int, ...]:
    degrees = tuple(check_size("MaskedDense", name, d, least=0) for d in given)
    if not degrees:
        fix = "give a whole number for each"
        raise RangeError(f"{name} of one or more", got="none", fix=fix, where="MaskedDense")
    return degrees


class MADE(Module):
    r"""A network that says of each feature what those before it tell: $y_i = n_i(x_1, \dots, x_{i - 1}, c)$.

    Shapes:
        x: (..., features); context: (..., context), which all outputs see; y: (..., features, outputs).

    Arguments:
        features: how many numbers an example has.
        outputs: how many numbers are said of each.
        hidden: widths of the hidden layers.
        act: their activation.
        context: how many numbers are given with each example; 0 for none.
        order: the features from the first to the last; by default as they come.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    The last layer begins at zero. In each hidden layer the units take turns in how many features they see.

    Raises:
        RangeError: sizes below 1, or an order that does not name each feature once.
        ShapeError: an input of other features.

    Source: Germain, Gregor, Murray and Larochelle, "MADE: masked autoencoder for distribution estimation", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.MADE(3, 2, hidden=(16, 16))(jnp.ones((5, 3))).shape
    (5, 3, 2)
    """

    layers: list[MaskedDense]
    features: int
    outputs: int
    context: int

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (64, 64),
        act: Callable[..., Any] = relu,
        context: int = 0,
        order: Sequence[int] | None = None,
        key: Any = None,
    ):
        self.features, self.outputs = check_size("MADE", "features", features), check_size("MADE", "outputs", outputs)
        self.context = check_size("MADE", "context", context, least=0)
        places = np.argsort(order_of("MADE", order, self.features)) + 1  # of each feature, from 1
        degrees = [[*places, *[0] * self.context]]
        for width in hidden:
            degrees.append([*_turns(check_size("MADE", "hidden", width), self.features, self.context)])
        last = np.repeat(places - 1, self.outputs).tolist()
        *keys, final = jax.random.split(key_or_draw(key), len(degrees))
        self.layers = [MaskedDense(a, b, act, key=k) for a, b, k in zip(degrees[:-1], degrees[1:], keys, strict=True)]
        self.layers.append(MaskedDense(degrees[-1], last, init=zeros, key=final))

    def __call__(self, x: Any, context: Any = None) -> jax.Array:
        y = x if context is None else jnp.concatenate([x, context], -1)
        for layer in self.layers:
            y = layer(y)
        return y.reshape(*y.shape[:-1], self.features, self.outputs)

    def _brief(self) -> str:
        return f"MADE({self.features}, {self.outputs})"


def order_of(where: str, order: Sequence[int] | None, features: int) -> tuple[int, ...]:
    """All features, each once.

    Raises:
        RangeError: others.
    """
    chosen = tuple(range(features)) if order is None else tuple(check_size(where, "order", i, least=0) for i in order)
    if sorted(chosen) != list(range(features)):
        fix = "give each number from 0 once"
        raise RangeError(f"order of {features} features", got=repr(order), fix=fix, where=where)
    return chosen


def _turns(width: int, features: int, context: int) -> np.ndarray:
    """How many features each unit sees, from 1 to all but one; from 0 where there is a context to be seen alone."""
    least = 0 if context or features == 1 else 1
    return least + np.arange(width) % max(features - least, 1)
