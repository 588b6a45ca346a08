"""px.optimize_for_inference: a copy of a model that computes the same, faster, and trains no more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp

from phlox.core import (
    Module,
    RangeError,
    StructureError,
    bf16,
    copy,
    describe,
    modules,
    plain_class,
    replaced,
    testmode,
    ties_of,
)
from phlox.nn import functional as F
from phlox.nn.containers._containers import Chain
from phlox.nn.features._dense import Dense
from phlox.nn.features._dropout import Dropout
from phlox.nn.features._embedding import Embedding
from phlox.nn.functional.kernels._inference import maps_packed
from phlox.nn.inference._layers import FusedConv, InBfloat16, PackedConv, PackedDense, PackedEmbedding
from phlox.nn.normalisation._folding import fold_batch_norm, foldable
from phlox.nn.normalisation._norm import BatchNorm
from phlox.nn.normalisation._reparametrize import SpectralNorm, WeightNorm, remove_weight_norm
from phlox.nn.space._conv import Conv

M = TypeVar("M", bound=Module)
_WHERE = "px.optimize_for_inference"
_SMALL = 1 << 16  # numbers of a weight, up to which calling the kernel costs more than it saves
_CHEAP = (F.identity, F.relu)  # activations that cost nothing apart from the product


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def optimize_for_inference(model: M, *, dtype: Any = None, tell: Callable[[str], Any] | None = _tell) -> M:
    """A copy of a model for inference that keeps the numbers to rounding and costs less.

    - Weights that a ``WeightNorm`` or ``SpectralNorm`` computes are computed once.
    - A batch normalisation behind a convolution or a map is folded into it.
    - Dropout in a chain is gone.
    - A convolution adds its bias, a residual and ReLU, GELU or SiLU in one pass, and its weight lies in blocks as a CPU
      multiplies fastest.
    - So does the weight of a ``Dense`` on processors with AVX-512, and its activation is part of the product; a
      small one without a costly activation stays, for a call of the kernel would cost more than it saves. So does that
      of a decoder's embedding where it scores tokens too.

    The last two are the kernels' of ``phlox-cpu``; elsewhere, and for other dtypes, layers compute what they did. NaN
    stays NaN; where a number overflows to −∞ before a ReLU, the result is NaN too. Weights stand still in the copy:
    keep the model to train on, and its file.

    Arguments:
        model: stays as it is.
        dtype: ``"bfloat16"`` computes in it inside, where the processor multiplies it (AMX, or AVX-512 with bfloat16),
            and takes and gives float32: three digits. Elsewhere the model stays in float32.
            The copy stands in a Module around it then. None leaves every dtype as it is.
        tell: gets a line that says what was done; by default it is printed to the terminal's errors. None: nobody.

    Raises:
        StructureError: no Module.
        RangeError: another dtype.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Conv((3, 3), 3, 8, bias=False), px.BatchNorm(8, px.relu), px.Dropout(0.5))
    >>> fast = px.optimize_for_inference(model, tell=print)
    1 norm folded, 1 dropout gone, 1 convolution in one pass
    >>> bool(jnp.allclose(fast(jnp.ones((1, 8, 8, 3))), px.testmode(model)(jnp.ones((1, 8, 8, 3))), atol=1e-5))
    True
    """
    if not isinstance(model, Module):
        raise StructureError("a model", got=describe(model), fix="pass a px.Module", where=_WHERE)
    if dtype is not None and jnp.dtype(dtype) != jnp.bfloat16:
        raise RangeError('dtype "bfloat16" or None', got=repr(dtype), fix="choose one of these", where=_WHERE)
    half = dtype is not None and maps_packed(jnp.bfloat16)
    model = testmode(copy(model))
    done = {"{} norm{} of weights computed": _count(model, WeightNorm, SpectralNorm)}
    model = remove_weight_norm(model)
    norms = _count(model, BatchNorm)
    model = fold_batch_norm(model, *foldable(model))
    done |= {"{} norm{} folded": norms - _count(model, BatchNorm), "{} dropout{} gone": _without_dropout(model)}
    model = bf16(model) if half else model
    fresh = _fresh(model, jnp.bfloat16 if half else jnp.float32)
    done |= {
        "{} convolution{} in one pass": sum(isinstance(layer, FusedConv) for layer in fresh.values()),
        "{} weight{} laid out": sum(isinstance(layer, PackedDense | PackedEmbedding) for layer in fresh.values()),
    }
    model = replaced(model, fresh, _WHERE)
    if tell is not None:
        said = [text.format(n, "" if n == 1 else "s") for text, n in done.items() if n]
        if dtype is not None:
            said.append("in bfloat16" if half else "in float32, for this processor multiplies no bfloat16")
        tell(", ".join(said) or "nothing to be done")
    if half:
        inside: Any = InBfloat16(model)
        return inside
    return model


def _count(model: Module, *kinds: type) -> int:
    return sum(isinstance(layer, kinds) for layer in modules(model).values())


def _without_dropout(model: Module) -> int:
    """Put nothing in the place of each dropout of a chain; how many there were. Elsewhere code may ask for its rate."""
    gone = 0
    for chain in [layer for layer in modules(model).values() if isinstance(layer, Chain)]:
        layers: Any = chain.layers
        for key in list(layers) if isinstance(layers, dict) else range(len(layers)):
            if isinstance(layers[key], Dropout):
                layers[key] = F.identity
                gone += 1
    return gone


def _fresh(model: Module, dtype: Any) -> dict[int, Module]:
    """By the id of a layer, the one that comes in its place."""
    found: dict[int, Module] = {}
    kinds = (Conv, Dense, Embedding) if maps_packed(dtype) else (Conv,)
    scoring = {id(embedding) for embedding in _scoring(model)}
    for layer in modules(model).values():
        kind: Any = plain_class(type(layer))
        if kind not in kinds or "weight" in dict(ties_of(type(layer))) or "bias" in dict(ties_of(type(layer))):
            continue
        made: Any = layer
        if kind is Embedding and id(layer) not in scoring:
            continue  # rows are looked up alone, and lie as they should
        if made.weight.dtype != dtype or made.weight.ndim != (len(made.kernel) + 2 if kind is Conv else 2):
            continue  # another dtype, or layers that are stacked
        if kind is Dense and made.weight.size <= _SMALL and made.act in _CHEAP and dtype != jnp.bfloat16:
            continue  # a call would cost more than it saves
        found[id(layer)] = _MAKERS[kind](made)
    return found


def _scoring(model: Module) -> list[Any]:
    """The embeddings that score tokens too, as models tell by ``tied_embedding``."""
    parts: list[Any] = [part for part in modules(model).values() if hasattr(type(part), "tied_embedding")]
    return [part.tied_embedding for part in parts if part.tied_embedding is not None]


def _conv(layer: Conv) -> FusedConv:
    return PackedConv.of_fused(FusedConv.of_conv(layer))


_MAKERS: dict[type, Callable[[Any], Module]] = {
    Conv: _conv, Dense: PackedDense.of_dense, Embedding: PackedEmbedding.of_embedding,
}  # fmt: skip
