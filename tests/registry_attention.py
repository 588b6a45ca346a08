"""More rows of the registry (``registry.py`` appends them): attention, positions, transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import phlox as px
from phlox import nn
from registry import Case, Wrong, normal

X = normal(2, 5, 8)
Y = normal(2, 6, 8, seed=1)


def attend(torch: Any, p: Mapping[str, Any], q: Any, k: Any, heads: int, prefix: str = "", causal: bool = False) -> Any:
    """Multi-head attention by PyTorch's function."""

    def project(name: str, x: Any) -> Any:
        y = x @ p[f"{prefix}{name}_proj.weight"]
        return y + p[f"{prefix}{name}_proj.bias"] if f"{prefix}{name}_proj.bias" in p else y

    size = p[f"{prefix}q_proj.weight"].shape[1] // heads
    split = lambda x: x.reshape(*x.shape[:2], -1, size).transpose(1, 2)  # noqa: E731
    q, k, v = split(project("q", q)), split(project("k", k)), split(project("v", k))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    return project("out", y.transpose(1, 2).flatten(2))


def gated_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    gate = torch.nn.functional.silu(x @ p["gate.weight"] + p["gate.bias"])
    return (gate * (x @ p["up.weight"] + p["up.bias"])) @ p["down.weight"] + p["down.bias"]


def rotary_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    angles = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.01])
    turned = torch.view_as_complex(x.unflatten(-1, (2, 2)).contiguous()) * torch.polar(torch.ones(()), angles)[:, None]
    return torch.view_as_real(turned).flatten(-2)


def positions_twin(torch: Any, p: Mapping[str, Any], x: Any, train: bool) -> Any:
    return x + p["weight"][: x.shape[1]]


ATTENTION: list[Case] = [
    Case(
        "MultiHeadAttention",
        lambda key: nn.MultiHeadAttention(8, 2, key=key),
        (X,),
        "dim=8, heads=2",
        lambda torch, p, x, train: attend(torch, p, x, x, 2),
        wrong=Wrong((normal(2, 5, 6),), " MultiHeadAttention(8, 2) expects (batch, time, 8), got float32[2, 5, 6]"),
    ),
    Case(
        "MultiHeadAttention-grouped",
        lambda key: nn.MultiHeadAttention(8, 4, kv_heads=2, causal=True, bias=False, key=key),
        (X,),
        ("MultiHeadAttention(", "dim=8, heads=4", "kv_heads=2", "causal=True", "bias=False"),
        lambda torch, p, x, train: attend(torch, p, x, x, 4, causal=True),
    ),
    Case(
        "MultiHeadAttention-cross",
        lambda key: nn.MultiHeadAttention(8, 2, chunk=2, positions=nn.ALiBi(2), key=key),
        (X, Y),
        ("dim=8, heads=2", "chunk=2", "ALiBi(2)"),
    ),
    Case(
        "MultiHeadAttention-dropout",
        lambda key: nn.MultiHeadAttention(
            8, 2, dropout=0.3, positions=nn.RelativePositionBias(2, buckets=4, key=key), key=key
        ),
        (X,),
        ("Dropout(0.3)", "RelativePositionBias(", "buckets=4"),
        draws=True,
    ),
    Case(
        "TransformerEncoderLayer",
        lambda key: nn.TransformerEncoderLayer(8, 2, 12, px.gelu, dropout=0.2, causal=True, key=key),
        (X,),
        ("TransformerEncoderLayer(", "dim=8, heads=2"),
        draws=True,
        low=False,  # rounding adds up over its steps; test_transformer.py says how far
        wrong=Wrong((normal(2, 5, 6),), ".attention MultiHeadAttention(8, 2) expects (batch, time, 8), got"),
    ),
    Case(
        "GatedMLP",
        lambda key: nn.GatedMLP(8, 12, bias=True, key=key),
        (X,),
        "dim=8, hidden=12, bias=True",
        gated_twin,
        leading=True,
    ),
    Case(
        "MixtureOfExperts",
        lambda key: nn.MixtureOfExperts(8, 3, lambda: nn.GatedMLP(8, 6), key=key),
        (X,),
        "dim=8, num_experts=3",
        leading=True,
        low=False,  # rounding the router's scores may choose another expert
        wrong=Wrong((normal(2, 5, 6),), " MixtureOfExperts(8, 3) expects (..., 8), got float32[2, 5, 6]"),
    ),
    Case(
        "RotaryEmbedding",
        lambda key: nn.RotaryEmbedding(4, interleaved=True),
        (normal(2, 5, 3, 4),),
        "RotaryEmbedding(4, interleaved=True)",
        rotary_twin,
        wrong=Wrong((X,), " RotaryEmbedding(4) expects (batch, time, heads, 4 or more), got float32[2, 5, 8]"),
    ),
    Case(
        "PositionEmbedding",
        lambda key: nn.PositionEmbedding(6, 8, key=key),
        (X,),
        "PositionEmbedding(6, 8)",
        positions_twin,
        wrong=Wrong((np.zeros((2, 7, 8), np.float32),), " PositionEmbedding(6, 8) expects at most 6 positions"),
    ),
    Case(
        "SinusoidalEmbedding",
        lambda key: nn.SinusoidalEmbedding(8),
        (X,),
        "SinusoidalEmbedding(8)",
        wrong=Wrong((normal(5, 8),), " SinusoidalEmbedding(8) expects (batch, time, 8), got float32[5, 8]"),
    ),
]
