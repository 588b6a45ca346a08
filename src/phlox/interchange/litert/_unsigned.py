"""Whole numbers without sign by those with one: the runtime has hardly an operation on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from phlox.interchange.litert._operations import both, quotient, without_sign
from phlox.interchange.litert._retrace import Rule, Run

_KIND = jnp.iinfo(jnp.int32)


def _is_unsigned(equation: Any) -> bool:
    """Whether an operation is on such numbers, of up to 32 bits."""
    dtype = equation.invars[0].aval.dtype
    return jnp.issubdtype(dtype, jnp.unsignedinteger) and jnp.iinfo(dtype).bits <= _KIND.bits


def _as_signed(f: Callable[[Any, Any], Any]) -> Rule:
    """What a function of the same bits with sign gives."""

    def write(equation: Any, values: list[Any], run: Run) -> list[Any]:
        a, b = (x.astype(jnp.int32) for x in values)
        return [f(a, b).astype(equation.outvars[0].aval.dtype)]

    return Rule(write, _is_unsigned)


def _turned(x: Any) -> Any:
    """What is in order with sign as the bits are without."""
    return jnp.bitwise_xor(x, jnp.int32(_KIND.min))


def _quotient(a: Any, b: Any) -> Any:
    """Half of the first has room; what is lost of it is made up for. Ones alone for a division by 0, as XLA has it."""
    half = jnp.right_shift(without_sign(a, _KIND), 1) + jnp.where(a < 0, 1 << 30, 0)
    double = 2 * quotient(half, b)
    exact = double + _not_below(a - double * b, b)
    return jnp.where(b < 0, _not_below(a, b), jnp.where(b == 0, -1, exact))


def _not_below(a: Any, b: Any) -> Any:
    return (_turned(a) >= _turned(b)).astype(jnp.int32)


RULES: dict[str, Rule] = {
    "add": _as_signed(lambda a, b: a + b),
    "sub": _as_signed(lambda a, b: a - b),
    "mul": _as_signed(lambda a, b: a * b),
    "div": _as_signed(_quotient),
    "rem": _as_signed(lambda a, b: a - _quotient(a, b) * b),
    "and": _as_signed(lambda a, b: both(a, b, _KIND)),
    "or": _as_signed(lambda a, b: a + b - both(a, b, _KIND)),
    "xor": _as_signed(jnp.bitwise_xor),
    "max": _as_signed(lambda a, b: jnp.where(_turned(a) >= _turned(b), a, b)),
    "min": _as_signed(lambda a, b: jnp.where(_turned(a) >= _turned(b), b, a)),
    "lt": _as_signed(lambda a, b: _turned(a) < _turned(b)),
    "le": _as_signed(lambda a, b: _turned(a) <= _turned(b)),
    "gt": _as_signed(lambda a, b: _turned(a) > _turned(b)),
    "ge": _as_signed(lambda a, b: _turned(a) >= _turned(b)),
    "eq": _as_signed(lambda a, b: a == b),
    "ne": _as_signed(lambda a, b: a != b),
}
