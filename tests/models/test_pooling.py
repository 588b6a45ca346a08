"""Texts as one vector, and which tokens count: what a mask of another form, a long text and an empty one give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.models.language._model import counted, pool, seen_keys


def test_the_mean_of_a_long_text_in_half_precision():
    x = np.random.default_rng(0).uniform(20, 40, (1, 3000, 2)).astype(np.float16)  # their sum is beyond float16
    found = pool(jnp.asarray(x), jnp.ones((1, 3000), bool), "mean")
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, x.astype(np.float64).mean(1), rtol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_text_without_a_token_is_zero(pooling):
    counts = jnp.array([[False, False], [True, False]])
    x = jnp.array([[[1.0], [2.0]], [[-3.0], [4.0]]])
    assert pool(x, counts, pooling).tolist() == [[0.0], [-3.0]]


def test_a_mask_of_attention_says_nothing_of_single_tokens():
    sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = px.models.LlamaConfig(num_attention_heads=2, task="text-classification", classes=3, **sizes)
    tokens, causal = jax.ShapeDtypeStruct((2, 4), int), jnp.tril(jnp.ones((4, 4), bool))[None, None]
    model = px.eval_shape(lambda: px.models.create(config))
    assert px.eval_shape(lambda model, x: model(x, mask=causal), model, tokens).shape == (2, 3)
    assert px.eval_shape(lambda model, x: model.encode(x, mask=causal), model, tokens).shape == (2, 8)
    assert counted(jnp.zeros((2, 4, 8)), causal).all()
    with pytest.raises(px.RangeError, match="a cache for 1 blocks, got one for 2"):
        px.eval_shape(lambda model, x: model(x, cache=model.init_cache(2, 4) * 2), model, tokens)


def test_what_is_added_to_scores_and_segments():
    added = np.full((1, 1, 2, 2), 0.5, np.float32)
    found = seen_keys("a test", added, np.array([[0, 1]]), jnp.zeros((1, 2), int))
    assert np.asarray(found).tolist() == [[[[0.5, -np.inf], [-np.inf, 0.5]]]]
