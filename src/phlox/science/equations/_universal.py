"""Universal differential equations: physics that is known, and a network for what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from phlox.core import Module, check_function
from phlox.science.equations._equation import like_state
from phlox.science.equations._fields import named


class UniversalField(Module):
    r"""A vector field of two parts, one that is known and one that is learned: $f = f_\text{known} + f_\text{learned}$.

    It is the field of a ``NeuralODE`` or the drift of a ``NeuralSDE``; after training, ``learned`` alone says what the
    known part lacks.

    Shapes:
        as the layer that it is the field of; both parts give slopes like the state.

    Arguments:
        known, learned: functions or Modules, called with what the field is called with. Arrays of a known Module train
            too, as physical constants do; ``px.freeze(known)`` keeps them.
        combine: makes one slope of the two, ``combine(known, learned)``; by default their sum.

    Raises:
        RangeError: a part that cannot be called.
        ShapeError: parts that give slopes of different shapes.

    Source: Rackauckas et al., "Universal differential equations for scientific machine learning", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> field = px.science.UniversalField(lambda y: -y, px.Dense.of(jnp.array([[0.5]]), None))
    >>> field(jnp.array([[2.0]])).tolist()
    [[-1.0]]
    """

    known: Callable[..., Any]
    learned: Callable[..., Any]
    combine: Callable[[Any, Any], Any] | None

    def __init__(
        self,
        known: Callable[..., Any],
        learned: Callable[..., Any],
        *,
        combine: Callable[[Any, Any], Any] | None = None,
    ):
        self.known = check_function("UniversalField", "known", known, "as the field is")
        self.learned = check_function("UniversalField", "learned", learned, "as the field is")
        self.combine = (
            combine if combine is None else check_function("UniversalField", "combine", combine, "with two slopes")
        )

    def __call__(self, *given: Any) -> Any:
        known, learned = self.known(*given), self.learned(*given)
        if self.combine is not None:
            return self.combine(known, learned)
        return jax.tree.map(lambda a, b: a + b, known, like_state(known, learned, "a learned part"))

    def _brief(self) -> str:
        return f"UniversalField({named(self.known)}, {named(self.learned)})"
