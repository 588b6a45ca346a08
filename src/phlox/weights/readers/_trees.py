"""Nested values by their names joined by ``/``, walked within bounds: what is shared is met once for each way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from phlox.weights.readers._refusing import corrupt

_DEEPEST = 100
_MOST = 10**6  # values of one file
_LETTERS = 2**26  # of all their names together

Children = Callable[[str, Any], Iterator[tuple[object, Any]] | None]


def flattened(tree: Any, where: str) -> dict[str, Any]:
    """The leaves of nested mappings, lists and tuples by name; an item of a list by its number.

    Raises:
        CorruptFileError: two leaves of one name, or more levels or values than weights have.
    """
    found: dict[str, Any] = {}
    for name, leaf in leaves_of(tree, _children, where):
        if name in found:
            raise corrupt("names that differ when joined by '/'", f"{name!r} twice", where, "rename one of them")
        found[name] = leaf
    return found


def leaves_of(tree: Any, children: Children, where: str) -> Iterator[tuple[str, Any]]:
    """The leaves of a tree by joined names, in order; ``children`` gives the keys and parts of a node, None of a leaf.

    Raises:
        CorruptFileError: more levels, values or letters than weights have; a few shared lists stand for millions.
    """
    levels: list[tuple[str, Iterator[tuple[object, Any]]]] = [("", iter([("", tree)]))]
    values = letters = 0
    while levels:
        prefix, nodes = levels[-1]
        for key, node in nodes:
            name = f"{prefix}{key}"
            values, letters = values + 1, letters + len(name)
            _check_bounds(name, len(levels) - 1, values, letters, where)
            below = children(name, node)
            if below is not None:
                levels.append((f"{name}/" if len(levels) > 1 else "", below))
                break
            yield name, node
        else:
            levels.pop()


def _check_bounds(name: str, depth: int, values: int, letters: int, where: str) -> None:
    if depth > _DEEPEST:
        raise corrupt(f"values nested {_DEEPEST} deep at most", f"more below {name[:60]!r}", where)
    if values > _MOST or letters > _LETTERS:
        expected = f"at most {_MOST} values, whose names have {_LETTERS} letters together"
        fix = "save the arrays alone; if you did not make this file, do not use it"
        raise corrupt(expected, f"more, at {name[:60]!r}", where, fix)


def _children(name: str, tree: Any) -> Iterator[tuple[object, Any]] | None:
    if isinstance(tree, Mapping):
        return iter(tree.items())
    return iter(enumerate(tree)) if isinstance(tree, (list, tuple)) else None


def in_words(name: str, leaf: Any) -> str:
    """What is left out, as it is told."""
    return f"{name} ({type(leaf).__name__})"
