"""Layers without weights that rearrange or select: functions as layers, shapes, slices, order in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe, harmonise
from phlox.nn import functional as F
from phlox.nn.containers._containers import check_callable


class WrappedFunction(Module):
    r"""A function as a layer: $y = f(x)$. It has a place in printed models, and a path in ``px.capture``.

    Arguments:
        function: any callable.

    Raises:
        RangeError: something that cannot be called.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.WrappedFunction(jnp.square)(jnp.array(3.0)).item()
    9.0
    """

    def __init__(self, function: Callable[..., Any]):
        check_callable("WrappedFunction", (function,))
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def _brief(self) -> str:
        return f"WrappedFunction({getattr(self.function, '__name__', type(self.function).__name__)})"


class Reshape(Module):
    """Another shape for each example; the batch axis stays.

    Shapes:
        x: (batch, ...); y: (batch, *shape).

    Arguments:
        shape: sizes of the axes after the batch; one of them may be -1, and is what remains.

    Raises:
        RangeError: a size below 1 other than one -1.
        ShapeError: an input without a batch axis, or whose size does not fit.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Reshape((3, -1))(jnp.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, shape: int | Sequence[int]):
        self.shape: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(not isinstance(n, int) or n < -1 or n == 0 for n in self.shape) or self.shape.count(-1) > 1:
            fix = "leave at most one size open with -1"
            raise RangeError("sizes of at least 1, or one -1", got=repr(shape), fix=fix, where="Reshape")

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        size, known = math.prod(x.shape[1:]), abs(math.prod(self.shape))
        if x.ndim < 1 or (size % known if -1 in self.shape else size != known):
            fix = f"its examples have {size} elements" if x.ndim else "add a batch axis: x[None]"
            raise ShapeError(f"examples that make {list(self.shape)}", got=describe(x), fix=fix)
        return x.reshape(x.shape[0], *[size // known if n == -1 else n for n in self.shape])

    def _brief(self) -> str:
        return f"Reshape({self.shape})"


class Flatten(Module):
    """All axes from one on as one, as a layer: (batch, ...) → (batch, features). ``px.flatten`` is the function.

    Arguments:
        start: the first axis that is merged; 1 keeps the batch.

    Raises:
        RangeError: a start below 0.
        ShapeError: an input with fewer axes than ``start``.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.Flatten()(jnp.ones((2, 3, 4))).shape, px.nn.Flatten(2)(jnp.ones((2, 3, 4, 5))).shape
    ((2, 12), (2, 3, 20))
    """

    def __init__(self, start: int = 1):
        if not isinstance(start, int) or start < 0:
            raise RangeError("start of at least 0", got=repr(start), fix="count axes from the front", where="Flatten")
        self.start = start

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        if x.ndim < self.start:
            raise ShapeError(f"at least {self.start} axes", got=describe(x), fix="add a batch axis: x[None]")
        return x.reshape(*x.shape[: self.start], math.prod(x.shape[self.start :]))

    def _brief(self) -> str:
        return f"Flatten({self.start})" if self.start != 1 else "Flatten()"


class SelectDim(Module):
    r"""One slice along an axis, which goes away: $y = x_{…, i, …}$.

    Arguments:
        axis: the axis.
        index: i; a negative one counts from the end.

    Raises:
        ShapeError: an input without the axis, or with fewer slices.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.SelectDim(1, -1)(jnp.arange(6.0).reshape(2, 3)).tolist()
    [2.0, 5.0]
    """

    axis: int
    index: int

    def __init__(self, axis: int, index: int):
        for name, value in (("axis", axis), ("index", index)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise RangeError(
                    f"{name} as an int", got=repr(value), fix=f"give {name} as a number", where="SelectDim"
                )
        self.axis, self.index = axis, index

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        _check_axis(x, self.axis)
        if not -x.shape[self.axis] <= self.index < x.shape[self.axis]:
            fix = f"choose an index from {-x.shape[self.axis]} to {x.shape[self.axis] - 1}"
            raise ShapeError(f"a slice {self.index} along axis {self.axis}", got=describe(x), fix=fix)
        return jax.lax.index_in_dim(x, self.index, self.axis, keepdims=False)

    def _brief(self) -> str:
        return f"SelectDim({self.axis}, {self.index})"


class ReverseSequence(Module):
    r"""The order along an axis reversed, by default time: $y_t = x_{T - 1 - t}$.

    With lengths only the first ``lengths[b]`` steps of example b are reversed; the padding behind them stays.

    Shapes:
        x, y: any that has the axis; lengths: (batch,), integers.

    Arguments:
        axis: the axis that is reversed.

    Raises:
        RangeError: an axis that is no int.
        ShapeError: an input without the axis, or lengths that are not one for each example.

    >>> import jax.numpy as jnp, phlox as px
    >>> reverse, x = px.nn.ReverseSequence(), jnp.array([[1, 2, 3], [4, 5, 6]])
    >>> reverse(x).tolist(), reverse(x, jnp.array([3, 2])).tolist()
    ([[3, 2, 1], [6, 5, 4]], [[3, 2, 1], [5, 4, 6]])
    """

    def __init__(self, axis: int = 1):
        if not isinstance(axis, int) or isinstance(axis, bool):
            raise RangeError("axis as an int", got=repr(axis), fix="name one axis", where="ReverseSequence")
        self.axis = axis

    def __call__(self, x: Any, lengths: Any = None) -> jax.Array:
        (x,) = harmonise(self, x)
        _check_axis(x, self.axis)
        if lengths is None:
            return jnp.flip(x, self.axis)
        lengths, axis = jnp.asarray(lengths), self.axis % x.ndim
        if axis == 0 or lengths.shape != x.shape[:1] or not jnp.issubdtype(lengths.dtype, jnp.integer):
            fix = "give one whole number for each example, and an axis after the batch"
            raise ShapeError(f"lengths ({x.shape[0]},) of integers", got=describe(lengths), fix=fix)
        F.sequence_mask(lengths, x.shape[axis])  # refuses lengths out of range where they can be read
        steps = jnp.arange(x.shape[axis])[None]
        source = jnp.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        shape = [x.shape[0] if a == 0 else x.shape[axis] if a == axis else 1 for a in range(x.ndim)]
        return jnp.take_along_axis(x, source.reshape(shape), axis)

    def _brief(self) -> str:
        return f"ReverseSequence({self.axis})"


def _check_axis(x: jax.Array, axis: int) -> None:
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"an input with axis {axis}", got=describe(x), fix="name an axis that it has")
