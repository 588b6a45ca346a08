"""Fourier transforms, and windows for them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, wide
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_WINDOWS = {"HannWindow": (0.5, 0.5), "HammingWindow": (25 / 46, 21 / 46), "BlackmanWindow": (0.42, 0.5, 0.08)}


def _dtype(call: Call, name: str) -> Any:
    import onnx

    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(call.get(name, onnx.TensorProto.FLOAT)))


@OPERATORS.on(*_WINDOWS, since=17)
def _window(call: Call, size: Any) -> Any:
    count = int(call.known(size, "the size").reshape(()))
    call.sized([count])
    turn = 2 * np.pi * np.arange(count) / (count if call.get("periodic", 1) else max(count - 1, 1))
    parts = [(-1) ** i * a * np.cos(i * turn) for i, a in enumerate(_WINDOWS[call.node.kind])]
    return np.sum(parts, 0).astype(_dtype(call, "output_datatype"))


def _complex(x: Any) -> Any:
    """From a last axis of real and imaginary part."""
    return x[..., 0] if x.shape[-1] == 1 else jax.lax.complex(x[..., 0], x[..., 1])


def _parts(y: Any, dtype: Any) -> Any:
    return jnp.stack([jnp.real(y), jnp.imag(y)], -1).astype(dtype)


@OPERATORS.on("DFT", since=17)
def _dft(call: Call, x: Any, length: Any = None, axis: Any = None) -> Any:
    """The axis was an attribute before version 20."""
    place = call.get("axis", 1) if call.version < 20 else -2 if axis is None else int(call.known(axis, "the axis"))
    place %= x.ndim
    inverse, half = call.get("inverse", 0), call.get("onesided", 0)
    own = 2 * (x.shape[place] - 1) if inverse and half else x.shape[place]
    n = own if length is None else int(call.known(length, "the length").reshape(()))
    signal = _complex(wide(constant(x)))
    if inverse and half:
        return jnp.fft.irfft(signal, n, place)[..., None].astype(x.dtype)
    if half:
        return _parts(jnp.fft.rfft(jnp.real(signal), n, place), x.dtype)
    return _parts((jnp.fft.ifft if inverse else jnp.fft.fft)(signal, n, place), x.dtype)


@OPERATORS.on("STFT", since=17)
def _stft(call: Call, x: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    """Frames of a signal (batch, time, 1 or 2), weighted, transformed."""
    hop = int(call.known(step, "the step").reshape(()))
    n = window.shape[0] if length is None else int(call.known(length, "the length").reshape(()))
    signal = _complex(constant(x))
    frames = (signal.shape[1] - n) // hop + 1
    cut = signal[:, np.arange(frames)[:, None] * hop + np.arange(n)[None]]
    cut = cut if window is None else cut * window
    if call.get("onesided", 1):
        return _parts(jnp.fft.rfft(jnp.real(cut), n), x.dtype)
    return _parts(jnp.fft.fft(cut, n), x.dtype)


@OPERATORS.on("MelWeightMatrix", since=17)
def _mel(call: Call, *inputs: Any) -> Any:
    """Triangles between neighbouring mels: (length // 2 + 1, bins)."""
    bins, length, rate, low, high = (call.known(x, "a number of the matrix").reshape(()).item() for x in inputs)
    ends = 2595 * np.log10(1 + np.array([low, high]) / 700)
    mels = ends[0] + np.arange(bins + 2) * (ends[1] - ends[0]) / (bins + 2)
    edges = ((length + 1) * (700 * (10 ** (mels / 2595) - 1)) // rate).astype(int)
    at = np.arange(length // 2 + 1)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    with np.errstate(all="ignore"):
        up = np.where(middle == left, at == middle, (at - left) / (middle - left))
        down = (right - at) / (right - middle)
    found = np.where((at >= left) & (at <= middle), up, np.where((at > middle) & (at < right), down, 0))
    return found.astype(_dtype(call, "output_datatype"))
