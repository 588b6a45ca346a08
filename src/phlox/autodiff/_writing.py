"""Formulas that compute where they are given arrays, and are written out where they are given names.

A rule of the table is one Python expression. Called with arrays it is the gradient; called with ``Name("x")`` and its
kin it is the text that a program prints, so the two cannot part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 4, 5  # how strongly the outermost operation of a text binds
_NEGATED = 3


class Name:
    """A name, or a text made of names by operators."""

    __slots__ = ("binds", "text")
    text: str
    binds: int

    def __init__(self, text: str, binds: int = _ATOM):
        self.text, self.binds = text, binds

    def __str__(self) -> str:
        return self.text

    def within(self, binds: int) -> str:
        """The text as an operand of something that binds this strongly."""
        return self.text if self.binds >= binds else f"({self.text})"

    def __neg__(self) -> Name:
        return Name(f"-{self.within(_NEGATED)}", _NEGATED)


def _operator(sign: str, binds: int, left: int, right: int) -> tuple[Callable[..., Name], Callable[..., Name]]:
    """An operator and its mirror, whose operands must bind as strongly as ``left`` and ``right``."""

    def plain(a: Any, b: Any) -> Name:
        return Name(f"{_name(a).within(left)} {sign} {_name(b).within(right)}", binds)

    return plain, lambda b, a: plain(a, b)


def _name(x: Any) -> Name:
    return x if isinstance(x, Name) else Name(f"{x:.6g}" if isinstance(x, float) else str(x))


for _word, _sign, *_levels in (
    ("add", "+", _SUM, _SUM, _SUM),
    ("sub", "-", _SUM, _SUM, _PRODUCT),
    ("mul", "*", _PRODUCT, _PRODUCT, _PRODUCT),
    ("truediv", "/", _PRODUCT, _PRODUCT, _NEGATED),
    ("pow", "**", _POWER, _ATOM, _ATOM),
):
    _plain, _mirrored = _operator(_sign, *_levels)
    setattr(Name, f"__{_word}__", _plain)
    setattr(Name, f"__r{_word}__", _mirrored)
for _word, _sign in (("gt", ">"), ("lt", "<"), ("eq", "=="), ("and", "&")):
    setattr(
        Name, f"__{_word}__", _operator(_sign, 0, _SUM if _word != "and" else _ATOM, _SUM if _word != "and" else 5)[0]
    )
Name.__hash__ = object.__hash__


def written(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes on arrays, and on names is written as a call of ``name``."""

    def call(*xs: Any) -> Any:
        if any(isinstance(x, Name) for x in xs):
            return Name(f"{name}({', '.join(str(_name(x)) for x in xs)})")
        return compute(*xs)

    return call


cos, sin, exp, log = (written(n, getattr(jnp, n)) for n in ("cos", "sin", "exp", "log"))
cosh, sinh = (written(n, getattr(jnp, n)) for n in ("cosh", "sinh"))
rsqrt, digamma = written("rsqrt", lax.rsqrt), written("digamma", lax.digamma)
trigamma = written("trigamma", lambda x: lax.polygamma(jnp.ones_like(x), x))
trunc, real, imag, conj = (written(n, getattr(jnp, n)) for n in ("trunc", "real", "imag", "conj"))
where = written("where", jnp.where)
paired = written("complex", lambda a, b: lax.complex(*jnp.broadcast_arrays(a, b)))


def cast(g: Any, to: Any) -> Any:
    """``g`` in the dtype of a value; the real part of a complex one where the value is real."""
    if isinstance(g, Name):
        return g
    if jnp.issubdtype(g.dtype, jnp.complexfloating) and not jnp.issubdtype(to, jnp.complexfloating):
        g = jnp.real(g)
    return g.astype(to)
