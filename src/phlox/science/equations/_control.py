"""A path through observations, as a function of their number: what drives a controlled differential equation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, describe
from phlox.science._peers import diffrax

INTERPOLATIONS = ("hermite", "linear")


def check_interpolation(layer: str, interpolation: str) -> str:
    """The name of a way to join observations."""
    if interpolation not in INTERPOLATIONS:
        names = " or ".join(map(repr, INTERPOLATIONS))
        raise RangeError(f"interpolation {names}", got=repr(interpolation), fix="choose one of them", where=layer)
    return interpolation


def observations(x: Any, ts: Any, lengths: Any) -> tuple[jax.Array, jax.Array | None]:
    """Observations with their time before them, (times, batch, 1 + channels), and how many of each example are real.

    What is missing at the start, as NaN, is the first that is seen; behind the last real one all stays as it was.

    Raises:
        ShapeError: observations without batch or time, or of one time; times or lengths of another shape.
    """
    x = jnp.asarray(x)
    if x.ndim != 3 or x.shape[1] < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        fix = "add a batch axis, x[None], or a channel axis, x[..., None]; there must be two times or more"
        raise ShapeError("floating (batch, times, channels)", got=describe(x), fix=fix)
    batch, times, _ = x.shape
    at = jnp.arange(times, dtype=x.dtype) if ts is None else jnp.asarray(ts).astype(x.dtype)
    if at.shape not in ((times,), (batch, times)):
        fix = "give one time for each observation"
        raise ShapeError(f"ts as ({times},) or ({batch}, {times})", got=describe(at), fix=fix)
    values = jnp.concatenate([jnp.broadcast_to(at, (batch, times))[..., None], x], -1)
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if lengths.shape != (batch,):
            fix = "give the number of real observations of each example"
            raise ShapeError(f"lengths as ({batch},)", got=describe(lengths), fix=fix)
        last = jnp.minimum(jnp.arange(times), lengths[:, None] - 1)
        values = jnp.take_along_axis(values, last[..., None], 1)
    return jnp.swapaxes(values, 0, 1), lengths


def coefficients(values: jax.Array, lengths: jax.Array | None, interpolation: str) -> tuple[jax.Array, ...]:
    """What the path is made of: cubics over each gap, or the values alone."""
    seen = ~jnp.isnan(values)
    first = jnp.take_along_axis(values, jnp.argmax(seen, 0)[None], 0)[0]
    filled = {"replace_nans_at_start": jnp.where(jnp.isnan(first), 0, first), "fill_forward_nans_at_end": True}
    if interpolation == "linear":
        return (diffrax().linear_interpolation(numbers(values), values, **filled),)
    cubics = diffrax().backward_hermite_coefficients(numbers(values), values, **filled)
    if lengths is None:
        return tuple(cubics)
    padded = (jnp.arange(values.shape[0] - 1)[:, None] >= lengths - 1)[..., None]
    return (*(jnp.where(padded, 0, c) for c in cubics[:3]), cubics[3])


def numbers(values: jax.Array) -> jax.Array:
    """The numbers of the observations, from 0, by which the path goes."""
    return jnp.arange(values.shape[0], dtype=values.dtype)


def path_of(parts: tuple[jax.Array, ...]) -> Any:
    """The path, as Diffrax has it: ``evaluate(s)``, ``derivative(s)``, (batch, 1 + channels)."""
    if len(parts) == 1:
        return diffrax().LinearInterpolation(numbers(parts[0]), parts[0])
    return diffrax().CubicInterpolation(jnp.arange(parts[0].shape[0] + 1, dtype=parts[0].dtype), parts)
