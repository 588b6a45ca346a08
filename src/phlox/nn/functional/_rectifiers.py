"""Activation functions made of pieces: rectifiers, hard limits and shrinkage.

At a kink the gradient is the one that PyTorch takes, so that a ported model trains the same.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, ShapeError, answering, describe
from phlox.nn.functional._bounds import rectified
from phlox.nn.functional._numeric import beside, in_range, is_concrete, pointwise, real, spread

__all__ = [
    "celu",
    "elu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "softshrink",
    "threshold",
    "trelu",
]

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@pointwise
def relu(x: ArrayLike) -> Array:
    """Rectified linear unit: ``y = max(x, 0)``, gradient 0 at 0.

    Shapes:
        x: any, real; y: as x.

    >>> relu(jnp.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]

    Source: Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """
    return rectified(jnp.asarray(x))


@pointwise
def relu6(x: ArrayLike) -> Array:
    """Rectifier with a ceiling: ``y = min(max(x, 0), 6)``.

    Shapes:
        x: any, real; y: as x.

    >>> relu6(jnp.array([-1.0, 2.0, 9.0])).tolist()
    [0.0, 2.0, 6.0]

    Source: Krizhevsky, "Convolutional deep belief networks on CIFAR-10" (2010).
    """
    return _limit(jnp.asarray(x), 0.0, 6.0)


@pointwise
def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """Rectifier that leaks: ``y = x`` where ``x > 0``, else ``negative_slope * x``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        negative_slope: slope left of 0.

    >>> leaky_relu(jnp.array([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]

    Source: Maas et al., "Rectifier nonlinearities improve neural network acoustic models" (2013).
    """
    x = jnp.asarray(x)
    return jnp.where(x > 0, x, negative_slope * x)


@answering
def prelu(x: ArrayLike, slope: ArrayLike) -> Array:
    """Rectifier with a learned leak: ``y = x`` where ``x > 0``, else ``slope * x``.

    Shapes:
        x: (..., channels), real; slope: () or (1,) or (channels,); y: as x.

    Raises:
        ShapeError: ``slope`` is neither one number nor one per channel.

    >>> prelu(jnp.array([[-1.0, -1.0]]), jnp.array([0.5, 2.0])).tolist()
    [[-0.5, -2.0]]

    Source: He et al., "Delving deep into rectifiers" (arXiv:1502.01852).
    """
    array, weight = real(x, "prelu"), real(slope, "prelu")
    channels = array.shape[-1] if array.ndim else 1
    if weight.shape not in ((), (1,), (channels,)):
        fix = "pass one slope, or one for each channel (the last axis)"
        raise ShapeError(f"a slope of shape () or ({channels},)", got=describe(weight), fix=fix, where="prelu")
    weight = weight.reshape(()) if weight.size == 1 else weight
    if weight.dtype == array.dtype:  # elsewhere the product has a wider dtype, which its gradient is summed in
        weight = spread(weight, array.shape)
    return jnp.where(array > 0, array, (beside(weight, array.ndim) * array).astype(array.dtype))


@answering
def rrelu(x: ArrayLike, lower: float = 1 / 8, upper: float = 1 / 3, *, key: Array | None = None) -> Array:
    """Rectifier with a random leak: ``y = x`` where ``x > 0``, else ``a * x``, a uniform on [lower, upper).

    With a ``key`` (training) each element draws its own slope; without one (inference) every slope
    is the mean, ``(lower + upper) / 2``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        lower, upper: bounds of the slope, ``lower <= upper``.
        key: a JAX random key, or None for the fixed slope.

    Raises:
        RangeError: ``lower > upper``.

    >>> rrelu(jnp.array([-1.0, 2.0]), 0.25, 0.75).tolist()
    [-0.5, 2.0]

    Source: Xu et al., "Empirical evaluation of rectified activations" (arXiv:1505.00853).
    """
    array = real(x, "rrelu")
    if is_concrete(lower) and is_concrete(upper) and lower > upper:
        got = f"lower={lower}, upper={upper}"
        raise RangeError("lower <= upper", got=got, fix="exchange the two bounds", where="rrelu")
    if key is None:
        return leaky_relu(array, (lower + upper) / 2)
    slope = jax.random.uniform(key, array.shape, jnp.promote_types(array.dtype, jnp.float32), lower, upper)
    return jnp.where(array > 0, array, (slope * array).astype(array.dtype))


@pointwise
def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """Exponential linear unit: ``y = x`` where ``x > 0``, else ``alpha * (exp(x) - 1)``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        alpha: minus the limit at minus infinity.

    >>> round(elu(-1.0).item(), 4)
    -0.6321

    Source: Clevert et al., "Fast and accurate deep network learning by ELUs" (arXiv:1511.07289).
    """
    x = jnp.asarray(x)
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x)))


@pointwise
def selu(x: ArrayLike) -> Array:
    """Self-normalising exponential unit: ``y = 1.0507 * elu(x, 1.6733)``.

    Shapes:
        x: any, real; y: as x.

    >>> round(selu(1.0).item(), 4)
    1.0507

    Source: Klambauer et al., "Self-normalizing neural networks" (arXiv:1706.02515).
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


@pointwise
def celu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """Continuously differentiable ELU: ``y = max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        alpha: minus the limit at minus infinity, above 0.

    Raises:
        RangeError: ``alpha`` not above 0.

    >>> round(celu(-1.0, 2.0).item(), 4)
    -0.7869

    Source: Barron, "Continuously differentiable exponential linear units" (arXiv:1704.07483).
    """
    in_range("celu", "alpha", alpha, 0.0, math.inf, open_low=True)
    x = jnp.asarray(x)
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x) / alpha))


