"""Named rules: each a few optax transforms with the learning rate held as state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phlox.core import RangeError
from phlox.optim._rate import Rate, scale_by_rate

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True)
class Rule:
    """An update rule by its numbers. Equal rules share compiled programs, whatever their learning rate."""

    learning_rate: Rate = field(default=1e-3, compare=False)
    schedule: Any = field(init=False, repr=False, default=None)  # what of the rate is part of the program

    def __post_init__(self) -> None:
        if callable(self.learning_rate):
            object.__setattr__(self, "schedule", self.learning_rate)
        else:
            _check(self, "learning_rate", self.learning_rate, low=0.0)

    def transform(self) -> optax.GradientTransformation:
        """The optax transformation."""
        import optax  # slow to import, so only where a rule is used

        return optax.chain(*self._direction(), scale_by_rate(self.learning_rate))

    def _direction(self) -> tuple[optax.GradientTransformation, ...]:
        return ()


@dataclass(frozen=True)
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

    learning_rate: Rate = field(default=0.1, compare=False)


@dataclass(frozen=True)
class Momentum(Rule):
    r"""Gradient descent with momentum: $v \leftarrow \mu v + g,\; w \leftarrow w - \eta v$.

    With ``nesterov``, $w \leftarrow w - \eta (g + \mu v)$. The convention is PyTorch's: the rate stands outside v.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        momentum: μ in [0, 1).
        nesterov: look ahead along v.

    Raises:
        RangeError: a number outside its range.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    >>> import phlox as px
    >>> px.optim.Momentum(0.01, 0.9).momentum
    0.9
    """

    learning_rate: Rate = field(default=0.01, compare=False)
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "momentum", self.momentum, low=0.0, below=1.0)

    def _direction(self) -> tuple[optax.GradientTransformation, ...]:
        import optax

        return (optax.trace(self.momentum, self.nesterov),)


@dataclass(frozen=True)
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

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "b1", self.b1, low=0.0, below=1.0)
        _check(self, "b2", self.b2, low=0.0, below=1.0)
        _check(self, "eps", self.eps, low=0.0)

    def _direction(self) -> tuple[optax.GradientTransformation, ...]:
        import optax

        return (optax.scale_by_adam(self.b1, self.b2, self.eps),)


@dataclass(frozen=True)
class AdamW(Adam):
    r"""Adam with decoupled weight decay: $w \leftarrow w - η (\hat m / (\sqrt{\hat v} + ε) + λ w)$.

    Arguments:
        learning_rate: η, a number or a schedule of the update count.
        b1: decay of the first moment, in [0, 1).
        b2: decay of the second moment, in [0, 1).
        eps: ε, outside the root.
        weight_decay: λ ≥ 0.

    Raises:
        RangeError: a number outside its range.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> import phlox as px
    >>> px.optim.AdamW(1e-3).weight_decay
    0.01
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "weight_decay", self.weight_decay, low=0.0)

    def _direction(self) -> tuple[optax.GradientTransformation, ...]:
        import optax

        return (*super()._direction(), optax.add_decayed_weights(self.weight_decay))


def _check(rule: Rule, name: str, value: float, low: float, below: float = float("inf")) -> None:
    if not low <= value < below:
        bounds = f"[{low:g}, {below:g})" if below != float("inf") else f"[{low:g}, ∞)"
        raise RangeError(
            f"{name} in {bounds}", got=repr(value), fix=f"choose {name} in {bounds}", where=type(rule).__name__
        )
