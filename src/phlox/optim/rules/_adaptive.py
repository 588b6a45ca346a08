"""Rules that scale by sums and means of squared gradients: AdaGrad, AdaDelta, RMSProp, Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.optim.rules._adam import abs2
from phlox.optim.rules._descent import POSITIVE, RATE, UNIT
from phlox.optim.rules._numbers import Number
from phlox.optim.rules._rule import INF, Ranges, Rule, Slots


@dataclass(frozen=True, eq=False)
class AdaGrad(Rule):
    r"""AdaGrad: $s \leftarrow s + g^2,\; w \leftarrow w - η g / (\sqrt s + ε)$.

    The formula and numbers are PyTorch's. Flux starts s from ε and has η = 0.1; optax has ε inside the root.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        initial: what s starts from.
        eps: ε, outside the root.

    Raises:
        RangeError: a number outside its range.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning", 2011.

    >>> import phlox as px
    >>> px.optim.AdaGrad(0.1).eps
    1e-10
    """

    learning_rate: Number = 0.01
    initial: float = 0.0
    eps: Number = 1e-10
    ranges: ClassVar[Ranges] = {**RATE, "initial": POSITIVE, "eps": POSITIVE}
    componentwise: ClassVar[bool] = True

    def start(self, w: jax.Array) -> Slots:
        """The sum of squares."""
        return {"sum": jnp.full_like(jnp.real(w), self.initial)}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        total = slots["sum"] + abs2(g)
        return n.learning_rate * g / (jnp.sqrt(total) + n.eps), {"sum": total}


@dataclass(frozen=True, eq=False)
class AdaDelta(Rule):
    r"""AdaDelta: steps in the units of the weights, without a rate to tune.

    $s \leftarrow ρs + (1-ρ)g^2,\; d = g\sqrt{u+ε}/\sqrt{s+ε},\; u \leftarrow ρu + (1-ρ)d^2,\; w \leftarrow w - ηd$.

    Arguments:
        learning_rate: η, 1 in the paper and in Flux, which has no argument for it.
        decay: ρ in [0, 1).
        eps: ε, inside the roots.

    Raises:
        RangeError: a number outside its range.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> import phlox as px
    >>> px.optim.AdaDelta().decay
    0.9
    """

    learning_rate: Number = 1.0
    decay: Number = 0.9
    eps: Number = 1e-6
    ranges: ClassVar[Ranges] = {**RATE, "decay": UNIT, "eps": POSITIVE}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"squares": "unsigned", "steps": "unsigned"}

    def start(self, w: jax.Array) -> Slots:
        """The mean squares of gradients and of steps."""
        return {"squares": jnp.zeros_like(jnp.real(w)), "steps": jnp.zeros_like(jnp.real(w))}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        squares = n.decay * slots["squares"] + (1 - n.decay) * abs2(g)
        direction = g * (jnp.sqrt(slots["steps"] + n.eps) / jnp.sqrt(squares + n.eps))
        steps = n.decay * slots["steps"] + (1 - n.decay) * abs2(direction)
        return n.learning_rate * direction, {"squares": squares, "steps": steps}


@dataclass(frozen=True, eq=False)
class RMSProp(Rule):
    r"""RMSProp: $s \leftarrow ρs + (1-ρ)g^2,\; w \leftarrow w - η g / (\sqrt s + ε)$.

    With ``centred``, $\sqrt{s - \bar g^2}$ stands for $\sqrt s$, where $\bar g$ is the running mean of g. With
    ``momentum``, a velocity $b \leftarrow μb + g/(\sqrt s + ε)$ is what is followed. The formula and numbers are
    PyTorch's; Flux has η = 0.001 and ρ = 0.9, and optax ε inside the root by default.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        decay: ρ in [0, 1).
        eps: ε, outside the root.
        momentum: μ in [0, 1).
        centred: scale by the deviation, not by the size of gradients.

    Raises:
        RangeError: a number outside its range.

    Source: Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012; Graves, "Generating sequences", 2013, for centred.

    >>> import phlox as px
    >>> px.optim.RMSProp(0.001, 0.9, centred=True).momentum
    0.0
    """

    learning_rate: Number = 0.01
    decay: Number = 0.99
    eps: Number = 1e-8
    momentum: Number = 0.0
    centred: bool = False
    ranges: ClassVar[Ranges] = {**RATE, "decay": UNIT, "eps": POSITIVE, "momentum": UNIT}
    componentwise: ClassVar[bool] = True
    in_8_bits: ClassVar[Mapping[str, str]] = {"squares": "unsigned", "velocity": "signed"}

    @property
    def _moves(self) -> bool:
        return callable(self.momentum) or self.momentum > 0

    @property
    def small_slots(self) -> Mapping[str, str]:
        """Not what ``centred`` takes the difference of: two roundings may be all that is left of it."""
        there = {"squares": not self.centred, "velocity": self._moves}
        return {name: sign for name, sign in super().small_slots.items() if there[name]}

    @property
    def held(self) -> dict[str, Number]:
        """The momentum is state where there is a velocity."""
        return {k: v for k, v in super().held.items() if k != "momentum" or self._moves}

    def start(self, w: jax.Array) -> Slots:
        """The mean squares, and the mean and the velocity where they are asked for."""
        centre = {"mean": jnp.zeros_like(w)} if self.centred else {}
        velocity = {"velocity": jnp.zeros_like(w)} if self._moves else {}
        return {"squares": jnp.zeros_like(jnp.real(w)), **centre, **velocity}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        del w
        squares = n.decay * slots["squares"] + (1 - n.decay) * abs2(g)
        after, spread = {"squares": squares}, squares
        if self.centred:
            after["mean"] = n.decay * slots["mean"] + (1 - n.decay) * g
            spread = jnp.maximum(squares - abs2(after["mean"]), 0)  # rounding may go below
        direction = g / (jnp.sqrt(spread) + n.eps)
        if "velocity" in slots:
            after["velocity"] = direction = n.momentum * slots["velocity"] + direction
        return n.learning_rate * direction, after


@dataclass(frozen=True, eq=False)
class Adafactor(Rule):
    r"""Adafactor: the second moment of a matrix kept as one row and one column.

    $\hat β_t = 1 - t^{c};\; r, k$ the running means of $g^2$ over the last and the last but one axis,
    $\hat v = r k / \mathrm{mean}(r);\; u = g/\sqrt{\max(\hat v, ε_1^2)},\;
    u \leftarrow u / \max(1, \mathrm{rms}(u)/d)$;
    $w \leftarrow w - \max(ε_2, \mathrm{rms}(w)) \min(η, 1/\sqrt t)\, u - ηλw$. Arrays of one axis keep $v$ whole. The
    formula is PyTorch's; optax's ``adafactor`` factors matrices of 128 columns and more alone and has other numbers.

    Arguments:
        learning_rate: η, the greatest relative step, a number or a schedule of the update count.
        decay_power: c ≤ 0.
        eps: ε₁, of the gradient; None for the dtype's machine epsilon.
        eps_weights: ε₂, the least size of weights that a step is relative to.
        threshold: d, of clipping.
        weight_decay: λ ≥ 0.

    Raises:
        RangeError: a number outside its range.

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.

    >>> import phlox as px
    >>> px.optim.Adafactor().decay_power
    -0.8
    """

    learning_rate: Number = 0.01
    decay_power: Number = -0.8
    eps: float | None = None
    eps_weights: Number = 1e-3
    threshold: Number = 1.0
    weight_decay: Number = 0.0
    ranges: ClassVar[Ranges] = {
        **RATE,
        "decay_power": (-INF, 1e-300),
        "eps_weights": POSITIVE,
        "threshold": POSITIVE,
        "weight_decay": POSITIVE,
    }

    def start(self, w: jax.Array) -> Slots:
        """A row and a column, or the whole second moment in the place of the row."""
        real = jnp.zeros_like(jnp.real(w))
        if w.ndim < 2:
            return {"row": real, "column": jnp.zeros((), real.dtype)}
        return {"row": real[..., :1], "column": real[..., :1, :]}

    def corrections(self, n: Any, t: jax.Array) -> dict[str, jax.Array]:
        """The share of the new squares, and the greatest relative step."""
        return {"share": t**n.decay_power, "relative": jnp.minimum(n.learning_rate, 1 / jnp.sqrt(t))}

    def step(self, g: jax.Array, w: jax.Array, slots: Slots, n: Any) -> tuple[jax.Array, Slots]:
        """The formula above."""
        square = abs2(g)
        eps = float(jnp.finfo(n.dtype).eps) if self.eps is None else self.eps
        mix = lambda old, new: old + n.share * (new - old)  # noqa: E731
        if g.ndim < 2:
            row, column = mix(slots["row"], square), slots["column"]
            estimate = row
        else:
            row = mix(slots["row"], square.mean(-1, keepdims=True))
            column = mix(slots["column"], square.mean(-2, keepdims=True))
            estimate = row * column / jnp.maximum(row.mean(-2, keepdims=True), eps)
        update = g * jax.lax.rsqrt(jnp.maximum(estimate, eps**2))
        update = update / jnp.maximum(1, _rms(update) / n.threshold)
        scale = jnp.maximum(n.eps_weights, _rms(w)) * n.relative
        return scale * update + n.learning_rate * n.weight_decay * w, {"row": row, "column": column}


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(abs2(x)))
