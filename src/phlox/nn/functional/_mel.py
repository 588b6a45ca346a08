"""Mel filterbanks and decibels, which make a spectrogram what an ear or a network hears."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering
from phlox.nn.functional.space._window import is_int

__all__ = ["db_to_power", "mel_filterbank", "power_to_db"]

# Slaney's scale: linear below 1 kHz, logarithmic above it.
_SLANEY_STEP, _SLANEY_KNEE, _SLANEY_LOG = 200 / 3, 1000.0, math.log(6.4) / 27


@answering
def mel_filterbank(
    n_freqs: int,
    n_mels: int,
    sample_rate: float,
    *,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: str = "htk",
    norm: str | None = None,
    dtype: Any = jnp.float32,
) -> jax.Array:
    """Make the triangular filters that turn the frequencies of a spectrogram into mel bands.

    Formula: ``y[f, m] = max(0, min((f - c[m-1])/(c[m] - c[m-1]), (c[m+1] - f)/(c[m+1] - c[m])))``, with the
    corners c at equal steps in mel from ``f_min`` to ``f_max``.

    Shapes: → (n_freqs, n_mels), so that ``spectrogram(x, n_fft) @ mel_filterbank(n_fft // 2 + 1, …)`` is
    (..., frames, n_mels).

    Arguments:
        n_freqs: frequencies of the spectrogram, from 0 to half the sample rate.
        n_mels: bands.
        sample_rate: Hz.
        f_min, f_max: Hz, lower and upper end; by default 0 and half the sample rate.
        scale: ``"htk"``, ``mel = 2595·log10(1 + f/700)``; or ``"slaney"``, linear to 1 kHz and logarithmic above.
        norm: ``"slaney"`` scales each triangle to an area of 1 over Hz, ``None`` to a height of 1.
        dtype: of the result.

    Raises:
        RangeError: counts below 1, frequencies that are not 0 ≤ f_min < f_max, or an unknown scale or norm.

    >>> print((100 * mel_filterbank(5, 2, 8000)).round().T)
    [[ 0. 68.  0.  0.  0.]
     [ 0. 32. 91. 45.  0.]]

    Source: Davis & Mermelstein 1980; scales as in HTK (Young et al.) and the Auditory Toolbox (Slaney 1998).
    """
    where = "mel_filterbank"
    for name, value in (("n_freqs", n_freqs), ("n_mels", n_mels)):
        if not is_int(value) or value < 1:
            raise RangeError(f"{name} as an int of at least 1", got=repr(value), fix="raise it", where=where)
    top = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < top:
        raise RangeError("0 ≤ f_min < f_max", got=f"f_min={f_min}, f_max={top}", fix="give both in Hz", where=where)
    if scale not in ("htk", "slaney"):
        raise RangeError('scale "htk" or "slaney"', got=repr(scale), fix="use one of them", where=where)
    if norm not in (None, "slaney"):
        raise RangeError('norm None or "slaney"', got=repr(norm), fix="use one of them", where=where)
    corners = _mel_to_hz(np.linspace(_hz_to_mel(f_min, scale), _hz_to_mel(top, scale), n_mels + 2), scale)
    low, mid, high = corners[:-2], corners[1:-1], corners[2:]
    f = np.linspace(0, sample_rate / 2, n_freqs)[:, None]
    filters = np.maximum(0, np.minimum((f - low) / (mid - low), (high - f) / (high - mid)))
    return jnp.asarray(filters * (2 / (high - low)) if norm else filters, dtype)


@answering
def power_to_db(x: jax.Array, *, ref: float = 1.0, floor: float = 1e-10, top_db: float | None = 80.0) -> jax.Array:
    """Express powers in decibels.

    Formula: ``y = 10·log10(max(x, floor)/ref)``, then at least ``max(y) - top_db``.

    Shapes: ``x`` (...) → (...).

    Arguments:
        ref: the power that is 0 dB.
        floor: the least power told from 0.
        top_db: dB, the range kept below the largest value of the whole array; ``None`` keeps all.

    Raises:
        RangeError: ``ref`` or ``floor`` not above 0, or ``top_db`` below 0.

    >>> power_to_db(jnp.array([1.0, 10.0, 0.01])).round(3).tolist()
    [0.0, 10.0, -20.0]

    Source: the definition of the decibel, ISO 80000-3.
    """
    for name, value in (("ref", ref), ("floor", floor)):
        if not value > 0:
            raise RangeError(f"{name} above 0", got=repr(value), fix="give a power", where="power_to_db")
    if top_db is not None and top_db < 0:
        raise RangeError("top_db of at least 0", got=repr(top_db), fix="give a range in dB", where="power_to_db")
    x = jnp.asarray(x)
    out = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.result_type(x.dtype, jnp.float32)
    wide = x.astype(jnp.promote_types(out, jnp.float32))
    y = 10 * (jnp.log10(jnp.maximum(wide, floor)) - math.log10(ref))
    return (y if top_db is None else jnp.maximum(y, jnp.max(y) - top_db)).astype(out)


@answering
def db_to_power(x: jax.Array, *, ref: float = 1.0) -> jax.Array:
    """Turn decibels back into powers.

    Formula: ``y = ref · 10^(x/10)``.

    Shapes: ``x`` (...) → (...).

    Arguments:
        ref: the power that is 0 dB.

    Raises:
        RangeError: ``ref`` not above 0.

    >>> print(db_to_power(jnp.array([0.0, 10.0, -20.0])))
    [ 1.   10.    0.01]

    Source: the definition of the decibel, ISO 80000-3.
    """
    if not ref > 0:
        raise RangeError("ref above 0", got=repr(ref), fix="give a power", where="db_to_power")
    return ref * jnp.power(10.0, jnp.asarray(x) / 10)


def _hz_to_mel(f: float, scale: str) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + f / 700)
    if f < _SLANEY_KNEE:
        return f / _SLANEY_STEP
    return _SLANEY_KNEE / _SLANEY_STEP + math.log(f / _SLANEY_KNEE) / _SLANEY_LOG


def _mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    knee = _SLANEY_KNEE / _SLANEY_STEP
    return np.where(mel < knee, mel * _SLANEY_STEP, _SLANEY_KNEE * np.exp(_SLANEY_LOG * (mel - knee)))
