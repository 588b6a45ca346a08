"""Seeded bugs in CLIP and SigLIP, and in what towers share: as in seeds_layers.py."""

_CLIP, _SIGLIP = "tests/models/test_clip.py::", "tests/models/test_siglip.py::"
_TORCH = "tests/losses/test_against_torch.py::"
_LEARNS = (_CLIP + "test_answers_and_learns_as_the_hub_s",)
_ANSWERS = (_CLIP + "test_in_float32_with_texts_padded_left",)
_ANSWERS_TOO = (_SIGLIP + "test_in_float32_with_images_of_another_size_and_a_mask",)
_ODD = (_CLIP + "test_an_odd_config_in_the_older_form_and_images_of_another_size",)
_FRESH = (_CLIP + "test_fresh_weights_spread_as_the_hub_s",)
_ROOM = "models/multimodal/"

MUTANTS = [
    (
        "CLIP: texts see what comes after",
        _ROOM + "_clip.py",
        "self.blocks = text_blocks(config, draws, causal=True)",
        "self.blocks = text_blocks(config, draws, causal=False)",
        _ANSWERS,
    ),
    (
        "CLIP: a text's vector stands at its last end",
        _ROOM + "_clip.py",
        "at_token(features, jnp.argmax(tokens if end == 2 else tokens == end, axis=1))",
        "at_token(features, tokens.shape[1] - 1 - jnp.argmax((tokens == end)[:, ::-1], axis=1))",
        _LEARNS,
    ),
    (
        "CLIP: an end of 2 is looked for in older files",
        _ROOM + "_clip.py",
        "tokens if end == 2 else tokens == end",
        "tokens == end",
        _ODD,
    ),
    (
        "CLIP: no norm before the blocks",
        _ROOM + "_clip.py",
        "return self.pre_norm(self.embed(images))",
        "return self.embed(images)",
        _ANSWERS,
    ),
    (
        "CLIP: the space of both has the size that the tower's own config says",
        _ROOM + "_clip.py",
        'space = {"task": ZERO_SHOT, "projection_dim": config.projection_dim}',
        'space = {"task": ZERO_SHOT}',
        _ANSWERS,
    ),
    (
        "CLIP: fresh branches are as wide, however many there are",
        _ROOM + "_clip.py",
        "(2 * config.num_hidden_layers) ** -0.5",
        "1.0",
        _FRESH,
    ),
    (
        "configs of towers: the newer entry counts where there are two",
        _ROOM + "_config.py",
        "said = older if older is not None else {} if newer is None else newer",
        "said = newer if newer is not None else older or {}",
        _ODD,
    ),
    (
        "scores are divided by the scale",
        _ROOM + "_pair.py",
        "jnp.exp(scale) * (images @ texts.T)",
        "jnp.exp(-scale) * (images @ texts.T)",
        (_CLIP + "test_vectors_have_length_one_and_fit_by_their_angle",),
    ),
    (
        "vectors of images keep their length",
        _ROOM + "_pair.py",
        "return F.normalize(self.vision(images), axis=-1)",
        "return self.vision(images)",
        _ANSWERS,
    ),
    (
        "parts of two towers are side by side at the input",
        _ROOM + "_pair.py",
        "turns = list(zip_longest(*map(reversed, towers)))",
        "turns = list(zip_longest(*towers))[::-1]",
        _ODD,
    ),
    (
        "a tower's mask is left out",
        _ROOM + "_towers.py",
        "block(states[-1], mask=seen)",
        "block(states[-1])",
        _ANSWERS_TOO,
    ),
    (
        "a tower's weights of attention never drop",
        _ROOM + "_towers.py",
        "dropout=config.attention_dropout, init=draws.attention",
        "init=draws.attention",
        (_CLIP + "test_weights_of_attention_drop_in_both_towers",),
    ),
    (
        "a tower's norms have the layers' own ε",
        _ROOM + "_towers.py",
        "norm = partial(LayerNorm, config.hidden_size, eps=config.layer_norm_eps)",
        "norm = partial(LayerNorm, config.hidden_size)",
        _ODD,
    ),
    (
        "the class's token stands behind the patches",
        _ROOM + "_towers.py",
        "[jnp.broadcast_to(leading, (batch, 1, dim)), x]",
        "[x, jnp.broadcast_to(leading, (batch, 1, dim))]",
        _ANSWERS,
    ),
    (
        "SigLIP: texts see only what came before",
        _ROOM + "_siglip.py",
        "self.blocks = text_blocks(config, draws, causal=False)",
        "self.blocks = text_blocks(config, draws, causal=True)",
        _ANSWERS_TOO,
    ),
    (
        "SigLIP: the pool's second branch has no shortcut",
        _ROOM + "_siglip.py",
        "return h + self.mlp(self.norm(h))",
        "return self.mlp(self.norm(h))",
        _ANSWERS_TOO,
    ),
    (
        "SigLIP: keys before queries in the pool's packed map",
        _ROOM + "_siglip.py",
        'for name in "qkv"]',
        'for name in "kqv"]',
        _ANSWERS_TOO,
    ),
    (
        "SigLIP: scores without the bias",
        _ROOM + "_siglip.py",
        "return products + bias",
        "return products + 0 * bias",
        _ANSWERS_TOO,
    ),
    (
        "SigLIP: a text's vector is that of its first token",
        _ROOM + "_siglip.py",
        "return features[:, -1]",
        "return features[:, 0]",
        _ANSWERS_TOO,
    ),
    (
        "SigLIP: no norm before the pool",
        _ROOM + "_siglip.py",
        "return self.norm(self.hidden_states(images)[-1])",
        "return self.hidden_states(images)[-1]",
        (_SIGLIP + "test_the_towers_alone",),
    ),
    (
        "clip_loss looks in one direction",
        "losses/_pairs.py",
        "jnp.stack([scores, scores.T])",
        "jnp.stack([scores, scores])",
        (_TORCH + "test_clip_loss_is_cross_entropy_both_ways",),
    ),
    (
        "siglip_loss takes strangers for pairs",
        "losses/_pairs.py",
        "signs = 2 * jnp.eye(scores.shape[0], dtype=scores.dtype) - 1",
        "signs = 1 - 2 * jnp.eye(scores.shape[0], dtype=scores.dtype)",
        (_TORCH + "test_siglip_loss_is_binary_cross_entropy_of_all_pairs",),
    ),
]
