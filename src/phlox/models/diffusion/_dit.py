"""DiT: a transformer over patches, told the time and the label by the scales of its norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, describe, key_or_draw, seed
from phlox.models.diffusion._time import LabelEmbedding, TimeEmbedding
from phlox.nn import Chain, Conv, Dense, LayerNorm, MultiHeadAttention, init
from phlox.nn.functional import gelu, silu, sinusoidal_positions

_SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}  # dim, depth, heads

# The names of modules in diffusers' DiTTransformer2DModel, which holds a copy of the two embeddings in each block.
NAMES = {
    "pos_embed.proj": "patches",
    "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1": "time.linear_1",
    "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2": "time.linear_2",
    "transformer_blocks.0.norm1.emb.class_embedder.embedding_table": "label.table",
    "transformer_blocks.{i}.norm1.linear": "blocks.{i}.modulation",
    "transformer_blocks.{i}.attn1.to_q": "blocks.{i}.attention.q_proj",
    "transformer_blocks.{i}.attn1.to_k": "blocks.{i}.attention.k_proj",
    "transformer_blocks.{i}.attn1.to_v": "blocks.{i}.attention.v_proj",
    "transformer_blocks.{i}.attn1.to_out.0": "blocks.{i}.attention.out_proj",
    "transformer_blocks.{i}.ff.net.0.proj": "blocks.{i}.mlp.layers.0",
    "transformer_blocks.{i}.ff.net.2": "blocks.{i}.mlp.layers.1",
    "proj_out_1": "modulation",
    "proj_out_2": "head",
}


@dataclass(frozen=True)
class DiTConfig:
    """The sizes of a ``DiT``; the defaults are those of DiT-XL/2 on latents of 32 × 32.

    Arguments:
        size: height and width of the input, elements; a multiple of ``patch``.
        patch: height and width of a patch.
        channels: of the input.
        out_channels: of the output; as many by default, twice as many where the variance is learned too.
        dim: features, a multiple of 4 and of ``heads``.
        depth: blocks.
        heads: heads of attention.
        mlp_ratio: features within a block's perceptron, as a multiple of ``dim``.
        classes: how many labels there are; None for a network without.
        label_dropout: the probability of a label to be dropped in training.
        freq_shift: of the waves of times; 0 in the paper's code, 1 in diffusers.
        mlp_eps: ε of the norm before the perceptron; 1e-6 in the paper's code, 1e-5 in diffusers.

    Raises:
        RangeError: sizes that do not divide.

    >>> DiTConfig.named("B/4", classes=None).dim
    768
    """

    size: int = 32
    patch: int = 2
    channels: int = 4
    out_channels: int | None = None
    dim: int = 1152
    depth: int = 28
    heads: int = 16
    mlp_ratio: float = 4.0
    classes: int | None = 1000
    label_dropout: float = 0.1
    freq_shift: float = 0.0
    mlp_eps: float = 1e-6

    def __post_init__(self) -> None:
        for name, value, by, divisor in (
            ("size", self.size, "patch", self.patch),
            ("dim", self.dim, "heads", self.heads),
            ("dim", self.dim, "4", 4),
        ):
            if value < 1 or divisor < 1 or value % divisor:
                expected, got = f"{name} as a multiple of {by}", f"{name}={value} and {divisor}"
                raise RangeError(expected, got=got, fix=f"choose a multiple of {divisor}", where="DiTConfig")

    @classmethod
    def named(cls, name: str, **others: Any) -> DiTConfig:
        """The sizes of the paper: ``"S/2"`` … ``"XL/8"``, with or without ``DiT-`` before.

        Raises:
            RangeError: another name.
        """
        size, _, patch = name.removeprefix("DiT-").partition("/")
        if size not in _SIZES or patch not in ("2", "4", "8"):
            expected, fix = "a size S, B, L or XL and a patch 2, 4 or 8", "write it as 'XL/2'"
            raise RangeError(expected, got=repr(name), fix=fix, where="DiTConfig.named")
        dim, depth, heads = _SIZES[size]
        return cls(**{"dim": dim, "depth": depth, "heads": heads, "patch": int(patch), **others})


class DiT(Module):
    r"""A diffusion transformer: patches, blocks of attention with adaLN-Zero, and patches again.

    Time and label, $c = e(t) + l(y)$, are told by shift, scale and gate of each block. Gates and the last layer start
    at zero: a new network says zero.

    Shapes:
        x: (batch, size, size, channels); t: (batch,), integers or floats; labels: (batch,), integers, where
            ``classes`` is given; y: (batch, size, size, out_channels).

    Arguments:
        config: the sizes.
        key: where weights and draws come from; by default the stream of ``px.seed``.

    Raises:
        ShapeError: an input of another size. RangeError: labels where there are no classes, or none where there are.

    Source: Peebles and Xie, "Scalable diffusion models with transformers" (arXiv:2212.09748).

    >>> import phlox as px
    >>> config = DiTConfig(size=28, patch=4, channels=1, dim=64, depth=2, heads=4, classes=10)
    >>> px.eval_shape(lambda: DiT(config)(jnp.ones((2, 28, 28, 1)), jnp.array([0, 999]), jnp.array([3, 10]))).shape
    (2, 28, 28, 1)
    """

    config: DiTConfig

    def __init__(self, config: DiTConfig, *, key: Any = None):
        self.config = config
        dim, patch = config.dim, config.patch
        out = config.channels if config.out_channels is None else config.out_channels
        with seed(key_or_draw(key)):
            self.patches: Conv = Conv((patch, patch), config.channels, dim, stride=patch)
            self.time: TimeEmbedding = TimeEmbedding(256, dim, freq_shift=config.freq_shift)
            self.label: LabelEmbedding | None = (
                None if config.classes is None else LabelEmbedding(config.classes, dim, dropout=config.label_dropout)
            )
            self.blocks: list[DiTBlock] = [DiTBlock(config) for _ in range(config.depth)]
            self.modulation: Dense = Dense(dim, 2 * dim, init=init.zeros)
            self.norm: LayerNorm = LayerNorm(dim, eps=1e-6, affine=False)
            self.head: Dense = Dense(dim, patch * patch * out, init=init.zeros)

    def __call__(self, x: Any, t: Any, labels: Any = None) -> jax.Array:
        self._check(x, labels)
        x = self.patches(x)
        grid = x.shape[1:3]
        x = x.reshape(x.shape[0], -1, self.config.dim) + _positions(grid, self.config.dim).astype(x.dtype)
        c = self.time(t) if self.label is None else self.time(t) + self.label(labels)
        for block in self.blocks:
            x = block(x, c)
        shift, scale = jnp.split(self.modulation(silu(c))[:, None], 2, axis=-1)
        return _together(self.head(self.norm(x) * (1 + scale) + shift), grid, self.config.patch)

    def _check(self, x: Any, labels: Any) -> None:
        size, channels = self.config.size, self.config.channels
        if jnp.shape(x)[1:] != (size, size, channels):
            fix = "channels are the last axis; build the network for this size: DiTConfig(size=…)"
            raise ShapeError(f"(batch, {size}, {size}, {channels})", got=describe(x), fix=fix)
        if (labels is None) != (self.label is None):
            wanted = "labels" if labels is None else "no labels, for classes=None"
            fix = "pass condition=labels to samplers and losses" if labels is None else "build it with classes=…"
            raise RangeError(wanted, got=describe(labels), fix=fix)


class DiTBlock(Module):
    r"""Attention and a perceptron, each between a norm that is told c, and a gate: adaLN-Zero.

    $h = x + g_1 A(n_1(x)),\; y = h + g_2 M(n_2(h))$ with $n_i(x) = norm(x) (1 + s_i) + b_i$ and all of g, s, b linear
    in silu(c), zero at the start.

    Shapes:
        x, y: (batch, patches, dim); c: (batch, dim).

    Arguments:
        config: the sizes.

    Source: Peebles and Xie (arXiv:2212.09748), figure 3.

    >>> block = DiTBlock(DiTConfig(dim=16, heads=2))
    >>> x = jnp.ones((1, 4, 16))
    >>> bool((block(x, jnp.ones((1, 16))) == x).all())  # a new block does nothing
    True
    """

    def __init__(self, config: DiTConfig):
        dim, hidden = config.dim, int(config.dim * config.mlp_ratio)
        self.modulation: Dense = Dense(dim, 6 * dim, init=init.zeros)
        self.norm1: LayerNorm = LayerNorm(dim, eps=1e-6, affine=False)
        self.attention: MultiHeadAttention = MultiHeadAttention(dim, config.heads)
        self.norm2: LayerNorm = LayerNorm(dim, eps=config.mlp_eps, affine=False)
        self.mlp: Chain = Chain(Dense(dim, hidden, _gelu), Dense(hidden, dim))

    def __call__(self, x: Any, c: Any) -> jax.Array:
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(self.modulation(silu(c))[:, None], 6, axis=-1)
        x = x + gate1 * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


def _gelu(x: jax.Array) -> jax.Array:
    return gelu(x, "tanh")


def _positions(grid: tuple[int, int], dim: int) -> jax.Array:
    """(patches, dim): waves of the column, then of the row."""
    row, column = np.indices(grid).reshape(2, -1)
    return jnp.concatenate([sinusoidal_positions(p, dim // 2, interleaved=False) for p in (column, row)], axis=-1)


def _together(x: jax.Array, grid: tuple[int, int], patch: int) -> jax.Array:
    """(batch, patches, patch² · channels) as (batch, height, width, channels)."""
    high, wide = grid
    x = x.reshape(x.shape[0], high, wide, patch, patch, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], high * patch, wide * patch, -1)
