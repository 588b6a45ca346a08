"""What a loop's body returns: a pair, and a carry of the form it came in; one check for traced and Python loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from phlox.core._errors import ShapeError, StructureError, describe, form, shown
from phlox.core._static import static_key
from phlox.core.module._arrays import is_array
from phlox.core.module._plan import plan_of
from phlox.core.transforms._functionalize import is_module

_NUMBERS = (bool, int, float, complex, np.generic)


def pair_of(value: Any, expected: str, fix: str, where: str) -> tuple[Any, Any]:
    """The two parts of what a user's function returned."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return value[0], value[1]
    got = f"a {type(value).__name__} of {len(value)}" if isinstance(value, (tuple, list)) else describe(value)
    raise StructureError(expected, got=got, fix=fix, where=where)


def carry_and_y(value: Any) -> tuple[Any, Any]:
    """What the body of a scan returned."""
    return pair_of(
        value,
        "a body that returns a pair, (carry, y)",
        "return carry, y; return carry, None where there is nothing to stack",
        "px.scan",
    )


class Carried:
    """The form of a carry: its tree, and what each leaf must stay."""

    def __init__(self, init: Any, where: str):
        self.where = where
        self.leaves, self.treedef = jax.tree_util.tree_flatten(init, is_leaf=is_module)

    def path(self, n: int) -> str:
        """The way to a leaf, such as ``carry[0]['h']``."""
        tree = jax.tree_util.tree_unflatten(self.treedef, range(len(self.leaves)))
        way = jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(tree)[0][n][0])
        return f"carry{way}" if way else "the carry"

    def check(self, given: Sequence[Any], new: Any) -> list[Any]:
        """The leaves of the next carry; raises where one is not as the ``given`` one was."""
        found, treedef = jax.tree_util.tree_flatten(new, is_leaf=is_module)
        if treedef != self.treedef:
            raise StructureError(
                f"the body to return a carry of the form it came in, {form(self.treedef)}",
                got=form(treedef),
                fix="return every part of the carry, in the same lists, tuples and dicts",
                where=self.where,
            )
        for n, (was, now) in enumerate(zip(given, found, strict=True)):
            if now is not was:
                self._check_leaf(n, was, now)
        return found

    def _check_leaf(self, n: int, was: Any, now: Any) -> None:
        if is_module(was):
            if not is_module(now) or plan_of([now]).structure.nodes != plan_of([was]).structure.nodes:
                raise StructureError(
                    f"{self.path(n)} to stay a {type(was).__name__} of the structure it came in",
                    got=describe(now),
                    fix="return the Module of the carry, or one that is built alike",
                    where=self.where,
                )
        elif _is_number(was):
            before, after = jax.typeof(was), jax.typeof(now) if _is_number(now) else None
            if after is None or before.shape != after.shape or before.dtype != after.dtype:
                raise ShapeError(
                    f"{self.path(n)} to stay {_aval(before)}",
                    got=describe(now) if after is None else _aval(after),
                    fix="start with a carry of the shape and dtype that the body returns",
                    where=self.where,
                )
        elif static_key(was) != static_key(now):
            raise StructureError(
                f"{self.path(n)}, which is no array, to stay {shown(was)}",
                got=shown(now) if not _is_number(now) else describe(now),
                fix="carry an array in its place, or keep it out of the carry",
                where=self.where,
            )


def _is_number(x: Any) -> bool:
    return is_array(x) or isinstance(x, _NUMBERS)


def _aval(aval: Any) -> str:
    return f"{aval.dtype}{list(aval.shape)}"
