"""U-Net: down a path that shrinks the picture, up one that grows it again, with what was seen at each size handed over.

Source: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", 2015; here with padding,
so that a picture keeps its size, and with batch norms, as the widespread port to PyTorch ("milesial") has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.models._config import Config
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.nn import BatchNorm, Chain, Conv, ConvTranspose, Dropout, MaxPool
from phlox.nn import functional as F
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class UNetConfig(Config):
    """A U-Net.

    Arguments:
        classes: of a pixel; 0 for no head.
        num_channels: of the pictures.
        width: features at the full size; each step down doubles them.
        depth: how often the size is halved.
        batch_norm: a batch norm after each convolution, which then has no bias; without, as in 2015.
        bilinear: grow by interpolation, its corners aligned, and leave the doubling out at the last step down;
            else by a transposed convolution.
        dropout: probability of a zero in what the two smallest sizes give, in training; 0.5 in 2015.

    Raises:
        RangeError: a depth that is not from 1 to 16, or an odd width.
    """

    model_type: ClassVar[str] = "unet"

    classes: int = 2
    num_channels: int = 3
    width: int = 64
    depth: int = 4
    batch_norm: bool = True
    bilinear: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 16:
            raise RangeError("a depth from 1 to 16", got=str(self.depth), fix="4 is usual", where="UNetConfig.depth")
        if self.width < 2 or self.width % 2:
            where, fix = "UNetConfig.width", "64 is usual"
            raise RangeError("an even width, so that it can be halved", got=str(self.width), fix=fix, where=where)

    def widths(self) -> tuple[int, ...]:
        """Features at each size, from the full one to the smallest."""
        *most, last = (self.width * 2**i for i in range(self.depth + 1))
        return *most, last // 2 if self.bilinear else last


class DoubleConv(Chain):
    """Twice a 3×3 convolution, a batch norm if there are any, and ReLU."""

    def __init__(self, channels: int, middle: int, filters: int, *, batch_norm: bool):
        layers: list[Module] = []
        for size, out in ((channels, middle), (middle, filters)):
            if batch_norm:
                layers += [Conv((3, 3), size, out, padding=1, bias=False), BatchNorm(out, F.relu)]
            else:
                layers.append(Conv((3, 3), size, out, F.relu, padding=1))
        super().__init__(*layers)


class Up(Module):
    """The map grown to twice its size, beside the one that was handed over, through two convolutions."""

    grow: ConvTranspose | None
    convs: DoubleConv

    def __init__(self, below: int, across: int, filters: int, config: UNetConfig):
        bilinear = config.bilinear
        self.grow = None if bilinear else ConvTranspose((2, 2), below, across, stride=2)
        middle = (below + across) // 2 if bilinear else filters
        self.convs = DoubleConv(2 * across, middle, filters, batch_norm=config.batch_norm)

    def __call__(self, x: jax.Array, across: jax.Array) -> jax.Array:
        x = F.interpolate(x, scale=2, mode="bilinear", align_corners=True) if self.grow is None else self.grow(x)
        return self.convs(jnp.concatenate([across, _filled(x, across.shape[1:3])], -1))


class UNet(Model):
    """A U-Net for images (batch, height, width, channels): scores (batch, height, width, classes).

    Any size will do from 2ᵈᵉᵖᵗʰ pixels on; one that halves without a remainder is best.

    Arguments:
        config: a ``UNetConfig``.

    Raises:
        ShapeError: images that are too small to be halved so often.

    Source: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", 2015.

    >>> import phlox as px
    >>> model = px.models.UNet(px.models.UNetConfig(width=4, depth=2, classes=3))
    >>> px.output_shape(model, (1, 16, 20, 3))
    (1, 16, 20, 3)
    """

    config: UNetConfig
    stem: DoubleConv
    down: list[DoubleConv]
    up: list[Up]
    head: Any
    """What makes scores of features (batch, height, width, features); None for nothing."""
    shrink: MaxPool
    drop: list[Dropout]

    def __init__(self, config: UNetConfig):
        self.config = config
        widths, norm = config.widths(), config.batch_norm
        self.stem = DoubleConv(config.num_channels, widths[0], widths[0], batch_norm=norm)
        self.shrink = MaxPool((2, 2))
        self.down = [DoubleConv(widths[i], b, b, batch_norm=norm) for i, b in enumerate(widths[1:])]
        self.drop = [Dropout(config.dropout) for _ in self.down[-2:]]
        self.up = []
        below = widths[-1]
        for i in reversed(range(config.depth)):
            filters = widths[i] // 2 if config.bilinear and i else widths[i]
            self.up.append(Up(below, widths[i], filters, config))
            below = filters
        self.head = Conv((1, 1), below, config.classes) if config.classes else None

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """What stands at each size on the way down, then on the way up."""
        _check(images, self.config.depth)
        states = [self.stem(images)]
        kept = len(self.down) - len(self.drop)
        for i, layer in enumerate(self.down):
            x = layer(self.shrink(states[-1]))
            states.append(x if i < kept else self.drop[i - kept](x))
        across = states[:-1]
        for layer in self.up:
            states.append(layer(states[-1], across.pop()))
        return tuple(states)

    def features(self, images: jax.Array) -> jax.Array:
        """The last map (batch, height, width, features)."""
        return self.hidden_states(images)[-1]

    def __call__(self, images: jax.Array) -> jax.Array:
        features = self.features(images)
        return features if self.head is None else self.head(features)

    def parts(self) -> tuple[str, ...]:
        steps = range(len(self.down))
        return "stem", *(f"down.{i}" for i in steps), *(f"up.{i}" for i in steps), "head"


def _filled(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Filled up with zeros to a size, where one more row or column was lost on the way down."""
    lack = [n - m for n, m in zip(size, x.shape[1:3], strict=True)]
    return jnp.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in lack), (0, 0)])


def _check(images: Any, depth: int) -> None:
    if jnp.ndim(images) != 4 or min(jnp.shape(images)[1:3]) < 2**depth:
        expected = f"images (batch, height, width, channels) of at least {2**depth} pixels a side"
        raise ShapeError(expected, got=describe(images), fix="enlarge them, or build a U-Net of less depth")


def _milesial(config: UNetConfig) -> NameMap:
    """The names of the port, which counts the layers that hold nothing too."""
    names, step = {}, 3 if config.batch_norm else 2
    blocks = {"inc": "stem"}
    for i in range(config.depth):
        blocks[f"down{i + 1}.maxpool_conv.1"] = f"down.{i}"
        blocks[f"up{i + 1}.conv"] = f"up.{i}.convs"
        names[f"up{i + 1}.up"] = f"up.{i}.grow"
    for theirs, ours in blocks.items():
        for i in range(2):
            at = 2 * i if config.batch_norm else i
            names[f"{theirs}.double_conv.{step * i}"] = f"{ours}.layers.{at}"
            if config.batch_norm:
                names[f"{theirs}.double_conv.{step * i + 1}"] = f"{ours}.layers.{at + 1}"
    return NameMap({**names, "outc.conv": "head"})


FAMILY = Family(
    config=UNetConfig,
    model=UNet,
    names={"milesial": _milesial},
    architecture="UNet",
    variants={"unet": UNetConfig(), "unet_bilinear": UNetConfig(bilinear=True)},
)
