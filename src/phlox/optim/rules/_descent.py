"""Gradient descent, with and without momentum, and rules that look at signs alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.optim.rules._choice import Choice, check_choice, check_matches, chosen
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import INF, Ranges, Rule, Slots

RATE = {"learning_rate": (0.0, INF)}
UNIT = (0.0, 1.0)
POSITIVE = (0.0, INF)


@dataclass(frozen=True, eq=False)
class Descent(Rule):
    r"""Gradient descent: $w \leftarrow w - \eta g$.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.

    Raises:
        RangeError: a negative learning rate.

    >>> import phlox as px
    >>> px.optim.Descent(0.1)
    Descent(learning_rate=0.1)
    """

    learning_rate: Number = 0.1
    ranges: ClassVar[Ranges] = RATE
    componentwise: ClassVar[bool] = True

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        return n.learning_rate * g, slots


@dataclass(frozen=True, eq=False)
class Momentum(Rule):
    r"""Gradient descent with momentum: $v \leftarrow \mu v + g,\; w \leftarrow w - \eta v$.

    With ``nesterov``, $w \leftarrow w - \eta (g + \mu v)$. The convention is PyTorch's: the rate stands outside v,
    so a change of the rate acts at once; Flux has it inside, which is the same while the rate stays.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        momentum: μ in [0, 1), a number or a schedule.
        nesterov: look ahead along v.

    Raises:
        RangeError: a number outside its range.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    >>> import phlox as px
    >>> px.optim.Momentum(0.01, 0.9).momentum
    0.9
    """

    learning_rate: Number = 0.01
    momentum: Number = 0.9
    nesterov: bool = False
    ranges: ClassVar[Ranges] = {**RATE, "momentum": UNIT}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"velocity": "signed"}

    def start(self, w: jax.Array) -> Slots:
        """The velocity."""
        return {"velocity": jnp.zeros_like(w)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        v = n.momentum * slots["velocity"] + g
        return n.learning_rate * (g + n.momentum * v if self.nesterov else v), {"velocity": v}


@dataclass(frozen=True, eq=False)
class Nesterov(Momentum):
    r"""Gradient descent with Nesterov's momentum: $v \leftarrow \mu v + g,\; w \leftarrow w - \eta (g + \mu v)$.

    It is ``Momentum(…, nesterov=True)`` with Flux's default rate.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        momentum: μ in [0, 1), a number or a schedule.

    Raises:
        RangeError: a number outside its range.

    Source: Nesterov, "A method for solving the convex programming problem with convergence rate O(1/k²)", 1983.

    >>> import phlox as px
    >>> px.optim.Nesterov(0.01).nesterov
    True
    """

    learning_rate: Number = 1e-3
    nesterov: bool = True
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"velocity": "signed"}


@dataclass(frozen=True, eq=False)
class Rprop(Rule):
    r"""Resilient backpropagation: one step size per weight, changed by whether the gradient keeps its sign.

    $η_i \leftarrow \mathrm{clip}(η_i s_i)$ with $s_i$ = ``grow`` where $g_i g'_i > 0$, ``shrink`` where it is < 0,
    else 1; $w \leftarrow w - η\,\mathrm{sign}(g)$, where a gradient that changed its sign counts as 0. For full
    batches.

    Arguments:
        learning_rate: the step size to start from, a number; it is kept per weight from then on.
        shrink: in (0, 1).
        grow: at least 1.
        smallest: the least step size.
        largest: the greatest step size.

    Raises:
        RangeError: a number outside its range.

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning", 1993.

    >>> import phlox as px
    >>> px.optim.Rprop(0.01).grow
    1.2
    """

    learning_rate: float = 0.01
    shrink: Number = 0.5
    grow: Number = 1.2
    smallest: Number = 1e-6
    largest: Number = 50.0
    ranges: ClassVar[Ranges] = {**RATE, "shrink": UNIT, "grow": (1.0, INF), "smallest": POSITIVE, "largest": POSITIVE}
    constants: ClassVar[frozenset[str]] = frozenset({"learning_rate"})
    componentwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if callable(self.learning_rate):
            raise RangeError(
                "a number for learning_rate",
                got="a schedule",
                fix="give the step size to start from; the rule changes it by itself",
                where="Rprop",
            )

    def start(self, w: jax.Array) -> Slots:
        """The gradient before, and the step sizes."""
        size = jnp.full_like(jnp.real(w), self.learning_rate)
        return {"previous": jnp.zeros_like(w), "size": size}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        agree = jnp.sign(g * slots["previous"])
        factor = jnp.where(agree > 0, n.grow, jnp.where(agree < 0, n.shrink, 1.0)).astype(slots["size"].dtype)
        size = jnp.clip(slots["size"] * factor, n.smallest, n.largest)
        g = jnp.where(agree < 0, 0, g)
        return size * jnp.sign(g), {"previous": g, "size": size}


@dataclass(frozen=True, eq=False)
class Lion(Rule):
    r"""Lion: the sign of an interpolated momentum, $w \leftarrow w - η(\mathrm{sign}(β_1 m + (1-β_1) g) + λ w)$.

    Then $m \leftarrow β_2 m + (1-β_2) g$. The formula is the paper's and optax's. Flux's ``Lion`` gives the current
    gradient the weight β₂ where this has 1 - β₂, and steps by $\mathrm{sign}((β_2-β_1) g + β_1 m)$ after that.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        weight_decay: λ ≥ 0.
        mask: which arrays decay, by path pattern or predicate; all by default.

    Raises:
        RangeError: a number outside its range.

    Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023.

    >>> import phlox as px
    >>> px.optim.Lion(1e-4, weight_decay=0.1).b2
    0.99
    """

    learning_rate: Number = 1e-4
    b1: Number = 0.9
    b2: Number = 0.99
    weight_decay: Number = 0.0
    mask: Choice | None = None
    ranges: ClassVar[Ranges] = {**RATE, "b1": UNIT, "b2": UNIT, "weight_decay": POSITIVE}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"m": "signed"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.mask, "Lion")

    def check_paths(self, paths: tuple[str, ...], arrays: list[jax.Array]) -> None:
        """A mask that means nothing is refused."""
        check_matches(self.mask, paths, arrays, "Lion")

    @property
    def by_component(self) -> bool:
        """A mask tells arrays apart by their path."""
        return super().by_component and self.mask is None

    def start(self, w: jax.Array) -> Slots:
        """The momentum."""
        return {"m": jnp.zeros_like(w)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        direction = jnp.sign(n.b1 * slots["m"] + (1 - n.b1) * g)
        if chosen(self.mask, n.path, w):
            direction = direction + n.weight_decay * w
        return n.learning_rate * direction, {"m": n.b2 * slots["m"] + (1 - n.b2) * g}


@dataclass(frozen=True, eq=False)
class ASGD(Rule):
    r"""Averaged gradient descent: $w \leftarrow w - η_t (g + λ w)$, with $η_t = η / (1 + λ η t)^{α}$.

    The mean of w over the updates from ``begin`` on is kept beside it: ``opt.slot("average")`` gives it by path.
    The formula is PyTorch's, whose first step has η itself.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        decay: λ ≥ 0.
        power: α ≥ 0.
        begin: the update after which averaging starts.

    Raises:
        RangeError: a number outside its range.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    >>> import phlox as px
    >>> px.optim.ASGD(0.01).power
    0.75
    """

    learning_rate: Number = 0.01
    decay: Number = 1e-4
    power: Number = 0.75
    begin: Number = 1e6
    in_parts: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {**RATE, "decay": POSITIVE, "power": POSITIVE, "begin": POSITIVE}

    def start(self, w: jax.Array) -> Slots:
        """The mean."""
        return {"average": jnp.array(w)}

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """The rate of this step, and the share of the new weights in the mean."""
        rate = n.learning_rate / (1 + n.decay * n.learning_rate * (t - 1)) ** n.power
        return {"rate": rate, "share": 1 / jnp.maximum(1.0, t - 1 - n.begin)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        step = n.rate * (g + n.decay * w)
        mean = slots["average"]
        return step, {"average": mean + n.share * (w - step - mean)}
