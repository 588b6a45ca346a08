"""Patches of sliding windows (im2col), and their sum back into place (col2im)."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from phlox.core import ShapeError, answering, describe
from phlox.nn.functional._numeric import copied
from phlox.nn.functional.space._padding import pad_spatial
from phlox.nn.functional.space._window import Padding, Sizes, Window, is_int, plan_window

__all__ = ["fold", "unfold"]


@answering
def unfold(x: jax.Array, window: Sizes, *, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1) -> jax.Array:
    """Cut out the patch that each position of a sliding window sees.

    Formula: ``y[n, p, k·channels + c] = x[n, stride·p + dilation·k - low, c]``, with p and k in row-major order. So
    ``unfold(x, …) @ weight.reshape(-1, out)`` is :func:`conv` with its space flattened. (PyTorch orders a patch by
    channel first.)

    Shapes: ``x`` (batch, *space, channels) → (batch, ∏space', ∏window·channels).

    Arguments:
        window, stride, dilation: elements; one int, or one per spatial axis.
        padding: zeros, in any of the forms of :func:`conv`.

    Raises:
        ShapeError: ``x`` has not 1 to 3 spatial axes, or the window exceeds the padded input.
        RangeError: a window, stride or dilation below 1; padding below 0.

    >>> unfold(jnp.arange(4.0).reshape(1, 4, 1), 2).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]]

    Source: Chellapilla et al. 2006, High performance convolutional neural networks for document processing.
    """
    x = jnp.asarray(x)
    plan = plan_window(x, window, stride, padding, dilation, "unfold")
    return copied(functools.partial(_patches, window=plan), x)


@answering
def fold(
    x: jax.Array,
    output_size: Sizes,
    window: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
) -> jax.Array:
    """Add patches back where :func:`unfold` cut them, in float32 at least: its transpose.

    Formula: ``y[n, stride·p + dilation·k - low, c] += x[n, p, k·channels + c]``; where windows overlap their patches
    add up.

    Shapes: ``x`` (batch, ∏space', ∏window·channels) → (batch, *output_size, channels).

    Arguments:
        output_size: the spatial sizes of what was unfolded; a tuple, or one int for one spatial axis.
        window, stride, padding, dilation: as they were given to :func:`unfold`.

    Raises:
        ShapeError: ``x`` is not what such an unfold returns.
        RangeError: as :func:`unfold`.

    >>> fold(unfold(jnp.ones((1, 4, 1)), 2), 4, 2).ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]

    Source: Chellapilla et al. 2006, High performance convolutional neural networks for document processing.
    """
    x = jnp.asarray(x)
    sizes = (output_size,) if is_int(output_size) else tuple(output_size)  # pyright: ignore[reportArgumentType]
    if x.ndim != 3:
        raise ShapeError(
            "(batch, positions, window·channels)", got=describe(x), fix="give what unfold returns", where="fold"
        )
    wide = jnp.promote_types(x.dtype, jnp.float32) if jnp.issubdtype(x.dtype, jnp.inexact) else x.dtype
    plan = plan_window(jax.ShapeDtypeStruct((x.shape[0], *sizes, 1), wide), window, stride, padding, dilation, "fold")
    positions, block = math.prod(plan.outputs), math.prod(plan.size)
    if x.shape[1] != positions or x.shape[2] % block:
        raise ShapeError(
            f"(batch, {positions}, {block}·channels) for output_size {sizes} and window {plan.size}",
            got=describe(x),
            fix="pass the arguments that unfold was given",
            where="fold",
        )
    whole = jax.ShapeDtypeStruct((x.shape[0], *sizes, x.shape[2] // block), wide)
    (y,) = jax.linear_transpose(functools.partial(_patches, window=plan), whole)(x.astype(wide))
    return y.astype(x.dtype)


def _patches(x: jax.Array, window: Window) -> jax.Array:
    x, window = pad_spatial(x, window.padding, "zeros", "unfold"), window.inside()
    parts = [window.at(x, offsets) for offsets in window.offsets()]
    width = math.prod(window.size) * x.shape[-1]  # spelled out: -1 cannot be resolved where the batch is empty
    return jnp.concatenate(parts, -1).reshape(x.shape[0], math.prod(window.outputs), width)
