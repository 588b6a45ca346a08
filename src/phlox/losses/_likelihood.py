"""Negative log-likelihoods of counts and of normal variables, and the divergence between distributions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from phlox.core import ShapeError, answering, describe
from phlox.losses._reduce import (
    Reduction,
    above_zero,
    check_values,
    floating,
    matched,
    not_negative,
    real,
    reduced,
    same_shape,
    widen,
)
from phlox.losses._safe import safe_log


@answering
def kl_divergence(
    probabilities: ArrayLike, targets: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Kullback-Leibler divergence KL(targets ‖ probabilities) of distributions over the last axis.

    ``loss = Σ_c t_c · (log t_c - log p_c)``, a term with ``t_c = 0`` being 0 and ``log p_c`` at least -100 (so p = 0
    under t > 0 is large but finite, where SciPy's ``rel_entr`` gives infinity).

    Both arguments are probabilities and the prediction comes first. PyTorch's ``kl_div`` takes log-probabilities
    first; its ``"batchmean"`` on (batch, classes) is this ``"mean"``, which counts distributions, not elements.

    Shapes:
        probabilities and targets (..., classes), the same; the result is a scalar, or (...,) with ``"none"``.

    Arguments:
        reduction: ``"mean"`` is Σ weight·loss / Σ weight over the distributions.
        weight: sample weights, of the leading axes of (...,).

    Raises:
        RangeError: a negative probability or target, where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or probabilities that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.kl_divergence(jnp.array([[0.5, 0.5]]), jnp.array([[1.0, 0.0]]))), 4)
        0.6931

    Source: Kullback and Leibler, On Information and Sufficiency, 1951.
    """
    where = "kl_divergence"
    p, t, dtype = matched(probabilities, targets, where, names=("probabilities", "targets"))
    fix = "use kl_divergence_with_logits for logits, or take exp of log-probabilities."
    check_values(probabilities, lambda v: v >= 0, "probabilities of at least 0", where=where, fix=fix)
    return reduced(_divergence(safe_log(p), t, targets, where), dtype, reduction, weight, where)


@answering
def kl_divergence_with_logits(
    logits: ArrayLike, targets: ArrayLike, *, reduction: Reduction = "mean", weight: ArrayLike | None = None
) -> jax.Array:
    """Kullback-Leibler divergence KL(targets ‖ softmax(logits)) of distributions over the last axis.

    ``loss = Σ_c t_c · (log t_c - log softmax(logits)_c)``, a term with ``t_c = 0`` being 0.

    Shapes:
        logits and target probabilities (..., classes), the same.

    Arguments:
        reduction, weight: as in ``kl_divergence``.

    Raises:
        RangeError: a negative target, where values are known.
        ShapeError, DtypeError: as ``kl_divergence``.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.kl_divergence_with_logits(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]]))), 4)
        0.6931

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.
    """
    where = "kl_divergence_with_logits"
    z, t, dtype = matched(logits, targets, where, names=("logits", "targets"))
    log_p = jax.nn.log_softmax(z, axis=-1) if z.ndim else z
    return reduced(_divergence(log_p, t, targets, where), dtype, reduction, weight, where)


def _divergence(log_p: jax.Array, t: jax.Array, targets: ArrayLike, where: str) -> jax.Array:
    if t.ndim == 0:
        fix = "put the classes on the last axis."
        raise ShapeError("distributions of shape (..., classes)", got=describe(t), fix=fix, where=where)
    fix = "normalise the targets with softmax."
    check_values(targets, lambda v: v >= 0, "target probabilities of at least 0", where=where, fix=fix)
    log_p = jnp.where((t == 0) & jnp.isneginf(log_p), 0, log_p)
    entropy = jnp.where(t == 0, 0, t * jnp.log(jnp.where(t == 0, 1, t)))
    return jnp.sum(entropy - t * log_p, axis=-1)


