"""Dropout by its statistics: the rate within binomial bounds, expectation and variance kept, masks shared as asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kit import assert_close, oracle, to_numpy
from phlox.core._errors import DtypeError, RangeError, ShapeError
from phlox.nn.functional import _dropout as drop

KEY = jax.random.key(11)
N = 40000
KINDS = {
    "dropout": drop.dropout,
    "alpha_dropout": drop.alpha_dropout,
    "feature_alpha_dropout": lambda key, x, p: drop.feature_alpha_dropout(key, x.reshape(-1, 1, 1), p).reshape(x.shape),
    "drop_path": drop.drop_path,
    "variational_mask": lambda key, x, p: x * drop.variational_mask(key, x.shape, p, x.dtype),
}


def rate_is(p, dropped):
    """The number of drops is binomial: refused only where that is a 1 in 10,000 surprise."""
    dropped = np.asarray(dropped)
    assert stats.binomtest(int(dropped.sum()), dropped.size, p).pvalue > 1e-4


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_rate_and_scale(name, p):
    """A share p is dropped, and what is kept is scaled by the closed form."""
    x = jnp.full((N,), 3.0)
    y = np.asarray(KINDS[name](KEY, x, p), np.float64)
    if "alpha" in name:
        floor = -1.0507009873554805 * 1.6732632423543772
        a = ((1 - p) * (1 + p * floor**2)) ** -0.5
        low, high = a * floor - a * p * floor, a * 3.0 - a * p * floor
    else:
        low, high = 0.0, 3.0 / (1 - p)
    dropped = np.abs(y - low) < np.abs(y - high)
    rate_is(p, dropped)
    np.testing.assert_allclose(y, np.where(dropped, low, high), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_expectation(p):
    x = np.random.default_rng(0).normal(size=20).astype("f")
    draws = np.asarray(jax.vmap(lambda k: drop.dropout(k, jnp.asarray(x), p))(jax.random.split(KEY, 5000)))
    error = np.abs(x) * np.sqrt(p / (1 - p) / 5000)
    assert np.all(np.abs(draws.mean(0) - x) < 4.5 * error)


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_alpha_dropout_keeps_mean_and_variance(name, p):
    x = jax.random.normal(jax.random.key(1), (400000,))
    y = np.asarray(KINDS[name](KEY, x, p), np.float64)
    assert abs(y.mean()) < 4.5 / np.sqrt(y.size)
    kurtosis = ((y - y.mean()) ** 4).mean() / y.var() ** 2
    assert abs(y.var() - 1) < 4.5 * np.sqrt((kurtosis - 1) / y.size)


def test_alpha_dropout_takes_the_values_of_torchs():
    torch = oracle("torch")
    x = np.random.default_rng(0).normal(size=2000).astype("f")
    torch.manual_seed(0)
    theirs = to_numpy(torch.nn.functional.alpha_dropout(torch.tensor(x), 0.3, True))
    ours = np.asarray(drop.alpha_dropout(KEY, x, 0.3))
    floor = np.median(theirs[np.abs(theirs - np.median(theirs[theirs < -1])) < 1e-5])
    kept = (np.abs(ours - floor) > 1e-5) & (np.abs(theirs - floor) > 1e-5)
    assert kept.sum() > 800
    assert_close(jnp.asarray(ours[kept]), theirs[kept])
    rate_is(0.3, np.abs(ours - floor) <= 1e-5)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_ends_of_the_range(name, dtype):
    """p=0 changes nothing; p=1 gives zeros, and zero gradients, not NaN; also where p is known at run time only."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=50), dtype)
    for f in (KINDS[name], jax.jit(KINDS[name])):
        np.testing.assert_array_equal(f(KEY, x, 0.0), x)
        np.testing.assert_array_equal(f(KEY, x, 1.0), jnp.zeros_like(x))
        assert f(KEY, x, 0.5).dtype == dtype
        grads = jax.grad(lambda x, f=f: jnp.sum(f(KEY, x, 1.0).astype(jnp.float32)))(x)
        np.testing.assert_array_equal(grads, jnp.zeros_like(x))


