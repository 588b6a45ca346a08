"""Operations in forms that LiteRT's converter takes, and that its runtime computes as XLA does."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from phlox.interchange.litert._retrace import Rule, Run

_HALF = ("bfloat16", "float16")
_HALF_TYPES = tuple(map(jnp.dtype, _HALF))


# --- whole numbers ----------------------------------------------------------------------------------------


def _rem(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """With the sign of the first, as C has it; the runtime's operator has that of the second."""
    a, b = values
    if _signed(equation):
        return [a - quotient(a, b) * b]
    size = lax.abs(a) % lax.abs(b)  # of no sign: both remainders are the same
    return [jnp.where(a < 0, -size, size)]


def quotient(a: Any, b: Any) -> Any:
    """-1 for a division by 0, as XLA has it, and the least number by -1 is itself; the runtime breaks off at both."""
    odd = (b == 0) | (b == -1)
    safe: Any = jnp.where(odd, 1, b)
    return jnp.where(b == -1, 0 - a, jnp.where(b == 0, -1, lax.div(a, safe)))


def _div(equation: Any, values: list[Any], run: Run) -> list[Any]:
    a, b = values
    return [quotient(a, b)] if _signed(equation) else _wide(equation, values, run)


def _and(equation: Any, values: list[Any], run: Run) -> list[Any]:
    a, b = values
    return [both(a, b, _kind(equation))]


def _or(equation: Any, values: list[Any], run: Run) -> list[Any]:
    a, b = values
    return [a + b - both(a, b, _kind(equation))]


def both(a: Any, b: Any, kind: jnp.iinfo) -> Any:
    """The bits of both: a + b - (a xor b) is twice their number; but for the highest, which two negatives have."""
    lower = without_sign(jnp.right_shift(a + b - jnp.bitwise_xor(a, b), 1), kind)
    return jnp.where((a < 0) & (b < 0), jnp.bitwise_xor(lower, _sign_bit(kind)), lower)


def without_sign(x: Any, kind: jnp.iinfo) -> Any:
    return jnp.where(x < 0, jnp.bitwise_xor(x, _sign_bit(kind)), x)


def _sign_bit(kind: jnp.iinfo) -> Any:
    return jnp.asarray(kind.min, kind.dtype)


def _kind(equation: Any) -> jnp.iinfo:
    return jnp.iinfo(equation.outvars[0].aval.dtype)


def _shift_left(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Times a power of two, from a table; nothing is left of a number that is shifted out, or by less than 0."""
    (x, n), kind = values, _kind(equation)
    powers = [1 << i for i in range(kind.bits - 1)] + [kind.min, 0]
    return [x * jnp.asarray(powers, kind.dtype)[jnp.where((n < 0) | (n > kind.bits), kind.bits, n)]]


def _shift_right(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """The sign comes in from above, however far it goes."""
    (x, n), kind = values, _kind(equation)
    return [jnp.right_shift(x, jnp.where((n < 0) | (n >= kind.bits), kind.bits - 1, n))]


def _shift_right_logical(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Zeros come in from above; the runtime's operator lets the sign come in."""
    (x, n), kind = values, _kind(equation)
    far = jnp.clip(n, 1, kind.bits - 1)
    most = jnp.asarray(kind.max, kind.dtype)
    sign = jnp.right_shift(most, far - 1) - jnp.right_shift(most, far)  # the bit to which the sign goes
    moved = jnp.right_shift(without_sign(x, kind), far) + jnp.where(x < 0, sign, 0)
    return [jnp.where(n == 0, x, jnp.where((n < 0) | (n >= kind.bits), 0, moved))]


def _signed(equation: Any) -> bool:
    return jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.signedinteger)


def _is_bool(equation: Any) -> bool:
    return equation.outvars[0].aval.dtype == jnp.bool_


def _either(equation: Any, values: list[Any], run: Run) -> list[Any]:
    a, b = values
    return [(a & ~b) | (b & ~a)]


# --- roots, and numbers made whole ------------------------------------------------------------------------