@answering
def poisson(
    rates: ArrayLike,
    targets: ArrayLike,
    *,
    full: bool = False,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Negative log-likelihood of counts under Poisson distributions of given rates.

    ``loss = rate - target · log(rate + eps)``, plus ``log target!`` with ``full``.

    Shapes:
        rates and targets (batch, ...), the same.

    Arguments:
        full: add ``log Γ(target + 1)``, exactly (PyTorch's ``full`` is Stirling's approximation).
        eps: keeps the logarithm finite at rate 0, 0 or more.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: a negative rate or target, where values are known, or a negative eps.
        ShapeError, DtypeError: arguments of unlike shapes, or rates that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> round(float(losses.poisson(jnp.array([2.0]), jnp.array([3]))), 4)
        -0.0794

    Source: Cameron and Trivedi, Regression Analysis of Count Data, 1998.
    """
    where = "poisson"
    not_negative("eps", eps, where)
    p, t, dtype = matched(rates, targets, where, names=("rates", "targets"))
    fix = "use poisson_with_log_rates for log rates."
    check_values(rates, lambda v: v >= 0, "rates of at least 0", where=where, fix=fix)
    rate = jnp.where((t == 0) & (p + eps == 0), 1, p + eps)  # 0 · log 0 is 0, with gradient 0
    loss = p - t * jnp.log(rate) + _log_factorial(t, targets, full, where)
    return reduced(loss, dtype, reduction, weight, where)


@answering
def poisson_with_log_rates(
    log_rates: ArrayLike,
    targets: ArrayLike,
    *,
    full: bool = False,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Negative log-likelihood of counts under Poisson distributions of given log rates.

    ``loss = exp(log_rate) - target · log_rate``, plus ``log target!`` with ``full``.

    Shapes:
        log_rates and targets (batch, ...), the same.

    Arguments:
        full: add ``log Γ(target + 1)``, exactly.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: a negative target, where values are known.
        ShapeError, DtypeError: arguments of unlike shapes, or log rates that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.poisson_with_log_rates(jnp.array([0.0]), jnp.array([3])))
        1.0

    Source: PyTorch, ``PoissonNLLLoss`` with ``log_input=True``.
    """
    where = "poisson_with_log_rates"
    z, t, dtype = matched(log_rates, targets, where, names=("log_rates", "targets"))
    return reduced(jnp.exp(z) - t * z + _log_factorial(t, targets, full, where), dtype, reduction, weight, where)


def _log_factorial(t: jax.Array, targets: ArrayLike, full: bool, where: str) -> jax.Array | float:
    check_values(targets, lambda v: v >= 0, "counts of at least 0", where=where, fix="check the order of arguments.")
    return gammaln(t + 1) if full else 0.0


@answering
def gaussian_nll(
    prediction: ArrayLike,
    target: ArrayLike,
    variance: ArrayLike,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
    weight: ArrayLike | None = None,
) -> jax.Array:
    """Negative log-likelihood of targets under normal distributions of given mean and variance.

    ``loss = ½ (log v + (prediction - target)² / v)`` with ``v = max(variance, eps)``, plus ``½ log 2π`` with ``full``.

    Shapes:
        prediction (the mean), target and variance (batch, ...), the same.

    Arguments:
        full: add the constant, so that the result is the likelihood itself.
        eps: the least variance, above 0; the gradient passes it as if it were not there.
        reduction, weight: as in ``mse``.

    Raises:
        RangeError: a negative variance, where values are known, or an eps not above 0.
        ShapeError, DtypeError: arguments of unlike shapes, or mean and variance that are not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> from phlox import losses
        >>> float(losses.gaussian_nll(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1.0])))
        2.0

    Source: Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994.
    """
    where = "gaussian_nll"
    above_zero("eps", eps, where)
    p, t = floating(prediction, "prediction", where), real(target, "target", where)
    v = floating(variance, "variance", where)
    same_shape(where, prediction=p, target=t, variance=v)
    fix = "pass a variance through softplus or exp."
    check_values(variance, lambda x: x >= 0, "variance of at least 0", where=where, fix=fix)
    (p, t, v), dtype = widen(p, t, v)
    v = v + jax.lax.stop_gradient(jnp.maximum(v, eps) - v)
    loss = 0.5 * (jnp.log(v) + jnp.square(p - t) / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, dtype, reduction, weight, where)
