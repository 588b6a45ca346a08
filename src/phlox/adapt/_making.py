"""Adapters with fresh weights: px.adapt.lora, dora, ia3 and prefix."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.adapt._arithmetic import lengths_of
from phlox.adapt._attaching import attach
from phlox.adapt._choosing import bare, check_model, check_name, chosen
from phlox.adapt.layers._changes import IA3, LoRA, wide_dtype
from phlox.adapt.layers._prefix import Prefix
from phlox.core import Module, RangeError, StructureError, Where, answering, describe, key_or_draw, modules
from phlox.nn import Conv, Dense, Dropout, Embedding, MultiHeadAttention, SpectralNorm, WeightNorm

M = TypeVar("M", bound=Module)
_ATTENTION = ("**.k_proj", "**.v_proj")
_PREFIX = 0.02  # the deviation of fresh keys and values


@answering
def lora(
    model: M,
    rank: int = 8,
    *,
    where: Where = "**.q_proj",
    alpha: float | None = None,
    dropout: float = 0.0,
    rslora: bool = False,
    name: str = "default",
    key: Any = None,
) -> M:
    r"""Adapt layers by products of low rank, $W + s A B$ with $s = α / r$; at first the model computes as before.

    In place; the model is given back, which is another object only where it is itself a layer that is adapted. What the
    model held is frozen, and the adapter alone is in use and trains; ``px.thaw(model, "head")`` lets a head train
    beside it. A is drawn from $U(-1/\sqrt{n}, 1/\sqrt{n})$ for n inputs, B is zero; in an ``Embedding`` A is zero, B
    standard normal.

    Shapes:
        A: (in, rank), for a ``Conv`` (\*kernel, in, rank), for an ``Embedding`` (num, rank); B: (rank, out).

    Arguments:
        model: a model with layers Dense, Conv or Embedding.
        rank: r, the columns of A.
        where: which of these: a path or pattern, several, or a predicate (path, layer).
        alpha: α, the rank by default.
        dropout: probability of an input's feature to be zeroed on its way into A, in training; an Embedding has none.
        rslora: whether $s = α / \sqrt r$, which keeps steps alike for all ranks.
        name: of the adapter, for ``px.adapt.use`` and files.
        key: where weights and dropout draw from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a ``where`` that means no such layer, a rank below 1, a dropout outside [0, 1).
        StructureError: a layer that has an adapter of this name, or can't have one.

    Source: Hu et al., "LoRA: low-rank adaptation of large language models", 2021; Kalajdzievski, "A rank stabilization
    scaling factor for fine-tuning with LoRA", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.adapt.lora(px.Chain(px.Dense(6, 4, px.relu), px.Dense(4, 2)), 2, where="layers.0")
    >>> list(px.split(model)[0])
    ['layers.0.adapters.default.a', 'layers.0.adapters.default.b']
    """
    settings = _Settings(rank, alpha, dropout, rslora, "px.adapt.lora")
    return _low_rank(model, where, settings, name, key, lengths=False)


@answering
def dora(
    model: M,
    rank: int = 8,
    *,
    where: Where = "**.q_proj",
    alpha: float | None = None,
    dropout: float = 0.0,
    rslora: bool = False,
    name: str = "default",
    key: Any = None,
) -> M:
    r"""Adapt layers by the directions and the lengths of their columns: $m \frac{W + s A B}{\|W + s A B\|}$.

    m begins as the lengths of the columns, so that the model computes as before; in the gradient the norm is a
    constant, as the paper has it. The rest is as in ``px.adapt.lora``.

    Shapes:
        m: (out,), beside those of ``px.adapt.lora``.

    Arguments:
        model: a model with layers Dense or Conv.
        rank, where, alpha, dropout, rslora, name, key: as of ``px.adapt.lora``.

    Raises:
        RangeError, StructureError: as ``px.adapt.lora``.

    Source: Liu et al., "DoRA: weight-decomposed low-rank adaptation", 2024.

    >>> import phlox as px
    >>> model = px.adapt.dora(px.Chain(px.Dense(6, 4), px.relu), 2, where="layers.0")
    >>> px.paths(model)["layers.0.adapters.default.magnitude"].shape
    (4,)
    """
    settings = _Settings(rank, alpha, dropout, rslora, "px.adapt.dora")
    return _low_rank(model, where, settings, name, key, lengths=True)


@answering
def ia3(model: M, *, where: Where | None = _ATTENTION, feedforward: Where | None = None, name: str = "default") -> M:
    r"""Adapt layers by a factor for each feature: $y = σ((x W + b) \circ l)$, or of the input in a feedforward.

    Factors begin at 1. What the model held is frozen, and the adapter alone is in use and trains.

    Shapes:
        l: (out,); (in,) of ``feedforward``.

    Arguments:
        model: a model with layers Dense or Conv.
        where: which of these have factors of what stands before their activation; None for none.
        feedforward: which have factors of their input: the last maps of the blocks' features; None for none.
        name: of the adapter.

    Raises:
        RangeError: a choice that means no such layer, or neither is given.
        StructureError: a layer that has an adapter of this name, or is meant by both choices.

    Source: Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning", 2022.

    >>> import phlox as px
    >>> model = px.adapt.ia3(px.Chain(px.Dense(6, 4), px.Dense(4, 2)), where="layers.0", feedforward="layers.1")
    >>> [array.shape for array in px.split(model)[0].values()]
    [(4,), (4,)]
    """
    speaker = "px.adapt.ia3"
    check_model(model, speaker)
    outs = {} if where is None else chosen(model, where, (Dense, Conv), speaker)
    ins = {} if feedforward is None else chosen(model, feedforward, (Dense, Conv), speaker)
    if both := [path for path in outs if path in ins]:
        fix = "leave it out of one of them"
        raise StructureError("layers of where= or of feedforward=", got=f"{both[0]} in both", fix=fix, where=speaker)
    if not outs and not ins:
        raise RangeError("where= or feedforward=", got="neither", fix='pass where="**.k_proj"', where=speaker)
    for path, layer in {**outs, **ins}.items():
        _check_plain(model, path, bare(layer), speaker)
    parts = {path: _factors(bare(layer), path in ins) for path, layer in {**outs, **ins}.items()}
    return attach(model, check_name(name, speaker), parts, speaker)


@answering
def prefix(model: M, *, length: int = 20, name: str = "default", key: Any = None) -> M:
    """Adapt a decoder by keys and values that each attention sees before those of the text.

    Positions of the text begin behind them, so that a model has so many fewer. A cache of the model holds them as they
    are when it is made. What the model held is frozen, and the adapter alone is in use and trains.

    Shapes:
        keys, values: (length, kv_heads, head size), of each attention.

    Arguments:
        model: a decoder, whose attention is causal.
        length: how many there are.
        name: of the adapter.
        key: where they are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a model without attention, or with one that is not causal, as encoders have; a length below 1.
        StructureError: an attention that has an adapter of this name.

    Source: Li and Liang, "Prefix-tuning: optimizing continuous prompts for generation", 2021, without the maps that
    keys and values were drawn through.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.adapt.prefix(px.Chain(px.nn.MultiHeadAttention(8, 2, causal=True)), length=3)
    >>> model(jnp.ones((1, 5, 8))).shape
    (1, 5, 8)
    """
    speaker = "px.adapt.prefix"
    check_model(model, speaker)
    found = decoding(model, speaker)
    _check_whole(length, "length", speaker)
    keys = jax.random.split(key_or_draw(key), len(found))
    parts = {path: _prefix(bare(layer), length, one) for (path, layer), one in zip(found.items(), keys, strict=True)}
    return attach(model, check_name(name, speaker), parts, speaker)


def decoding(model: Module, where: str) -> dict[str, Module]:
    """The attention of a decoder, by path.

    Raises:
        RangeError: none, or one that is not causal.
    """
    found = chosen(model, "*", (MultiHeadAttention,), where)
    other = next((path for path, layer in found.items() if not bare(layer).causal), None)
    if other is not None:
        fix = "adapt an encoder by px.adapt.lora"
        raise RangeError("a decoder, whose attention is causal", got=f"{other}, which is not", fix=fix, where=where)
    return found


class _Settings:
    """What low-rank adapters are made with, checked."""

    def __init__(self, rank: int, alpha: float | None, dropout: float, rslora: bool, where: str):
        _check_whole(rank, "rank", where)
        alpha = rank if alpha is None else alpha
        if not isinstance(alpha, Real) or not math.isfinite(alpha):
            raise RangeError("a finite alpha", got=repr(alpha)[:100], fix="leave it out for the rank", where=where)
        if not isinstance(dropout, Real) or not 0 <= dropout < 1:
            fix = "0.05 is usual"
            raise RangeError("a dropout in [0, 1)", got=repr(dropout)[:100], fix=fix, where=where)
        self.rank, self.alpha, self.dropout, self.rslora, self.where = rank, alpha, dropout, bool(rslora), where


def _low_rank(model: M, where: Where, settings: _Settings, name: str, key: Any, *, lengths: bool) -> M:
    check_model(model, settings.where)
    kinds = (Dense, Conv) if lengths else (Dense, Conv, Embedding)
    found = chosen(model, where, kinds, settings.where)
    for path, layer in found.items():
        _check_plain(model, path, bare(layer), settings.where)
    keys = jax.random.split(key_or_draw(key), len(found))
    parts = {
        path: _part(bare(layer), settings, one, lengths) for (path, layer), one in zip(found.items(), keys, strict=True)
    }
    return attach(model, check_name(name, settings.where), parts, settings.where)


def _part(layer: Any, settings: _Settings, key: Any, lengths: bool) -> LoRA:
    """The adapter of one layer, which changes nothing yet."""
    weight, rank = layer.weight, settings.rank
    dtype = wide_dtype(weight)
    draws, drops = jax.random.split(key)
    if isinstance(layer, Embedding):
        a = jnp.zeros((weight.shape[0], rank), dtype)
        b = jax.random.normal(draws, (rank, weight.shape[1]), dtype)
    else:
        most = 1 / math.sqrt(weight.size // weight.shape[-1])
        a = jax.random.uniform(draws, (*weight.shape[:-1], rank), dtype, -most, most)
        b = jnp.zeros((rank, weight.shape[-1]), dtype)
    magnitude = lengths_of(weight, a, b, 0.0).astype(dtype) if lengths else None
    drop = Dropout(settings.dropout, key=drops) if settings.dropout and not isinstance(layer, Embedding) else None
    return LoRA(a, b, magnitude, alpha=settings.alpha, rslora=settings.rslora, drop=drop)


def _factors(layer: Any, feedforward: bool) -> IA3:
    size = layer.weight.shape[-2 if feedforward else -1]
    return IA3(jnp.ones(size, wide_dtype(layer.weight)), feedforward=feedforward)


def _prefix(layer: Any, length: int, key: Any) -> Prefix:
    shape, dtype = (length, layer.kv_heads, layer.head_dim), jnp.float32
    pair = jax.random.normal(key, (2, *shape), dtype) * _PREFIX
    return Prefix(pair[0], pair[1])


def _check_plain(model: Module, path: str, layer: Any, where: str) -> None:
    """Refuse layers that stand for several, whose weight is computed, or whose channels are apart."""
    weight, axes = layer.weight, len(layer.kernel) + 2 if isinstance(layer, Conv) else 2
    normed = any(isinstance(m, WeightNorm | SpectralNorm) and m.layer is layer for m in modules(model).values())
    if normed:
        got, fix = "one whose weight is computed", "call px.nn.remove_weight_norm(model) first"
    elif weight.ndim != axes:
        got, fix = f"weights {describe(weight)}, of several layers, stacked", "leave it out, or hold layers in a list"
    elif getattr(layer, "groups", 1) != 1:
        got, fix = f"groups={layer.groups}", "leave it out: where= another pattern"
    else:
        return
    raise StructureError(f"{path} as one layer with a weight of its own", got=got, fix=fix, where=where)


def _check_whole(value: Any, name: str, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        fix = f"{name}=8" if name == "rank" else f"{name}=20"
        raise RangeError(f"{name} of 1 or more", got=repr(value)[:100], fix=fix, where=where)