def _cbrt(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Of negative numbers too; the converter makes it a power, which has none."""
    x = _widened(values[0])
    return [(jnp.sign(x) * jnp.abs(x) ** (1 / 3)).astype(equation.outvars[0].aval.dtype)]


def _is_away(equation: Any) -> bool:
    return equation.params["rounding_method"] == lax.RoundingMethod.AWAY_FROM_ZERO


def _round(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Halves go away from zero, where they shall; the runtime's go to the even number."""
    if not _is_away(equation):
        return _wide(equation, values, run)
    x = _widened(values[0])
    size = jnp.abs(x)
    whole = jnp.floor(size)
    found = jnp.sign(x) * (whole + (size - whole >= 0.5).astype(x.dtype))
    return [found.astype(equation.outvars[0].aval.dtype)]


# --- order ------------------------------------------------------------------------------------------------


def _sort(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """By the last key, then by those before it: places of equal ones stay in their order."""
    axis, keys = equation.params["dimension"], equation.params["num_keys"]
    rows = [jnp.moveaxis(x, axis, -1) for x in values]
    for k in reversed(range(keys)):
        places = lax.top_k(_descending(rows[k]), rows[k].shape[-1])[1]
        rows = [jnp.take_along_axis(x, places, -1) for x in rows]
    return [jnp.moveaxis(x, -1, axis) for x in rows]


def _descending(key: Any) -> Any:
    """What falls where a key rises."""
    if key.dtype == jnp.bool_:
        return 1 - key.astype(jnp.int32)
    return -_widened(key) if jnp.issubdtype(key.dtype, jnp.floating) else jnp.invert(key)


def _lt_to(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [_before(*map(_widened, values))]


def _le_to(equation: Any, values: list[Any], run: Run) -> list[Any]:
    a, b = map(_widened, values)
    return [~_before(b, a)]


def _before(a: Any, b: Any) -> Any:
    """In the order of all numbers: -0 before 0, and NaN, whatever its sign, behind all."""
    if not jnp.issubdtype(a.dtype, jnp.floating):
        return a < b
    zeros = (a == 0) & (b == 0) & (1 / a < 1 / b)
    return (a < b) | zeros | ((b != b) & (a == a))


# --- numbers of 16 bits, and convolutions -----------------------------------------------------------------


def _is_half(equation: Any) -> bool:
    return any(v.aval.dtype.name in _HALF for v in [*equation.invars, *equation.outvars])


def _widened(x: Any) -> Any:
    return x.astype(jnp.float32) if jnp.asarray(x).dtype.name in _HALF else x


def _wide(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Computed in 32 bits and rounded, as the runtime computes with 32 alone."""
    params = dict(equation.params)
    if params.get("preferred_element_type") in _HALF_TYPES:
        params["preferred_element_type"] = jnp.dtype("float32")
    found = equation.primitive.bind(*map(_widened, values), **params)
    found = found if equation.primitive.multiple_results else [found]
    return [y.astype(v.aval.dtype) for y, v in zip(found, equation.outvars, strict=True)]


def _is_odd(equation: Any) -> bool:
    return _is_half(equation) or any(n > 1 for n in equation.params["lhs_dilation"])


def _conv(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """A transposed convolution as a convolution of its input with zeros between."""
    params, x = equation.params, _widened(values[0])
    axes = params["dimension_numbers"].lhs_spec[2:]
    spread = [(0, 0, 0)] * x.ndim
    for axis, n, (before, after) in zip(axes, params["lhs_dilation"], params["padding"], strict=True):
        spread[axis] = (before, after, n - 1)
    ready = lax.pad(x, jnp.zeros((), x.dtype), spread)
    none = {"padding": ((0, 0),) * len(axes), "lhs_dilation": (1,) * len(axes)}
    return _wide(equation.replace(params={**params, **none}), [ready, values[1]], run)


OF_REALS = (
    "abs", "add", "argmax", "argmin", "ceil", "clamp", "cos", "cummax", "cummin", "cumprod", "cumsum", "div",
    "dot_general", "eq", "erf", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "le", "log",
    "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "pow", "reduce_max", "reduce_min", "reduce_prod",
    "reduce_sum", "reduce_window_max", "reduce_window_min", "reduce_window_sum", "rsqrt", "select_n",
    "sign", "sin", "sqrt", "square", "sub", "tanh", "top_k",
)  # fmt: skip
"""What is computed in 32 bits where numbers have 16."""

RULES: dict[str, Rule] = {
    **{name: Rule(_wide, _is_half) for name in OF_REALS},
    "div": Rule(_div, lambda equation: _signed(equation) or _is_half(equation)),
    "rem": Rule(_rem),
    "and": Rule(_and, _signed),
    "or": Rule(_or, _signed),
    "xor": Rule(_either, _is_bool),
    "shift_left": Rule(_shift_left, _signed),
    "shift_right_arithmetic": Rule(_shift_right, _signed),
    "shift_right_logical": Rule(_shift_right_logical, _signed),
    "cbrt": Rule(_cbrt),
    "round": Rule(_round, lambda equation: _is_away(equation) or _is_half(equation)),
    "sort": Rule(_sort),
    "lt_to": Rule(_lt_to),
    "le_to": Rule(_le_to),
    "conv_general_dilated": Rule(_conv, _is_odd),
}
