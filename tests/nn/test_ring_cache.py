"""The cache of a window: whatever pieces a text comes in, attention sees what it sees of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px


@pytest.fixture(scope="module")
def attention():
    with px.seed(0):
        positions = px.nn.RotaryEmbedding(4)
        return px.nn.MultiHeadAttention(16, 4, kv_heads=2, causal=True, window=(3, 0), positions=positions)


X = np.random.default_rng(0).normal(size=(2, 14, 16)).astype(np.float32)
step = px.jit(lambda layer, x, cache, lengths: layer(x, cache=cache, lengths=lengths))


def in_pieces(layer, pieces):
    cache, at, found = layer.init_cache(2, 100), 0, []
    for n in pieces:
        found.append(step(layer, X[:, at : at + n], cache, np.array([n, n])))
        at += n
    assert cache.keys.shape == (2, 4, 2, 4)  # four slots, whatever comes
    assert cache.position.tolist() == [at, at]
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("pieces", [[1] * 14, [5, 1, 1, 5, 2], [2, 9, 1, 1, 1]], ids=str)
def test_pieces_are_as_the_whole(attention, pieces):
    np.testing.assert_allclose(in_pieces(attention, pieces), attention(X), atol=1e-5)


def test_examples_of_unequal_length(attention):
    whole, cache = attention(X), attention.init_cache(2, 100)
    first = np.stack([X[0, :9], np.pad(X[1, :2], ((0, 7), (0, 0)), constant_values=50)])
    seen = step(attention, first, cache, np.array([9, 2]))
    np.testing.assert_allclose(seen[0], whole[0, :9], atol=1e-5)
    np.testing.assert_allclose(seen[1, :2], whole[1, :2], atol=1e-5)
    seen = step(attention, np.stack([X[0, 9:11], X[1, 2:4]]), cache, np.array([2, 2]))
    np.testing.assert_allclose(seen, np.stack([whole[0, 9:11], whole[1, 2:4]]), atol=1e-5)
    cache.reset()
    np.testing.assert_allclose(step(attention, X[:, :5], cache, np.array([5, 5])), whole[:, :5], atol=1e-5)


def test_where_there_is_one(attention):
    assert isinstance(attention.init_cache(1, 4), px.nn.KVCache)  # no longer than the window
    assert isinstance(attention.init_cache(1, 100, whole=True), px.nn.KVCache)
    biased = px.nn.MultiHeadAttention(8, 2, causal=True, window=3, positions=px.nn.ALiBi(2))
    assert isinstance(biased.init_cache(1, 100), px.nn.KVCache)
    with pytest.raises(px.RangeError, match=r"no mask beside the cache of a window"):
        attention(X, mask=jnp.ones((14, 14), bool), cache=attention.init_cache(2, 100))
    with jax.enable_x64(True):
        wide = px.f64(px.copy(attention))
        cache = wide.init_cache(2, 100)
        np.testing.assert_allclose(wide(X.astype(float), cache=cache), attention(X), atol=1e-5)
