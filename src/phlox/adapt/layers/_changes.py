"""Adapters of a map: LoRA and DoRA, a product of low rank; IA³, factors of features."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.adapt._arithmetic import Change, Low
from phlox.core import Module, Param
from phlox.nn import Dropout


class LoRA(Module):
    r"""A change of a weight by a product of low rank: $ΔW = s A B$ with $s = α / r$, or $α / \sqrt r$.

    With ``magnitude`` it is a DoRA: the columns of the changed weight, as directions, at learned lengths.

    Shapes:
        a: (..., in, rank), laid out as the layer's weight is; b: (rank, out); magnitude: (out,).

    Arguments:
        a, b: A and B.
        magnitude: of a DoRA, the lengths of the columns; None for a LoRA.
        alpha: α.
        rslora: whether s is $α / \sqrt r$.
        drop: what drops features on their way into A, in training; None for nothing.

    Source: Hu et al., "LoRA: low-rank adaptation of large language models", 2021; Liu et al., "DoRA", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.adapt.LoRA(jnp.ones((6, 2)), jnp.zeros((2, 4)), alpha=3).scale
    1.5
    """

    alpha: float
    rslora: bool

    a: Param  # (..., in, rank)
    b: Param  # (rank, out)
    magnitude: Param | None  # (out,)
    parameter_kinds: ClassVar[dict[str, tuple[str, int]]] = {"magnitude": ("scale", 1)}
    tensor_axes: ClassVar[dict[str, tuple[str | None, ...]]] = {
        "a": ("in", None), "b": (None, "out"), "magnitude": ("out",),
    }  # fmt: skip

    def __init__(
        self,
        a: jax.Array,
        b: jax.Array,
        magnitude: jax.Array | None = None,
        *,
        alpha: float,
        rslora: bool = False,
        drop: Dropout | None = None,
    ):
        self.a, self.b, self.magnitude = a, b, magnitude
        self.alpha, self.rslora = alpha, rslora
        self.drop: Dropout | None = drop

    @property
    def kind(self) -> str:
        """What it is called."""
        return "LoRA" if self.magnitude is None else "DoRA"

    @property
    def rank(self) -> int:
        """Columns of A."""
        return self.a.shape[-1]

    @property
    def scale(self) -> float:
        """What the product is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def low(self, x: Any = None) -> Low:
        """Its arrays, for an input x, of which features are dropped in training."""
        drops = x is not None and self.drop is not None and self.drop.training
        return Low(self.a, self.b, self.magnitude, self.drop(x) if drops and self.drop is not None else None)

    def _brief(self) -> str:
        return f"{self.kind}(rank={self.rank}, alpha={self.alpha:g})"


class IA3(Module):
    """Factors of features: of a layer's input where it is a ``feedforward``, else of what stands before its activation.

    Shapes:
        factors: (in,) or (out,).

    Arguments:
        factors: the factors.
        feedforward: whether they are of the input.

    Source: Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning", 2022.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.adapt.IA3(jnp.ones(4), feedforward=False).factors.shape
    (4,)
    """

    factors: Param  # (in,) or (out,)
    parameter_kinds: ClassVar[dict[str, tuple[str, int]]] = {"factors": ("scale", 1)}
    kind = "IA³"
    rank = None

    def __init__(self, factors: jax.Array, *, feedforward: bool):
        self.factors = factors
        self.feedforward = feedforward

    def _brief(self) -> str:
        return f"IA3({self.factors.shape[0]})"


def change_of(used: list[Any], x: Any = None) -> tuple[Change, tuple[float, ...]]:
    """What adapters do together to a map of an input x, and the scales of those of low rank."""
    lows = [one for one in used if isinstance(one, LoRA)]
    factors = [one for one in used if isinstance(one, IA3)]
    ins = [one.factors for one in factors if one.feedforward]
    outs = [one.factors for one in factors if not one.feedforward]
    return Change([one.low(x) for one in lows], ins, outs), tuple(one.scale for one in lows)


def wide_dtype(weight: jax.Array) -> Any:
    """The dtype of an adapter beside a weight: at least 32 bits, so that small steps are not lost."""
    return jnp.promote_types(weight.dtype, jnp.float32)
