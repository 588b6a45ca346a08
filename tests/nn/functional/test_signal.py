"""Transforms against torch.stft, torch.istft and SciPy; mel filters against their definition, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kit import against_torch, assert_close, oracle
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn import functional as F

torch = oracle("torch")
signal = oracle("scipy.signal")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def planes(y):
    """Real and imaginary part, stacked, for a comparison of real gradients."""
    return jnp.stack([y.real, y.imag]) if isinstance(y, jax.Array) else torch.stack([y.real, y.imag])


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows_match_torch_and_scipy(length, periodic):
    for name in ("hann", "hamming"):
        ours = getattr(F, f"{name}_window")(length, periodic=periodic, dtype=jnp.float64)
        assert_close(ours, signal.get_window(name, length, fftbins=periodic))
        assert_close(ours, getattr(torch, f"{name}_window")(length, periodic=periodic, dtype=torch.float64).numpy())
    theirs = torch.hamming_window(length, periodic, 0.6, 0.4, dtype=torch.float64)
    assert_close(F.hamming_window(length, periodic=periodic, alpha=0.6, beta=0.4, dtype=jnp.float64), theirs.numpy())
    assert F.hann_window(4).dtype == "float32"


# n_fft, hop, win_length, center, pad_mode, normalized, onesided
STFTS = {
    "defaults": (8, None, None, True, "reflect", False, True),
    "hop does not divide": (8, 3, None, True, "reflect", False, True),
    "short window": (9, 4, 5, True, "constant", True, True),
    "not centred": (8, 2, 6, False, "reflect", False, True),
    "two-sided": (6, 2, None, True, "circular", True, False),
    "gaps": (4, 5, None, True, "replicate", False, True),
}


@pytest.mark.parametrize("case", STFTS.values(), ids=STFTS)
@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("shape", [(21,), (2, 21)])
def test_stft_matches_torch(case, windowed, shape):
    n, hop, win, center, pad, normalized, onesided = case
    arrays = [normal(*shape)] + [np.abs(normal(win or n, seed=1)) + 0.5] * windowed
    kwargs = dict(hop_length=hop, win_length=win, center=center, pad_mode=pad, normalized=normalized, onesided=onesided)

    def theirs(x, w=None):
        w = torch.ones(win or n, dtype=x.dtype) if w is None else w
        y = torch.stft(x, n, window=w, return_complex=True, **kwargs)
        return planes(y.transpose(-1, -2))

    against_torch(jax.jit(lambda x, w=None: planes(F.stft(x, n, window=w, **kwargs))), theirs, *arrays)


def test_stft_matches_scipy():
    x, w = normal(64), np.asarray(F.hann_window(16, dtype=jnp.float64))
    want = signal.ShortTimeFFT(w, hop=4, fs=1, phase_shift=None).stft(x, p0=2, p1=15)
    assert_close(F.stft(x, 16, hop_length=4, window=w, center=False), want.T)


@pytest.mark.filterwarnings("ignore:The length of signal is shorter than the length:UserWarning")
@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize(
    ("hop", "win", "center", "length"),
    [(2, None, True, None), (3, 7, True, 15), (2, None, True, 30), (3, None, True, 12), (4, None, False, None)],
)
def test_istft_matches_torch(onesided, normalized, hop, win, center, length):
    bins = 5 if onesided else 8
    re, im = normal(2, 6, bins), normal(2, 6, bins, seed=1)
    window = torch.hann_window(win or 8, dtype=torch.float64) if center else torch.ones(8, dtype=torch.float64)
    kwargs = dict(
        hop_length=hop, win_length=win, center=center, normalized=normalized, onesided=onesided, length=length
    )

    def theirs(re, im):
        y = torch.complex(re, im).transpose(-1, -2)
        return torch.istft(y, 8, window=window, return_complex=not onesided, **kwargs).real

    against_torch(
        jax.jit(lambda re, im: F.istft(re + 1j * im, 8, window=window.numpy(), **kwargs).real),
        theirs,
        re,
        im,
    )


@pytest.mark.parametrize("n", [8, 9])
def test_istft_inverts_stft(n):
    x, w = normal(3, 40), F.hann_window(n, dtype=jnp.float64)
    y = F.stft(x, n, hop_length=2, window=w)
    assert_close(F.istft(y, n, hop_length=2, window=w, length=40), x)
    z = x + 1j * normal(3, 40, seed=1)
    y = F.stft(z, n, hop_length=2, window=w, onesided=False)
    back = F.istft(y, n, hop_length=2, window=w, onesided=False, length=40)
    assert_close(planes(back), np.stack([z.real, z.imag]))


@pytest.mark.parametrize("power", [1.0, 2.0, 0.7])
def test_spectrogram_matches_torch(power):
    def theirs(x):
        w = torch.hann_window(8, dtype=x.dtype)
        return torch.stft(x, 8, 4, window=w, return_complex=True).abs().pow(power).transpose(-1, -2)

    against_torch(jax.jit(lambda x: F.spectrogram(x, 8, power=power)), theirs, normal(2, 21))


def test_spectrogram_normalisations_and_silence():
    x, w = normal(21), F.hann_window(8, dtype=jnp.float64)
    plain = F.spectrogram(x, 8)
    assert_close(F.spectrogram(x, 8, normalized=True), plain / 8)
    assert_close(F.spectrogram(x, 8, normalized="frame_length"), plain / 8)
    assert_close(F.spectrogram(x, 8, normalized="window"), plain / jnp.sum(w**2))
    assert np.all(jax.grad(lambda x: F.spectrogram(x, 8, power=1.0).sum())(jnp.zeros(16)) == 0)
    check_grads(jax.jit(lambda x: F.spectrogram(x, 4)), (normal(8),), order=2)


def test_a_sine_is_one_line():
    t = np.arange(64)
    y = F.spectrogram(np.sin(2 * np.pi * 5 * t / 32), 32, window=np.ones(32), center=False, power=1.0)
    assert_close(y, np.tile(16.0 * (np.arange(17) == 5), (y.shape[0], 1)))


def reference_mel(n_freqs, n_mels, rate, f_min, f_max, scale, norm):
    """The definition, one filter and one frequency at a time."""

    def to_mel(f):
        if scale == "htk":
            return 2595 * math.log(1 + f / 700) / math.log(10)
        return 3 * f / 200 if f < 1000 else 15 + 27 * math.log(f / 1000) / math.log(6.4)

    def to_hz(m):
        if scale == "htk":
            return 700 * math.expm1(m * math.log(10) / 2595)
        return 200 * m / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)

    a, b = to_mel(f_min), to_mel(f_max)
    c = [to_hz(a + (b - a) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    out = np.zeros((n_freqs, n_mels))
    for k in range(n_freqs):
        f = k * rate / 2 / (n_freqs - 1)
        for m in range(n_mels):
            if c[m] < f <= c[m + 1]:
                out[k, m] = (f - c[m]) / (c[m + 1] - c[m])
            elif c[m + 1] < f < c[m + 2]:
                out[k, m] = (c[m + 2] - f) / (c[m + 2] - c[m + 1])
            if norm:
                out[k, m] *= 2 / (c[m + 2] - c[m])
    return out


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize(("f_min", "f_max"), [(0.0, None), (300.0, 3400.0)])
def test_mel_filters_follow_their_definition(scale, norm, f_min, f_max):
    ours = F.mel_filterbank(65, 10, 16000, f_min=f_min, f_max=f_max, scale=scale, norm=norm, dtype=jnp.float64)
    want = reference_mel(65, 10, 16000, f_min, f_max or 8000, scale, norm)
    np.testing.assert_allclose(ours, want, rtol=1e-10, atol=1e-12)


def test_slaney_corners_are_the_published_ones():
    """Peaks of 40 - 2 filters up to 11025 Hz: the mel frequencies that librosa's documentation lists."""
    listed = [
        85.317,
        170.635,
        255.952,
        341.269,
        426.586,
        511.904,
        597.221,
        682.538,
        767.855,
        853.173,
        938.49,
        1024.856,
        1119.114,
        1222.042,
        1334.436,
    ]
    fine = F.mel_filterbank(220501, 38, 22050, scale="slaney", dtype=jnp.float64)
    assert np.allclose(np.argmax(np.asarray(fine), 0)[:15] * 0.05, listed, atol=0.05)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_filters_sum_to_one_and_have_unit_area(scale):
    fine = np.asarray(F.mel_filterbank(16001, 8, 16000, scale=scale, dtype=jnp.float64))
    first, last = fine[:, 0].argmax(), fine[:, -1].argmax()
    np.testing.assert_allclose(fine[first + 1 : last].sum(1), 1, rtol=1e-12)
    area = np.asarray(F.mel_filterbank(16001, 8, 16000, scale=scale, norm="slaney", dtype=jnp.float64)).sum(0) * 0.5
    np.testing.assert_allclose(area, 1, rtol=1e-4)  # a sum over half-Hertz steps for an integral


