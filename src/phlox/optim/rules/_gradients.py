"""Rules that change gradients on their way to another rule: decay and clipping, for ``px.optim.chain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError, root
from phlox.optim.rules._adam import abs2
from phlox.optim.rules._choice import Choice, check_choice, check_matches, chosen
from phlox.optim.rules._descent import POSITIVE
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import INF, Ranges, Rule, Slots


@dataclass(frozen=True, eq=False)
class WeightDecay(Rule):
    r"""Decay towards zero, in a chain: $g \leftarrow g + λw$.

    Before another rule it is the gradient of $λ\|w\|^2/2$, PyTorch's ``weight_decay=`` of all rules but AdamW. After
    one it is decoupled from that rule's scaling and from its learning rate.

    Arguments:
        weight_decay: λ ≥ 0, a number or a schedule of the update count.
        mask: which arrays decay, by path pattern or predicate; all by default.

    Raises:
        RangeError: a number outside its range.

    Source: Krogh and Hertz, "A simple weight decay can improve generalization", 1991.

    >>> import phlox as px
    >>> px.optim.chain(px.optim.WeightDecay(1e-4, mask=px.optim.is_matrix), px.optim.Momentum(0.1)).rules[1]
    Momentum(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    weight_decay: Number = 5e-4
    mask: Choice | None = None
    ranges: ClassVar[Ranges] = {"weight_decay": POSITIVE}
    componentwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.mask, type(self).__name__)

    def check_paths(self, paths: tuple[str, ...], arrays: list[jax.Array]) -> None:
        """A mask that means nothing is refused."""
        check_matches(self.mask, paths, arrays, type(self).__name__)

    @property
    def by_component(self) -> bool:
        """A mask tells arrays apart by their path."""
        return super().by_component and self.mask is None

    def pull(self, w: jax.Array) -> jax.Array:
        """What λ is multiplied by."""
        return w

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        return g + n.weight_decay * self.pull(w) if chosen(self.mask, n.path, w) else g, slots


@dataclass(frozen=True, eq=False)
class SignDecay(WeightDecay):
    r"""Decay by sign, in a chain: $g \leftarrow g + λ\,\mathrm{sign}(w)$, the gradient of $λ\|w\|_1$.

    Arguments:
        weight_decay: λ ≥ 0, a number or a schedule of the update count.
        mask: which arrays decay, by path pattern or predicate; all by default.

    Raises:
        RangeError: a number outside its range.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", 1996.

    >>> import phlox as px
    >>> px.optim.SignDecay(0.01).weight_decay
    0.01
    """

    weight_decay: Number = 1e-3
    componentwise: ClassVar[bool] = True
    in_parts: ClassVar[bool] = False  # the norm is of moduli

    def pull(self, w: jax.Array) -> jax.Array:
        """What λ is multiplied by."""
        return jnp.sign(w)


@dataclass(frozen=True, eq=False)
class ClipGrad(Rule):
    r"""Clip every component of a gradient, in a chain: $g_i \leftarrow \min(\max(g_i, -δ), δ)$.

    Arguments:
        max_value: δ ≥ 0, a number or a schedule of the update count.

    Raises:
        RangeError: a number outside its range.

    Source: PyTorch's ``clip_grad_value_``.

    >>> import phlox as px
    >>> px.optim.chain(px.optim.ClipGrad(1.0), px.optim.Adam()).rules[0]
    ClipGrad(max_value=1.0)
    """

    max_value: Number = 10.0
    ranges: ClassVar[Ranges] = {"max_value": POSITIVE}
    componentwise: ClassVar[bool] = True

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        return jnp.clip(g, -n.max_value, n.max_value), slots


