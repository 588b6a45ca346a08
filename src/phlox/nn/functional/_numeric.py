"""What the functional forms share: dtypes that are safe to sum in, and the checks of axes and ranges."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jax.typing import ArrayLike

from phlox.core import DtypeError, RangeError, ShapeError, answering, describe

F = TypeVar("F", bound=Callable[..., Array])


def inexact(x: ArrayLike, where: str) -> Array:
    """``x`` as an array that is floating or complex; integers and bools take the default float dtype."""
    array = x if isinstance(x, jax.Array) else jnp.asarray(x)
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return array
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == jnp.bool_:
        return array.astype(jnp.result_type(float))
    raise DtypeError("numbers", got=describe(array), fix="pass an array of floats", where=where)


def real(x: ArrayLike, where: str) -> Array:
    """``x`` as a floating array, as ``inexact``, but a complex one is refused."""
    array = inexact(x, where)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        fix = "apply it to x.real and x.imag, or to abs(x)"
        raise DtypeError("a real array", got=describe(array), fix=fix, where=where)
    return array


def is_half(dtype: Any) -> bool:
    """Whether ``dtype`` is a float of fewer than 32 bits."""
    return bool(jnp.issubdtype(dtype, jnp.floating)) and jnp.finfo(dtype).bits < 32


def widen(x: Array) -> Array:
    """``x`` in a dtype that is safe to sum in: float16 and bfloat16 become float32."""
    return x.astype(jnp.float32) if is_half(x.dtype) else x


def copied(copy: Callable[..., Array], x: Array, *others: Any) -> Array:
    """``copy(x, *others)``, which repeats elements of x; its gradient, a sum, is rounded once.

    Of a float16 or bfloat16 x, the sum is formed in float32: in bfloat16 a sum of ones stops at 256. The copies
    themselves keep their dtype. ``copy`` is linear in x.
    """
    if not is_half(x.dtype):
        return copy(x, *others)

    @jax.custom_jvp
    def copies(x: Array, *others: Any) -> Array:
        return copy(x, *others)

    @copies.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        (x, *rest), dx = primals, tangents[0]
        return copies(x, *rest), copy(widen(dx), *rest).astype(x.dtype)

    return copies(x, *others)


def spread(x: Array, shape: tuple[int, ...]) -> Array:
    """``x`` broadcast to ``shape``, with a gradient that is ``copied``'s: for a bias or a factor of a batch."""
    return x if x.shape == shape else copied(lambda v: jnp.broadcast_to(v, shape), x)


def beside(x: Array, ndim: int) -> Array:
    """``x`` with axes of size 1 in front, to stand beside an array of ``ndim`` axes.

    What JAX does by itself, unless ``jax_numpy_rank_promotion`` says "raise"; compiled, it is the same operation.
    """
    return x if x.ndim in (0, ndim) else lax.expand_dims(x, tuple(range(ndim - x.ndim)))


def result_dtype(x: Array, *others: Array | None) -> Any:
    """The dtype to answer in: that of a half-precision ``x``, else what JAX promotes all of them to."""
    if is_half(x.dtype):
        return x.dtype
    return jnp.result_type(x, *[o for o in others if o is not None])


def pointwise(f: F) -> F:
    """Give a formula in one real array its contract: checked, computed in float32 at least, returned in x's dtype."""

    @functools.wraps(f)
    def checked(x: ArrayLike, *args: Any, **kwargs: Any) -> Array:
        array = real(x, f.__name__)
        return f(widen(array), *args, **kwargs).astype(array.dtype)

    return cast(F, answering(checked))


def on_host(x: Any) -> Any:
    """A NumPy array of what lies on the first CPU, where JAX would compile each operation; else x as it is."""
    first = is_concrete(x) and isinstance(x, jax.Array) and x.devices() == {jax.devices()[0]}
    return np.asarray(x) if first and jax.default_backend() == "cpu" else x


def is_concrete(x: Any) -> bool:
    """Whether the values of ``x`` can be read now, outside any trace."""
    return not isinstance(x, Tracer)


