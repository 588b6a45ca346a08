"""Inverted residual blocks, as mobile networks stack them: wide in the middle, narrow at both ends.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018; Hu, Shen and Sun,
"Squeeze-and-excitation networks", 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Module
from phlox.models._model import ImageClassifier
from phlox.models.vision._blocks import ConvNorm
from phlox.nn import Conv, DropPath, added
from phlox.nn.functional import identity, sigmoid


class SqueezeExcite(Module):
    """Each channel by a gate that the means of all channels open: y = x · gate(expand(act(reduce(mean(x))))).

    Arguments:
        channels, squeezed: features outside, and in the middle.
        act: the activation in the middle.
        gate: what makes factors in [0, 1].
    """

    reduce: Conv
    expand: Conv
    tensor_rules: ClassVar[dict[str, Any]] = {"reduce": "row", "expand": "column"}

    def __init__(self, channels: int, squeezed: int, act: Callable[..., Any], gate: Callable[..., Any] = sigmoid):
        self.reduce = Conv((1, 1), channels, squeezed, act)
        self.expand = Conv((1, 1), squeezed, channels, gate)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.expand(self.reduce(jnp.mean(x, (1, 2), keepdims=True)))


class InvertedResidual(Module):
    """y = x + drop(project(excite(depthwise(expand(x))))); without the sum where the form changes.

    Arguments:
        expand: to the width in the middle; None where it is that of the ends.
        depthwise: over space, each channel by itself.
        excite: weighs the channels; None for none.
        project: to the width at the end, without an activation.
        shortcut: whether x is added.
        drop: stochastic depth of the branch; None for none.
    """

    expand: ConvNorm | None
    depthwise: ConvNorm
    excite: SqueezeExcite | None
    project: ConvNorm
    drop: DropPath | None
    tensor_rules: ClassVar[dict[str, Any]] = {"expand": "column", "depthwise": "column", "project": "row"}

    def __init__(
        self,
        expand: ConvNorm | None,
        depthwise: ConvNorm,
        excite: SqueezeExcite | None,
        project: ConvNorm,
        *,
        shortcut: bool,
        drop: DropPath | None = None,
    ):
        self.expand, self.depthwise, self.excite, self.project = expand, depthwise, excite, project
        self.shortcut, self.drop = shortcut, drop

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        y = y if self.excite is None else self.excite(y)
        if self.shortcut and self.drop in (None, identity):
            return added(self.project, y, x)
        y = self.project(y)
        y = y if self.drop is None else self.drop(y)
        return x + y if self.shortcut else y


class InvertedResidualNet(ImageClassifier):
    """A stem, stages of inverted residual blocks, and a last convolution: what mobile networks have in common."""

    stem: ConvNorm
    stages: list[list[InvertedResidual]]
    top: ConvNorm

    def hidden_states(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """What stands after the stem and after each block, from images (batch, height, width, channels)."""
        states = [self.stem(images)]
        for stage in self.stages:
            for block in stage:
                states.append(block(states[-1]))
        return tuple(states)

    def features(self, images: jax.Array) -> jax.Array:
        """The last map of features (batch, height', width', features), behind the last convolution."""
        return self.top(self.hidden_states(images)[-1])


def norm_options(config: Any) -> dict[str, Any]:
    """Options of the norms, whose momentum the configs of these networks give as the share that stays."""
    return {"eps": config.batch_norm_eps, "momentum": 1 - config.batch_norm_momentum}


def rounded(width: float, divisor: int = 8) -> int:
    """A width as a multiple of a divisor, the nearest one that is not below nine tenths of it."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest
