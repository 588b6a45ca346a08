"""Smooth activation functions: elementwise, and safe in value and gradient from 0 to the largest float."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from phlox.core import RangeError, answering
from phlox.nn.functional._numeric import in_range, inexact, pointwise, widen
from phlox.nn.functional.kernels._gelu import gelu_kernel

__all__ = [
    "gelu",
    "identity",
    "lisht",
    "log_sigmoid",
    "logcosh",
    "logsigmoid",
    "mish",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "swish",
    "tanh",
    "tanhshrink",
]


def identity(x: ArrayLike) -> Array:
    """Return the input unchanged: ``y = x``.

    Shapes:
        x: any; y: as x, of any dtype.

    >>> identity(2.0).item()
    2.0
    """
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


@answering
def sigmoid(x: ArrayLike) -> Array:
    """Squash to (0, 1): ``y = 1 / (1 + exp(-x))``.

    Shapes:
        x: any, real or complex; y: as x.

    >>> sigmoid(0.0).item()
    0.5

    Source: Cox, "The regression analysis of binary sequences" (1958).
    """
    array = inexact(x, "sigmoid")
    return jax.nn.sigmoid(widen(array)).astype(array.dtype)


@answering
def tanh(x: ArrayLike) -> Array:
    """Squash to (-1, 1): ``y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Shapes:
        x: any, real or complex; y: as x.

    >>> round(tanh(1.0).item(), 4)
    0.7616

    Source: LeCun et al., "Efficient BackProp" (1998).
    """
    array = inexact(x, "tanh")
    return jnp.tanh(widen(array)).astype(array.dtype)


@pointwise
def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """Gaussian error linear unit: ``y = x * P(Z <= x)`` with Z standard normal.

    Forms of P(Z <= x):
        "none": ``(1 + erf(x / sqrt(2))) / 2``, exact.
        "tanh": ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``.
        "sigmoid": ``sigmoid(1.702 * x)``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        approximate: "none" (or "erf"), "tanh" or "sigmoid".

    Raises:
        RangeError: another name in ``approximate``.

    >>> round(gelu(1.0).item(), 4), round(gelu(1.0, "tanh").item(), 4)
    (0.8413, 0.8412)

    Source: Hendrycks & Gimpel, "Gaussian error linear units" (arXiv:1606.08415).
    """
    x = jnp.asarray(x)
    if approximate in ("none", "erf"):
        y = _gelu_by_kernel(x)
        return _exact_gelu(x) if y is None else y
    if approximate == "tanh":
        near = jnp.clip(x, -20.0, 20.0)  # beyond, tanh is exactly 1, and the cube could overflow
        return 0.5 * x * (1.0 + jnp.tanh(math.sqrt(2.0 / math.pi) * (near + 0.044715 * near * near * near)))
    if approximate == "sigmoid":
        return x * jax.nn.sigmoid(1.702 * x)
    fix = 'pass approximate="none" for the exact form'
    raise RangeError('approximate "none", "tanh" or "sigmoid"', got=repr(approximate), fix=fix, where="gelu")


def _exact_gelu(x: Array) -> Array:
    return 0.5 * x * jax.lax.erfc(-x * math.sqrt(0.5))


_gelu_by_kernel = gelu_kernel(_exact_gelu)


@pointwise
def silu(x: ArrayLike) -> Array:
    """Sigmoid linear unit, also called swish: ``y = x * sigmoid(x)``.

    Shapes:
        x: any, real; y: as x.

    >>> round(silu(1.0).item(), 4)
    0.7311

    Source: Elfwing et al. (arXiv:1702.03118); Ramachandran et al. (arXiv:1710.05941).
    """
    return jnp.asarray(x) * jax.nn.sigmoid(x)


swish = silu


@pointwise
def mish(x: ArrayLike) -> Array:
    """Self-regularised smooth unit: ``y = x * tanh(log(1 + exp(x)))``.

    Shapes:
        x: any, real; y: as x.

    >>> round(mish(1.0).item(), 4)
    0.8651

    Source: Misra, "Mish: a self regularized non-monotonic activation function" (arXiv:1908.08681).
    """
    return jnp.asarray(x) * jnp.tanh(jax.nn.softplus(x))


@pointwise
def softplus(x: ArrayLike, beta: ArrayLike = 1.0, threshold: ArrayLike = 20.0) -> Array:
    """Smooth rectifier: ``y = log(1 + exp(beta * x)) / beta``, and ``y = x`` where ``beta * x > threshold``.

    Shapes:
        x: any, real; y: as x.

    Arguments:
        beta: sharpness, above 0.
        threshold: the value of ``beta * x`` beyond which the line is used.

    Raises:
        RangeError: ``beta`` not above 0.

    >>> round(softplus(0.0).item(), 4)
    0.6931

    Source: Dugas et al., "Incorporating second-order functional knowledge" (2001).
    """
    in_range("softplus", "beta", beta, 0.0, math.inf, open_low=True)
    x = jnp.asarray(x)
    scaled = x * beta
    line = scaled > threshold
    return jnp.where(line, x, jax.nn.softplus(jnp.where(line, 0.0, scaled)) / beta)


@pointwise
def softsign(x: ArrayLike) -> Array:
    """Squash to (-1, 1) with slow tails: ``y = x / (1 + |x|)``.

    Shapes:
        x: any, real; y: as x.

    >>> softsign(1.0).item()
    0.5

    Source: Bergstra et al., "Quadratic polynomials learn better image features" (2009).
    """
    x = jnp.asarray(x)
    return x / (1.0 + jnp.abs(x))


@pointwise
def log_sigmoid(x: ArrayLike) -> Array:
    """Logarithm of the sigmoid without underflow: ``y = -log(1 + exp(-x))``.

    Shapes:
        x: any, real; y: as x.

    >>> log_sigmoid(-1000.0).item()
    -1000.0

    Source: closed form; Maechler, "Accurately computing log(1 - exp(-|a|))" (2012).
    """
    return -jax.nn.softplus(-jnp.asarray(x))


logsigmoid = log_sigmoid


@pointwise
def lisht(x: ArrayLike) -> Array:
    """Linearly scaled tanh: ``y = x * tanh(x)``.

    Shapes:
        x: any, real; y: as x.

    >>> lisht(-1.0).item() == lisht(1.0).item()
    True

    Source: Roy et al., "LiSHT" (arXiv:1901.05894).
    """
    x = jnp.asarray(x)
    far = jnp.abs(x) > 20.0  # there tanh is exactly 1, and its slope of 0 could meet an overflow
    near = jnp.where(far, 0.0, x)
    return jnp.where(far, jnp.abs(x), near * jnp.tanh(near))


@pointwise
def logcosh(x: ArrayLike) -> Array:
    """Smooth absolute value: ``y = log(cosh(x))``.

    Near 0 it is ``log1p(2 * sinh(x / 2)**2)``, which keeps all digits of ``x**2 / 2``; further out
    it is ``|x| + log1p(exp(-2 * |x|)) - log(2)``, which cannot overflow.

    Shapes:
        x: any, real; y: as x.

    >>> round(logcosh(100.0).item(), 3)
    99.307

    Source: identity ``cosh(x) = 1 + 2 * sinh(x / 2)**2``.
    """
    x = jnp.asarray(x)
    near = jnp.abs(x) < 1.0
    inner = jnp.log1p(2.0 * jnp.square(jnp.sinh(0.5 * jnp.where(near, x, 0.0))))
    size = jnp.abs(jnp.where(near, 1.0, x))
    return jnp.where(near, inner, size + jnp.log1p(jnp.exp(-2.0 * size)) - math.log(2.0))


@pointwise
def tanhshrink(x: ArrayLike) -> Array:
    """What tanh takes away: ``y = x - tanh(x)``.

    Shapes:
        x: any, real; y: as x.

    >>> round(tanhshrink(1.0).item(), 4)
    0.2384

    Source: Wang et al., "Proximal deep structured models" (2016), among the shrinkage functions.
    """
    return jnp.asarray(x) - jnp.tanh(x)
