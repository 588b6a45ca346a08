"""Seeded bugs in attention, positions, transformers and experts: as in seeds_layers.py."""

_FUNCTION = "tests/nn/test_attention.py::test_value_and_gradients_are_pytorchs_whole_and_in_chunks"
_ATTENTION = "tests/nn/test_attention.py::"
_LAYER = "tests/nn/test_attention_layer.py::"
_CACHE = _LAYER + "test_tokens_one_by_one_with_a_cache_are_the_full_pass_in_one_trace"
_POSITIONS = "tests/nn/test_attention_positions.py::"
_TRANSFORMER = "tests/nn/test_transformer.py::"

MUTANTS = [
    (
        "scores are not scaled",
        "nn/functional/_attention.py",
        "width = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale",
        "width = 1.0 if scale is None else scale",
        (_FUNCTION + "[plain]",),
    ),
    (
        "a query does not see itself",
        "nn/functional/_attention.py",
        "to <= at if options.causal",
        "to < at if options.causal",
        (_FUNCTION + "[causal]",),
    ),
    (
        "the window forgets one position",
        "nn/functional/_attention.py",
        "to >= at - left if left is not None",
        "to > at - left if left is not None",
        (_FUNCTION + "[window]",),
    ),
    (
        "a row that sees nothing is NaN",
        "nn/functional/_attention.py",
        "jnp.where(jnp.isfinite(top), top, 0.0)",
        "top",
        (_ATTENTION + "test_a_query_that_sees_nothing_gets_zeros_and_no_gradient[None]",),
    ),
    (
        "groups of heads are interleaved",
        "nn/functional/_attention.py",
        "return jnp.swapaxes(x, 1, 2).reshape(batch * shared,",
        "x = jnp.swapaxes(jnp.swapaxes(x, 1, 2).reshape(batch, heads // shared, shared, time, size), 1, 2)\n"
        "    return x.reshape(batch * shared,",
        (_FUNCTION + "[grouped queries]",),
    ),
    (
        "the soft cap comes after the bias",
        "nn/functional/_attention.py",
        "scores = options.soft_cap * jnp.tanh(scores / options.soft_cap)",
        "scores = options.soft_cap * jnp.tanh((scores + (0 if given.bias is None else given.bias)) / options.soft_cap)",
        (_FUNCTION + "[soft cap]",),
    ),
    (
        "a chunk takes the first rows of the mask",
        "nn/functional/_attention.py",
        "parts = (split(q, 1), index, split(given.mask, 2), split(given.bias, 2))",
        "parts = (split(q, 1), index % chunk, split(given.mask, 2), split(given.bias, 2))",
        (_FUNCTION + "[causal]",),
    ),
    (
        "half precision sums in half precision",
        "nn/functional/_attention.py",
        "wide = jnp.promote_types(q.dtype, jnp.float32)",
        "wide = q.dtype",
        (_ATTENTION + "test_float64_is_computed_in_float64_and_halves_sum_in_float32",),
    ),
    (
        "attention dropout does not enlarge what it keeps",
        "nn/functional/_attention.py",
        "jnp.where(kept, weights / (1.0 - p), 0.0)",
        "jnp.where(kept, weights, 0.0)",
        (_ATTENTION + "test_dropout_keeps_the_mean_and_zeroes_a_share",),
    ),
    (
        "dropout draws by the place in its chunk",
        "nn/functional/_attention.py",
        "jax.random.fold_in(key, i)",
        "jax.random.fold_in(key, i % 3)",
        (_ATTENTION + "test_dropout_keeps_the_mean_and_zeroes_a_share",),
    ),
    (
        "what stands behind a length is read",
        "nn/functional/_attention.py",
        "k, v = jnp.where(counts, k, 0), jnp.where(counts, v, 0)",
        "k = jnp.where(counts, k, 0)",
        (_ATTENTION + "test_what_is_hidden_never_changes_the_rest",),
    ),
    (
        "keys and values change places",
        "nn/_attention.py",
        "self.v_proj(v), self.kv_heads",
        "self.v_proj(k), self.kv_heads",
        (_LAYER + "test_value_weights_and_gradients_are_pytorchs[cross, padded-True]",),
    ),
    (
        "keys turn from position 0 in every call",
        "nn/_attention.py",
        "keys = self.positions.rotate(keys, start[..., None] + jnp.arange(keys.shape[1]))",
        "keys = self.positions.rotate(keys, jnp.arange(keys.shape[1]))",
        (_CACHE + "[rotary]",),
    ),
    (
        "padding is seen in self-attention",
        "nn/_attention.py",
        "if k is None and kv_lengths is None:",
        "if False:",
        (_LAYER + "test_lengths_hide_padding_in_self_attention",),
    ),
    (
        "the cache counts padding",
        "nn/_kv_cache.py",
        "moved = k.shape[1] if lengths is None else jnp.asarray(lengths, jnp.int32)",
        "moved = k.shape[1]",
        (_LAYER + "test_a_cache_holds_prompts_of_different_lengths",),
    ),
    (
        "a full cache overwrites its end",
        "nn/_attention.py",
        "queries = jnp.where(fits[:, None, None, None], queries, jnp.nan)",
        "del fits",
        (_LAYER + "test_the_cache_is_donated_carried_and_refuses_what_does_not_fit",),
    ),
    (
        "rotation turns the other way",
        "nn/functional/_positions.py",
        "y = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)",
        "y = jnp.concatenate([a * cos + b * sin, b * cos - a * sin], -1)",
        (_POSITIONS + "test_rotary_turns_queries_as_llama_does[default]",),
    ),
    (
        "llama3 stretches the fast pairs",
        "nn/functional/_positions.py",
        "(1.0 - kept) * plain / factor + kept * plain",
        "kept * plain / factor + (1.0 - kept) * plain",
        (_POSITIONS + "test_rotary_turns_queries_as_llama_does[llama3]",),
    ),
    (
        "yarn does not lengthen",
        "nn/functional/_positions.py",
        "gain = (0.1 * math.log(factor) + 1.0 if factor > 1.0 else 1.0) if gain is None else gain",
        "gain = 1.0 if gain is None else gain",
        (_POSITIONS + "test_rotary_turns_queries_as_llama_does[yarn]",),
    ),
    (
        "the slopes of ALiBi start at head 0",
        "nn/functional/_positions.py",
        "for h in range(1, below + 1)]",
        "for h in range(below)]",
        (_POSITIONS + "test_alibi_is_blooms",),
    ),
    (
        "keys ahead and behind share buckets",
        "nn/functional/_positions.py",
        "ahead = jnp.where(apart > 0, each, 0)",
        "ahead = jnp.where(apart < 0, each, 0)",
        (_POSITIONS + "test_relative_buckets_are_t5s[True]",),
    ),
    (
        "the second shortcut starts before attention",
        "nn/_transformer.py",
        "            x = x + attend(self.norm1(x))\n            return x + self.dropout2(self.mlp(self.norm2(x)))",
        "            h = x + attend(self.norm1(x))\n            return x + self.dropout2(self.mlp(self.norm2(h)))",
        (_TRANSFORMER + "test_encoder_layer_is_pytorchs[True-True]",),
    ),
    (
        "the decoder's memory mask is lost",
        "nn/_transformer.py",
        '"kv_lengths": memory_lengths}',
        '"kv_lengths": None}',
        (_TRANSFORMER + "test_decoder_layer_is_pytorchs[False-True]",),
    ),
    (
        "the gate is not activated",
        "nn/_gated_mlp.py",
        "self.gate = Dense(dim, hidden, act, bias=bias, key=keys[0])",
        "self.gate = Dense(dim, hidden, bias=bias, key=keys[0])",
        (_TRANSFORMER + "test_gated_mlp_is_its_formula_and_llamas[silu-silu]",),
    ),
    (
        "an expert has room for one too many",
        "nn/_experts.py",
        "jnp.cumsum(chosen, 0) - 1, room)",
        "jnp.maximum(jnp.cumsum(chosen, 0) - 2, 0), room)",
        (_TRANSFORMER + "test_beyond_its_capacity_an_expert_lets_tokens_pass",),
    ),
    (
        "balance pulls the wrong way",
        "nn/_experts.py",
        "(g, jnp.ones_like(loss))",
        "(g, -jnp.ones_like(loss))",
        (_TRANSFORMER + "test_balance_pulls_the_router_and_leaves_the_value",),
    ),
]
