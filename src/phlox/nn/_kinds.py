"""What a parameter is, by the layer that owns it: the one table that weight decay, Muon and their like go by.

The number of axes does not tell: in a ``RepeatedLayer`` a bias has two, and the kernel of a convolution has three to
five. The owner knows what each of its arrays is, and how many axes it has there; axes in front of these are stacked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from phlox.core import Module, RangeError, owners
from phlox.nn.attention._positions import PositionEmbedding, RelativePositionBias
from phlox.nn.containers._repeated import RepeatedLayer
from phlox.nn.features._activations import PReLU, Swish
from phlox.nn.features._dense import Dense
from phlox.nn.features._embedding import Embedding
from phlox.nn.features._embedding_bag import EmbeddingBag
from phlox.nn.features._experts import MixtureOfExperts
from phlox.nn.features._linear import Bilinear, Scale
from phlox.nn.normalisation._group_norm import GroupNorm, InstanceNorm
from phlox.nn.normalisation._norm import BatchNorm, LayerNorm
from phlox.nn.normalisation._rms_norm import RMSNorm
from phlox.nn.recurrence._cells import RecurrentCell
from phlox.nn.recurrence._conv_lstm import _ConvLSTM
from phlox.nn.recurrence._state_space import LRU, S4D, Mamba
from phlox.nn.space._conv import Conv
from phlox.nn.space._conv_transpose import ConvTranspose, DepthwiseConv

KINDS = ("matrix", "kernel", "bias", "scale", "embedding", "other")


class ParameterKind(NamedTuple):
    """What a parameter is."""

    kind: str
    """``matrix``, ``kernel`` (of a convolution), ``bias``, ``scale`` (of a norm), ``embedding`` or ``other``."""
    rank: int
    """The axes of one such parameter."""
    stacked: int
    """The axes in front of them, along which equal parameters of several layers stand."""


Rank = int | Callable[[Any], int]
_Rows = dict[str, tuple[str, Rank]]


def _window(layer: Any) -> int:
    return len(layer.kernel) + 2


def _sizes(layer: Any) -> int:
    return len(layer.size)


_WEIGHT, _BIAS, _VECTOR, _SCALE = ("matrix", 2), ("bias", 1), ("other", 1), ("scale", 1)
_TABLE: dict[type[Module], _Rows] = {
    Dense: {"weight": _WEIGHT, "bias": _BIAS},
    Bilinear: {"weight": ("matrix", 3), "bias": _BIAS},
    Conv: {"weight": ("kernel", _window), "bias": _BIAS},
    ConvTranspose: {"weight": ("kernel", _window), "bias": _BIAS},
    DepthwiseConv: {"weight": ("kernel", _window), "bias": _BIAS},
    _ConvLSTM: {"weight_ih": ("kernel", _window), "weight_hh": ("kernel", _window), "bias": _BIAS},
    RecurrentCell: {
        "weight_ih": _WEIGHT,
        "weight_hh": _WEIGHT,
        "weight_hr": _WEIGHT,
        "bias": _BIAS,
        "bias_hn": _BIAS,
        "h0": _VECTOR,
        "c0": _VECTOR,
    },
    Embedding: {"weight": ("embedding", 2)},
    EmbeddingBag: {"weight": ("embedding", 2)},
    PositionEmbedding: {"weight": ("embedding", 2)},
    RelativePositionBias: {"weight": ("embedding", 2)},
    BatchNorm: {"scale": _SCALE, "bias": _BIAS},
    GroupNorm: {"scale": _SCALE, "bias": _BIAS},
    InstanceNorm: {"scale": _SCALE, "bias": _BIAS},
    LayerNorm: {"scale": ("scale", _sizes), "bias": ("bias", _sizes)},
    RMSNorm: {"scale": ("scale", _sizes)},
    Scale: {"scale": ("scale", _sizes), "bias": ("bias", _sizes)},
    PReLU: {"slope": _VECTOR},
    Swish: {"beta": ("other", 0)},
    LRU: {"nu": _VECTOR, "theta": _VECTOR, "gamma": _VECTOR, "b": ("other", 3), "c": ("other", 3), "d": _VECTOR},
    S4D: {
        "log_dt": _VECTOR,
        "log_rate": ("other", 2),
        "frequency": ("other", 2),
        "c": ("other", 3),
        "d": _VECTOR,
    },
    Mamba: {"kernel": ("kernel", 2), "kernel_bias": _BIAS, "log_rate": ("other", 2), "d": _VECTOR},
}
_STACKED: dict[type[Module], str] = {RepeatedLayer: "block", MixtureOfExperts: "experts"}
_NORMS, _RANKS = ("scale", "gamma"), {"matrix": 2, "embedding": 2}


def parameter_kinds(model: Module) -> dict[str, ParameterKind]:
    """What each parameter of a model is, by path: matrix, kernel, bias, scale, embedding or other, and how stacked.

    Layers of Phlox say so by a table. A class of your own may say it in its body, ``parameter_kinds = {"table":
    "embedding", "gain": ("scale", 1)}``, with the axes of one where ``px.vmap`` will build several; else the name tells
    (``bias``, ``scale``, ``…embedding…``, ``kernel``), and then the number of axes, those that a ``RepeatedLayer``
    stacked not counted. A parameter that is tied is an embedding where one of its owners is.

    Returns:
        ``ParameterKind(kind, rank, stacked)`` by path: the axes of one, and how many stand in front of them.

    Raises:
        RangeError: a class that declares a kind that there is not.

    >>> import phlox as px
    >>> model = px.RepeatedLayer(lambda: px.Chain(px.Dense(3, 3), px.LayerNorm(3)), 4)
    >>> for path, found in px.parameter_kinds(model).items():
    ...     print(path, found.kind, found.rank, found.stacked)
    block.layers.0.weight matrix 2 1
    block.layers.0.bias bias 1 1
    block.layers.1.scale scale 1 1
    block.layers.1.bias bias 1 1
    """
    found: dict[str, ParameterKind] = {}
    for path, value, held in owners(model):
        if jnp.issubdtype(value.dtype, jnp.inexact):
            kinds = [_kind(above[-1][0], names, value.ndim, _depth(above)) for above, names in held]
            found[path] = next((k for k in kinds if k.kind == "embedding"), kinds[0])
    return found


def own_kind(layer: Module, name: str) -> ParameterKind:
    """What one attribute of a layer is, by the layer alone."""
    return _kind(layer, (name,), getattr(layer, name).ndim, 0)


def kind_by_name(name: str, axes: int) -> str:
    """What an array of a user's own class is, for want of anything better."""
    name = name.lower()
    if "bias" in name:
        return "bias"
    if name in _NORMS:
        return "scale"
    if axes < 2:
        return "other"
    if "embed" in name:
        return "embedding"
    return "kernel" if "kernel" in name and axes > 2 else "matrix"


