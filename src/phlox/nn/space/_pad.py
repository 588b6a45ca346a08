"""Padding of the spatial axes, as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from phlox.core import Module, RangeError, harmonise
from phlox.nn import functional as F
from phlox.nn._fused import fused

Amounts = int | Sequence[int] | Sequence[tuple[int, int]]


class _Pad(Module):
    """What all share: how much, and one call."""

    _function: Callable[..., jax.Array]

    def __init__(self, padding: Amounts):
        self.padding: Any = _amounts(type(self).__name__, padding)

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return _pad(F.identity, x, how=type(self)._function, padding=self.padding)

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.padding})"


@fused("how", "padding")
def _pad(act: Any, x: Any, *, how: Any, padding: Any) -> jax.Array:
    return act(how(x, padding))


class ZeroPad(_Pad):
    """Surround the spatial axes with zeros.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add; one int, one per spatial axis, or ``(low, high)`` pairs.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an input without 1 to 3 spatial axes.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ZeroPad(1)(jnp.ones((1, 2, 1))).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """

    _function = staticmethod(F.pad_zeros)


class ConstantPad(Module):
    """Surround the spatial axes with a constant.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add; one int, one per spatial axis, or ``(low, high)`` pairs.
        value: what is added, in the dtype of x.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an input without 1 to 3 spatial axes.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ConstantPad(((1, 2),), 5.0)(jnp.ones((1, 2, 1))).ravel().tolist()
    [5.0, 1.0, 1.0, 5.0, 5.0]
    """

    padding: Any
    value: float

    def __init__(self, padding: Amounts, value: float = 0.0):
        self.padding, self.value = _amounts("ConstantPad", padding), value

    def __call__(self, x: Any) -> jax.Array:
        (x,) = harmonise(self, x)
        return _constant(F.identity, x, padding=self.padding, value=self.value)

    def _brief(self) -> str:
        return f"ConstantPad({self.padding}, {self.value})"


@fused("padding", "value")
def _constant(act: Any, x: Any, **options: Any) -> jax.Array:
    return act(F.pad_constant(x, **options))


class ReflectPad(_Pad):
    """Mirror the spatial axes at their first and last element, which is not repeated: ``abcd`` → ``cb|abcd|cb``.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add, below the size of the axis; one int, one per spatial axis, or ``(low, high)`` pairs.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an axis too short for its padding, or none.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ReflectPad(2)(jnp.arange(4).reshape(1, 4, 1)).ravel().tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """

    _function = staticmethod(F.pad_reflect)


class SymmetricPad(_Pad):
    """Mirror the spatial axes at their edges, so that the first and last repeat: ``abcd`` → ``ba|abcd|dc``.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add, at most the size of the axis; one int, one per spatial axis, or ``(low, high)`` pairs.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an axis too short for its padding, or none.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.SymmetricPad(2)(jnp.arange(4).reshape(1, 4, 1)).ravel().tolist()
    [1, 0, 0, 1, 2, 3, 3, 2]
    """

    _function = staticmethod(F.pad_symmetric)


class CircularPad(_Pad):
    """Continue the spatial axes periodically: ``abcd`` → ``cd|abcd|ab``.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add, at most the size of the axis; one int, one per spatial axis, or ``(low, high)`` pairs.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an axis too short for its padding, or none.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.CircularPad(2)(jnp.arange(4).reshape(1, 4, 1)).ravel().tolist()
    [2, 3, 0, 1, 2, 3, 0, 1]
    """

    _function = staticmethod(F.pad_circular)


class ReplicatePad(_Pad):
    """Repeat the first and the last element of each spatial axis: ``abcd`` → ``aa|abcd|dd``.

    Shapes:
        x: (batch, *space, channels); y: (batch, *(low + space + high), channels).

    Arguments:
        padding: elements to add; one int, one per spatial axis, or ``(low, high)`` pairs.

    Raises:
        RangeError: padding below 0, or not for these axes.
        ShapeError: an input without 1 to 3 spatial axes.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.nn.ReplicatePad(2)(jnp.arange(4).reshape(1, 4, 1)).ravel().tolist()
    [0, 0, 0, 1, 2, 3, 3, 3]
    """

    _function = staticmethod(F.pad_replicate)


def _amounts(layer: str, padding: Any) -> Any:
    """Padding in a hashable form, each amount at least 0; which axes it is for is checked with the input."""
    given = padding if isinstance(padding, Sequence) and not isinstance(padding, str) else (padding,)
    pairs = tuple(tuple(p) if isinstance(p, Sequence) else p for p in given)
    flat = [n for p in pairs for n in (p if isinstance(p, tuple) else (p,))]
    if not flat or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in flat):
        fix = "give numbers of elements; crop with a slice"
        raise RangeError("padding of at least 0", got=repr(padding), fix=fix, where=layer)
    return padding if isinstance(padding, int) else pairs
