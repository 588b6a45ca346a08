"""Seeded bugs in Gemma: as in seeds_layers.py."""

_HERE = "tests/models/test_gemma.py::"
_SECOND, _THIRD = (_HERE + f"test_answers_and_learns_as_the_hub_s[{name}]" for name in ("second", "third"))
_GEMMA = "models/language/decoders/_gemma.py"

MUTANTS = [
    (
        "Gemma: norms scale by what is learned alone",
        _GEMMA,
        "1 + scale.astype(wide)",
        "scale.astype(wide)",
        (_SECOND,),
    ),
    (
        "Gemma: a window is one key too long",
        _GEMMA,
        "return self.sliding_window - 1 if kind",
        "return self.sliding_window if kind",
        (_SECOND,),
    ),
    (
        "Gemma: every block turns by the base of full attention",
        _GEMMA,
        "(self.rope_local_base_freq, None) if kind == SLIDING",
        "(self.rope_theta, None) if kind == SLIDING",
        (_THIRD,),
    ),
    (
        "Gemma: norms behind the two branches are swapped in files",
        _GEMMA,
        (
            '_layernorm": "blocks.{i}.post_norm1",\n        f"{layer}.pre_feedforward_layernorm": "blocks.{i}.norm2",\n'
            '        f"{layer}.post_feedforward_layernorm": "blocks.{i}.post_norm2",'
        ),
        (
            '_layernorm": "blocks.{i}.post_norm2",\n        f"{layer}.pre_feedforward_layernorm": "blocks.{i}.norm2",\n'
            '        f"{layer}.post_feedforward_layernorm": "blocks.{i}.post_norm1",'
        ),
        (_SECOND,),
    ),
    (
        "Gemma: scores are not bounded",
        _GEMMA,
        "cap * jnp.tanh(scores / cap)",
        "scores",
        (_SECOND,),
    ),
    (
        "Gemma: scores of classes are bounded too",
        _GEMMA,
        "cap is None or self.config.task != WRITING",
        "cap is None",
        (_HERE + "test_heads[Gemma2ForTokenClassification]",),
    ),
    (
        "Gemma: the root of the size is exact",
        _GEMMA,
        "return x * jnp.asarray(self.config.hidden_size**0.5, x.dtype)",
        "return (x.astype(jnp.float32) * self.config.hidden_size**0.5).astype(x.dtype)",
        (_HERE + "test_the_root_of_the_size_is_rounded_to_the_dtype_of_the_embeddings",),
    ),
    (
        "Gemma: a window to both sides is as long to each",
        _GEMMA,
        "return self.sliding_window // 2",
        "return self.sliding_window - 1",
        (_HERE + "test_both_ways_with_biases_and_without_a_head",),
    ),
]
