"""Seeded bugs in Mistral, Qwen2, Qwen3 and Phi-3, and in longrope: as in seeds_layers.py."""

_MISTRAL, _QWEN, _PHI = (f"tests/models/test_{name}.py::" for name in ("mistral", "qwen", "phi3"))
_GATED, _QWEN2, _QWEN3, _PHI3 = (f"models/language/decoders/_{name}.py" for name in ("gated", "qwen2", "qwen3", "phi3"))
_KINDS = _QWEN + "test_windows_by_the_kind_of_a_layer_a_tied_head_and_other_options"
_ROPE, _ANGLES = "nn/functional/attention/_positions.py", "tests/nn/test_attention_positions.py::"

MUTANTS = [
    (
        "Mistral: a window leaves out the token itself",
        _GATED,
        "None if seen is None else seen - 1",
        "seen",
        (_MISTRAL + "test_in_float32",),
    ),
    (
        "Mistral: no window",
        "models/language/decoders/_mistral.py",
        "windows=[config.sliding_window] * config.num_hidden_layers",
        "windows=None",
        (_MISTRAL + "test_in_float32",),
    ),
    (
        "decoders: the norms with an ε of their own",
        _GATED,
        "config.hidden_size, eps=config.rms_norm_eps)",
        "config.hidden_size)",
        (_MISTRAL + "test_a_head_heads_of_another_size_and_no_window",),
    ),
    (
        "Qwen2: windows in the first blocks",
        _QWEN2,
        "SLIDING if i >= self.max_window_layers else FULL",
        "SLIDING if i < self.max_window_layers else FULL",
        (_QWEN + "test_windows_begin_at_the_hub_s_block_where_no_kinds_are_given[on]",),
    ),
    (
        "Qwen2: a window that is switched off",
        _QWEN2,
        "self.sliding_window if self.use_sliding_window else None",
        "self.sliding_window",
        (_QWEN + "test_windows_begin_at_the_hub_s_block_where_no_kinds_are_given[off]",),
    ),
    (
        "Qwen2: kinds of layers are not read",
        _QWEN2,
        "kinds = self.layer_types or [",
        "kinds = [",
        (_KINDS + "[Qwen2-options0]",),
    ),
    (
        "Qwen3: norms of queries and keys with an ε of their own",
        _QWEN3,
        "partial(RMSNorm, eps=config.rms_norm_eps)",
        "RMSNorm",
        (_KINDS + "[Qwen3-options1]",),
    ),
    (
        "Qwen3: the norm of queries is that of keys in files",
        _QWEN3,
        '"blocks.{{i}}.attention.{n}_norm" for n in "qk"}',
        '"blocks.{{i}}.attention.{m}_norm" for n, m in ("qk", "kq")}',
        (_QWEN + "test_in_float32[Qwen3]",),
    ),
    (
        "Qwen3: no bias, whatever the config says",
        _QWEN3,
        "bias=bias, out_bias=bias, qk_norm=norm",
        "qk_norm=norm",
        (_KINDS + "[Qwen3-options1]",),
    ),
    (
        "Phi-3: features before the gate in files",
        _PHI3,
        '(f"{block}.mlp.gate", f"{block}.mlp.up")',
        '(f"{block}.mlp.up", f"{block}.mlp.gate")',
        (_PHI + "test_a_longer_text_has_the_longer_factors",),
    ),
    (
        "Phi-3: all of a head turns",
        _PHI3,
        "int(self.size_of_head * self.partial_rotary_factor)",
        "self.size_of_head",
        (_PHI + "test_a_longer_text_has_the_longer_factors",),
    ),
    (
        "Phi-3: cosines do not grow with the length",
        _PHI3,
        '{"factor": longer, **scaling, ',
        "{**scaling, ",
        (_PHI + "test_a_longer_text_has_the_longer_factors",),
    ),
    (
        "Phi-3: branches are not dropped",
        _PHI3,
        ", dropout=config.resid_pdrop)",
        ")",
        (_PHI + "test_branches_are_dropped_in_training",),
    ),
    (
        "longrope: the shorter factors for every length",
        _ROPE,
        "return jnp.where(beyond, long, short)",
        "return jnp.where(beyond, short, short)",
        (_ANGLES + "test_rotary_turns_queries_as_llama_does[longrope-beyond]",),
    ),
    (
        "longrope: the longer factors at the length itself",
        _ROPE,
        "if length is None else length) > original",
        "if length is None else length) >= original",
        (_ANGLES + "test_longrope_changes_beyond_its_length",),
    ),
    (
        "longrope: gains by the logarithm of the factor alone",
        _ROPE,
        "1.0 + math.log(factor) / math.log(original)",
        "1.0 + math.log(factor)",
        (_ANGLES + "test_rotary_turns_queries_as_llama_does[longrope]",),
    ),
]