@pytest.mark.parametrize("name", KINDS)
def test_the_same_key_draws_the_same_everywhere(name):
    x = jax.random.normal(jax.random.key(1), (64,))
    f = lambda key: KINDS[name](key, x, 0.4)  # noqa: E731
    assert_close(jax.jit(f)(KEY), np.asarray(f(KEY)))
    keys = jax.random.split(KEY, 3)
    assert_close(jax.vmap(f)(keys), np.stack([f(k) for k in keys]))
    assert not bool(jnp.all(f(keys[0]) == f(keys[1])))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("p", [-0.1, 1.1, 2.0, float("nan")])
def test_range_of_p(name, p):
    with pytest.raises(RangeError, match=rf"{name} expects 0 <= p <= 1, got p={p}\n  fix: choose p inside the range"):
        KINDS[name](KEY, jnp.ones(4), p)


@pytest.mark.parametrize("f", [drop.dropout, drop.alpha_dropout])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 3), (1, 2), ()])
def test_the_mask_varies_along_axis_only(f, axis):
    x = jnp.ones((6, 7, 8, 9))
    dropped = np.asarray(f(KEY, x, 0.5, axis=axis)) <= 0
    varies = range(4) if axis is None else [a % 4 for a in np.atleast_1d(np.array(axis, int))]
    for a in range(4):
        lines = np.moveaxis(dropped, a, 0)
        assert bool(np.all(lines == lines[:1])) == (a not in varies)
    one = dropped[tuple(slice(None) if a in varies else 0 for a in range(4))]
    if one.size > 30:
        rate_is(0.5, one)


def test_masks_along_two_axes_are_independent():
    """Neither rows nor columns are dropped together, as a product of two masks would."""
    dropped = np.asarray(drop.dropout(KEY, jnp.ones((200, 200)), 0.5) == 0)
    rate_is(0.5, dropped)
    for counts in (dropped.sum(0), dropped.sum(1)):
        assert stats.kstest((counts - 100) / np.sqrt(50), "norm").pvalue > 1e-4 or abs(counts.var() - 50) < 20


def test_feature_and_path_forms_share_as_they_say():
    x = jnp.ones((50, 4, 4, 40))
    y = drop.feature_alpha_dropout(KEY, x, 0.3)
    assert bool(jnp.all(y == y[:, :1, :1]))
    rate_is(0.3, y[:, 0, 0] < 0)
    y = drop.drop_path(KEY, jnp.ones((4000, 2, 3)), 0.3)
    assert bool(jnp.all(y == y[:, :1, :1]))
    rate_is(0.3, y[:, 0, 0] == 0)


def test_gradient_is_the_mask():
    x = jax.random.normal(jax.random.key(1), (1000,))
    y, grads = drop.dropout(KEY, x, 0.3), jax.grad(lambda x: jnp.sum(drop.dropout(KEY, x, 0.3)))(x)
    assert_close(grads, np.where(np.asarray(y) == 0, 0.0, 1 / 0.7), kind="grad")
    bad = jnp.where(y == 0, jnp.nan, x)  # what is dropped does not reach the output
    assert bool(jnp.all(jnp.isfinite(drop.dropout(KEY, bad, 0.3))))


def test_variational_mask_has_shape_and_dtype():
    mask = drop.variational_mask(KEY, [3, 5], 0.5, jnp.bfloat16)
    assert (mask.shape, mask.dtype) == ((3, 5), jnp.bfloat16)


def test_complex_and_refusals():
    z = drop.dropout(KEY, jnp.ones(100) * (1 + 2j), 0.5)
    assert set(np.asarray(z).tolist()) == {0j, 2 + 4j}
    with pytest.raises(DtypeError, match=r"alpha_dropout expects a real array, got complex64\[2\]"):
        drop.alpha_dropout(KEY, jnp.ones(2) * 1j, 0.5)
    with pytest.raises(ShapeError, match=r"dropout expects an array that has axis 1, got float32\[2\]\n  fix"):
        drop.dropout(KEY, jnp.ones(2), 0.5, axis=1)
    with pytest.raises(
        ShapeError, match=r"feature_alpha_dropout expects an input of shape \(batch, \.\.\., channels\), got"
    ):
        drop.feature_alpha_dropout(KEY, jnp.ones(2), 0.5)
    with pytest.raises(ShapeError, match=r"drop_path expects an input of shape \(batch, \.\.\.\), got float32\[\]"):
        drop.drop_path(KEY, jnp.array(1.0), 0.5)
