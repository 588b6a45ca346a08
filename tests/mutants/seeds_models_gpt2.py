"""Seeded bugs in GPT-2: as in seeds_layers.py."""

_HERE = "tests/models/test_gpt2.py::"
_GPT2 = "models/language/decoders/_gpt2.py"
_PACKED = (_HERE + "test_packed_texts_are_as_they_are_alone",)
_DROPPED = (_HERE + "test_embeddings_weights_of_attention_and_branches_are_dropped_in_training",)

MUTANTS = [
    (
        "GPT-2: positions count what a mask hides",
        _GPT2,
        "counts = jnp.asarray(mask).astype(bool).astype(jnp.int32)",
        "counts = jnp.ones(tokens.shape, jnp.int32)",
        (_HERE + "test_positions_count_what_counts",),
    ),
    (
        "GPT-2: positions go on through a packed row",
        _GPT2,
        "jnp.where(begins, until - counts, 0)",
        "jnp.where(begins, 0, 0)",
        _PACKED,
    ),
    (
        "GPT-2: a text after the second begins where the first ended",
        _GPT2,
        "jnp.where(begins, until - counts, 0)",
        "jnp.where(begins, until, 0)",
        _PACKED,
    ),
    (
        "GPT-2: positions do not follow the cache",
        _GPT2,
        "start = self._before if cache is None else cache[0].position[:, None]",
        "start = 0",
        (_HERE + "test_a_cache_changes_no_score",),
    ),
    (
        "GPT-2: keys before queries in files",
        _GPT2,
        'attention.{n}_proj" for n in "qkv"]',
        'attention.{n}_proj" for n in "kqv"]',
        (_HERE + "test_positions_count_what_counts",),
    ),
    (
        "GPT-2: ends of branches start as wide as all",
        _GPT2,
        "config.initializer_range / math.sqrt(2 * config.n_layer)",
        "config.initializer_range",
        (_HERE + "test_fresh_weights_are_as_wide_as_the_hub_s",),
    ),
    (
        "GPT-2: embedded tokens are not dropped",
        _GPT2,
        "self.drop: Any = _dropped(config.embd_pdrop)",
        "self.drop: Any = identity",
        _DROPPED,
    ),
    (
        "GPT-2: weights of attention are not dropped",
        _GPT2,
        "dropout=config.attn_pdrop, ",
        "",
        _DROPPED,
    ),
]
