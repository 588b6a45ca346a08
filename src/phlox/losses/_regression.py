"""Losses on a difference: squared, absolute, logarithmic, and the robust ones between."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from phlox.core import answering
from phlox.losses._one_call import one_call
from phlox.losses._reduce import Reduction, above_zero, check_values, matched, not_negative, reduced, traced
from phlox.losses._safe import magnitude


@one_call("reduction")
def mse(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Mean squared error.

    ``loss = (prediction - target)²``

    Shapes:
        prediction and target (batch, ...), the same; the result is a scalar, or (batch, ...) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` over all elements (Σ weight·loss / Σ weight), ``"sum"`` or ``"none"``.
        weight: weights of the leading axes: (batch,), or one per element.

    Raises:
        ShapeError: prediction and target differ in shape; nothing is broadcast.
        DtypeError: the prediction is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 1.1.
    """
    p, t, dtype = matched(prediction, target, "mse")
    return reduced(jnp.square(p - t), dtype, reduction, weight, "mse")


@one_call("reduction")
def mae(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Mean absolute error, the L1 loss.

    ``loss = |prediction - target|``, with gradient 0 where the two are equal.

    Shapes:
        prediction and target (batch, ...), the same.

    Arguments:
        reduction, weight: as in ``mse``.

    Raises:
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.mae(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        1.0

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, section 1.5.5.
    """
    p, t, dtype = matched(prediction, target, "mae")
    return reduced(magnitude(p - t), dtype, reduction, weight, "mae")


@answering
def msle(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    eps: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Mean squared logarithmic error.

    ``loss = (log(prediction + eps) - log(target + eps))²``; ``eps=1`` is scikit-learn's and Keras' form.

    Shapes:
        prediction and target (batch, ...), the same.

    Arguments:
        eps: what is added before the logarithm, above 0; small values compare pure ratios.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: eps not above 0, or a target at or below -eps. Such a prediction gives NaN.
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.msle(jnp.array([1.0]), jnp.array([3.0]))), 4)
        0.4805

    Source: scikit-learn, ``mean_squared_log_error``.
    """
    above_zero("eps", eps, "msle")
    p, t, dtype = matched(prediction, target, "msle")
    if not traced(eps):
        fix = "shift the targets, or use mse."
        check_values(target, lambda v: v > -eps, f"targets above -eps = {-eps}", where="msle", fix=fix)
    return reduced(jnp.square(jnp.log1p(p / eps) - jnp.log1p(t / eps)), dtype, reduction, weight, "msle")


@one_call("reduction", "delta")
def huber(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    delta: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Huber loss: squared near zero, linear beyond ``delta``.

    ``loss = ½ d²`` where ``d = |prediction - target| ≤ delta``, else ``delta · (d - ½ delta)``.

    Shapes:
        prediction and target (batch, ...), the same.

    Arguments:
        delta: where the line begins, above 0, in the units of the target.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: delta not above 0.
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.huber(jnp.array([0.5, 3.0]), jnp.zeros(2), reduction="none").tolist()
        [0.125, 2.5]

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    above_zero("delta", delta, "huber")
    p, t, dtype = matched(prediction, target, "huber")
    return reduced(_huber(p - t, delta), dtype, reduction, weight, "huber")


@jax.custom_jvp
def _huber(error: jax.Array, delta: ArrayLike) -> jax.Array:
    d = jnp.abs(error)
    q = jnp.minimum(d, delta)  # one formula for both pieces, so no unused branch can overflow
    return q * (d - 0.5 * q)


@functools.partial(_huber.defjvp, symbolic_zeros=True)
def _huber_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    """The slope is the error, clipped, also at infinity."""
    (error, delta), (d_error, d_delta) = primals, tangents
    parts = [] if _is_zero(d_error) else [jnp.clip(error, -delta, delta) * d_error]
    if not _is_zero(d_delta):
        beyond = jnp.abs(error) - delta
        parts.append(jnp.where(beyond > 0, beyond, 0) * d_delta)
    return _huber(error, delta), sum(parts, jnp.zeros_like(error))


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


@one_call("reduction", "beta")
def smooth_l1(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    beta: float = 1.0,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Smooth L1 loss: the Huber loss divided by its threshold, so that its slope is 1.

    ``loss = ½ d² / beta`` where ``d = |prediction - target| < beta``, else ``d - ½ beta``; ``beta=0`` is ``mae``.

    Shapes:
        prediction and target (batch, ...), the same.

    Arguments:
        beta: where the line begins, 0 or more, in the units of the target.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: beta below 0.
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> losses.smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2), beta=0.5, reduction="none").tolist()
        [0.25, 2.75]

    Source: Girshick, Fast R-CNN, 2015.
    """
    not_negative("beta", beta, "smooth_l1")
    p, t, dtype = matched(prediction, target, "smooth_l1")
    if not traced(beta) and beta == 0:
        return reduced(magnitude(p - t), dtype, reduction, weight, "smooth_l1")
    return reduced(_huber(p - t, beta) / beta, dtype, reduction, weight, "smooth_l1")


@one_call("reduction")
def log_cosh(
    prediction: ArrayLike, target: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Logarithm of the hyperbolic cosine of the error: ½ d² near zero, |d| - log 2 far away.

    ``loss = log cosh(prediction - target)``

    Shapes:
        prediction and target (batch, ...), the same.

    Arguments:
        reduction, weight: as in ``mse``.

    Raises:
        ShapeError, DtypeError: as ``mse``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.log_cosh(jnp.array([1.0]), jnp.array([0.0]))), 4)
        0.4338

    Source: Chen et al., Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder, 2019.
    """
    p, t, dtype = matched(prediction, target, "log_cosh")
    d = jnp.abs(p - t)
    near = jnp.log1p(2 * jnp.square(jnp.sinh(0.5 * jnp.minimum(d, 1))))  # no cancellation for small d
    far = d - math.log(2) + jnp.log1p(jnp.exp(-2 * d))
    return reduced(jnp.where(d < 1, near, far), dtype, reduction, weight, "log_cosh")
