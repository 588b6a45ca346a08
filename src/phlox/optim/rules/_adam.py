"""Adam and the rules that descend from it: steps scaled by running moments of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.rules import _adam_kernel
from phlox.optim.rules._choice import Choice, check_choice, check_matches, chosen
from phlox.optim.rules._descent import POSITIVE, RATE, UNIT
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import Ranges, Rule, Slots

MOMENTS = {"m": "signed", "v": "unsigned"}


def abs2(x: jax.Array) -> jax.Array:
    """|x|², real for complex x too."""
    return jnp.real(x * jnp.conj(x))


@dataclass(frozen=True, eq=False)
class Adam(Rule):
    r"""Adam: steps scaled by running moments of the gradient.

    $m \leftarrow β_1 m + (1-β_1) g,\; v \leftarrow β_2 v + (1-β_2) g^2,\;
    w \leftarrow w - η \hat m / (\sqrt{\hat v} + ε)$ with $\hat m = m/(1-β_1^t)$, $\hat v = v/(1-β_2^t)$.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    >>> import phlox as px
    >>> px.optim.Adam(1e-3) == px.optim.Adam(3e-4)
    True
    """

    learning_rate: Number = 1e-3
    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    ranges: ClassVar[Ranges] = {**RATE, "b1": UNIT, "b2": UNIT, "eps": POSITIVE}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = MOMENTS

    def start(self, w: jax.Array) -> Slots:
        """The moments."""
        return {"m": jnp.zeros_like(w), "v": jnp.zeros_like(jnp.real(w))}

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """What the moments are short of."""
        return {"c1": 1 - n.b1**t, "c2": 1 - n.b2**t}

    def moments(self, g: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, jax.Array]:
        """Both moments with this gradient in."""
        m = n.b1 * slots["m"] + (1 - n.b1) * g
        return m, n.b2 * slots["v"] + (1 - n.b2) * abs2(g)

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m, v = self.moments(g, slots, n)
        return n.learning_rate * ((m / n.c1) / (jnp.sqrt(v / n.c2) + n.eps)), {"m": m, "v": v}

    def moves(self, g: jax.Array, w: jax.Array) -> bool:
        """Where the array is large."""
        return _adam_kernel.takes(g, w)

    def move(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """In one pass."""
        return _adam_kernel.moved(g, w, slots, n, None)


@dataclass(frozen=True, eq=False)
class AdamW(Adam):
    r"""Adam with decoupled weight decay: $w \leftarrow w - η (\hat m / (\sqrt{\hat v} + ε) + λ w)$.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.
        weight_decay: λ ≥ 0.
        mask: which arrays decay, by path pattern or predicate (``px.optim.is_matrix``: no biases, no norms); all by
            default.

    Raises:
        RangeError: a number outside its range.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> import phlox as px
    >>> px.optim.AdamW(1e-3).weight_decay
    0.01
    """

    weight_decay: Number = 0.01
    mask: Choice | None = None
    ranges: ClassVar[Ranges] = {**Adam.ranges, "weight_decay": POSITIVE}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = MOMENTS

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

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        direction, slots = super().step(g, w, slots, n)
        if chosen(self.mask, n.path, w):
            direction = direction + n.learning_rate * n.weight_decay * w
        return direction, slots

    def move(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """In one pass."""
        return _adam_kernel.moved(g, w, slots, n, n.weight_decay if chosen(self.mask, n.path, w) else None)


@dataclass(frozen=True, eq=False)
class AMSGrad(Adam):
    r"""Adam whose second moment never falls: $\bar v \leftarrow \max(\bar v, v)$ stands in the root.

    $w \leftarrow w - η \hat m / (\sqrt{\bar v/(1-β_2^t)} + ε)$. The formula is PyTorch's; optax takes the
    maximum of the corrected $\hat v$, and Flux corrects neither moment.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Reddi, Kale and Kumar, "On the convergence of Adam and beyond", 2018.

    >>> import phlox as px
    >>> px.optim.AMSGrad().b2
    0.999
    """

    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {**MOMENTS, "largest": "unsigned"}

    def start(self, w: jax.Array) -> Slots:
        """The moments, and the greatest second moment."""
        return {**super().start(w), "largest": jnp.zeros_like(jnp.real(w))}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m, v = self.moments(g, slots, n)
        largest = jnp.maximum(slots["largest"], v)
        direction = (m / n.c1) / (jnp.sqrt(largest / n.c2) + n.eps)
        return n.learning_rate * direction, {"m": m, "v": v, "largest": largest}


@dataclass(frozen=True, eq=False)
class AdaMax(Adam):
    r"""Adam in the maximum norm: $u \leftarrow \max(β_2 u, |g| + ε),\; w \leftarrow w - η \hat m / u$.

    The formula is PyTorch's and optax's. Flux adds ε to u where it divides.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: ε > 0.

    Raises:
        RangeError: a number outside its range.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.

    >>> import phlox as px
    >>> px.optim.AdaMax().learning_rate
    0.002
    """

    learning_rate: Number = 2e-3
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"m": "signed", "u": "unsigned"}

    def start(self, w: jax.Array) -> Slots:
        """The first moment and the running maximum."""
        return {"m": jnp.zeros_like(w), "u": jnp.zeros_like(jnp.real(w))}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m = n.b1 * slots["m"] + (1 - n.b1) * g
        u = jnp.maximum(n.b2 * slots["u"], jnp.abs(g) + n.eps)
        return n.learning_rate * (m / n.c1) / u, {"m": m, "u": u}


@dataclass(frozen=True, eq=False)
class NAdam(Adam):
    r"""Adam with Nesterov's momentum, whose share of the momentum grows over the updates.

    $μ_t = β_1(1 - 0.96^{tψ}/2),\; \hat m = μ_{t+1} m / (1-\prod_{i≤t+1} μ_i) + (1-μ_t) g / (1-\prod_{i≤t} μ_i),\;
    w \leftarrow w - η \hat m / (\sqrt{\hat v} + ε)$. The formula is the paper's and PyTorch's; Flux's and
    optax's have no schedule of μ: theirs is $μ_t = β_1$, which ψ = ∞ gives.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.
        momentum_decay: ψ ≥ 0.

    Raises:
        RangeError: a number outside its range.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    >>> import phlox as px
    >>> px.optim.NAdam().momentum_decay
    0.004
    """

    learning_rate: Number = 2e-3
    momentum_decay: Number = 4e-3
    in_parts: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = MOMENTS
    ranges: ClassVar[Ranges] = {**Adam.ranges, "momentum_decay": (0.0, float("inf"))}

    def start(self, w: jax.Array) -> Slots:
        """The moments, and the product of all μ so far."""
        return {**super().start(w), "product": jnp.ones((), jax.dtypes.canonicalize_dtype(float))}

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """μ of this update and of the next."""
        at = lambda t: n.b1 * (1 - 0.5 * 0.96 ** (t * n.momentum_decay))  # noqa: E731
        return {"mu": at(t), "mu_next": at(t + 1), "c2": 1 - n.b2**t}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m, v = self.moments(g, slots, n)
        product = slots["product"] * n.mu
        share, ahead = (1 - n.mu) / (1 - product), n.mu_next / (1 - product * n.mu_next)
        real = v.dtype
        top = share.astype(real) * g + ahead.astype(real) * m
        direction = top / (jnp.sqrt(v / n.c2) + n.eps)
        return n.learning_rate * direction, {"m": m, "v": v, "product": product}


@dataclass(frozen=True, eq=False)
class RAdam(Adam):
    r"""Rectified Adam: plain momentum until the variance of the second moment can be told, then Adam times r.

    $ρ_∞ = 2/(1-β_2) - 1,\; ρ = ρ_∞ - 2tβ_2^t/(1-β_2^t)$; where $ρ > 5$, $w \leftarrow w - η r \hat m \sqrt{1-β_2^t} /
    (\sqrt v + ε)$ with $r^2 = (ρ-4)(ρ-2)ρ_∞ / ((ρ_∞-4)(ρ_∞-2)ρ)$, else $w \leftarrow w - η \hat m$. The formula
    is PyTorch's. Flux takes ρ > 4 and optax ρ ≥ 5 as the threshold, and both put ε beside the corrected root.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in (0.6, 1).
        eps: ε, outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.

    >>> import phlox as px
    >>> px.optim.RAdam().b1
    0.9
    """

    ranges: ClassVar[Ranges] = {**Adam.ranges, "b2": (0.6, 1.0)}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = MOMENTS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.b2) and self.b2 <= 0.6:  # r would have a root below 0
            raise RangeError("b2 in (0.6, 1)", got=repr(self.b2), fix="choose b2 in (0.6, 1)", where="RAdam")

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """What the moments are short of, and the rectification; 0 where there is none yet."""
        c = super().corrections(n, t)
        limit = 2 / (1 - n.b2) - 1
        rho = limit - 2 * t * n.b2**t / c["c2"]
        square = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        return {**c, "r": jnp.where(rho > 5, jnp.sqrt(jnp.where(rho > 5, square, 1.0)), 0.0)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m, v = self.moments(g, slots, n)
        scale = jnp.where(n.r > 0, n.r * jnp.sqrt(n.c2) / (jnp.sqrt(v) + n.eps), 1)
        return n.learning_rate * (m / n.c1) * scale, {"m": m, "v": v}


@dataclass(frozen=True, eq=False)
class AdaBelief(Adam):
    r"""Adam scaled by how far gradients are from what the momentum foretold.

    $s \leftarrow β_2 s + (1-β_2)(g-m)^2 + ε,\; w \leftarrow w - η \hat m / (\sqrt{\hat s} + ε)$. The formula is
    the paper's and Flux's.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, in s and outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients", 2020.

    >>> import phlox as px
    >>> px.optim.AdaBelief().eps
    1e-16
    """

    eps: Number = 1e-16
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = MOMENTS

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        m = n.b1 * slots["m"] + (1 - n.b1) * g
        v = n.b2 * slots["v"] + (1 - n.b2) * abs2(g - m) + n.eps
        return n.learning_rate * (m / n.c1) / (jnp.sqrt(v / n.c2) + n.eps), {"m": m, "v": v}


@dataclass(frozen=True, eq=False)
class OAdam(Adam):
    r"""Optimistic Adam, for games: twice Adam's step less the step before, $w \leftarrow w - (2 d_t - d_{t-1})$.

    $d_t = η \hat m / (\sqrt{\hat v} + ε)$ and $d_0 = 0$, as in Flux. optax's ``optimistic_adam_v2`` starts alike.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Daskalakis et al., "Training GANs with optimism", 2018.

    >>> import phlox as px
    >>> px.optim.OAdam().b1
    0.5
    """

    b1: Number = 0.5
    b2: Number = 0.9
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {**MOMENTS, "before": "signed"}

    def start(self, w: jax.Array) -> Slots:
        """The moments, and the step before."""
        return {**super().start(w), "before": jnp.zeros_like(w)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        term, after = super().step(g, w, slots, n)
        return 2 * term - slots["before"], {**after, "before": term}
