"""What a U-Net is made of: residual blocks that are told the time, attention over space, and levels of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.nn import Conv, Dense, Dropout, GroupNorm, MultiHeadAttention, Upsample, init
from phlox.nn.functional import silu


class ResidualBlock(Module):
    r"""Two convolutions beside a shortcut; between them the block is told c.

    $h = C_1(silu(N_1(x))),\; y = S(x) + C_2(drop(silu(N_2(h + W silu(c)))))$; with ``scale_shift`` c comes after the
    norm, $N_2(h) (1 + s) + b$ with (s, b) = W silu(c). S is a convolution of one element where channels change. $C_2$
    starts at zero: a new block is its shortcut.

    Shapes:
        x: (batch, height, width, in_channels); c: (batch, time_dim); y: (batch, height, width, out_channels).

    Arguments:
        in_channels, out_channels: channels, multiples of ``groups``.
        time_dim: features of c.
        groups: groups of the norms.
        eps: ε of the norms.
        dropout: probability of a zero, in training.
        scale_shift: whether c scales and shifts.

    Raises:
        RangeError: channels that the groups do not divide.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239), appendix B; ``scale_shift``: Dhariwal and Nichol
        (arXiv:2105.05233).

    >>> block, x = ResidualBlock(4, 4, 8, groups=2), jnp.ones((1, 6, 6, 4))
    >>> bool((block(x, jnp.ones((1, 8))) == x).all())  # a new block does nothing
    True
    """

    scale_shift: bool
    tensor_rules: ClassVar[dict[str, Any]] = {"conv1": "column", "conv2": "row"}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int,
        *,
        groups: int = 32,
        eps: float = 1e-5,
        dropout: float = 0.0,
        scale_shift: bool = False,
    ):
        self.scale_shift = scale_shift
        self.norm1: GroupNorm = GroupNorm(in_channels, groups, silu, eps=eps)
        self.conv1: Conv = Conv((3, 3), in_channels, out_channels, padding=1)
        self.time: Dense = Dense(time_dim, out_channels * (2 if scale_shift else 1))
        self.norm2: GroupNorm = GroupNorm(out_channels, groups, eps=eps)
        self.drop: Dropout | None = Dropout(dropout) if dropout else None
        self.conv2: Conv = Conv((3, 3), out_channels, out_channels, padding=1, init=init.zeros)
        same = in_channels == out_channels
        self.shortcut: Conv | None = None if same else Conv((1, 1), in_channels, out_channels)

    def __call__(self, x: Any, c: Any) -> jax.Array:
        h, c = self.conv1(self.norm1(x)), self.time(silu(c))[:, None, None]
        if self.scale_shift:
            scale, shift = jnp.split(c, 2, axis=-1)
            h = silu(self.norm2(h) * (1 + scale) + shift)
        else:
            h = silu(self.norm2(h + c))
        h = self.conv2(h if self.drop is None else self.drop(h))
        return h + (x if self.shortcut is None else self.shortcut(x))


class SpatialAttention(Module):
    r"""Every place looks at every other, beside a shortcut: $y = x + A(N(x))$; a new one does nothing.

    Shapes:
        x, y: (batch, height, width, channels).

    Arguments:
        channels: a multiple of ``groups`` and ``head_dim``.
        head_dim: channels of each head.
        groups, eps: of the norm.

    Raises:
        RangeError: channels that do not divide.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239), appendix B.

    >>> bool((SpatialAttention(4, 2, groups=2)(jnp.ones((1, 3, 3, 4))) == 1).all())
    True
    """

    def __init__(self, channels: int, head_dim: int, *, groups: int = 32, eps: float = 1e-5):
        self.norm: GroupNorm = GroupNorm(channels, groups, eps=eps)
        self.attention: MultiHeadAttention = MultiHeadAttention(channels, max(channels // head_dim, 1))
        self.attention.out_proj.weight = jnp.zeros_like(self.attention.out_proj.weight)

    def __call__(self, x: Any) -> jax.Array:
        flat = self.norm(x).reshape(x.shape[0], -1, x.shape[-1])
        return x + self.attention(flat).reshape(x.shape)


class Level(Module):
    """Residual blocks of one resolution, each perhaps with attention behind it.

    Shapes:
        x: (batch, height, width, channels of the first block); c: (batch, time_dim); y: (batch, height, width,
        channels of the last).

    Arguments:
        sizes: (in_channels, out_channels) of each block.
        time_dim: features of c.
        head_dim: channels of each head of attention; None for no attention.
        options: of ``ResidualBlock``.

    Source: Ho, Jain and Abbeel (arXiv:2006.11239), appendix B.

    >>> level = Level([(2, 4), (4, 4)], 8, None, groups=2)
    >>> [h.shape[-1] for h in level.each(jnp.ones((1, 6, 6, 2)), jnp.ones((1, 8)))]
    [4, 4]
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], time_dim: int, head_dim: int | None, **options: Any):
        norm = {name: options[name] for name in ("groups", "eps") if name in options}
        self.blocks: list[ResidualBlock] = [ResidualBlock(a, b, time_dim, **options) for a, b in sizes]
        self.attentions: list[SpatialAttention] = [
            SpatialAttention(b, head_dim, **norm) for _, b in sizes if head_dim is not None
        ]

    def step(self, i: int, x: Any, c: Any) -> jax.Array:
        """The i-th block, and the attention behind it."""
        x = self.blocks[i](x, c)
        return self.attentions[i](x) if self.attentions else x

    def each(self, x: Any, c: Any) -> list[jax.Array]:
        """What each block gives, one after the other."""
        given = []
        for i in range(len(self.blocks)):
            x = self.step(i, x, c)
            given.append(x)
        return given

    def joined(self, x: Any, c: Any, skipped: list[jax.Array]) -> jax.Array:
        """Through all blocks, each with the last of what was skipped beside its input; takes them out of the list."""
        for i in range(len(self.blocks)):
            x = self.step(i, jnp.concatenate([x, skipped.pop()], axis=-1), c)
        return x


class Larger(Module):
    """Twice the height and width: the nearest element, then a convolution.

    Shapes:
        x: (batch, height, width, channels); y: (batch, 2 height, 2 width, channels).

    Arguments:
        channels: of both.

    Source: Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", 2016.

    >>> Larger(2)(jnp.ones((1, 3, 3, 2))).shape
    (1, 6, 6, 2)
    """

    def __init__(self, channels: int):
        self.upsample: Upsample = Upsample(scale=2)
        self.conv: Conv = Conv((3, 3), channels, channels, padding=1)

    def __call__(self, x: Any) -> jax.Array:
        return self.conv(self.upsample(x))
