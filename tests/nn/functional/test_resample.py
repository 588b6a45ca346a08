"""A signal at another rate against its formula, sample by sample, a sine in closed form, and SciPy's polyphase form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kit import assert_close, oracle
from phlox.core import RangeError, ShapeError
from phlox.nn import functional as F

signal = oracle("scipy.signal")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def by_formula(x, old, new, width=6, rolloff=0.99):
    """The docstring's sum, for every sample."""
    cutoff = rolloff * min(old, new)
    y = []
    for n in range(math.ceil(len(x) * new / old)):
        t = cutoff * (np.arange(len(x)) / old - n / new)
        w = np.where(np.abs(t) < width, np.cos(np.pi * t / (2 * width)) ** 2, 0)
        y.append(np.sum(x * cutoff / old * np.sinc(t) * w))
    return np.array(y)


@pytest.mark.parametrize(
    ("old", "new", "options"),
    [(3, 2, {}), (2, 3, {}), (441, 320, {}), (8, 1, {"width": 3}), (1, 2, {"width": 16, "rolloff": 0.8}), (16, 10, {})],
)
def test_every_sample_is_the_formulas(old, new, options):
    x = np.random.default_rng(0).normal(size=130)
    assert_close(F.resample(x, old, new, **options), by_formula(x, old, new, **options))


@pytest.mark.parametrize(("old", "new"), [(22050, 16000), (16000, 22050), (48000, 8000)])
def test_a_sine_stays_the_sine_and_scipys(old, new):
    length, hertz = old // 10, 440.0
    x = np.sin(2 * np.pi * hertz * np.arange(length) / old)
    y = np.asarray(F.resample(x, old, new))
    assert y.shape == (math.ceil(length * new / old),)
    inner = slice(len(y) // 5, -len(y) // 5)
    want = np.sin(2 * np.pi * hertz * np.arange(len(y)) / new)
    np.testing.assert_allclose(y[inner], want[inner], atol=5e-3)
    common = math.gcd(old, new)
    np.testing.assert_allclose(y[inner], signal.resample_poly(x, new // common, old // common)[inner], atol=1e-2)


def test_what_the_lower_rate_does_not_hold_is_gone():
    x = np.sin(2 * np.pi * 7000 * np.arange(2000) / 16000)
    assert np.abs(F.resample(x, 16000, 8000))[100:-100].max() < 1e-2


def test_batches_dtypes_and_gradients():
    x = np.random.default_rng(1).normal(size=(2, 3, 20))
    assert_close(F.resample(x, 2, 3)[1, 2], by_formula(x[1, 2], 2, 3))
    assert F.resample(x.astype("float32"), 2, 3).dtype == "float32"
    assert F.resample(jnp.asarray(x, "bfloat16"), 2, 3).dtype == "bfloat16"
    np.testing.assert_array_equal(F.resample(x, 16000, 16000), x)
    assert F.resample(jnp.zeros((0, 5)), 2, 1).shape == (0, 3)
    check_grads(lambda x: F.resample(x, 3, 2), (x[0, 0],), order=1, modes=["rev"])


def test_what_is_refused():
    x = np.zeros(8)
    with pytest.raises(RangeError, match=r"resample expects from_rate as an int of at least 1, got 0\n  fix: .*Hz"):
        F.resample(x, 0, 2)
    with pytest.raises(RangeError, match=r"to_rate as an int of at least 1, got 1.5"):
        F.resample(x, 1, 1.5)
    with pytest.raises(RangeError, match=r"rolloff above 0 and up to 1, got 1.5"):
        F.resample(x, 2, 1, rolloff=1.5)
    with pytest.raises(ShapeError, match=r"\(..., time\), got float64\[\]"):
        F.resample(1.0, 2, 1)
    with pytest.raises(RangeError, match=r"rates of a ratio of smaller numbers, got 16000 to 15999\n  fix: round"):
        F.resample(x, 16000, 15999)
