"""DETR: objects as a set. A transformer reads a convolutional network's map, and each of its queries names one object.

Source: Carion et al., "End-to-end object detection with transformers", 2020.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import (
    Module,
    Param,
    ShapeError,
    State,
    describe,
    freeze,
    harmonise,
    key_or_draw,
    modules,
    param_dtype,
)
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.models.vision import _resnet
from phlox.models.vision._blocks import ConvNorm
from phlox.models.vision._detr_config import BACKBONES, DetrConfig
from phlox.models.vision._resnet import ResNet
from phlox.nn import BatchNorm, Chain, Conv, Dense, Dropout, LayerNorm, MultiHeadAttention, init
from phlox.nn import functional as F
from phlox.weights import NameMap


class FrozenBatchNorm(Module):
    """A batch norm whose statistics, scale and bias stay as they were loaded: y = act(γ (x - μ) / √(v + ε) + β)."""

    scale: State  # (channels,)
    bias: State  # (channels,)
    mean: State  # (channels,)
    var: State  # (channels,)

    def __init__(self, norm: BatchNorm):
        self.act, self.eps = norm.act, norm.eps
        arrays: Any = norm
        self.scale, self.bias, self.mean, self.var = arrays.scale, arrays.bias, arrays.mean, arrays.var

    def __call__(self, x: Any) -> jax.Array:
        x, scale, bias = harmonise(self, x, self.scale, self.bias)
        return self.act(F.batch_norm(x, self.mean, self.var, scale, bias, eps=self.eps))


class EncoderLayer(Module):
    """h = N₁(x + A(x)), y = N₂(h + M(h)); what asks and what is asked for knows its position, what is told does not."""

    attention: MultiHeadAttention
    norm1: LayerNorm
    mlp: Chain
    norm2: LayerNorm

    def __init__(self, config: DetrConfig):
        dim, heads = config.d_model, config.encoder_attention_heads
        self.attention = MultiHeadAttention(dim, heads, dropout=config.attention_dropout)
        self.norm1, self.drop1 = LayerNorm(dim), Dropout(config.dropout)
        self.mlp = _mlp(config, config.encoder_ffn_dim)
        self.norm2, self.drop2 = LayerNorm(dim), Dropout(config.dropout)

    def __call__(self, x: jax.Array, positions: jax.Array, mask: jax.Array) -> jax.Array:
        placed = x + positions
        x = self.norm1(x + self.drop1(self.attention(placed, placed, x, mask=mask)))
        return self.norm2(x + self.drop2(self.mlp(x)))


class DecoderLayer(Module):
    """g = N₁(x + A(x)), h = N₂(g + C(g, m)), y = N₃(h + M(h)), with a position for each query."""

    attention: MultiHeadAttention
    norm1: LayerNorm
    recall: MultiHeadAttention
    norm2: LayerNorm
    mlp: Chain
    norm3: LayerNorm

    def __init__(self, config: DetrConfig):
        dim, heads, p = config.d_model, config.decoder_attention_heads, config.attention_dropout
        self.attention = MultiHeadAttention(dim, heads, dropout=p)
        self.norm1, self.drop1 = LayerNorm(dim), Dropout(config.dropout)
        self.recall = MultiHeadAttention(dim, heads, dropout=p)
        self.norm2, self.drop2 = LayerNorm(dim), Dropout(config.dropout)
        self.mlp = _mlp(config, config.decoder_ffn_dim)
        self.norm3, self.drop3 = LayerNorm(dim), Dropout(config.dropout)

    def __call__(
        self, x: jax.Array, queries: jax.Array, memory: jax.Array, positions: jax.Array, mask: jax.Array
    ) -> jax.Array:
        placed = x + queries
        x = self.norm1(x + self.drop1(self.attention(placed, placed, x)))
        x = self.norm2(x + self.drop2(self.recall(x + queries, memory + positions, memory, mask=mask)))
        return self.norm3(x + self.drop3(self.mlp(x)))


class Decoder(Module):
    """Queries that start at zero, told apart by a learned position each, through the layers and a norm."""

    queries: Param  # (queries, dim)
    layers: list[DecoderLayer]
    norm: LayerNorm
    between: bool

    def __init__(self, config: DetrConfig):
        self.queries = init.normal(key_or_draw(None), (config.num_queries, config.d_model), param_dtype())
        self.layers = [DecoderLayer(config) for _ in range(config.decoder_layers)]
        self.norm, self.between = LayerNorm(config.d_model), config.auxiliary_loss

    def __call__(self, memory: jax.Array, positions: jax.Array, mask: jax.Array) -> list[jax.Array]:
        """The start, what each layer gives, and the norm of the last."""
        queries = jnp.broadcast_to(self.queries, (memory.shape[0], *self.queries.shape)).astype(memory.dtype)
        states = [x := jnp.zeros_like(queries)]
        for layer in self.layers:
            states.append(layer(x, queries, memory, positions, mask))
            x = self.norm(states[-1]) if self.between else states[-1]
        return [*states, self.norm(x)]


class DetectionHead(Module):
    """Of each query, scores of the classes and of none, and a box as shares of the picture."""

    classes: Dense
    boxes: list[Dense]
    tensor_rules: ClassVar[dict[str, Any]] = {"boxes": "in turn"}

    def __init__(self, dim: int, classes: int):
        self.classes = Dense(dim, classes + 1)
        self.boxes = [Dense(dim, dim, F.relu), Dense(dim, dim, F.relu), Dense(dim, 4)]

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = x
        for layer in self.boxes:
            y = layer(y)
        return self.classes(x), F.sigmoid(y)


class DetrOutput(NamedTuple):
    """What a DETR says of each query."""

    logits: jax.Array
    """Scores (batch, queries, classes + 1), the last of no object."""
    boxes: jax.Array
    """Centre, width and height (batch, queries, 4), as shares of the picture: x, y, width, height."""
    auxiliary: tuple[DetrOutput, ...] = ()
    """What the layers of the decoder before the last say, where it is asked for."""


class DetrStates(NamedTuple):
    """What stands in a DETR between its layers."""

    encoder: tuple[jax.Array, ...]
    """(batch, places, features) before the first layer and after each."""
    decoder: tuple[jax.Array, ...]
    """(batch, queries, features) before the first layer and after each, the last one normed."""


class Detr(Model):
    """A DETR for images (batch, height, width, channels): for each query the scores of classes, and a box.

    The backbone's norms never move. Its stem and its first stage are frozen, as they were in training;
    ``px.thaw(model.backbone)`` lets them learn.

    Arguments:
        config: a ``DetrConfig``.

    Options of a call:
        mask: (batch, height, width), true where an image is, false where it was padded; all of it by default.
        auxiliary: whether the decoder's earlier layers answer too; by default as ``config.auxiliary_loss`` says.

    Source: Carion et al., "End-to-end object detection with transformers", 2020.

    >>> import phlox as px
    >>> sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 5}
    >>> small = px.models.ResNetConfig(embedding_size=8, hidden_sizes=(8,), depths=(1,), layer_type="basic")
    >>> model = px.models.Detr(px.models.DetrConfig(classes=3, backbone_config=small, **sizes))
    >>> logits, boxes, _ = px.eval_shape(model, px.eval_shape(lambda: jax.numpy.ones((2, 32, 32, 3))))
    >>> logits.shape, boxes.shape
    ((2, 5, 4), (2, 5, 4))
    """

    config: DetrConfig
    backbone: ResNet
    project: Conv
    encoder: list[EncoderLayer]
    decoder: Decoder
    head: Any
    """What makes scores and boxes of the queries (batch, queries, features); None for nothing."""

    def __init__(self, config: DetrConfig):
        self.config = config
        self.backbone = ResNet(config.backbone_config.with_classes(0))
        for layer in modules(self.backbone).values():
            if isinstance(layer, ConvNorm):
                layer.norm = FrozenBatchNorm(layer.norm)  # pyright: ignore[reportAttributeAccessIssue]
        freeze(self.backbone, "stem", "stages.0")
        self.project = Conv((1, 1), self.backbone.width, config.d_model)
        self.encoder = [EncoderLayer(config) for _ in range(config.encoder_layers)]
        self.decoder = Decoder(config)
        self.head = DetectionHead(config.d_model, config.classes) if config.classes else None

    def hidden_states(self, images: jax.Array, mask: Any = None) -> DetrStates:
        """What stands between the layers of encoder and decoder, for images (batch, height, width, channels)."""
        features = self.project(self.backbone.features(images))
        seen = _seen(images, mask, features.shape[1:3])
        positions = sine_positions(seen, features.shape[-1] // 2, features.dtype)
        flat = lambda x: x.reshape(x.shape[0], -1, x.shape[-1])  # noqa: E731
        states, positions, keys = [flat(features)], flat(positions), seen.reshape(seen.shape[0], 1, 1, -1)
        for layer in self.encoder:
            states.append(layer(states[-1], positions, keys))
        *decoded, last = self.decoder(states[-1], positions, keys)
        return DetrStates(tuple(states), (*decoded[:-1], last))

    def features(self, images: jax.Array, mask: Any = None) -> jax.Array:
        """The queries (batch, queries, features) that the head reads."""
        return self.hidden_states(images, mask).decoder[-1]

    def __call__(self, images: jax.Array, mask: Any = None, *, auxiliary: bool | None = None) -> Any:
        return self.answer(self.hidden_states(images, mask), auxiliary=auxiliary)

    def answer(self, states: DetrStates, *, auxiliary: bool | None = None) -> Any:
        """What the head makes of the decoder's states: a ``DetrOutput``; without a head, the last state."""
        *earlier, last = states.decoder
        if self.head is None:
            return last
        wanted = self.config.auxiliary_loss if auxiliary is None else auxiliary
        others = [DetrOutput(*self.head(self.decoder.norm(x))) for x in earlier[1:]] if wanted else []
        logits, boxes = self.head(last)
        return DetrOutput(logits, boxes, tuple(others))

    def parts(self) -> tuple[str, ...]:
        stages = (f"backbone.stages.{i}" for i in range(len(self.backbone.stages)))
        layers = (f"encoder.{i}" for i in range(len(self.encoder)))
        return "backbone.stem", *stages, "project", *layers, "decoder", "head"


