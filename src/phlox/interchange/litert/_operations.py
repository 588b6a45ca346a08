"""Operations in forms that LiteRT's converter takes, and that its runtime computes as XLA does."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from phlox.interchange.litert._retrace import Rule, Run

_HALF = ("bfloat16", "float16")


# --- whole numbers ----------------------------------------------------------------------------------------


def _is_whole(equation: Any) -> bool:
    return jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.integer)


def _rem(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """With the sign of the first, as C has it; the runtime's operator has that of the second."""
    a, b = values
    if _is_whole(equation):
        return [a - lax.div(a, b) * b]
    size = lax.abs(a) % lax.abs(b)  # of no sign: both remainders are the same
    return [jnp.where(a < 0, -size, size)]


def _and(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [_both(*values)]


def _or(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [values[0] + values[1] - _both(*values)]


def _both(a: Any, b: Any) -> Any:
    """The bits of both: twice their number is a + b - (a xor b), all but the highest, which is that of two negatives."""
    least = jnp.asarray(jnp.iinfo(a.dtype).min, a.dtype)
    lower = lax.shift_right_arithmetic(a + b - lax.bitwise_xor(a, b), jnp.ones_like(a))
    cleared = jnp.where(lower < 0, lax.bitwise_xor(lower, least), lower)
    return jnp.where((a < 0) & (b < 0), lax.bitwise_xor(cleared, least), cleared)


def _shift_left(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [values[0] * _power_of_two(values[1], values[0].dtype)]


def _power_of_two(n: Any, dtype: Any) -> Any:
    """2 to the power of each; 0 where it does not fit, as nothing of a number is left by such a shift."""
    bits = jnp.iinfo(dtype).bits
    table = jnp.asarray([_wrapped(1 << i, bits) for i in range(bits)] + [0], dtype)
    return table[jnp.where((n < 0) | (n > bits), bits, n)]


def _wrapped(n: int, bits: int) -> int:
    return n - (1 << bits) if n >= 1 << (bits - 1) else n


def _shift_right(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Zeros come in from above; the runtime's operator lets the sign come in."""
    x, n = values
    bits = jnp.iinfo(x.dtype).bits
    within = jnp.clip(n, 1, bits - 1)
    most = jnp.asarray(jnp.iinfo(x.dtype).max, x.dtype)
    cleared = jnp.where(x < 0, lax.bitwise_xor(x, jnp.asarray(jnp.iinfo(x.dtype).min, x.dtype)), x)
    high = lax.shift_right_arithmetic(most, within - 1) - lax.shift_right_arithmetic(most, within)  # where the sign goes
    moved = lax.shift_right_arithmetic(cleared, within) + jnp.where(x < 0, high, 0)
    return [jnp.where(n == 0, x, jnp.where((n < 0) | (n >= bits), 0, moved))]


def _signed(equation: Any) -> bool:
    return jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.signedinteger)


def _is_bool(equation: Any) -> bool:
    return equation.outvars[0].aval.dtype == jnp.bool_


def _either(equation: Any, values: list[Any], run: Run) -> list[Any]:
    return [lax.bitwise_or(*(lax.bitwise_and(a, lax.bitwise_not(b)) for a, b in (values, values[::-1])))]


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
    return -key if jnp.issubdtype(key.dtype, jnp.floating) else lax.bitwise_not(key)


# --- convolutions -----------------------------------------------------------------------------------------


def _is_spread(equation: Any) -> bool:
    return any(n > 1 for n in equation.params["lhs_dilation"])


def _conv(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """A transposed convolution as a convolution of its input with zeros between."""
    params = dict(equation.params)
    x, dims = values[0], params["dimension_numbers"].lhs_spec[2:]
    spread = [(0, 0, 0)] * x.ndim
    for axis, n, (before, after) in zip(dims, params["lhs_dilation"], params["padding"], strict=True):
        spread[axis] = (before, after, n - 1)
    params["padding"], params["lhs_dilation"] = ((0, 0),) * len(dims), (1,) * len(dims)
    x = lax.pad(x, jnp.zeros((), x.dtype), spread)
    return [equation.primitive.bind(x, values[1], **params)]


# --- numbers of 16 bits -----------------------------------------------------------------------------------


def _is_half(equation: Any) -> bool:
    return any(v.aval.dtype.name in _HALF for v in [*equation.invars, *equation.outvars])


def _wide(equation: Any, values: list[Any], run: Run) -> list[Any]:
    """Computed in 32 bits and rounded, as the runtime computes them with 32 alone."""
    given = [x.astype(jnp.float32) if jnp.asarray(x).dtype.name in _HALF else x for x in values]
    params = dict(equation.params)
    if "preferred_element_type" in params:
        params["preferred_element_type"] = jnp.dtype("float32")
    found = equation.primitive.bind(*given, **params)
    found = found if equation.primitive.multiple_results else [found]
    return [y.astype(v.aval.dtype) for y, v in zip(found, equation.outvars, strict=True)]


OF_REALS = """add sub mul div neg abs sign exp exp2 log log1p expm1 tanh logistic sqrt rsqrt cbrt erf erfc sin cos pow
integer_pow square max min floor ceil round select_n dot_general reduce_sum reduce_max reduce_min cumsum clamp
lt le gt ge eq ne""".split()
"""What is computed in 32 bits where numbers have 16."""

RULES: dict[str, Rule] = {
    **{name: Rule(_wide, _is_half) for name in OF_REALS},
    "rem": Rule(_rem),
    "and": Rule(_and, _signed),
    "or": Rule(_or, _signed),
    "xor": Rule(_either, _is_bool),
    "shift_left": Rule(_shift_left, _signed),
    "shift_right_logical": Rule(_shift_right, _signed),
    "sort": Rule(_sort),
    "conv_general_dilated": Rule(_conv, _is_spread),
}
