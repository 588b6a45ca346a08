"""Every family of models with integers in it: it runs, it is saved and read, and a report tells what it lost."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.models._catalogue import FAMILIES

RNG = np.random.default_rng(0)
SPREAD = 0.3  # of fresh weights, or attention would weigh all alike


def images(size=16):
    return RNG.normal(size=(4, size, size, 3)).astype("f")


def tokens(time=7, vocabulary=40):
    return RNG.integers(2, vocabulary - 1, (4, time))


SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**SIZES, "image_size": 16, "patch_size": 4}
WORDS = {**SIZES, "vocab_size": 40}
DECODER = {**WORDS, "num_key_value_heads": 1}
EXPERTS = {**DECODER, "moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2}
TEXT_TOWER = {**WORDS, "max_position_embeddings": 8}
PAIR = {"text_config": {**TEXT_TOWER, "eos_token_id": 39}, "vision_config": VISION}
DINO = {name: entry for name, entry in VISION.items() if name != "intermediate_size"} | {"mlp_ratio": 2}
ROUTER = "**.router"  # a token that goes to another expert is no matter of digits
SMALL_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}

# By model_type: entries of a small config, what the model is called with, and layers to be left as they are.
CASES = {
    "resnet": (SMALL_RESNET, lambda: images(), None),
    "efficientnet": (
        {"width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 32, "kernel_sizes": [3, 5],
         "in_channels": [32, 16], "out_channels": [16, 24], "strides": [1, 2], "num_block_repeats": [1, 1],
         "expand_ratios": [1, 4]},
        lambda: images(), None,
    ),
    "convnext": ({"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, lambda: images(), None),
    "convnextv2": ({"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, lambda: images(), None),
    "mobilenet_v3": (
        {"stem_channels": 8, "kernel_sizes": [3, 5], "expanded_channels": [8, 24], "out_channels": [8, 12],
         "squeeze_excite": [False, True], "activations": ["relu", "hardswish"], "strides": [1, 2], "top_channels": 24,
         "hidden_dim": 20},
        lambda: images(), None,
    ),
    "vit": (VISION, lambda: images(), None),
    "deit": (VISION, lambda: images(), None),
    "dinov2": (DINO, lambda: images(), None),
    "dinov2_with_registers": (DINO, lambda: images(), None),
    "swin": (
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4},
        lambda: images(), None,
    ),
    "detr": (
        {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 5, "use_timm_backbone": False,
         "backbone_config": {"model_type": "resnet", **SMALL_RESNET}},
        lambda: images(32), None,
    ),
    "unet": ({"width": 4, "depth": 1}, lambda: images(), None),
    "ft_transformer": (
        {"n_cont_features": 3, "cat_cardinalities": [3, 4], "n_blocks": 1, "d_block": 8, "attention_n_heads": 2},
        lambda: (RNG.normal(size=(4, 3)).astype("f"), RNG.integers(0, 3, (4, 2))), None,
    ),
    "gpt2": ({"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}, tokens, None),
    "bert": ({**WORDS, "max_position_embeddings": 12}, tokens, None),
    "roberta": ({**WORDS, "max_position_embeddings": 14}, tokens, None),
    "xlm-roberta": ({**WORDS, "max_position_embeddings": 14}, tokens, None),
    "distilbert": (
        {"vocab_size": 40, "dim": 16, "hidden_dim": 24, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 12},
        tokens, None,
    ),
    "llama": (DECODER, tokens, None),
    "mistral": (DECODER, tokens, None),
    "qwen2": (DECODER, tokens, None),
    "qwen3": ({**DECODER, "head_dim": 8}, tokens, None),
    "phi3": ({**DECODER, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}, tokens, None),
    "gemma2": ({**DECODER, "head_dim": 8}, tokens, None),
    "gemma3_text": ({**DECODER, "head_dim": 8}, tokens, None),
    "mixtral": ({**DECODER, "num_local_experts": 4}, tokens, ROUTER),
    "qwen2_moe": ({**EXPERTS, "shared_expert_intermediate_size": 8}, tokens, ROUTER),
    "qwen3_moe": ({**EXPERTS, "head_dim": 8}, tokens, ROUTER),
    "clip": (PAIR, lambda: (images(), tokens()), None),
    "clip_text_model": ({**TEXT_TOWER, "eos_token_id": 39}, tokens, None),
    "clip_vision_model": (VISION, lambda: images(), None),
    "siglip": (PAIR, lambda: (images(), tokens(8)), None),
    "siglip_text_model": (TEXT_TOWER, lambda: tokens(8), None),
    "siglip_vision_model": (VISION, lambda: images(), None),
    "whisper": (
        {"vocab_size": 40, "d_model": 16, "num_mel_bins": 6, "encoder_layers": 1, "decoder_layers": 1,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20,
         "max_source_positions": 8, "max_target_positions": 24, "pad_token_id": 3, "bos_token_id": 1,
         "eos_token_id": 3, "decoder_start_token_id": 1},
        lambda: (RNG.normal(size=(4, 16, 6)).astype("f"), tokens()), None,
    ),
    "wav2vec2": (
        {"vocab_size": 12, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3,
         "intermediate_size": 20, "conv_dim": [6, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2],
         "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
        lambda: RNG.normal(size=(4, 120)).astype("f"), "places",
    ),
    "modernbert": ({**WORDS, "local_attention": 6, "pad_token_id": 0}, tokens, None),
    "t5": (
        {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 12, "num_layers": 1, "num_heads": 2},
        lambda: (tokens(), tokens(5)), None,
    ),
}  # fmt: skip
IN_THE_SUITE = ("gpt2",)
KINDS = {"int8": (8, {}, 0.06), "int4": (4, {"group": 8}, 0.6)}


def call(model, x):
    return model(*x) if isinstance(x, tuple) else model(x)


answer = px.jit(call)


def floats(y):
    arrays = [np.asarray(a, float) for a in jax.tree.leaves(y) if jnp.issubdtype(a.dtype, jnp.floating)]
    return np.concatenate([a.ravel() for a in arrays])


def livelier(model):
    """With fresh weights of some size where they are small, so that all layers matter."""
    draw = np.random.default_rng(1)
    arrays = {n: a for n, a in px.split(model)[0].items() if n.endswith("weight") and a.ndim > 1}
    fresh = {n: jnp.asarray((draw.normal(size=a.shape) * SPREAD).astype("f")) for n, a in arrays.items()}
    for name, array in fresh.items():
        px.set_at(model, name, array)
    return model


def family(name):
    return next(one for one in FAMILIES if one.config.model_type == name)


def test_every_family_has_a_case():
    assert set(CASES) == {one.config.model_type for one in FAMILIES}


@pytest.mark.parametrize(
    "name", [name if name in IN_THE_SUITE else pytest.param(name, marks=pytest.mark.soak) for name in CASES]
)
def test_a_family_with_integers_runs_is_saved_and_reported(name, tmp_path):
    entries, given, skip = CASES[name]
    model, x = px.models.create(family(name).config.from_dict(entries), key=0), given()
    model = livelier(model)
    wanted = floats(answer(model, x))
    assert np.abs(wanted).max() > 0
    for kind, (bits, options, limit) in KINDS.items():
        small = px.compress.quantize(model, bits, skip=skip, **options)
        assert any(layer.bits == bits for layer in px.modules(small).values() if hasattr(layer, "codes"))
        found = floats(answer(small, x))
        assert_close(found.astype("f"), floats(answer(px.compress.dequantize(small), x)), scale=20, what=kind)
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert 0 < error < limit, kind
        px.save(small, tmp_path / "small.safetensors")
        again = px.load(tmp_path / "small.safetensors")
        assert np.array_equal(found, floats(answer(again, x)))
        if kind == "int8":
            told = px.compress.report(
                model, small, [x], forward=call, latency=()
            )  # fmt: skip
            assert told.layers[""] == pytest.approx(error, rel=1e-3)
            assert told.after.memory < told.before.memory
            assert told.before.parameters == told.after.parameters
            assert told.before.flops > 0
            assert len(told.layers) > 4
            json.dumps(told.as_dict(), allow_nan=False)
            assert str(told).startswith(type(model).__name__)
