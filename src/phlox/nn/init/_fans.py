"""How many inputs and outputs a weight joins, and how much an activation asks its variance to grow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from phlox.core import RangeError, ShapeError

__all__ = ["calculate_gain", "fans"]

_GAINS = {
    "identity": 1.0,
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Numbers of inputs and outputs of a weight: ``fan_in = k * in``, ``fan_out = k * out``.

    k is the number of taps, the product of the kernel's sizes (1 for Dense). With groups, in is the
    inputs of one group, out all outputs.

    Shapes:
        (in, out) for Dense; (k..., in/groups, out) for convolutions.

    Raises:
        ShapeError: fewer than two axes.

    >>> fans((784, 128)), fans((3, 3, 16, 32))
    ((784, 128), (144, 288))

    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward networks" (2010).
    """
    if len(shape) < 2:
        fix = "use normal, uniform, zeros or ones for biases and scales"
        raise ShapeError("a weight of at least two axes, (..., in, out)", got=str(list(shape)), fix=fix, where="fans")
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


def calculate_gain(activation: str, param: float | None = None) -> float:
    """Factor on the standard deviation that keeps the signal's size through an activation.

    identity, sigmoid 1; tanh 5/3; relu sqrt(2); leaky_relu ``sqrt(2 / (1 + slope**2))``; selu 3/4.

    Arguments:
        activation: its name.
        param: the negative slope of leaky_relu, 0.01 by default.

    Raises:
        RangeError: an unknown name.

    >>> round(calculate_gain("relu"), 4)
    1.4142

    Source: He et al. (arXiv:1502.01852); the values are PyTorch's.
    """
    if activation == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if activation not in _GAINS:
        names = ", ".join([*_GAINS, "leaky_relu"])
        fix = "pass the number itself as gain="
        raise RangeError(f"one of {names}", got=repr(activation), fix=fix, where="calculate_gain")
    return _GAINS[activation]
