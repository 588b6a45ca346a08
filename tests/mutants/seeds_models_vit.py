"""Seeded bugs in ViT and in what vision transformers share: as in seeds_layers.py."""

_HERE = "tests/models/test_vit.py::"
_LEARNS = (_HERE + "test_answers_and_learns_as_the_hub_s",)
_SIZES = (_HERE + "test_positions_between_those_of_the_table",)
_DEPTH = (_HERE + "test_stochastic_depth_rises_and_drops_both_branches_of_fresh_blocks",)
_TOKENS, _ENCODER, _VIT = (f"models/vision/{name}.py" for name in ("_tokens", "_encoder", "_vit"))

MUTANTS = [
    (
        "ViT: the norms of a block are swapped in files",
        _VIT,
        'f"{layer}.layernorm_before": "blocks.{i}.norm1",\n        f"{layer}.layernorm_after": "blocks.{i}.norm2",',
        'f"{layer}.layernorm_before": "blocks.{i}.norm2",\n        f"{layer}.layernorm_after": "blocks.{i}.norm1",',
        _LEARNS,
    ),
    (
        "ViT: keys before queries in timm's files",
        _TOKENS,
        'for name in "qkv")',
        'for name in "kqv")',
        (_HERE + "test_timm_s_names_hold_queries_keys_and_values_in_one",),
    ),
    (
        "a transformer's block norms after attention",
        _ENCODER,
        "self.attention(self.norm1(x))",
        "self.norm1(self.attention(x))",
        _LEARNS,
    ),
    (
        "a transformer's block with the layers' own ε",
        _ENCODER,
        "self.norm2: LayerNorm = LayerNorm(dim, eps=eps)",
        "self.norm2: LayerNorm = LayerNorm(dim)",
        (_HERE + "test_oblong_images_without_biases_of_queries",),
    ),
    (
        "the last norm is left out",
        _TOKENS,
        "return self.norm(self.hidden_states(images)[-1])",
        "return self.hidden_states(images)[-1]",
        _LEARNS,
    ),
    (
        "the class's token has no position",
        _TOKENS,
        "leading = leading + positions[: len(leading)]",
        "leading = leading + 0 * positions[: len(leading)]",
        _LEARNS,
    ),
    (
        "positions of other sizes by two neighbours",
        _TOKENS,
        'mode="bicubic"',
        'mode="bilinear"',
        _SIZES,
    ),
    (
        "rows and columns of positions are swapped",
        _TOKENS,
        "return height // tall, width // wide",
        "return width // wide, height // tall",
        (_HERE + "test_oblong_images_without_biases_of_queries",),
    ),
    (
        "no map of attention has a bias where queries have none",
        _ENCODER,
        "made.out_proj = made.out_proj if qkv_bias else Dense(dim, dim, init=init)",
        "made.out_proj = made.out_proj if qkv_bias else Dense(dim, dim, bias=False, init=init)",
        (_HERE + "test_oblong_images_without_biases_of_queries",),
    ),
    (
        "stochastic depth on attention alone",
        _ENCODER,
        "return x + self.path(self.scale2(",
        "return x + (self.scale2(",
        _DEPTH,
    ),
    (
        "stochastic depth begins above zero",
        "models/vision/_blocks.py",
        "[rate * i / max(count - 1, 1) for i in range(count)]",
        "[rate * (i + 1) / count for i in range(count)]",
        _DEPTH,
    ),
    (
        "fresh weights of attention ignore the config's spread",
        _ENCODER,
        "dropout=dropout, positions=positions, init=init)",
        "dropout=dropout, positions=positions)",
        _DEPTH,
    ),
    (
        "no dropout behind the embedding",
        _TOKENS,
        "return self.drop(jnp.concatenate(",
        "return (jnp.concatenate(",
        (_HERE + "test_dropout_stands_behind_the_embedding_both_branches_and_in_attention",),
    ),
]