def _kind(owner: Module, names: tuple[Any, ...], axes: int, depth: int) -> ParameterKind:
    name = next(str(n) for n in reversed(names) if not isinstance(n, int))
    declared = getattr(type(owner), "parameter_kinds", {}).get(names[0])
    if declared is not None:
        kind, rank = declared if isinstance(declared, tuple) else (declared, _RANKS.get(declared, axes - depth))
        return _stacked(_checked(kind, owner), rank, axes)
    row = _rows(type(owner)).get(names[0])
    if row is not None:
        kind, rank = row
        return _stacked(kind, rank if isinstance(rank, int) else rank(owner), axes)
    rank = max(axes - depth, 0)
    return _stacked(kind_by_name(name, rank), rank, axes)


def _stacked(kind: str, rank: int, axes: int) -> ParameterKind:
    rank = min(rank, axes)
    return ParameterKind(kind, rank, axes - rank)


@functools.cache
def _rows(cls: type[Module]) -> _Rows:
    return next((_TABLE[c] for c in cls.__mro__ if c in _TABLE), {})


def _depth(above: list[tuple[Module, Any]]) -> int:
    """How many times what is below has been stacked, by the Modules on the way to it and where each was left."""
    return sum(
        _STACKED.get(cls) == name
        for module, name in above
        for cls in type(module).__mro__
        if cls in _STACKED and not getattr(module, "share", False)
    )


def _checked(kind: Any, owner: Module) -> str:
    if kind not in KINDS:
        raise RangeError(
            f"one of {', '.join(KINDS)}",
            got=repr(kind),
            fix="choose one of these",
            where=f"{type(owner).__name__}.parameter_kinds",
        )
    return kind
