"""Symbols: what they may be, and the sizes at which a file is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.export
from jax.export import SymbolicScope, symbolic_shape

from phlox.core import RangeError
from phlox.interchange._spec import Spec

_TRIED = (3, 7, 5, 9, 6, 11, 8, 10)  # a size for each symbol, no two alike, so that none can stand for another
_TRIED_NEXT = (1, 5, 2, 4, 12, 3, 13, 14)  # one is where broadcasting hides


class Sizes:
    """The symbols of an export, and the smallest and largest size of each.

    Arguments:
        specs: the inputs of all signatures.
        bounds: pairs of the smallest and largest size by symbol, as they are given.
        where: the function that speaks in errors.

    Raises:
        RangeError: bounds of no symbol, or that bound nothing.
    """

    names: tuple[str, ...]
    bounds: dict[str, tuple[int, int]]

    def __init__(self, specs: Sequence[Spec], bounds: Mapping[str, Sequence[int]] | None, where: str):
        self.names = tuple(dict.fromkeys(n for spec in specs for n in spec.shape if isinstance(n, str)))
        self.bounds = {name: _pair(name, pair, self.names, where) for name, pair in (bounds or {}).items()}
        self._symbols: dict[str, Any] | None = None

    def symbols(self) -> dict[str, Any]:
        """JAX's symbols by name; the same ones at each call."""
        if self._symbols is None:
            limits = [
                f"{n} {sign} {b}" for n, pair in self.bounds.items() for sign, b in zip((">=", "<="), pair, strict=True)
            ]
            scope = SymbolicScope(limits)
            self._symbols = {name: symbolic_shape(name, scope=scope)[0] for name in self.names}
        return self._symbols

    def tried(self, specs: Sequence[Spec]) -> list[dict[str, int]]:
        """Sizes for the symbols of one signature: two of each, so that none can be taken for a constant."""
        mine = [n for n in self.names if any(n in spec.shape for spec in specs)]
        chosen = [{n: self._within(n, row[i % len(row)]) for i, n in enumerate(mine)} for row in (_TRIED, _TRIED_NEXT)]
        return chosen[:1] if not mine or chosen[0] == chosen[1] else chosen

    def _within(self, name: str, size: int) -> int:
        low, high = self.bounds.get(name, (1, size))
        return max(low, min(size, high)) if size >= low else min(high, low + size)


def _pair(name: str, pair: Any, names: tuple[str, ...], where: str) -> tuple[int, int]:
    if name not in names:
        fix = f"name one of {', '.join(names)}" if names else "leave sizes out: every size of the inputs is known"
        raise RangeError("sizes for symbols of the inputs", got=repr(name), fix=fix, where=where)
    whole = isinstance(pair, Sequence) and len(pair) == 2 and all(type(n) is int for n in pair)
    if not whole or not 1 <= pair[0] <= pair[1]:
        fix = f"write sizes={{{name!r}: (1, 512)}}"
        raise RangeError(f"the smallest and the largest size of {name!r}", got=repr(pair)[:60], fix=fix, where=where)
    return pair[0], pair[1]


def sizes_of(spec: Spec, shape: Sequence[int]) -> dict[str, int] | None:
    """The sizes that a shape gives to the symbols of a Spec; None where it does not fit."""
    if len(spec.shape) != len(shape):
        return None
    found: dict[str, int] = {}
    for n, size in zip(spec.shape, shape, strict=True):
        if found.setdefault(n, size) != size if isinstance(n, str) else n != size:
            return None
    return found


is_symbol = jax.export.is_symbolic_dim
