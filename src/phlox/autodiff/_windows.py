"""Rules of what slides along axes: convolutions, and sums and extremes over windows."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax

from phlox.autodiff._rules import on


@on("reduce_window_sum", text="reduce_window_sum({g})")
def _window_sum(step: Any, g: Any) -> list[Any]:
    window, strides, base = step["window_dimensions"], step["window_strides"], step["base_dilation"]
    around = _around_operand(step.xs[0].shape, window, g.shape, strides, step["padding"], base, step["window_dilation"])
    spread = lax.pad(g, jnp.zeros((), g.dtype), [(a, b, s - 1) for (a, b), s in zip(around, strides, strict=True)])
    none = [(0, 0)] * g.ndim
    return [
        lax.reduce_window(spread, jnp.zeros((), g.dtype), lax.add, window, base, none, None, step["window_dilation"])
    ]


@on("reduce_window_max", "reduce_window_min", text="scatter_add({g} at the first of each window that is {y})")
def _window_extreme(step: Any, g: Any) -> list[Any]:
    places = extremes(step, step.xs[0], greatest=step.line.kind == "reduce_window_max")
    return [spread_to(places, g, step.xs[0].shape)]


@on("select_and_gather_add", text="scatter_add({g} at the first of each window that is greatest or least)")
def _select_and_gather(step: Any, g: Any) -> list[Any]:
    places = extremes(step, step.xs[1], greatest=str(step["select_prim"]) == "ge")
    return [spread_to(places, g, step.xs[0].shape), None]


@on("select_and_scatter_add", text="gather({g} at the first of each window that is greatest or least)")
def _select_and_scatter(step: Any, g: Any) -> list[Any]:
    places = extremes(step, step.xs[1], greatest=str(step["select_prim"]) == "ge")
    return [g.reshape(-1).at[places].get(mode="fill", fill_value=0), None]


def extremes(step: Any, x: Any, *, greatest: bool) -> Any:
    """For each window where its extreme lies in the flat operand, of equals the first; past it if empty."""
    x = lax.stop_gradient(x)
    before, worst = (lax.gt, -jnp.inf) if greatest else (lax.lt, jnp.inf)

    def better(a: Any, b: Any) -> Any:
        first = before(a[0], b[0]) | ((a[0] == b[0]) & (a[1] < b[1]))
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    own = lax.iota(jnp.int32, x.size).reshape(x.shape)
    start = (jnp.asarray(worst, x.dtype), jnp.asarray(x.size, jnp.int32))
    ones = (1,) * x.ndim
    spread = step.line.params.get("base_dilation", ones), step.line.params.get("window_dilation", ones)
    around = step["window_dimensions"], step["window_strides"], step["padding"]
    return lax.reduce_window((x, own), start, better, *around, *spread)[1]


def spread_to(places: Any, g: Any, shape: Any) -> Any:
    """Zeros of a shape, with each number added at its place."""
    flat = jnp.zeros(math.prod(shape), g.dtype)
    return flat.at[places.reshape(-1)].add(g.reshape(-1), mode="drop").reshape(shape)


@on("conv_general_dilated", text=("conv({g}, {x[1]} turned round)", "conv({x[0]}, {g})"))
def _conv(step: Any, g: Any) -> list[Any]:
    return [
        _conv_operand(step, g) if step.wanted[0] else None,
        _conv_kernel(step, g) if step.wanted[1] else None,
    ]


def _conv_operand(step: Any, g: Any) -> Any:
    """A transposed convolution: the kernel turned round, its channels in and out exchanged, strides for dilations."""
    x, kernel = step.xs
    d, groups, batches = step["dimension_numbers"], step["feature_group_count"], step["batch_group_count"]
    out, into, *space = d.rhs_spec
    turned = lax.rev(kernel, space)
    groups = max(groups, batches)
    if groups > 1:  # (…, groups · out, in) → (…, out, groups · in)
        turned = _moved_groups(turned, groups, out, into)
    shapes = (
        [x.shape[i] for i in d.lhs_spec[2:]],
        [kernel.shape[i] for i in space],
        [g.shape[i] for i in d.out_spec[2:]],
    )
    strides, dilation, spread = step["window_strides"], step["lhs_dilation"], step["rhs_dilation"]
    around = _around_operand(*shapes, strides, step["padding"], dilation, spread)
    numbers = lax.ConvDimensionNumbers(d.out_spec, (into, out, *space), d.lhs_spec)
    found = lax.conv_general_dilated(
        g, turned, dilation, around, strides, spread, numbers, groups, 1, step["precision"]
    )
    return _moved_groups(found, batches, d.lhs_spec[1], d.lhs_spec[0]) if batches > 1 else found


def _conv_kernel(step: Any, g: Any) -> Any:
    """A convolution of the operand by the cotangent, with batch and channels exchanged."""
    x, kernel = step.xs
    d, groups, batches = step["dimension_numbers"], step["feature_group_count"], step["batch_group_count"]
    strides, dilation, spread = step["window_strides"], step["lhs_dilation"], step["rhs_dilation"]
    around = []
    for n, (low, _) in enumerate(step["padding"]):
        size = _spread(x.shape[d.lhs_spec[2 + n]], dilation[n])
        taps, made = (
            _spread(kernel.shape[d.rhs_spec[2 + n]], spread[n]),
            _spread(g.shape[d.out_spec[2 + n]], strides[n]),
        )
        around.append((low, made - size + taps - 1 - low))
    exchanged = [(s[1], s[0], *s[2:]) for s in (d.lhs_spec, d.out_spec, d.rhs_spec)]
    return lax.conv_general_dilated(
        x, g, spread, around, dilation, strides, lax.ConvDimensionNumbers(*exchanged),
        batches if batches > 1 else 1, groups, step["precision"],
    )  # fmt: skip


def _moved_groups(x: Any, groups: int, source: int, target: int) -> Any:
    """The outer part of axis ``source``, of this size, as the outer part of axis ``target``."""
    apart = x.reshape(*x.shape[:source], groups, x.shape[source] // groups, *x.shape[source + 1 :])
    place = target if target < source else target + 1
    moved = jnp.moveaxis(apart, source, place if place < source else place - 1)
    shape = list(x.shape)
    shape[source] //= groups
    shape[target] *= groups
    return moved.reshape(shape)


def _spread(size: int, step: int) -> int:
    """The size of an axis with ``step - 1`` zeros between neighbours."""
    return 0 if size == 0 else (size - 1) * step + 1


def _around_operand(
    operand: Any, window: Any, result: Any, strides: Any, padding: Any, dilation: Any, window_dilation: Any
) -> list[tuple[int, int]]:
    """Padding, by axis, for a window that slides over a cotangent and gives one of the operand's shape."""
    around = []
    for n, (low, _) in enumerate(padding):
        taps = _spread(window[n], window_dilation[n])
        before = taps - low - 1
        around.append((before, _spread(operand[n], dilation[n]) + taps - 1 - _spread(result[n], strides[n]) - before))
    return around
