"""Temperature scaling: logits of classes divided by one number."""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, State, describe
from phlox.probability._arguments import classes_of, fitted, floats, known, with_last_axis


class TemperatureScaling(Module):
    r"""Probabilities of classes from logits divided by a temperature, $\mathrm{softmax}(z / T)$.

    T is the number with the greatest likelihood of held-out examples, found to the last digits. Which class comes first
    stays as it was, so no accuracy is lost.

    Shapes:
        z: (..., classes) logits; target: (...) integer classes; probabilities: (..., classes).

    ``fit(logits, target)`` finds T, which is State: training leaves it alone. ``px.Chain(model, scaling)`` is a model
    that gives probabilities.

    Raises:
        RangeError: from ``fit``, for logits that have no best temperature: those of the right classes are always the
            largest, or are no larger than others on the mean.
        StateError: called before ``fit``.
        ShapeError, DtypeError: arguments that do not match.

    Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> logits = jnp.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    >>> scaling = px.probability.TemperatureScaling().fit(logits, jnp.array([0, 0, 1, 1]))
    >>> [round(p, 4) for p in scaling(jnp.array([2.0, 0.0])).tolist()]
    [0.75, 0.25]
    """

    temperature: State | None  # ()

    def __init__(self) -> None:
        self.temperature = None

    def fit(self, logits: Any, target: Any) -> Self:
        """Find the temperature of held-out examples; returns the layer itself."""
        where = "TemperatureScaling.fit"
        (z,) = floats(where, logits=logits)
        with_last_axis(where, "classes", z, jnp.asarray(target))
        y = classes_of(where, target, z.shape[-1])
        z, y = known(where, "a temperature", z.reshape(-1, z.shape[-1]), y.reshape(-1))
        self.temperature = jnp.asarray(1 / _best_inverse(z.astype(np.float64), y, where), jnp.result_type(float))
        return self

    def __call__(self, logits: Any) -> jax.Array:
        temperature = fitted(self, self.temperature, "a temperature", "fit(logits, target)")
        (z,) = floats(None, logits=logits)
        if z.ndim < 1:
            raise ShapeError("(..., classes)", got=describe(z), fix="put the classes along the last axis")
        return jax.nn.softmax(z / temperature.astype(z.dtype), -1)

    def _brief(self) -> str:
        return "TemperatureScaling()"


def _best_inverse(z: np.ndarray, y: np.ndarray, where: str) -> float:
    """The β = 1 / T at which the convex -Σ log softmax(β z)_y is smallest: where its slope is zero."""
    from scipy.optimize import brentq
    from scipy.special import softmax

    z = z - z.max(-1, keepdims=True)
    right = z[np.arange(len(z)), y].mean() if len(z) else 0.0

    def slope(inverse: float) -> float:
        return float((softmax(inverse * z, -1) * z).sum(-1).mean() - right)

    if right == 0 or not np.isfinite(right):
        fix = "give more held-out examples, some of which the model gets wrong, and logits that are finite"
        raise RangeError("examples whose right class is not always the one of the largest logit",
                         got="none that is wrong", fix=fix, where=where)  # fmt: skip
    if slope(0.0) >= 0:
        fix = "check that targets belong to these logits, and that they are no probabilities of failure"
        raise RangeError("logits that are larger for the right class than for others, on the mean",
                         got="logits that are not", fix=fix, where=where)  # fmt: skip
    high = 1.0
    while slope(high) <= 0:
        high *= 2
    root: Any = brentq(slope, 0.0, high, xtol=1e-300, rtol=np.float64(1e-14))
    return float(root)
