"""More rows of the registry (``registry.py`` appends them): normalisation to embeddings."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox import nn
from registry import Case, Wrong, channels_first, channels_last, keys, normal

X = normal(4, 6)
IMAGE = normal(2, 6, 5, 4)
SERIES = normal(2, 9, 4)
INDICES = np.array([[1, 5, 0], [2, 2, 6]], np.int32)
Twin = Callable[[Any, Mapping[str, Any], Any, bool], Any]


# --- twins in PyTorch ------------------------------------------------------------------------------


def on_channels_first(f: Callable[..., Any]) -> Twin:
    """A function of ``(torch, p, x)`` with channels first, as one with channels last."""
    return lambda torch, p, x, train: channels_last(f(torch, p, channels_first(x)))


def group_norm_twin(torch: Any, p: Mapping[str, Any], x: Any) -> Any:
    return torch.nn.functional.group_norm(x, 2, p["scale"], p["bias"])


def instance_norm_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    y = torch.nn.functional.instance_norm(
        channels_first(x), p["mean"].clone(), p["var"].clone(), p.get("scale"), p.get("bias"), use_input_stats=train
    )
    return channels_last(y)


def weight_normed(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    v = p["layer.weight"]
    return x @ (p["size"] * v / torch.linalg.vector_norm(v, dim=0)) + p["layer.bias"]


def swish_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return x * torch.sigmoid(p["beta"] * x)


def bilinear_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return torch.nn.functional.bilinear(x, x, p["weight"].permute(2, 0, 1), p["bias"])


def bag_twin(mode: str, padding: int | None = None) -> Twin:
    return lambda torch, p, x, train: torch.nn.functional.embedding_bag(x, p["weight"], mode=mode, padding_idx=padding)


def repeated_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    for weight, bias in zip(p["block.weight"], p["block.bias"], strict=True):
        x = torch.tanh(x @ weight + bias)
    return x


def injected_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    first = x
    for _ in range(3):
        x = torch.nn.functional.bilinear(x, first, p["block.weight"].permute(2, 0, 1), p["block.bias"])
    return x


def maxout_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    parts = [x @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"] for i in range(3)]
    return torch.stack(parts).amax(0)


def fusion_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    one = x @ p["layers.0.layers.first.weight"]
    return one + (one * x) @ p["layers.0.layers.second.weight"]


def functional_twin(name: str, *args: Any, **options: Any) -> Twin:
    return on_channels_first(lambda torch, p, x: getattr(torch.nn.functional, name)(x, *args, **options))


# --- functions in rows (named, so that models pickle) ------------------------------------------------


def scaled(self: Any, x: Any) -> Any:
    return self.scale * jnp.tanh(self.inner(x))


def scaled_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return p["scale"] * torch.tanh(x @ p["inner.weight"] + p["inner.bias"])


def total(*ys: Any) -> Any:
    return sum(ys[1:], ys[0])


def joined(*ys: Any) -> Any:
    return jnp.concatenate(ys, -1)


def _fusion(key: Any) -> px.Module:
    one, two = keys(key)
    first = px.Dense(6, 6, bias=False, key=one)
    fusion = nn.PairwiseFusion(operator.mul, first=first, second=px.Dense(6, 6, bias=False, key=two))
    return px.Chain(fusion, total)


LAYERS: list[Case] = [
    # normalisation
    Case(
        "GroupNorm",
        lambda key: nn.GroupNorm(4, 2),
        (IMAGE,),
        "GroupNorm(4, 2)",
        on_channels_first(group_norm_twin),
        wrong=Wrong((normal(2, 6, 5, 3),), " GroupNorm(4, 2) expects (batch, ..., 4), got float32[2, 6, 5, 3]"),
    ),
    Case(
        "InstanceNorm",
        lambda key: nn.InstanceNorm(4, px.relu, affine=True),
        (IMAGE,),
        "InstanceNorm(4, relu, affine=True)",
        on_channels_first(
            lambda torch, p, x: torch.relu(torch.nn.functional.instance_norm(x, weight=p["scale"], bias=p["bias"]))
        ),
        wrong=Wrong((X,), " InstanceNorm(4, relu) expects (batch, *space, 4), got float32[4, 6]"),
    ),
    Case(
        "InstanceNorm-track",
        lambda key: nn.InstanceNorm(4, affine=True, track=True),
        (SERIES,),
        "InstanceNorm(4, affine=True, track=True)",
        instance_norm_twin,
        moves=True,
    ),
    Case(
        "RMSNorm",
        lambda key: nn.RMSNorm((5, 4), eps=1e-3),
        (IMAGE,),
        "RMSNorm((5, 4), eps=0.001)",
        lambda torch, p, x, train: torch.nn.functional.rms_norm(x, (5, 4), p["scale"], eps=1e-3),
        leading=True,
        wrong=Wrong((X,), " RMSNorm(5, 4) expects (..., 5, 4), got float32[4, 6]"),
    ),
    Case(
        "LocalResponseNorm",
        lambda key: nn.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0),
        (IMAGE,),
        "LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0)",
        functional_twin("local_response_norm", 3, alpha=0.5, beta=0.6, k=2.0),
        leading=True,
    ),
    Case(
        "WeightNorm",
        lambda key: nn.WeightNorm(px.Dense(6, 3, key=key)),
        (X,),
        ("WeightNorm(", "layer=Dense(6, 3)"),
        weight_normed,
        leading=True,
        wrong=Wrong((normal(4, 5),), ".layer Dense(6 → 3) expects (..., 6), got float32[4, 5]"),
    ),
    # dropouts
    Case(
        "AlphaDropout", lambda key: nn.AlphaDropout(0.3, key=key), (X,), "AlphaDropout(0.3)", leading=True, draws=True
    ),
    Case(
        "FeatureAlphaDropout",
        lambda key: nn.FeatureAlphaDropout(0.4, key=key),
        (IMAGE,),
        "FeatureAlphaDropout(0.4)",
        draws=True,
        wrong=Wrong((X[0],), " FeatureAlphaDropout(0.4) expects (batch, ..., channels), got float32[6]"),
    ),
    Case("DropPath", lambda key: nn.DropPath(0.5, key=key), (normal(16, 2),), "DropPath(0.5)", draws=True),
    Case(
        "VariationalDropout",
        lambda key: nn.VariationalDropout(0.4, key=key),
        (SERIES,),
        "VariationalDropout(0.4)",
        draws=True,
        wrong=Wrong((X[0],), " VariationalDropout(0.4) expects an input with axis 1, got float32[6]"),
    ),
    # containers
    Case(
        "RepeatedLayer",
        lambda key: nn.RepeatedLayer(lambda: px.Dense(6, 6, px.tanh), 3, key=key),
        (X,),
        ("RepeatedLayer(", "repeats=3", "block=Dense(6, 6, tanh)"),
        repeated_twin,
        leading=True,
    ),
    Case(
        "RepeatedLayer-share",
        lambda key: nn.RepeatedLayer(lambda: nn.Bilinear(6, 6, 6), 3, share=True, inject=True, remat=True, key=key),
        (X,),
        ("RepeatedLayer(", "inject=True", "share=True", "remat=True"),
        injected_twin,
    ),
    Case(
        "RepeatedLayer-state",
        lambda key: nn.RepeatedLayer(
            lambda: px.Chain(px.Dense(6, 6), px.BatchNorm(6, px.tanh), px.Dropout(0.2)), 3, remat=True, key=key
        ),
        (X,),
        ("RepeatedLayer(", "BatchNorm(6, tanh)"),
        draws=True,
        moves=True,
    ),
    Case(
        "compact",
        lambda key: nn.compact(scaled, inner=px.Dense(6, 3, key=key), scale=jnp.ones(3)),
        (X,),
        ("Compact(", "forward=scaled", "Dense(6, 3)"),
        scaled_twin,
        leading=True,
    ),
    Case(
        "Maxout",
        lambda key: nn.Maxout(*[px.Dense(6, 2, key=k) for k in keys(key, 3)]),
        (X,),
        ("Maxout(", "3 × Dense(6, 2)"),
        maxout_twin,
        leading=True,
    ),
    Case(
        "PairwiseFusion", _fusion, (X,), ("PairwiseFusion(", "connection=mul", "first=Dense"), fusion_twin, leading=True
    ),
    Case(
        "Branch",
        lambda key: px.Chain(nn.Branch(px.Dense(6, 2, key=key), px.tanh), joined),
        (X,),
        ("Branch(", "Dense(6, 2)", "tanh"),
        lambda torch, p, x, train: torch.cat(
            [x @ p["layers.0.layers.0.weight"] + p["layers.0.layers.0.bias"], torch.tanh(x)], -1
        ),
        leading=True,
    ),
    # products, embeddings, activations
    Case(
        "Bilinear",
        lambda key: nn.Bilinear(6, 6, 3, key=key),
        (X,),
        "Bilinear(6, 6, 3)",
        bilinear_twin,
        leading=True,
        wrong=Wrong((normal(4, 5),), " Bilinear(6 × 6 → 3) expects a first input (..., 6), got float32[4, 5]"),
    ),
    Case(
        "Scale",
        lambda key: nn.Scale((5, 4), px.tanh),
        (IMAGE,),
        "Scale((5, 4), tanh)",
        lambda torch, p, x, train: torch.tanh(x * p["scale"] + p["bias"]),
        leading=True,
        wrong=Wrong((X,), " Scale(5, 4, tanh) expects (..., 5, 4), got float32[4, 6]"),
    ),
    Case("EmbeddingBag", lambda key: nn.EmbeddingBag(7, 3, key=key), (INDICES,), "EmbeddingBag(7, 3", bag_twin("mean")),
    Case(
        "EmbeddingBag-max",
        lambda key: nn.EmbeddingBag(7, 3, mode="max", key=key),
        (INDICES,),
        "mode='max'",
        bag_twin("max"),
    ),
    Case(
        "EmbeddingBag-padding",
        lambda key: nn.EmbeddingBag(7, 3, mode="sum", padding_idx=5, key=key),
        (INDICES,),
        "padding_idx=5",
        bag_twin("sum", 5),
    ),
    Case(
        "PReLU",
        lambda key: nn.PReLU(4),
        (IMAGE,),
        "PReLU(4)",
        on_channels_first(lambda torch, p, x: torch.nn.functional.prelu(x, p["slope"])),
        leading=True,
        wrong=Wrong((X,), " PReLU(4) expects (..., 4), got float32[4, 6]"),
    ),
    Case("Swish", lambda key: nn.Swish(), (X,), "Swish()", swish_twin, leading=True),
    Case("RReLU", lambda key: nn.RReLU(0.1, 0.6, key=key), (X,), "RReLU(0.1, 0.6)", leading=True, draws=True),
]