def test_decibels():
    x = jnp.array([1e-12, 1e-3, 1.0, 50.0])
    assert_close(F.power_to_db(x, top_db=None), 10 * np.log10(np.maximum(x, 1e-10)))
    assert_close(F.power_to_db(x, ref=2.0, top_db=30.0), np.maximum(10 * np.log10(x / 2), 10 * np.log10(25) - 30))
    assert_close(F.db_to_power(F.power_to_db(x[1:], ref=3.0), ref=3.0), x[1:])
    check_grads(F.db_to_power, (x,), order=1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_transforms_and_dtypes(dtype):
    x = jnp.asarray(normal(3, 32), dtype)
    assert F.stft(x, 8).dtype == "complex64"
    assert F.spectrogram(x, 8).dtype == dtype
    assert_close(F.spectrogram(x, 8), F.spectrogram(x.astype(float), 8))
    assert_close(jax.vmap(lambda v: F.spectrogram(v, 8))(x), F.spectrogram(x, 8))
    assert F.power_to_db(x**2).dtype == dtype
    assert jax.grad(lambda v: F.spectrogram(v, 8).sum())(x).dtype == dtype


X = np.zeros((2, 20), "float32")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.stft(X, 0), RangeError, "stft expects n_fft as an int of at least 1, got 0"),
        (lambda: F.stft(X, 8, hop_length=0), RangeError, "hop_length as an int of at least 1, got 0"),
        (lambda: F.stft(X, 8, win_length=9), RangeError, "win_length of at most n_fft=8, got 9"),
        (
            lambda: F.stft(X, 8, win_length=6, window=np.ones(8)),
            ShapeError,
            r"a window of shape \(6,\), got float64\[8\]",
        ),
        (lambda: F.stft(X, 8, pad_mode="wrap"), RangeError, "pad_mode as one of .* got 'wrap'"),
        (lambda: F.stft(X, 40), ShapeError, r"at least 21 samples for reflect padding by 20, got float32\[2, 20\]"),
        (lambda: F.stft(X, 40, center=False), ShapeError, r"at least n_fft=40 samples, got float32\[2, 20\]"),
        (
            lambda: F.stft(X + 0j, 8),
            DtypeError,
            r"a real signal, .* got complex64\[2, 20\]\n  fix: pass onesided=False",
        ),
        (
            lambda: F.istft(X + 0j, 8),
            ShapeError,
            r"istft expects \(..., frames, 5\) for n_fft=8, got complex64\[2, 20\]",
        ),
        (
            lambda: F.istft(np.ones((4, 5)) + 0j, 8, window=F.hann_window(8), center=False),
            RangeError,
            "windows that cover every sample .* got a sum of squares of 0.0e",
        ),
        (lambda: F.spectrogram(X, 8, power=0), RangeError, "power above 0, got 0"),
        (lambda: F.spectrogram(X, 8, normalized="energy"), RangeError, "normalized as .* got 'energy'"),
        (lambda: F.hann_window(0), RangeError, "hann_window expects length as an int of at least 1, got 0"),
        (lambda: F.mel_filterbank(0, 4, 8000), RangeError, "n_freqs as an int of at least 1, got 0"),
        (lambda: F.mel_filterbank(5, 4, 8000, f_min=5000), RangeError, "f_min < f_max, got f_min=5000, f_max=4000.0"),
        (lambda: F.mel_filterbank(5, 4, 8000, scale="bark"), RangeError, 'scale "htk" or "slaney", got \'bark\''),
        (lambda: F.mel_filterbank(5, 4, 8000, norm="l1"), RangeError, "norm None or .* got 'l1'"),
        (lambda: F.power_to_db(X, floor=0), RangeError, "floor above 0, got 0"),
        (lambda: F.power_to_db(X, top_db=-1), RangeError, "top_db of at least 0, got -1"),
        (lambda: F.db_to_power(X, ref=-1), RangeError, "ref above 0, got -1"),
    ],
)
def test_errors_say_what_and_where(call, error, text):
    with pytest.raises(error, match=text):
        call()