def in_range(where: str, name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise unless low <= value <= high (low < value with ``open_low``); a traced value passes unseen."""
    if not is_concrete(value):
        return
    ok = np.all((np.asarray(value) > low) if open_low else (np.asarray(value) >= low))
    if ok and np.all(np.asarray(value) <= high):
        return
    text = f"{name} {'>' if open_low else '>='} {low:g}" if high == np.inf else f"{low:g} <= {name} <= {high:g}"
    raise RangeError(text, got=f"{name}={value}", fix=f"choose {name} inside the range", where=where)


def axes_of(where: str, x: Array, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The axes named by ``axis`` as sorted non-negative ints; a wrong or repeated one raises."""
    given = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    for a in given:
        if not -x.ndim <= a < x.ndim:
            fix = f"choose an axis between {-x.ndim} and {x.ndim - 1}" if x.ndim else "pass an array with axes"
            raise ShapeError(f"an array that has axis {a}", got=describe(x), fix=fix, where=where)
    axes = tuple(sorted(int(a) % x.ndim for a in given))
    if len(set(axes)) != len(axes):
        raise ShapeError("axes that differ", got=f"axis={given}", fix="name each axis once", where=where)
    return axes


def min_rank(where: str, x: Array, rank: int, layout: str) -> None:
    """Raise unless ``x`` has at least ``rank`` axes."""
    if x.ndim < rank:
        raise ShapeError(layout, got=describe(x), fix=f"add the missing axes ({rank} at least)", where=where)


def vector(where: str, name: str, value: ArrayLike, size: int) -> Array:
    """``value`` as a vector of ``size`` numbers, or a ShapeError that names it."""
    array = real(value, where)
    if array.shape != (size,):
        fix = f"pass one value of {name} for each of the {size} channels"
        raise ShapeError(f"{name} of shape ({size},)", got=describe(array), fix=fix, where=where)
    return array


def vector_or_none(where: str, name: str, value: ArrayLike | None, size: int) -> Array | None:
    """As ``vector``; None stays None."""
    return None if value is None else vector(where, name, value, size)


def squarable(x: Array, axes: tuple[int, ...]) -> Array:
    """What vectors along ``axes`` are divided by so that no square overflows: a constant, 1 for those of usual size."""
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axes, keepdims=True, initial=1.0)
    return jnp.minimum(largest, _divisible(x))


def _divisible(x: Array) -> float:
    """The largest number whose reciprocal, by which compilers multiply, is not rounded to 0."""
    return 2.0 ** (int(jnp.finfo(x.dtype).maxexp) - 3)


def lp_norm(x: Array, p: float, axes: tuple[int, ...], *, keepdims: bool = False) -> Array:
    """``sum(|x| ** p) ** (1 / p)``, scaled against overflow; the gradient at 0 is 0."""
    size = x * jax.lax.stop_gradient(jnp.sign(x))  # the slope of jnp.abs is 1 at 0, and -1 at NaN
    if p == jnp.inf:
        return jnp.max(size, axes, keepdims=keepdims, initial=0.0)
    if p == 1.0:
        return jnp.sum(size, axes, keepdims=keepdims)
    top = jnp.max(jax.lax.stop_gradient(size), axes, keepdims=True, initial=0.0)
    top = jnp.where((top == 0.0) | ~jnp.isfinite(top), 1.0, jnp.minimum(top, _divisible(x)))
    scaled = (x if p == 2.0 else size) / top
    absent = scaled == 0.0  # below p = 2 the slope of |x| ** p there is unbounded, or undefined: it counts as 0
    powers = scaled * scaled if p == 2.0 else jnp.where(absent, 0.0, jnp.where(absent, 1.0, scaled) ** p)
    total = jnp.sum(powers, axes, keepdims=True)
    zero = total == 0.0
    y = top * jnp.where(zero, 0.0, jnp.where(zero, 1.0, total) ** (1.0 / p))
    return y if keepdims else jnp.squeeze(y, axes)
