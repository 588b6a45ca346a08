"""What is exported: layers in inference, families of ``px.models`` at tiny sizes, programs with odd operations.

A row has a model and its inputs, sizes of which may be symbols (``"batch"``, ``"time"``), and the sizes it is tried at.
Every format is held to all rows: ``from interchange.registry import ROWS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
import registry as layers
from phlox import nn
from phlox.models import diffusion


@dataclass(frozen=True)
class Input:
    """An input: sizes or symbols, a dtype, and for whole numbers what they stay below."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"
    below: int = 2

    def struct(self, symbols: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        """Shape and dtype, with these sizes, which may be JAX's symbols, in place of the names."""
        return jax.ShapeDtypeStruct(
            tuple(symbols.get(n, n) if isinstance(n, str) else n for n in self.shape), self.dtype
        )

    def drawn(self, sizes: Mapping[str, int], seed: int) -> np.ndarray:
        """Random numbers of these sizes."""
        rng = np.random.default_rng(seed)
        shape = tuple(sizes[n] if isinstance(n, str) else n for n in self.shape)
        if self.dtype == "bool":
            return rng.random(shape) < 0.6
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            return rng.integers(0, self.below, shape).astype(self.dtype)
        return rng.normal(size=shape).astype(self.dtype)


@dataclass(frozen=True)
class Row:
    """One model, what it is called with, and the sizes at which two formats are compared."""

    name: str
    build: Callable[[], Any]
    inputs: Mapping[str, Input]
    call: Callable[..., Any] | None = None
    """``call(model, *inputs)`` where it is not the model itself."""
    sizes: tuple[Mapping[str, int], ...] = ({"batch": 3, "time": 5}, {"batch": 1, "time": 8})
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The smallest and the largest size of a symbol, where the model has any."""

    def __repr__(self) -> str:
        return self.name

    def symbols(self) -> list[str]:
        """The names of sizes that are not known, in the order of their first place."""
        return list(dict.fromkeys(n for x in self.inputs.values() for n in x.shape if isinstance(n, str)))

    def drawn(self) -> list[dict[str, np.ndarray]]:
        """Inputs at each of the sizes."""
        return [
            {name: x.drawn(sizes, 10 * i + j) for j, (name, x) in enumerate(self.inputs.items())}
            for i, sizes in enumerate(self.sizes if self.symbols() else self.sizes[:1])
        ]

    def function(self) -> Callable[..., Any]:
        """The function of the model and its inputs."""
        return self.call or (lambda model, *inputs: model(*inputs))


# --- every layer of the registry of layers ------------------------------------------------------------

# Where more than the first axis is a symbol. Sizes at which windows do not fit are left out by ranges.
_TIMED = {
    "RNN", "LSTM", "GRU", "GRU-before", "Bidirectional", "LRU", "S4D", "Mamba", "LinearAttention", "ConvLSTM",
    "MultiHeadAttention", "MultiHeadAttention-grouped", "MultiHeadAttention-dropout",
    "TransformerEncoderLayer", "GatedMLP", "MixtureOfExperts", "SinusoidalEmbedding", "ReverseSequence",
    "Embedding", "VariationalDropout", "RotaryEmbedding", "PositionEmbedding",
}  # fmt: skip
_RANGES = {"PositionEmbedding": {"time": (1, 6)}}
_SIZES = {"PositionEmbedding": ({"batch": 3, "time": 5}, {"batch": 1, "time": 6})}


def _layer(case: layers.Case) -> Row:
    def shape(x: np.ndarray) -> tuple[int | str, ...]:
        return ("batch", *(("time", *x.shape[2:]) if case.name in _TIMED else x.shape[1:]))

    inputs = {name: Input(shape(x), x.dtype.name, 7) for name, x in zip(("x", "y", "z"), case.inputs, strict=False)}
    more: dict[str, Any] = {"sizes": _SIZES[case.name]} if case.name in _SIZES else {}
    return Row(case.name, lambda: layers.built(case), inputs, ranges=_RANGES.get(case.name, {}), **more)


LAYERS = [_layer(case) for case in layers.CASES]


# --- models ---------------------------------------------------------------------------------------------

_DECODER = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.3, "max_position_embeddings": 32,
}  # fmt: skip
_ENCODER = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.3, "max_position_embeddings": 32,
}  # fmt: skip
_GEMMA = {
    "head_dim": 6, "sliding_window": 3, "query_pre_attn_scalar": 5,
    "layer_types": ["full_attention", "sliding_attention"],
}  # fmt: skip
_VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24, "image_size": 16,
    "patch_size": 4, "num_labels": 5, "initializer_range": 0.3,
}  # fmt: skip
_TOKENS = Input(("batch", "time"), "int32", 40)
_MASK = Input(("batch", "time"), "bool")


def _made(kind: str, entries: Mapping[str, Any], **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        config = getattr(px.models, kind).from_dict(dict(entries))
        return layers.spread(px.models.create(config, key=0, **options))

    return build


def _masked(model: Any, tokens: Any, mask: Any) -> Any:
    return model(tokens, mask=mask)


def _step(model: Any, token: Any, keys: Any, values: Any, position: Any) -> Any:
    """One token behind what caches hold, of which arrays alone go in and out."""
    caches = model.init_cache(2, keys.shape[2])
    for i, cache in enumerate(caches):
        cache.keys, cache.values, cache.position = keys[i], values[i], position
    scores = model(token, cache=caches)
    held = {"keys": jnp.stack([c.keys for c in caches]), "values": jnp.stack([c.values for c in caches])}
    return {"scores": scores, "position": caches[0].position, **held}


def _text(name: str, kind: str, entries: Mapping[str, Any], *, masked: bool = False, **options: Any) -> Row:
    inputs = {"tokens": _TOKENS} | ({"mask": _MASK} if masked else {})
    return Row(name, _made(kind, entries, **options), inputs, _masked if masked else None, ranges={"time": (1, 32)})


def _pictures(name: str, kind: str, entries: Mapping[str, Any], *shape: int) -> Row:
    return Row(name, _made(kind, entries), {"image": Input(("batch", *shape))})


LANGUAGE = [
    _text("gpt2", "GPT2Config", {
        "vocab_size": 40, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4, "initializer_range": 0.3,
    }),
    _text("llama", "LlamaConfig", _DECODER, masked=True),
    Row(
        "llama-step",
        _made("LlamaConfig", _DECODER),
        {
            "token": Input((2, 1), "int32", 40), "keys": Input((2, 2, 8, 2, 4)), "values": Input((2, 2, 8, 2, 4)),
            "position": Input((2,), "int32", 6),
        },
        _step,
    ),
    _text("mistral", "MistralConfig", _DECODER | {"sliding_window": 3}),
    _text("qwen2", "Qwen2Config", _DECODER),
    _text("qwen3", "Qwen3Config", _DECODER | {"head_dim": 6}),
    _text("phi3", "Phi3Config", _DECODER | {"pad_token_id": 0}),
    _text("gemma2", "Gemma2Config", _DECODER | _GEMMA | {
        "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0,
    }),
    _text("gemma3", "Gemma3Config", _DECODER | _GEMMA),
    _text("mixtral", "MixtralConfig", _DECODER | {"num_local_experts": 5, "sliding_window": 3}),
    _text("qwen3_moe", "Qwen3MoeConfig", _DECODER | {
        "head_dim": 6, "num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "mlp_only_layers": [1],
    }),
    _text("bert", "BERTConfig", _ENCODER, masked=True),
    _text("bert-classes", "BERTConfig", _ENCODER, task="text-classification", classes=3),
    _text("roberta", "RoBERTaConfig", _ENCODER | {"max_position_embeddings": 34}),
    _text("distilbert", "DistilBERTConfig", {
        "vocab_size": 40, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 4, "initializer_range": 0.3,
        "max_position_embeddings": 32,
    }),
    _text("modernbert", "ModernBertConfig", {
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "initializer_range": 0.3, "local_attention": 6, "pad_token_id": 0, "global_attn_every_n_layers": 2,
    }),
    Row(
        "t5",
        _made("T5Config", {
            "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 12, "num_layers": 2, "num_heads": 3,
            "relative_attention_num_buckets": 12, "relative_attention_max_distance": 7, "decoder_start_token_id": 0,
        }),
        {"tokens": _TOKENS, "target": Input(("batch", "length"), "int32", 40)},
        sizes=({"batch": 3, "time": 5, "length": 4}, {"batch": 1, "time": 8, "length": 9}),
    ),
]  # fmt: skip

VISION = [
    _pictures("resnet", "ResNetConfig", {
        "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 1], "num_labels": 5,
    }, 32, 32, 3),
    _pictures("efficientnet", "EfficientNetConfig", {
        "width_coefficient": 0.25, "depth_coefficient": 1.0, "hidden_dim": 320, "kernel_sizes": [3, 5],
        "in_channels": [32, 16], "out_channels": [16, 40], "strides": [1, 2], "num_block_repeats": [1, 2],
        "expand_ratios": [1, 6], "num_labels": 5,
    }, 24, 32, 3),
    _pictures("convnext", "ConvNextConfig", {
        "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "num_labels": 5, "layer_scale_init_value": 0.5,
    }, 16, 24, 3),
    _pictures("convnextv2", "ConvNextV2Config", {
        "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "num_labels": 5,
    }, 16, 24, 3),
    _pictures("vit", "ViTConfig", _VIT, 16, 16, 3),
    _pictures("deit", "DeiTConfig", _VIT, 16, 16, 3),
    _pictures("dinov2", "DINOv2Config", {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2, "image_size": 28,
        "patch_size": 7, "num_labels": 5, "initializer_range": 0.3, "layerscale_value": 0.7,
    }, 28, 28, 3),
    _pictures("swin", "SwinConfig", {
        "image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4,
        "mlp_ratio": 2.0, "num_labels": 5, "initializer_range": 0.3,
    }, 32, 32, 3),
    Row(
        "mobilenet_v3",
        lambda: layers.spread(px.models.create(px.models.MobileNetV3Config(
            stem_channels=8, kernel_sizes=(3, 3, 5, 5), expanded_channels=(8, 24, 72, 40),
            out_channels=(8, 12, 16, 16), squeeze_excite=(False, False, True, True),
            activations=("relu", "relu", "hardswish", "hardswish"), strides=(1, 2, 2, 1), top_channels=24,
            hidden_dim=20, classes=5,
        ), key=0)),
        {"image": Input(("batch", 32, 32, 3))},
    ),
    Row(
        "unet",
        lambda: layers.spread(px.models.create(px.models.UNetConfig(width=4, depth=2, bilinear=True), key=0)),
        {"image": Input(("batch", 16, 12, 3))},
    ),
    Row(
        "unet-transposed",
        lambda: layers.spread(px.models.create(px.models.UNetConfig(width=4, depth=2), key=0)),
        {"image": Input(("batch", 16, 12, 3))},
    ),
    Row(
        "detr",
        lambda: layers.spread(px.models.create(px.models.DetrConfig(
            backbone_config=px.models.ResNetConfig(
                embedding_size=8, hidden_sizes=(8, 12), depths=(1, 1), layer_type="basic", classes=0
            ),
            d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=12, decoder_ffn_dim=20,
            encoder_attention_heads=2, decoder_attention_heads=4, num_queries=5, classes=4,
        ), key=0)),
        {"image": Input(("batch", 32, 40, 3))},
        lambda model, image: model(image)[:2],
    ),
]  # fmt: skip

_CLIP_TEXT = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 8, "bos_token_id": 38, "eos_token_id": 39,
}  # fmt: skip
_CLIP_VISION = {
    "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 12,
    "patch_size": 4,
}  # fmt: skip
_PAIR = {"image": Input(("images", 12, 12, 3)), "tokens": Input(("texts", "time"), "int32", 40)}
_PAIR_SIZES = ({"images": 3, "texts": 2, "time": 5}, {"images": 1, "texts": 4, "time": 7})

OTHERS = [
    Row(
        "clip",
        _made("CLIPConfig", {"text_config": _CLIP_TEXT, "vision_config": _CLIP_VISION, "projection_dim": 8}),
        _PAIR,
        sizes=_PAIR_SIZES,
        ranges={"time": (1, 8)},
    ),
    Row(
        "siglip",
        _made("SiglipConfig", {
            "text_config": _CLIP_TEXT | {"projection_size": 12}, "vision_config": _CLIP_VISION,
        }),
        _PAIR,
        sizes=_PAIR_SIZES,
        ranges={"time": (1, 8)},
    ),
    Row(
        "whisper",
        _made("WhisperConfig", {
            "vocab_size": 40, "d_model": 16, "num_mel_bins": 6, "encoder_layers": 2, "decoder_layers": 2,
            "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 20,
            "init_std": 0.3, "max_source_positions": 8, "max_target_positions": 24, "pad_token_id": 3,
            "bos_token_id": 1, "eos_token_id": 3, "decoder_start_token_id": 1,
        }),
        {"frames": Input(("batch", 16, 6)), "tokens": _TOKENS},
        ranges={"time": (1, 24)},
    ),
    Row(
        "wav2vec2",
        _made("Wav2Vec2Config", {
            "vocab_size": 12, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
            "intermediate_size": 20, "conv_dim": (6, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2),
            "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "initializer_range": 0.3,
        }),
        {"waves": Input(("batch", 120))},
    ),
    Row(
        "ft_transformer",
        lambda: layers.spread(px.models.create(px.models.FTTransformerConfig(
            n_cont_features=3, cat_cardinalities=(2, 5), n_blocks=2, d_block=12, attention_n_heads=2, classes=4
        ), key=0)),
        {"numbers": Input(("batch", 3)), "categories": Input(("batch", 2), "int32", 2)},
    ),
    Row(
        "dit",
        lambda: layers.spread(diffusion.DiT(
            diffusion.DiTConfig(size=8, patch=2, dim=16, depth=2, heads=2, classes=5, channels=3), key=0
        )),
        {"x": Input(("batch", 8, 8, 3)), "t": Input(("batch",), "int32", 100), "labels": Input(("batch",), "int32", 5)},
    ),
    Row(
        "diffusion-unet",
        lambda: layers.spread(diffusion.UNet(
            diffusion.UNetConfig(channels=(8, 16), blocks=1, attention=(False, True), groups=4), key=0
        )),
        {"x": Input(("batch", 8, 8, 3)), "t": Input(("batch",), "int32", 100)},
    ),
    Row(
        "transformer",
        lambda: layers.spread(nn.Transformer(8, 2, 12, encoder_layers=1, decoder_layers=1, key=0)),
        {"source": Input(("batch", "time", 8)), "target": Input(("batch", "length", 8))},
        sizes=({"batch": 3, "time": 5, "length": 4}, {"batch": 1, "time": 8, "length": 2}),
    ),
]  # fmt: skip


# --- programs with odd operations -----------------------------------------------------------------------


class Choosing(px.Module):
    """One layer or another, by what comes in, in compiled code too."""

    def __init__(self) -> None:
        self.one, self.other = px.Dense(4, 3, px.tanh, key=0), px.Dense(4, 3, px.relu, key=1)

    def __call__(self, x: Any) -> Any:
        return px.cond(jnp.mean(x) > 0, self.one, self.other, x)


class Halving(px.Module):
    """Halved until it is small: a loop whose length the data decides."""

    def __init__(self) -> None:
        self.into = px.Dense(4, 3, key=0)

    def __call__(self, x: Any) -> Any:
        small = lambda carry: jnp.max(jnp.abs(carry[0])) > 0.1  # noqa: E731
        return px.while_loop(small, lambda carry: (carry[0] * 0.5, carry[1] + 1), (self.into(x), jnp.int32(0)))


class Folding(px.Module):
    """A loop over time with a state, forwards and backwards."""

    def __init__(self) -> None:
        self.map = px.Dense(3, 3, px.tanh, key=0)

    def __call__(self, x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = self.map(h + row)
            return h, 2 * h

        xs = jnp.swapaxes(x, 0, 1)
        start = jnp.zeros_like(x[:, 0])
        last, ys = px.scan(step, start, xs)
        first, zs = px.scan(step, start, xs, reverse=True)
        return {"ends": jnp.concatenate([last, first], -1), "each": jnp.swapaxes(ys - zs, 0, 1)}


class Calling(px.Module):
    """A function without weights, as a model."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f

    def __call__(self, *inputs: Any) -> Any:
        return self.f(*inputs)


def _odd_arithmetic(x: Any) -> Any:
    y = jnp.sign(x) * jnp.log1p(jnp.abs(x)) + jnp.arctan2(x, 1 + x * x) + jnp.cbrt(x) + jnp.floor(x) % 3
    return y + jnp.expm1(-jnp.abs(x)) + jax.lax.rsqrt(1 + x * x) + jnp.where(jnp.isfinite(y), jnp.round(y), 0)


def _ordered(x: Any) -> Any:
    values, places = jax.lax.top_k(x, 2)
    return {"sorted": jnp.sort(x, -1), "by": jnp.argsort(-x, -1), "values": values, "places": places}


def _cumulated(x: Any) -> Any:
    return jnp.cumsum(x, 1) + jax.lax.cummax(x, axis=1) + jnp.cumprod(x, 1)[:, ::-1]


def _indexed(x: Any, i: Any) -> Any:
    rows = jnp.take_along_axis(x, i[:, None, None] % x.shape[1], 1)[:, 0]
    return rows + x.at[:, 1].add(1.0)[:, 1] + jnp.zeros_like(rows).at[:, 0].set(2.0)


def _reduced(x: Any) -> Any:
    flags = x > 0
    return {
        "all": jnp.all(flags, 1), "any": jnp.any(flags, (1, 2)), "product": jnp.prod(x, -1), "least": jnp.min(x, 1),
        "where": jnp.argmax(x, -1), "spread": jnp.std(x, 1), "norm": jnp.linalg.norm(x, axis=-1),
        "together": jax.nn.logsumexp(x, -1),
    }  # fmt: skip


def _products(x: Any) -> Any:
    y = jnp.einsum("btd,bsd->bts", x, x) / 3
    return jnp.einsum("bts,bsd->btd", jax.nn.softmax(y, -1), x) + jnp.einsum("btd,de->bte", x, jnp.eye(3) * 2)


def _whole_numbers(i: Any) -> Any:
    return {
        "bits": (i & 6) | (i << 2) ^ 3, "shares": i // 3 - (-i) // 4, "rest": i % 3, "least": jnp.minimum(i, 4),
        "real": i.astype(jnp.float32) / 3, "true": (i > 2) & ~(i == 5),
    }  # fmt: skip


def _program(name: str, f: Callable[..., Any], **inputs: Input) -> Row:
    return Row(name, lambda: Calling(f), inputs)


def _net(*build: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: layers.spread(px.Chain(*(make() if callable(make) else make for make in build)))


_WIDE = {"image": Input(("batch", "height", "width", 4))}
_WIDE_SIZES = ({"batch": 2, "height": 8, "width": 11}, {"batch": 1, "height": 13, "width": 9})
_WIDE_RANGES = {"height": (8, 64), "width": (8, 64)}
_SEEN = Input(("batch", "time", 3))

PROGRAMS = [
    Row("cond", Choosing, {"x": Input(("batch", 4))}),
    Row("while_loop", Halving, {"x": Input(("batch", 4))}),
    Row("scan", Folding, {"x": _SEEN}),
    _program("arithmetic", _odd_arithmetic, x=_SEEN),
    _program("sorting", _ordered, x=Input(("batch", 5))),
    _program("cumulating", _cumulated, x=_SEEN),
    Row(
        "indexing", lambda: Calling(_indexed), {"x": Input(("batch", 6, 3)), "i": Input(("batch",), "int32", 20)}
    ),
    _program("reducing", _reduced, x=_SEEN),
    _program("products", _products, x=_SEEN),
    _program("integers", _whole_numbers, i=Input(("batch", "time"), "int32", 9)),
    Row(
        "conv-space",
        _net(
            lambda: px.Conv((3, 3), 4, 6, px.relu, stride=2, padding=1, key=0),
            lambda: px.BatchNorm(6),
            lambda: px.Conv((3, 3), 6, 6, dilation=2, padding=2, groups=3, key=1),
            lambda: px.MaxPool((2, 2)),
        ),
        _WIDE,
        sizes=_WIDE_SIZES,
        ranges=_WIDE_RANGES,
    ),
    Row(
        "conv-asymmetric",
        _net(lambda: px.Conv((2, 3), 4, 5, stride=(2, 1), padding=((0, 1), (2, 0)), key=0)),
        {"image": Input(("batch", 7, 6, 4))},
    ),
    Row(
        "global-pool",
        _net(lambda: px.Conv((1, 1), 4, 3, key=0), lambda: px.GlobalMeanPool(), lambda: px.flatten),
        _WIDE,
        sizes=_WIDE_SIZES,
    ),
    Row(
        "lstm-both-ways",
        lambda: layers.spread(nn.LSTM(3, 4, num_layers=2, bidirectional=True, key=0)),
        {"x": _SEEN, "lengths": Input(("batch",), "int32", 5)},
        lambda model, x, lengths: model(x, lengths=lengths),
    ),
    Row(
        "gru-state",
        lambda: layers.spread(nn.GRU(3, 4, return_state=True, key=0)),
        {"x": _SEEN},
    ),
    Row(
        "half",
        lambda: px.bf16(px.Chain(px.Dense(4, 8, px.gelu, key=0), px.LayerNorm(8), px.Dense(8, 2, key=1))),
        {"x": Input(("batch", 4), "bfloat16")},
    ),
    Row(
        "float16",
        lambda: px.f16(px.Chain(px.Dense(4, 8, px.gelu, key=0), px.LayerNorm(8), px.Dense(8, 2, key=1))),
        {"x": Input(("batch", 4), "float16")},
    ),
    Row(
        "several-outputs",
        lambda: layers.spread(px.Dense(4, 4, key=0)),
        {"x": Input(("batch", 4))},
        lambda model, x: (model(x), {"twice": 2 * model(x), "rows": jnp.sum(x, -1)}),
    ),
]  # fmt: skip

ROWS: list[Row] = LAYERS + LANGUAGE + VISION + OTHERS + PROGRAMS
BY_NAME: dict[str, Row] = {row.name: row for row in ROWS}
assert len(BY_NAME) == len(ROWS), "every row has a name of its own"
