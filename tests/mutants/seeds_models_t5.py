"""Seeded bugs in T5 and in what encoder-decoder models share: as in seeds_layers.py."""

_HERE = "tests/models/test_t5.py::"
_LEARNS = (_HERE + "test_answers_and_learns_as_the_hub_s",)
_STEPS = (_HERE + "test_a_cache_and_a_memory_that_is_kept_change_no_score",)
_GATED = (_HERE + "test_gated_features_and_a_head_of_its_own",)
_T5, _SEQ2SEQ = (f"models/language/{name}.py" for name in ("_t5", "_seq2seq"))

MUTANTS = [
    ("T5: scores of attention are scaled", _T5, '"scale": 1.0, "bias"', '"scale": None, "bias"', _LEARNS),
    (
        "T5: a decoder that tells keys ahead apart",
        _T5,
        "_positions(config, bidirectional=False)",
        "_positions(config, bidirectional=True)",
        _LEARNS,
    ),
    (
        "T5: distances are counted from the start of what is new",
        _T5,
        "self.positions.bias(cache.position[:, None] + at, ",
        "self.positions.bias(0 * cache.position[:, None] + at, ",
        _STEPS,
    ),
    ("T5: padding is seen", _T5, "jnp.where(seen, bias, -jnp.inf)", "jnp.where(seen, bias, bias)", _LEARNS),
    (
        "T5: a head of its own gets scaled features",
        _T5,
        "if self.config.scale_decoder_outputs:",
        "if True:",
        _GATED,
    ),
    (
        "T5: the gate has the exact GELU",
        _T5,
        'activation("gelu_new" if gated',
        'activation("gelu" if gated',
        _GATED,
    ),
    (
        "T5: the decoder is as deep as the encoder",
        _T5,
        "self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers",
        "self.num_layers",
        _GATED,
    ),
    (
        "T5: fresh queries as large as keys",
        _T5,
        "init=_draw(config, width * config.d_kv)",
        "init=_draw(config, width)",
        (_HERE + "test_fresh_weights_have_the_published_spread",),
    ),
    (
        "T5: the last features lose no feature in training",
        _T5,
        "return (*states[:-1], self.drop(self.norm(states[-1])))",
        "return (*states[:-1], self.norm(states[-1]))",
        (_HERE + "test_dropout_where_it_is_published",),
    ),
    (
        "a memory's padding is seen",
        _SEQ2SEQ,
        "mask=seen, memory_mask=recalled,",
        "mask=seen, memory_mask=None,",
        _LEARNS,
    ),
    (
        "a memory is drawn from before what was written",
        _SEQ2SEQ,
        "self.cross.recall(self.norm2(x), kept,",
        "self.cross.recall(self.norm1(x), kept,",
        _LEARNS,
    ),
    (
        "values of a memory for keys",
        _SEQ2SEQ,
        "keys, values = self.k_proj(memory), self.v_proj(memory)",
        "values, keys = self.k_proj(memory), self.v_proj(memory)",
        _LEARNS,
    ),
    (
        "what is written sees other texts of the row",
        _SEQ2SEQ,
        "if segments is None and decoder_segments is None:",
        "if segments is not None or decoder_segments is None:",
        (_HERE + "test_packed_texts_are_as_they_are_alone",),
    ),
    (
        "what the decoder reads ends with the last target",
        _SEQ2SEQ,
        "jnp.where(targets < 0, pad, targets)[:, :-1]",
        "jnp.where(targets < 0, pad, targets)[:, 1:]",
        (_HERE + "test_the_decoder_reads_what_it_writes_one_later",),
    ),
]
