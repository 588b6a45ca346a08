"""A signal at another sample rate."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._window import is_int

__all__ = ["resample"]

_MOST = 2**24  # entries of a filter bank; rates that share no factor would need any number


@answering
def resample(x: jax.Array, from_rate: int, to_rate: int, *, width: int = 6, rolloff: float = 0.99) -> jax.Array:
    """Give a signal another sample rate, without frequencies that the lower of both rates does not hold.

    Formula: ``y[n] = Σ_k x[k] · c/from · sinc(c·t) · cos²(π·c·t/(2·width))`` with ``t = k/from - n/to``, summed over
    ``|c·t| < width``, where the cutoff ``c = rolloff · min(from, to)``.

    Shapes: ``x`` (..., time) → (..., ceil(time·to/from)).

    Arguments:
        from_rate, to_rate: Hz, whole numbers; only their ratio matters.
        width: zero crossings of the sinc on each side: more is sharper.
        rolloff: the cutoff, as a share of half the lower rate.

    Raises:
        ShapeError: a number instead of a signal.
        RangeError: rates or a width below 1, a rolloff outside (0, 1], or rates of a ratio of too large numbers.

    >>> resample(jnp.ones(400), 200, 100)[50:53].round(2).tolist()
    [1.0, 1.0, 1.0]

    Source: Smith & Gossett 1984, A flexible sampling-rate conversion method; torchaudio's ``resample``.
    """
    for name, value in (("from_rate", from_rate), ("to_rate", to_rate), ("width", width)):
        if not is_int(value) or value < 1:
            got, fix = repr(value), "give rates in Hz, such as 22050 and 16000"
            raise RangeError(f"{name} as an int of at least 1", got=got, fix=fix, where="resample")
    if not 0 < rolloff <= 1:
        raise RangeError("rolloff above 0 and up to 1", got=repr(rolloff), fix="lower it", where="resample")
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ShapeError("(..., time)", got=describe(x), fix="give a signal", where="resample")
    common = math.gcd(from_rate, to_rate)
    old, new = from_rate // common, to_rate // common
    out = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.promote_types(x.dtype, jnp.float32)
    if old == new:
        return x.astype(out)
    if x.size == 0:
        return jnp.zeros((*x.shape[:-1], math.ceil(new * x.shape[-1] / old)), out)
    _check_size(old, new, width)
    filters, reach = _filters(old, new, int(width), float(rolloff))
    return _filtered(x.astype(jnp.promote_types(out, jnp.float32)), filters, old, reach).astype(out)


def _check_size(old: int, new: int, width: int) -> None:
    if new * (old + 2 * width) > _MOST:
        fix = "round the rates to a multiple of 10 or 100, or resample in two steps"
        raise RangeError("rates of a ratio of smaller numbers", got=f"{old} to {new}", fix=fix, where="resample")


@lru_cache(maxsize=8)
def _filters(old: int, new: int, width: int, rolloff: float) -> tuple[np.ndarray, int]:
    """For each of ``new`` samples in which ``old`` come round its filter, (taps, new), and the taps before them."""
    cutoff = rolloff * min(old, new)
    reach = math.ceil(width * old / cutoff)
    times = np.arange(-reach, old + reach)[:, None] / old - np.arange(new) / new
    phase = np.clip(cutoff * times, -width, width)
    return np.sinc(phase) * np.cos(np.pi * phase / (2 * width)) ** 2 * (cutoff / old), reach


def _filtered(x: jax.Array, filters: np.ndarray, old: int, reach: int) -> jax.Array:
    """Every filter at every ``old``-th sample, one behind the other."""
    time, new = x.shape[-1], filters.shape[1]
    kernel = jnp.asarray(filters[:, None, :], x.dtype)
    rows: Any = x.reshape(-1, time, 1)
    dimensions = ("NWC", "WIO", "NWC")
    highest = lax.Precision.HIGHEST
    pads = [(reach, reach + old)]
    y = lax.conv_general_dilated(rows, kernel, (old,), pads, dimension_numbers=dimensions, precision=highest)
    return y.reshape(*x.shape[:-1], -1)[..., : math.ceil(new * time / old)]