@dataclass(frozen=True, eq=False)
class ClipNorm(Rule):
    r"""Clip the norm of each array's gradient, in a chain: $g \leftarrow g \min(1, ω/\|g\|_p)$.

    ``px.optim.ClipGlobalNorm`` clips all arrays by their one norm. A NaN makes the whole array's gradient NaN.

    Arguments:
        max_norm: ω ≥ 0, a number or a schedule of the update count.
        p: the order of the norm, at least 1; ``float("inf")`` for the greatest component.

    Raises:
        RangeError: a number outside its range.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.

    >>> import phlox as px
    >>> px.optim.ClipNorm(5.0).p
    2.0
    """

    max_norm: Number = 10.0
    p: float = 2.0
    ranges: ClassVar[Ranges] = {"max_norm": POSITIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.p >= 1:
            raise RangeError("p in [1, ∞]", got=repr(self.p), fix="choose p ≥ 1", where=type(self).__name__)

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        return g * share_of(n.max_norm, _norm([g], self.p)).astype(jnp.real(g).dtype), slots


@dataclass(frozen=True, eq=False)
class ClipGlobalNorm(ClipNorm):
    r"""Clip all gradients together by their one norm, in a chain: $g \leftarrow g \min(1, ω/\|(g_1, g_2, …)\|_p)$.

    The direction of the whole step stays. What is shared counts once. PyTorch divides by the norm + 1e-6. One NaN makes
    all gradients NaN, as there: a step whose norm is not known is none to take with some arrays.

    Arguments:
        max_norm: ω ≥ 0, a number or a schedule of the update count.
        p: the order of the norm, at least 1; ``float("inf")`` for the greatest component.

    Raises:
        RangeError: a number outside its range.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013.

    >>> import phlox as px
    >>> px.optim.chain(px.optim.ClipGlobalNorm(1.0), px.optim.AdamW(3e-4)).rules[0].max_norm
    1.0
    """

    max_norm: Number = 1.0
    componentwise: ClassVar[bool] = True

    def across(self, grads: list[jax.Array], n: Any) -> dict[str, jax.Array]:
        """What all gradients are multiplied by."""
        return {"scale": share_of(n.max_norm, _norm(grads, self.p))} if grads else {}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        return g * n.scale, slots


def share_of(most: Any, norm: jax.Array) -> jax.Array:
    """What gradients of this norm are multiplied by: NaN where the norm is, as in PyTorch, and never 1 there."""
    return jnp.where(norm <= most, 1, most / jnp.where(norm == 0, 1, norm))


def _norm(grads: list[jax.Array], p: float) -> jax.Array:
    """The p-norm of all components, summed in float32 at least."""
    sizes = [jnp.abs(g).astype(jnp.promote_types(jnp.real(g).dtype, jnp.float32)) for g in grads]
    if p == INF:
        return jnp.max(jnp.stack([jnp.max(s, initial=0) for s in sizes]))
    if p == 2:
        return root(jnp.sum(jnp.stack([jnp.sum(s * s) for s in sizes])))
    return sum(jnp.sum(s**p) for s in sizes) ** (1 / p)


@dataclass(frozen=True, eq=False)
class NormGrowthCap(Rule):
    r"""Cap how fast the norm of each array's gradient grows, in a chain: $\|g_t\| ≤ τ\|g_{t-1}\|$.

    A norm below ``smallest`` times the root of the array's size is left alone, so that none is trapped at zero.

    Arguments:
        growth: τ ≥ 1.
        eps: ε, added to norms that are divided by.
        smallest: the norm below which nothing is capped, per root of the size.

    Raises:
        RangeError: a number outside its range.

    Source: Chen et al., "Fira: can we achieve full-rank training of LLMs under low-rank constraint?", 2024.

    >>> import phlox as px
    >>> px.optim.NormGrowthCap().growth
    1.01
    """

    growth: Number = 1.01
    eps: Number = 1e-8
    smallest: Number = 1e-7
    ranges: ClassVar[Ranges] = {"growth": (1.0, INF), "eps": POSITIVE, "smallest": POSITIVE}

    def start(self, w: jax.Array) -> Slots:
        """The norm before."""
        return {"norm": jnp.zeros((), jnp.promote_types(jnp.real(w).dtype, jnp.float32))}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        before, norm = slots["norm"], root(jnp.sum(abs2(g).astype(slots["norm"].dtype)))
        free = (before == 0) | (norm < n.smallest * g.size**0.5) | (norm <= n.growth * (before + n.eps))
        share = jnp.where(free, 1, n.growth * before / (norm + n.eps)).astype(norm.dtype)
        return g * share.astype(jnp.real(g).dtype), {"norm": norm * share}
