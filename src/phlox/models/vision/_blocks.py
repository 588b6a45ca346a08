"""What families of vision share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from phlox.core import Module
from phlox.nn import BatchNorm, Conv
from phlox.nn.functional import identity


class ConvNorm(Module):
    """A convolution without bias, a batch norm, an activation: y = act(norm(conv(x))).

    Arguments:
        kernel: size of the window.
        channels, filters: features in and out.
        act: the activation.
        stride, groups: of the convolution.
        padding: of the convolution; by default half the window, which keeps the size at stride 1 where it is odd.
        eps, momentum: of the norm.
    """

    conv: Conv
    norm: BatchNorm
    folds: ClassVar[tuple[tuple[str, str], ...]] = (("conv", "norm"),)

    def __init__(
        self,
        kernel: int,
        channels: int,
        filters: int,
        act: Callable[..., Any] = identity,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: Any = None,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ):
        size, padding = (kernel, kernel), kernel // 2 if padding is None else padding
        self.conv = Conv(size, channels, filters, stride=stride, padding=padding, groups=groups, bias=False)
        self.norm = BatchNorm(filters, act, eps=eps, momentum=momentum)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


def rising(rate: float, count: int) -> list[float]:
    """Rates of stochastic depth: from 0 at the first of so many blocks to the full rate at the last."""
    return [rate * i / max(count - 1, 1) for i in range(count)]