def sine_positions(seen: jax.Array, width: int, dtype: Any) -> jax.Array:
    """Sines and cosines of height and width, counted over what is seen and made a full turn: (batch, h, w, 2 width)."""
    counts = seen.astype(jnp.promote_types(dtype, jnp.float32))
    places = np.arange(width)
    periods = jnp.asarray(10000 ** (2 * (places // 2) / width), counts.dtype)

    def waves(axis: int) -> jax.Array:
        count = jnp.cumsum(counts, axis)
        turns = count / (jax.lax.slice_in_dim(count, -1, None, axis=axis) + 1e-6) * (2 * np.pi)
        angles = turns[..., None] / periods
        return jnp.where(places % 2 == 0, jnp.sin(angles), jnp.cos(angles))

    return jnp.concatenate([waves(1), waves(2)], -1).astype(dtype)


def _seen(images: jax.Array, mask: Any, size: tuple[int, ...]) -> jax.Array:
    """Where there is an image, at the size of the map of features."""
    if mask is None:
        return jnp.ones((images.shape[0], *size), bool)
    if jnp.shape(mask) != images.shape[:3]:
        fix = "give one truth value for each pixel, true where there is an image"
        raise ShapeError(f"a mask of shape {images.shape[:3]}", got=describe(mask), fix=fix)
    truths = (jnp.asarray(mask) != 0)[..., None].astype(jnp.float32)
    return F.interpolate(truths, size, mode="nearest")[..., 0] > 0.5


def _mlp(config: DetrConfig, hidden: int) -> Chain:
    act = activation(config.activation_function, "DetrConfig.activation_function")
    drop = Dropout(config.activation_dropout)
    return Chain(fc1=Dense(config.d_model, hidden, act), drop=drop, fc2=Dense(hidden, config.d_model))


def _attention(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{map}_proj": f"{ours}.{map}_proj" for map in ("q", "k", "v", "out")}


def _names(backbone: NameMap, base: str) -> NameMap:
    """The map over a backbone whose names begin with a base."""
    trunk = {name.removeprefix(base): ours for name, ours in backbone.entries.items() if ours != "head"}
    return NameMap({
        **{f"model.backbone.conv_encoder.model.{name}": f"backbone.{ours}" for name, ours in trunk.items()},
        "model.input_projection": "project",
        **_attention("model.encoder.layers.{i}.self_attn", "encoder.{i}.attention"),
        "model.encoder.layers.{i}.self_attn_layer_norm": "encoder.{i}.norm1",
        "model.encoder.layers.{i}.fc1": "encoder.{i}.mlp.layers.fc1",
        "model.encoder.layers.{i}.fc2": "encoder.{i}.mlp.layers.fc2",
        "model.encoder.layers.{i}.final_layer_norm": "encoder.{i}.norm2",
        "model.query_position_embeddings.weight": "decoder.queries",
        **_attention("model.decoder.layers.{i}.self_attn", "decoder.layers.{i}.attention"),
        "model.decoder.layers.{i}.self_attn_layer_norm": "decoder.layers.{i}.norm1",
        **_attention("model.decoder.layers.{i}.encoder_attn", "decoder.layers.{i}.recall"),
        "model.decoder.layers.{i}.encoder_attn_layer_norm": "decoder.layers.{i}.norm2",
        "model.decoder.layers.{i}.fc1": "decoder.layers.{i}.mlp.layers.fc1",
        "model.decoder.layers.{i}.fc2": "decoder.layers.{i}.mlp.layers.fc2",
        "model.decoder.layers.{i}.final_layer_norm": "decoder.layers.{i}.norm3",
        "model.decoder.layernorm": "decoder.norm",
        "class_labels_classifier": "head.classes",
        "bbox_predictor.layers.{i}": "head.boxes.{i}",
    })  # fmt: skip


FAMILY = Family(
    config=DetrConfig,
    model=Detr,
    names={
        "transformers": _names(_resnet.TRANSFORMERS, "resnet."),
        "timm_backbone": _names(_resnet.TIMM, ""),
    },
    base="model.",
    architecture="DetrForObjectDetection",
    heads=("head.classes",),
    variants={
        "detr_resnet50": DetrConfig(),
        "detr_resnet101": DetrConfig(backbone_config=BACKBONES["resnet101"]),
    },
)
