"""Long short-term memory whose products are convolutions over space."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._activations import tanh
from phlox.nn.functional._numeric import inexact, result_dtype, widen
from phlox.nn.functional.recurrence._cells import lstm_step
from phlox.nn.functional.recurrence._form import Activation, Run
from phlox.nn.functional.recurrence._loop import Carry, How, is_pure, loop
from phlox.nn.functional.space._conv import conv

__all__ = ["conv_lstm"]


@answering
def conv_lstm(
    x: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias: ArrayLike | None = None,
    state: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    act: Activation = tanh,
    stride: Any = 1,
    padding: Any = "SAME",
    dilation: Any = 1,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reverse: bool = False,
    truncate: int | None = None,
    unroll: int = 1,
) -> tuple[Array, tuple[Array, Array]]:
    r"""Convolutional LSTM: ``lstm`` with $[i, f, g, o] = W_{ih} * x_t + W_{hh} * h_{t-1} + b$, $*$ a convolution.

    Shapes:
        x: (batch, time, *space, in); weight_ih: (*kernel, in, 4 · hidden); weight_hh: (*kernel, hidden, 4 · hidden);
        bias: (4 · hidden,) or None; state: two of (batch, *space', hidden), zeros where None;
        returns y: (batch, time, *space', hidden) and the last (h, c).

    Arguments:
        stride, padding, dilation: of the convolution of the inputs, as in ``conv``; that of the state is "SAME".
        act, lengths, mask, reverse, truncate, unroll: as ``rnn``.

    Raises:
        ShapeError: sizes that do not match. RangeError: as ``rnn``.

    >>> y, _ = conv_lstm(jnp.ones((2, 3, 8, 8, 1)), jnp.ones((3, 3, 1, 8)), jnp.ones((3, 3, 2, 8)))
    >>> y.shape
    (2, 3, 8, 8, 2)

    Source: Shi et al., "Convolutional LSTM network" (arXiv:1506.04214), without its peepholes.
    """
    array, ih, hh = (inexact(v, "conv_lstm") for v in (x, weight_ih, weight_hh))
    hidden = hh.shape[-1] // 4
    if hh.ndim != ih.ndim or hh.shape[-2:] != (hidden, ih.shape[-1]):
        got = f"{describe(ih)} and {describe(hh)}"
        fix = "the last axis holds four blocks of the hidden channels, the one before it those of what is convolved"
        raise ShapeError("weights (*kernel, in, 4h) and (*kernel, h, 4h)", got=got, fix=fix, where="conv_lstm")
    if array.ndim != ih.ndim + 1 or array.shape[-1] != ih.shape[-2]:
        fix = "add the axes that are missing, channels last"
        raise ShapeError(f"(batch, time, *space, {ih.shape[-2]})", got=describe(array), fix=fix, where="conv_lstm")
    dtype = result_dtype(array, ih, hh)
    bias = None if bias is None else inexact(bias, "conv_lstm")
    how = Run(lengths, mask, reverse, truncate, unroll)
    batch, time = array.shape[:2]
    real = how.real("conv_lstm", batch, time)
    spread = None if real is None else real.reshape(batch, time, *[1] * (array.ndim - 2))
    array = array if spread is None else jnp.where(spread, array, 0)
    flat = array.reshape(batch * time, *array.shape[2:]).astype(dtype)
    product = widen(conv(flat, ih.astype(dtype), bias, stride=stride, padding=padding, dilation=dilation))
    xs = jnp.swapaxes(product.reshape(batch, time, *product.shape[1:]), 0, 1)
    carry = _states(state, (batch, *product.shape[1:-1], hidden), xs.dtype)
    last, y = loop(
        functools.partial(lstm_step, act, False),
        ((hh.astype(dtype), None),),
        carry,
        xs,
        how=How(_same, how.reverse, how.unroll),
        flags=how.flags(real, "conv_lstm", time),
        pure=is_pure(act),
    )
    y = jnp.swapaxes(y, 0, 1)
    y = y if spread is None else jnp.where(spread, y, 0)
    h, c = last
    return y.astype(dtype), (h.astype(dtype), c.astype(dtype))


def _same(v: Array, w: Array) -> Array:
    """A convolution that keeps the size of space, in the weight's dtype."""
    return widen(conv(v.astype(w.dtype), w, padding="SAME"))


def _states(given: Any, shape: tuple[int, ...], dtype: Any) -> Carry:
    if given is None:
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
    h, c = (inexact(s, "conv_lstm") for s in given)
    if h.shape != shape or c.shape != shape:
        fix = "pass the state that a call with this batch returned, or None for zeros"
        raise ShapeError(f"two of {shape}", got=f"{describe(h)} and {describe(c)}", fix=fix, where="conv_lstm")
    return h.astype(dtype), c.astype(dtype)
