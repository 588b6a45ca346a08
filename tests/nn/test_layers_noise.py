"""Kinds of dropout and random activations: what they draw, how often, and what they keep."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import phlox as px
from kit import assert_close
from phlox import nn
from registry import normal

FLOOR = -1.7580993408473766  # the limit of SELU at minus infinity


def trained(layer: px.Module, x: np.ndarray) -> np.ndarray:
    return np.asarray(px.trainmode(layer)(jnp.asarray(x)))


def consistent(dropped: np.ndarray, p: float) -> None:
    """A two-sided binomial test at one in a thousand (the draws are fixed by their seeds)."""
    assert stats.binomtest(int(dropped.sum()), dropped.size, p).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_alpha_dropout_drops_a_share_of_p_and_keeps_mean_and_variance(p):
    x = normal(200_000)
    y = trained(nn.AlphaDropout(p, key=1), x)
    a = ((1 - p) * (1 + p * FLOOR**2)) ** -0.5
    low = a * FLOOR * (1 - p)
    dropped = np.isclose(y, low, atol=1e-5)
    consistent(dropped, p)
    np.testing.assert_allclose(y[~dropped], a * x[~dropped] - a * p * FLOOR, atol=1e-5)
    assert abs(y.mean()) < 5 / np.sqrt(y.size)
    assert abs(y.var() - 1) < 0.02


def test_alpha_dropout_shares_its_mask_along_other_axes():
    y = trained(nn.AlphaDropout(0.5, axis=(0, 2), key=0), np.zeros((8, 5, 40)))
    assert (y == y[:, :1]).all()
    consistent(y[:, 0] > 0, 0.5)


def test_feature_alpha_dropout_drops_whole_channels_of_each_example():
    p = 0.3
    y = trained(nn.FeatureAlphaDropout(p, key=0), np.zeros((400, 3, 2, 25)))
    assert (y == y[:, :1, :1]).all()
    channels = y[:, 0, 0]
    dropped = channels < 0  # a zero that is kept becomes c = -a p s > 0
    consistent(dropped, p)
    assert len({tuple(row) for row in dropped}) > 350, "every example has a mask of its own"


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_drop_path_zeroes_whole_examples_and_keeps_the_mean(p):
    x = normal(5000, 3)
    y = trained(nn.DropPath(p, key=0), x)
    zero = (y == 0).all(1)
    assert ((y == 0).any(1) == zero).all()
    consistent(zero, p)
    np.testing.assert_allclose(y[~zero], x[~zero] / (1 - p), rtol=1e-6)


@pytest.mark.parametrize(("axis", "shape"), [(1, (50, 7, 60)), (-1, (50, 60, 7)), ((0, 1), (4, 5, 3000))])
def test_variational_dropout_has_one_mask_along_its_axis(axis, shape):
    y = trained(nn.VariationalDropout(0.3, axis=axis, key=0), np.ones(shape))
    axes = (axis,) if isinstance(axis, int) else axis
    assert all((y == np.take(y, [0], a)).all() for a in axes)
    mask = y
    for a in sorted((a % 3 for a in axes), reverse=True):
        mask = np.take(mask, 0, a)
    consistent(mask == 0, 0.3)
    np.testing.assert_allclose(sorted(set(y.ravel().tolist())), [0, 1 / 0.7], rtol=1e-6)
    others = [a for a in range(3) if a not in {b % 3 for b in axes}]
    assert all(not (y == np.take(y, [0], a)).all() for a in others), "and varies along every other"


def test_rrelu_draws_its_slopes_uniformly():
    lower, upper = 0.2, 0.7
    x = -np.abs(normal(100_000)) - 0.1
    slopes = trained(nn.RReLU(lower, upper, key=3), x) / x
    assert stats.kstest(slopes, stats.uniform(lower, upper - lower).cdf).pvalue > 1e-3
    assert_close(nn.RReLU(lower, upper, key=3)(jnp.asarray(x)), (lower + upper) / 2 * x, scale=3)
    up = np.abs(x)
    np.testing.assert_array_equal(trained(nn.RReLU(lower, upper, key=3), up), up.astype(np.float32))


NOISES = [
    (lambda p: nn.AlphaDropout(p, key=0), (6, 5)),
    (lambda p: nn.FeatureAlphaDropout(p, key=0), (6, 3, 5)),
    (lambda p: nn.DropPath(p, key=0), (6, 5)),
    (lambda p: nn.VariationalDropout(p, key=0), (6, 3, 5)),
]
IDS = ["AlphaDropout", "FeatureAlphaDropout", "DropPath", "VariationalDropout"]


@pytest.mark.parametrize(("build", "shape"), NOISES, ids=IDS)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_of_p(build, shape, p):
    x = normal(*shape)
    np.testing.assert_array_equal(trained(build(p), x), x if p == 0 else np.zeros(shape))


@pytest.mark.parametrize(("build", "shape"), NOISES, ids=IDS)
def test_gradient_flows_where_the_value_does(build, shape):
    x = jnp.asarray(normal(*shape))
    ones = jnp.ones(shape)
    layer = px.trainmode(build(0.5))
    slope = px.grad(lambda x, m: m(x).sum(), 0)(x, px.copy(layer))
    other = px.copy(layer)
    gain = px.copy(layer)(x + ones) - other(x)  # the same mask: both start from one key
    assert_close(slope, gain, scale=10, kind="grad")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan"), True])
def test_a_probability_outside_its_range_is_refused(name, p):
    with pytest.raises(px.RangeError, match=rf"{name} expects p in \[0, 1\], got {p}") as caught:
        getattr(nn, name)(p)
    assert "\n  fix: " in str(caught.value)


def test_other_refusals():
    with pytest.raises(px.RangeError, match=r"RReLU expects lower <= upper, got lower=0.5, upper=0.1"):
        nn.RReLU(0.5, 0.1)
    with pytest.raises(px.RangeError, match=r"VariationalDropout expects an axis along which the mask is the same"):
        nn.VariationalDropout(axis=())
    drop = nn.DropPath()
    with pytest.raises(px.ShapeError, match=r"drop DropPath\(0.1\) expects \(batch, ...\), got float32\[\]"):
        drop(jnp.float32(1))
