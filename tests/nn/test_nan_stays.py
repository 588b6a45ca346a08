"""NaN in a large array stays NaN behind what takes a maximum: XLA's fused reductions for CPUs drop it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.nn import functional as F

ROWS, WIDE = 8, 4096  # so many numbers that XLA takes those forms
X = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (ROWS, WIDE)), jnp.float32)
BAD = X.at[3, 5].set(jnp.nan)
IMAGES = (ROWS, 64, 64, 1)
OF_ROWS = {
    "relu": lambda x: F.relu(x).mean(1),
    "relu6": lambda x: F.relu6(x).mean(1),
    "gelu": lambda x: F.gelu(x).mean(1),
    "reglu": lambda x: F.reglu(x).mean(1),
    "maxout": lambda x: F.maxout(x, 2).mean(1),
    "batch_norm_act": lambda x: px.testmode(px.BatchNorm(64, px.relu))(x.reshape(ROWS, 64, 64)).mean((1, 2)),
    "max_pool": lambda x: F.max_pool(x.reshape(IMAGES), (2, 2)).mean((1, 2, 3)),
    "global_max_pool": lambda x: F.global_max_pool(x.reshape(IMAGES)).ravel(),
    "adaptive_max_pool": lambda x: F.adaptive_max_pool(x.reshape(IMAGES), (1, 1)).ravel(),
    "maxout_layer": lambda x: px.Maxout(px.relu, px.tanh)(x).mean(1),
    "maxout_layer_first": lambda x: px.Maxout(px.identity, jnp.zeros_like)(x).mean(1),
    "maxout_layer_second": lambda x: px.Maxout(jnp.zeros_like, px.identity)(x).mean(1),
    "softmax": lambda x: F.softmax(x).sum(1),
}
OF_LOSSES = {
    "binary_cross_entropy": lambda x: px.losses.binary_cross_entropy(x, jnp.round(X)),
    "binary_focal": lambda x: px.losses.binary_focal(x, jnp.round(X)),
    "hinge": lambda x: px.losses.hinge(x, jnp.sign(X - 0.5)),
    "squared_hinge": lambda x: px.losses.squared_hinge(x, jnp.sign(X - 0.5)),
    "kl_divergence": lambda x: px.losses.kl_divergence(x, X),
}


@pytest.mark.parametrize("name", OF_ROWS)
def test_of_a_row_and_of_no_other(name):
    compiled = px.jit(lambda x: jnp.isnan(OF_ROWS[name](x)))
    np.testing.assert_array_equal(compiled(BAD), np.arange(ROWS) == 3)
    assert not compiled(X).any()


@pytest.mark.parametrize("name", OF_LOSSES)
def test_a_loss_is_nan(name):
    compiled = px.jit(OF_LOSSES[name])
    assert np.isnan(compiled(BAD))
    assert np.isfinite(compiled(X))


def test_numbers_and_gradients_are_those_of_jax():
    x = jnp.array([-jnp.inf, -1.0, -0.0, 0.0, 1.0, jnp.inf])
    np.testing.assert_array_equal(F.relu(x), jax.nn.relu(x))
    for value in (-1.0, 0.0, 2.0, jnp.nan):
        assert px.grad(F.relu)(value) == jax.grad(jax.nn.relu)(value)
