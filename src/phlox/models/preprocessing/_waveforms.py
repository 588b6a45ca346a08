"""Waveforms brought together: what counts as one, and a batch of one length."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import DtypeError, RangeError, ShapeError, describe
from phlox.nn import functional as F

_WHERE = "AudioPreprocessor"


def together(waveforms: Any, lengths: Any, rates: tuple[int, int], length: int | None) -> tuple[Any, Any]:
    """Waveforms as (batch, time) float32, and how many samples each has, (batch,) int32; NumPy's stay NumPy's.

    Arguments:
        lengths: of a batch that is padded already, or None.
        rates: Hz, of the waveforms and of the result.
        length: samples of the result, or None for the most there are.
    """
    if _is_list(waveforms):
        if lengths is not None:
            fix = "leave them out: a list's waveforms have their own"
            raise ShapeError("lengths only beside an array", got="a list", fix=fix, where=_WHERE)
        parts = [_at_rate(_checked(w, (1,)), rates) for w in waveforms]
        counts = np.array([len(x) for x in parts], np.int32)
        time = int(counts.max()) if length is None else length
        xp = jnp if any(isinstance(x, jax.Array) for x in parts) else np
        return xp.stack([_fitted(x, time) for x in parts]), np.minimum(counts, time)
    x = _checked(waveforms, (1, 2))
    x = x[None] if x.ndim == 1 else x
    lengths = lengths if lengths is None or isinstance(lengths, jax.Array) else np.asarray(lengths)
    counts = _counts(lengths, x, rates)
    if lengths is not None and rates[0] != rates[1]:  # what lies behind a sound is no neighbour of it
        xp = jnp if isinstance(x, jax.Array) or isinstance(lengths, jax.Array) else np
        x = xp.where(np.arange(x.shape[1]) < lengths[:, None], x, np.float32(0))
    x = _at_rate(x, rates)
    time = x.shape[1] if length is None else length
    return _fitted(x, time), counts.clip(0, time).astype(np.int32)


def _is_list(waveforms: Any) -> bool:
    """Whether it is several waveforms, and not one as a list of numbers."""
    if not isinstance(waveforms, list | tuple):
        return False
    if not waveforms:
        raise ShapeError("at least one waveform", got="none", fix="give some", where=_WHERE)
    return not isinstance(waveforms[0], int | float | np.number)


def _checked(waveform: Any, axes: tuple[int, ...]) -> Any:
    x = waveform if isinstance(waveform, jax.Array) else np.asarray(waveform)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        fix = 'waveform.astype("float32") / 32768, if it is sound of 16 bits'
        raise DtypeError("waveforms of floats in [-1, 1]", got=describe(x), fix=fix, where=_WHERE)
    if x.ndim not in axes or 0 in x.shape:
        fix = "give one channel: the mean over channels, or one of them, as (time,)"
        forms = "(time,) or (batch, time)" if 2 in axes else "(time,) each"
        raise ShapeError(f"waveforms {forms}, not empty", got=describe(x), fix=fix, where=_WHERE)
    return x.astype(np.float32)


def _counts(lengths: Any, x: Any, rates: tuple[int, int]) -> Any:
    """How many samples each row of (batch, time) has, at the rate of the result."""
    if lengths is None:
        xp = jnp if isinstance(x, jax.Array) else np  # the batch may be a symbol
        return xp.full(x.shape[:1], math.ceil(x.shape[1] * rates[1] / rates[0]))
    counts = lengths
    if counts.shape != x.shape[:1] or counts.dtype.kind not in "iu":
        fix = "give the number of samples of each"
        raise ShapeError(f"whole lengths of shape [{len(x)}]", got=describe(counts), fix=fix, where=_WHERE)
    known = None if isinstance(counts, jax.Array) else counts
    if known is not None and not ((known >= 1) & (known <= x.shape[1])).all():
        fix = "count samples, padding left out"
        raise RangeError(f"lengths from 1 to {x.shape[1]}", got=str(known.tolist()), fix=fix, where=_WHERE)
    return -(-counts * rates[1] // rates[0])


def _at_rate(x: Any, rates: tuple[int, int]) -> Any:
    if rates[0] == rates[1]:
        return x
    y = F.resample(x, *rates)
    return y if isinstance(x, jax.Array) else np.asarray(y)


def _fitted(x: Any, time: int) -> Any:
    """(..., time): cut off, or filled up with zeros."""
    missing = time - x.shape[-1]
    if missing <= 0:
        return x[..., :time]
    xp = jnp if isinstance(x, jax.Array) else np
    return xp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
