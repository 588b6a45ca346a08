"""Nested dicts and lists as one flat dict: names joined by ``/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phlox.weights.readers._refusing import corrupt

_DEEPEST = 100


def flattened(tree: Any, where: str) -> dict[str, Any]:
    """The leaves of nested mappings, lists and tuples by name; an item of a list by its number.

    Raises:
        CorruptFileError: two leaves of one name, or more levels than weights have.
    """
    found: dict[str, Any] = {}
    for path, leaf in _leaves(tree, (), where):
        name = "/".join(path)
        if name in found:
            raise corrupt("names that differ when joined by '/'", f"{name!r} twice", where, "rename one of them")
        found[name] = leaf
    return found


def _leaves(tree: Any, path: tuple[str, ...], where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if len(path) > _DEEPEST:
        raise corrupt(f"values nested {_DEEPEST} deep at most", f"more below {'/'.join(path[:3])!r}", where)
    if isinstance(tree, Mapping):
        for name, child in tree.items():
            yield from _leaves(child, (*path, str(name)), where)
    elif isinstance(tree, (list, tuple)):
        for i, child in enumerate(tree):
            yield from _leaves(child, (*path, str(i)), where)
    else:
        yield path, tree


def in_words(name: str, leaf: Any) -> str:
    """What is left out, as it is told."""
    return f"{name} ({type(leaf).__name__})"