@pointwise
def trelu(x: ArrayLike, theta: ArrayLike = 1.0) -> Array:
    """Thresholded rectifier: ``y = x`` where ``x > theta``, else 0.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        theta: the value that x must exceed.

    >>> trelu(jnp.array([0.5, 2.0])).tolist()
    [0.0, 2.0]

    Source: Konda et al., "Zero-bias autoencoders" (arXiv:1402.3337).
    """
    x = jnp.asarray(x)
    return jnp.where(x <= theta, 0.0, x)


@pointwise
def threshold(x: ArrayLike, threshold: ArrayLike, value: ArrayLike) -> Array:
    """Replace what does not exceed a threshold: ``y = x`` where ``x > threshold``, else ``value``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        threshold: the value that x must exceed.
        value: what stands in its place.

    >>> threshold(jnp.array([0.5, 2.0]), 1.0, -7.0).tolist()
    [-7.0, 2.0]

    Source: torch.nn.Threshold, the definition.
    """
    x = jnp.asarray(x)
    return jnp.where(x <= threshold, value, x)


@pointwise
def hardtanh(x: ArrayLike, min_val: ArrayLike = -1.0, max_val: ArrayLike = 1.0) -> Array:
    """Clip: ``y = min(max(x, min_val), max_val)``, gradient 0 at both ends.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        min_val, max_val: the limits, ``min_val <= max_val``.

    Raises:
        RangeError: ``min_val > max_val``.

    >>> hardtanh(jnp.array([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]

    Source: Collobert, "Large scale machine learning" (2004).
    """
    if is_concrete(min_val) and is_concrete(max_val) and np.any(np.asarray(min_val) > np.asarray(max_val)):
        got = f"min_val={min_val}, max_val={max_val}"
        raise RangeError("min_val <= max_val", got=got, fix="exchange the two limits", where="hardtanh")
    return _limit(jnp.asarray(x), min_val, max_val)


@pointwise
def hardsigmoid(x: ArrayLike) -> Array:
    """Piecewise linear sigmoid: ``y = min(max(x + 3, 0), 6) / 6``.

    Shapes:
        x: any, real; y: as x.

    >>> hardsigmoid(jnp.array([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]

    Source: Courbariaux et al., "BinaryConnect" (arXiv:1511.00363), with the slope of MobileNetV3.
    """
    return _limit(jnp.asarray(x) / 6.0 + 0.5, 0.0, 1.0)


@pointwise
def hardswish(x: ArrayLike) -> Array:
    """Piecewise quadratic swish: ``y = x * min(max(x + 3, 0), 6) / 6``.

    Shapes:
        x: any, real; y: as x.

    >>> hardswish(jnp.array([-4.0, 3.0, 4.0])).tolist()
    [0.0, 3.0, 4.0]

    Source: Howard et al., "Searching for MobileNetV3" (arXiv:1905.02244).
    """
    x = jnp.asarray(x)
    outside = jnp.abs(x) >= 3.0
    near = jnp.where(outside, 0.0, x)
    return jnp.where(outside, jnp.where(x > 0, x, 0.0), near * (near + 3.0) / 6.0)


@pointwise
def hardshrink(x: ArrayLike, lambd: ArrayLike = 0.5) -> Array:
    """Zero the small: ``y = x`` where ``|x| > lambd``, else 0.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        lambd: the half width of the dead zone, at least 0.

    Raises:
        RangeError: ``lambd`` below 0.

    >>> hardshrink(jnp.array([-0.4, 2.0])).tolist()
    [0.0, 2.0]

    Source: Donoho & Johnstone, "Ideal spatial adaptation by wavelet shrinkage" (1994).
    """
    in_range("hardshrink", "lambd", lambd, 0.0, math.inf)
    x = jnp.asarray(x)
    return jnp.where(jnp.abs(x) <= lambd, 0.0, x)


@pointwise
def softshrink(x: ArrayLike, lambd: ArrayLike = 0.5) -> Array:
    """Pull towards zero: ``y = x - lambd`` where ``x > lambd``, ``x + lambd`` where ``x < -lambd``, else 0.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        lambd: how far each value is pulled, at least 0.

    Raises:
        RangeError: ``lambd`` below 0.

    >>> softshrink(jnp.array([-2.0, 0.1, 2.0])).tolist()
    [-1.5, 0.0, 1.5]

    Source: Donoho, "De-noising by soft-thresholding" (1995).
    """
    in_range("softshrink", "lambd", lambd, 0.0, math.inf)
    x = jnp.asarray(x)
    return jnp.where(jnp.abs(x) <= lambd, 0.0, x - jnp.sign(x) * lambd)


def _limit(x: Array, low: ArrayLike, high: ArrayLike) -> Array:
    """Clip with gradient 0 at the limits themselves, where ``jnp.clip`` would pass one half."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))
