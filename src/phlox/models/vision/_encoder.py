"""Blocks of transformers for images: attention and features, each a branch beside a shortcut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from phlox.core import Module
from phlox.nn import Chain, Dense, Dropout, DropPath, LayerNorm, MultiHeadAttention, Scale
from phlox.nn.functional import identity
from phlox.nn.init import constant

Init = Callable[..., jax.Array]


class EncoderBlock(Module):
    r"""Attention, then features, each after its norm: $h = x + e(A(N_1(x))),\; y = h + e(M(N_2(h)))$.

    The end e of a branch drops features, scales each by a learned factor, and drops the branches of whole examples.

    Shapes:
        x, y: (batch, ..., dim).

    Arguments:
        dim: features.
        attention: a Module (batch, ..., dim) → (batch, ..., dim).
        mlp: another one.
        eps: of the norms.
        dropout: probability of a feature to be zeroed, in training.
        drop_path: probability of a branch to be zeroed for an example, in training.
        scale: where the factors of features start; None for no factors.
    """

    def __init__(
        self,
        dim: int,
        attention: Module,
        mlp: Module,
        *,
        eps: float,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        scale: float | None = None,
    ):
        self.norm1: LayerNorm = LayerNorm(dim, eps=eps)
        self.attention: Any = attention
        self.norm2: LayerNorm = LayerNorm(dim, eps=eps)
        self.mlp: Any = mlp
        self.drop: Any = dropped(dropout)
        self.scale1: Any = _scaled(dim, scale)
        self.scale2: Any = _scaled(dim, scale)
        self.path: Any = DropPath(drop_path) if drop_path else identity

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.path(self.scale1(self.drop(self.attention(self.norm1(x)))))
        return x + self.path(self.scale2(self.drop(self.mlp(self.norm2(x)))))


def attention(
    dim: int, heads: int, init: Init, *, qkv_bias: bool, dropout: float, positions: Any = None
) -> MultiHeadAttention:
    """Self-attention whose last map has a bias, whether the first three have or not."""
    made = MultiHeadAttention(dim, heads, bias=qkv_bias, dropout=dropout, positions=positions, init=init)
    made.out_proj = made.out_proj if qkv_bias else Dense(dim, dim, init=init)
    return made


def mlp(dim: int, hidden: int, act: Callable[..., Any], init: Init) -> Chain:
    """Two maps with an activation between."""
    return Chain(Dense(dim, hidden, act, init=init), Dense(hidden, dim, init=init))


def dropped(p: float) -> Any:
    """Dropout, where anything drops."""
    return Dropout(p) if p else identity


def _scaled(dim: int, start: float | None) -> Any:
    return identity if start is None else Scale(dim, bias=False, init=constant(start))
