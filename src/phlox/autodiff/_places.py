"""Rules of what reads or writes parts whose place is computed: slices, gathers and scatters."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from phlox.autodiff._rules import no_slope, on


@on("dynamic_slice", text="{g} in its place, zeros around")
def _dynamic_slice(step: Any, g: Any) -> list[Any]:
    x, *starts = step.xs
    return [lax.dynamic_update_slice(jnp.zeros(x.shape, g.dtype), g, starts), *[None] * len(starts)]


@on("dynamic_update_slice", text=("{g} without the part", "that part of {g}"))
def _dynamic_update_slice(step: Any, g: Any) -> list[Any]:
    _, part, *starts = step.xs
    rest = lax.dynamic_update_slice(g, jnp.zeros(part.shape, g.dtype), starts)
    return [rest, lax.dynamic_slice(g, starts, part.shape), *[None] * len(starts)]


@on("gather", text="scatter_add({g} at {x[1]})")
def _gather(step: Any, g: Any) -> list[Any]:
    x, indices = step.xs
    d = step["dimension_numbers"]
    numbers = lax.ScatterDimensionNumbers(
        d.offset_dims, d.collapsed_slice_dims, d.start_index_map, d.operand_batching_dims, d.start_indices_batching_dims
    )
    return [lax.scatter_add(jnp.zeros(x.shape, g.dtype), indices, g, numbers, mode=step["mode"]), None]


def _gathered(step: Any, x: Any) -> Any:
    """What lies in ``x`` at the places that a scatter wrote to."""
    d, updates = step["dimension_numbers"], step.xs[2]
    single = {*d.inserted_window_dims, *d.operand_batching_dims}
    window = iter(updates.shape[a] for a in d.update_window_dims)
    numbers = lax.GatherDimensionNumbers(
        d.update_window_dims,
        d.inserted_window_dims,
        d.scatter_dims_to_operand_dims,
        d.operand_batching_dims,
        d.scatter_indices_batching_dims,
    )
    sizes = [1 if a in single else next(window) for a in range(x.ndim)]
    return lax.gather(x, step.xs[1], numbers, sizes, mode=step["mode"], fill_value=0)


def _scattered(step: Any, write: Any, x: Any, updates: Any) -> Any:
    return write(x, step.xs[1], updates, step["dimension_numbers"], mode=step["mode"])


@on("scatter-add", "scatter_add", text=("{g}", "", "gather({g} at {x[1]})"))
def _scatter_add(step: Any, g: Any) -> list[Any]:
    return [g, None, _gathered(step, g)]


@on("scatter-sub", "scatter_sub", text=("{g}", "", "-gather({g} at {x[1]})"))
def _scatter_sub(step: Any, g: Any) -> list[Any]:
    return [g, None, -_gathered(step, g)]


@on("scatter-mul", "scatter_mul", text=("scatter_mul({g}, {x[2]} at {x[1]})", "", "gather({g} * {x[0]} at {x[1]})"))
def _scatter_mul(step: Any, g: Any) -> list[Any]:
    """Of several factors at one place none knows the others, so places must differ where factors are differentiated."""
    x, _, updates = step.xs
    if step.wanted[2] and not step["unique_indices"]:
        raise no_slope(f"{step.line.kind} by factors that may meet at one place", step.line.layer)
    return [_scattered(step, lax.scatter_mul, g, updates), None, _gathered(step, g * x)]


@on("scatter", text="{g} where this was written last")
def _scatter(step: Any, g: Any) -> list[Any]:
    updates = step.xs[2]
    own = 1 + jnp.arange(updates.size, dtype=jnp.int32).reshape(updates.shape)
    last = _scattered(step, lax.scatter, jnp.zeros(g.shape, jnp.int32), own)  # of two at one place one has stayed
    return [jnp.where(last == 0, g, 0), None, jnp.where(_gathered(step, last) == own, _gathered(step, g), 0)]


@on("scatter-max", "scatter-min", "scatter_max", "scatter_min", text="{g} where {y} came from, shared by equals")
def _scatter_extreme(step: Any, g: Any) -> list[Any]:
    x, _, updates = step.xs
    y = step.ys[0]
    stayed, won = (x == y).astype(g.dtype), (_gathered(step, y) == updates).astype(g.dtype)
    share = g / jnp.maximum(_scattered(step, lax.scatter_add, stayed, won), 1)
    return [share * stayed, None, _gathered(step, share) * won]
