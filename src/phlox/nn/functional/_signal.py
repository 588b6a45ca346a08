"""Signals in time and frequency: windows, the short-time Fourier transform and its inverse, spectrograms."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe
from phlox.nn.functional.space._window import is_int

__all__ = ["hamming_window", "hann_window", "istft", "spectrogram", "stft"]

_PAD_MODES = {"reflect": "reflect", "constant": "constant", "replicate": "edge", "circular": "wrap"}


@answering
def hann_window(length: int, *, periodic: bool = True, dtype: Any = jnp.float32) -> jax.Array:
    """Make a Hann window.

    Formula: ``w[n] = 1/2 - 1/2·cos(2π·n/N)``, with N the length if periodic, else the length less one.

    Shapes: → (length,).

    Arguments:
        length: samples.
        periodic: one period of a longer signal (for the Fourier transform), rather than symmetric (for filters).
        dtype: of the result.

    Raises:
        RangeError: a length below 1.

    >>> hann_window(4).tolist()
    [0.0, 0.5, 1.0, 0.5]

    Source: Blackman & Tukey 1958, The measurement of power spectra.
    """
    return _cosine_window(length, 0.5, 0.5, periodic, dtype, "hann_window")


@answering
def hamming_window(
    length: int, *, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, dtype: Any = jnp.float32
) -> jax.Array:
    """Make a Hamming window.

    Formula: ``w[n] = alpha - beta·cos(2π·n/N)``, with N the length if periodic, else the length less one.

    Shapes: → (length,).

    Arguments:
        length: samples.
        periodic: as for :func:`hann_window`.
        alpha, beta: the window's coefficients.
        dtype: of the result.

    Raises:
        RangeError: a length below 1.

    >>> hamming_window(4, alpha=0.625, beta=0.375).tolist()
    [0.25, 0.625, 1.0, 0.625]

    Source: Blackman & Tukey 1958, The measurement of power spectra.
    """
    return _cosine_window(length, alpha, beta, periodic, dtype, "hamming_window")


@answering
def stft(
    x: jax.Array,
    n_fft: int,
    *,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: jax.Array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool = True,
) -> jax.Array:
    """Take the Fourier transform of overlapping windows of a signal.

    Formula: ``y[t, f] = Σ_k window[k] · x[t·hop + k] · exp(-2πi·f·k/n_fft)``.

    Shapes: ``x`` (..., time) → complex (..., frames, frequencies), with ``n_fft//2 + 1`` frequencies, or ``n_fft`` if
    not one-sided, and ``frames = (time' - n_fft) // hop + 1``. (PyTorch puts frequencies before frames.)

    Arguments:
        n_fft: samples in a frame.
        hop_length: samples from frame to frame; by default ``n_fft // 4``.
        win_length: samples of the window, which is centred in the frame; by default those of ``window``, or ``n_fft``.
        window: (win_length,); by default ones.
        center: pad ``n_fft // 2`` samples at both ends, so that frame t is centred at ``t·hop``.
        pad_mode: ``"reflect"``, ``"constant"`` (zeros), ``"replicate"`` or ``"circular"``.
        normalized: divide by the root of ``n_fft``.
        onesided: leave out the negative frequencies of a real signal.

    Raises:
        ShapeError: a signal too short for a frame or its padding, or a window of another length.
        RangeError: lengths below 1, ``win_length`` above ``n_fft``, or an unknown padding mode.
        DtypeError: a complex signal where the result is to be one-sided.

    >>> abs(stft(jnp.ones(8), 4, center=False, hop_length=4)).tolist()
    [[4.0, 0.0, 0.0], [4.0, 0.0, 0.0]]

    Source: Allen & Rabiner 1977, A unified approach to short-time Fourier analysis and synthesis.
    """
    where = "stft"
    x = _wide(x)
    if x.ndim == 0:
        raise ShapeError("(..., time)", got=describe(x), fix="give a signal", where=where)
    if onesided and jnp.iscomplexobj(x):
        raise DtypeError(
            "a real signal, for a one-sided result", got=describe(x), fix="pass onesided=False", where=where
        )
    hop, taper = _frame_plan(n_fft, hop_length, win_length, window, x.dtype, where)
    if center:
        x = _pad_ends(x, n_fft // 2, pad_mode, where)
    if x.shape[-1] < n_fft:
        raise ShapeError(
            f"at least n_fft={n_fft} samples", got=describe(x), fix="use a smaller n_fft, or center=True", where=where
        )
    frames = _frames(x, n_fft, hop) * taper
    norm = "ortho" if normalized else "backward"
    return jnp.fft.rfft(frames, norm=norm) if onesided else jnp.fft.fft(frames, norm=norm)


@answering
def istft(
    y: jax.Array,
    n_fft: int,
    *,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: jax.Array | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool = True,
    length: int | None = None,
) -> jax.Array:
    """Find the signal whose short-time Fourier transform is nearest: the inverse of :func:`stft`.

    Formula: ``x[s] = Σ_t window[s - t·hop] · frame_t[s - t·hop] / Σ_t window[s - t·hop]²``, where frame_t is the
    inverse transform of ``y[t]``.

    Shapes: ``y`` complex (..., frames, frequencies) → (..., time), with ``time = length``, or else
    ``n_fft + hop·(frames - 1)``, less ``2·(n_fft // 2)`` if centred. Real if one-sided, else complex.

    Arguments:
        n_fft, hop_length, win_length, window, center, normalized, onesided: as they were given to :func:`stft`.
        length: samples to return; what lies beyond the frames is zero.

    Raises:
        ShapeError: ``y`` has not (frames, frequencies) for this ``n_fft``, or a window of another length.
        RangeError: lengths below 1, or windows that leave samples uncovered (their squares must not add up to 0).

    >>> x = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    >>> istft(stft(x, 4, window=hann_window(4)), 4, window=hann_window(4)).round(4).tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]

    Source: Griffin & Lim 1984, Signal estimation from modified short-time Fourier transform.
    """
    where = "istft"
    y = jnp.asarray(y)
    bins = n_fft // 2 + 1 if onesided else n_fft
    if y.ndim < 2 or y.shape[-1] != bins or y.shape[-2] < 1:
        raise ShapeError(
            f"(..., frames, {bins}) for n_fft={n_fft}", got=describe(y), fix="give what stft returns", where=where
        )
    real = jnp.zeros((), jnp.promote_types(jnp.finfo(y.dtype).dtype, jnp.float32)).dtype
    hop, taper = _frame_plan(n_fft, hop_length, win_length, window, real, where)
    norm = "ortho" if normalized else "backward"
    frames = jnp.fft.irfft(y, n_fft, norm=norm) if onesided else jnp.fft.ifft(y, norm=norm)
    total = n_fft + hop * (y.shape[-2] - 1)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else total - start
    signal = _overlap_add(frames * taper, total, hop)[..., start:stop]
    envelope = _overlap_add(jnp.broadcast_to(taper**2, (y.shape[-2], n_fft)), total, hop)[start:stop]
    if not isinstance(envelope, Tracer) and envelope.size and float(jnp.min(jnp.abs(envelope))) < 1e-11:
        raise RangeError(
            "windows that cover every sample returned",
            got=f"a sum of squares of {float(jnp.min(jnp.abs(envelope))):.1e}",
            fix="use center=True, a smaller hop_length, or a window without zeros",
            where=where,
        )
    signal = signal / envelope
    missing = 0 if length is None else length - signal.shape[-1]
    return jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)]) if missing > 0 else signal


@answering
def spectrogram(
    x: jax.Array,
    n_fft: int = 400,
    *,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: jax.Array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    power: float = 2.0,
    normalized: bool | str = False,
) -> jax.Array:
    """Take a power of the magnitude of the short-time Fourier transform.

    Formula: ``y[t, f] = |stft(x)[t, f]|^power``, with a gradient of 0 where the magnitude is 0.

    Shapes: ``x`` (..., time) → real (..., frames, n_fft//2 + 1).

    Arguments:
        n_fft, win_length, center, pad_mode: as for :func:`stft`.
        hop_length: samples from frame to frame; by default half the window.
        window: (win_length,); by default a periodic Hann window.
        power: 1 for magnitudes, 2 for power.
        normalized: ``True`` or ``"frame_length"`` divides the transform by the root of ``n_fft``, ``"window"`` by the
            root of the sum of the window's squares.

    Raises:
        RangeError: ``power`` not above 0, an unknown normalisation, and as :func:`stft`.
        ShapeError, DtypeError: as :func:`stft`.

    >>> spectrogram(jnp.ones(8), 4, window=jnp.ones(4), center=False).tolist()
    [[16.0, 0.0, 0.0], [16.0, 0.0, 0.0], [16.0, 0.0, 0.0]]

    Source: Allen & Rabiner 1977, A unified approach to short-time Fourier analysis and synthesis.
    """
    where = "spectrogram"
    if not power > 0:
        raise RangeError("power above 0", got=repr(power), fix="use 2 for power, 1 for magnitude", where=where)
    if normalized not in (True, False, "window", "frame_length"):
        raise RangeError(
            'normalized as False, True, "frame_length" or "window"', got=repr(normalized), fix="use one", where=where
        )
    width = win_length or (n_fft if window is None else len(window))
    window = hann_window(width, dtype=_wide(x).dtype) if window is None else jnp.asarray(window)
    y = stft(
        x,
        n_fft,
        hop_length=max(width // 2, 1) if hop_length is None else hop_length,
        win_length=width,
        window=window,
        center=center,
        pad_mode=pad_mode,
        normalized=normalized in (True, "frame_length"),
    )
    square = y.real**2 + y.imag**2
    if normalized == "window":
        square = square / jnp.sum(window.astype(square.dtype) ** 2)
    if power == 2:
        out = square
    else:
        positive = square > 0
        out = jnp.where(positive, jnp.where(positive, square, 1) ** (power / 2), 0)
    dtype = jnp.asarray(x).dtype
    return out.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else out


def _cosine_window(length: int, alpha: float, beta: float, periodic: bool, dtype: Any, where: str) -> jax.Array:
    _at_least_one("length", length, where)
    period = length if periodic else max(length - 1, 1)
    samples = alpha - beta * np.cos(2 * math.pi * np.arange(length) / period)
    return jnp.asarray(np.ones(1) if length == 1 else samples, dtype)


def _at_least_one(name: str, value: Any, where: str) -> None:
    if not is_int(value) or value < 1:
        raise RangeError(f"{name} as an int of at least 1", got=repr(value), fix=f"give {name} in samples", where=where)


def _wide(x: Any) -> jax.Array:
    """A signal in a dtype that the Fourier transform takes: float32 at least."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _frame_plan(n_fft: int, hop_length: Any, win_length: Any, window: Any, dtype: Any, where: str) -> tuple[int, Any]:
    """The hop, and the window centred in a frame."""
    _at_least_one("n_fft", n_fft, where)
    hop = max(n_fft // 4, 1) if hop_length is None else hop_length
    _at_least_one("hop_length", hop, where)
    width = win_length if win_length is not None else n_fft if window is None else len(window)
    _at_least_one("win_length", width, where)
    if width > n_fft:
        raise RangeError(f"win_length of at most n_fft={n_fft}", got=repr(width), fix="raise n_fft", where=where)
    window = jnp.ones(width, jnp.finfo(dtype).dtype) if window is None else jnp.asarray(window)
    if window.shape != (width,):
        raise ShapeError(f"a window of shape ({width},)", got=describe(window), fix="match win_length", where=where)
    left = (n_fft - width) // 2
    return int(hop), jnp.pad(window.astype(jnp.finfo(dtype).dtype), (left, n_fft - width - left))


def _pad_ends(x: jax.Array, count: int, pad_mode: str, where: str) -> jax.Array:
    if pad_mode not in _PAD_MODES:
        raise RangeError(
            f"pad_mode as one of {tuple(_PAD_MODES)}", got=repr(pad_mode), fix="use one of them", where=where
        )
    least = {"reflect": count + 1, "circular": count, "replicate": 1, "constant": 0}[pad_mode]
    if x.shape[-1] < least:
        raise ShapeError(
            f"at least {least} samples for {pad_mode} padding by {count}",
            got=describe(x),
            fix='use pad_mode="constant", or a smaller n_fft',
            where=where,
        )
    pairs: Any = [(0, 0)] * (x.ndim - 1) + [(count, count)]
    return jnp.pad(x, pairs, mode=_PAD_MODES[pad_mode])


def _frames(x: jax.Array, size: int, hop: int) -> jax.Array:
    """Overlapping frames (..., frames, size) of (..., time)."""
    count = (x.shape[-1] - size) // hop + 1
    if size % hop:
        return x[..., np.arange(count)[:, None] * hop + np.arange(size)]
    # Frames are runs of whole hops: slices, whose gradient is no scatter.
    parts = size // hop
    hops = x[..., : (count + parts - 1) * hop].reshape(*x.shape[:-1], count + parts - 1, hop)
    return jnp.concatenate([lax.slice_in_dim(hops, i, i + count, axis=-2) for i in range(parts)], -1)


def _overlap_add(frames: jax.Array, time: int, hop: int) -> jax.Array:
    """Add frames up where :func:`_frames` cut them: its transpose."""
    whole = jax.ShapeDtypeStruct((*frames.shape[:-2], time), frames.dtype)
    return jax.linear_transpose(lambda x: _frames(x, frames.shape[-1], hop), whole)(frames)[0]
