"""Activations by the names that configs use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from phlox.core import RangeError
from phlox.nn import functional as F

_BY_NAME: dict[str, Callable[..., Any]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": partial(F.gelu, approximate="sigmoid"),
    "silu": F.silu,
    "swish": F.silu,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "hardswish": F.hardswish,
    "hard_swish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "selu": F.selu,
    "elu": F.elu,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "linear": F.identity,
}


def activation(name: str, where: str) -> Callable[..., Any]:
    """The activation that a config names.

    Raises:
        RangeError: a name that no activation has.
    """
    if name not in _BY_NAME:
        raise RangeError(
            f"an activation among {', '.join(_BY_NAME)}", got=repr(name), fix="look at config.json", where=where
        )
    return _BY_NAME[name]
