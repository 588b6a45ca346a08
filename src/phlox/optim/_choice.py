"""Which arrays a rule means: by path, by pattern or by predicate."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from phlox.core import StructureError, describe

Choice = str | tuple[str, ...] | Callable[[str, Any], bool]


def is_matrix(path: str, array: Any) -> bool:
    """True for arrays of two axes and more: weights, and neither biases nor the scales of normalisation.

    A choice for masks and groups.

    >>> import phlox as px
    >>> rule = px.optim.AdamW(1e-3, weight_decay=0.1, mask=px.optim.is_matrix)
    >>> px.optim.is_matrix("layers.0.bias", px.Dense(2, 3).bias)
    False
    """
    del path
    return array.ndim >= 2


def chosen(choice: Choice | None, path: str, array: Any) -> bool:
    """True where a choice means this array; None means every one."""
    if choice is None:
        return True
    if isinstance(choice, str):
        return fnmatch.fnmatchcase(path, choice) or path.startswith(choice + ".")
    if isinstance(choice, tuple):
        return any(chosen(c, path, array) for c in choice)
    return bool(choice(path, array))


def check_choice(choice: Any, where: str) -> None:
    """Refuse what is no choice."""
    parts = choice if isinstance(choice, tuple) else (choice,)
    if choice is not None and not all(isinstance(p, str) or callable(p) for p in parts):
        raise StructureError(
            "a path pattern, several in a tuple, or a predicate (path, array) -> bool",
            got=describe(choice),
            fix='name the arrays as "trunk.*", as ("*.weight", "head"), or by px.optim.is_matrix',
            where=where,
        )


def check_matches(choice: Choice | None, paths: tuple[str, ...], arrays: list[Any], where: str) -> None:
    """Refuse a choice that means no array, which is a slip of the pen."""
    for part in choice if isinstance(choice, tuple) else (choice,):
        if paths and not any(chosen(part, p, a) for p, a in zip(paths, arrays, strict=True)):
            raise StructureError(
                "a choice that matches a trained array",
                got=repr(part),
                fix=f"choose among the paths: {', '.join(paths[:3])}{' …' if len(paths) > 3 else ''}",
                where=where,
            )
