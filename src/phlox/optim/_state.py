"""A rule's state cut down to some arrays, put together again, packed, and carried to a model that changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import StructureError
from phlox.optim._packing import Packing
from phlox.optim.rules._rule import Counts


def as_before(after: Any, before: Any) -> Any:
    """The new state in the dtypes of the old, so that a step never changes a program's types."""
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), after, before)


def _is_by_path(paths: set[str]) -> Any:
    """Whether a node of a state holds something for each array: a dict by path, or their counts."""
    return lambda node: isinstance(node, Counts) or (isinstance(node, dict) and set(node) == paths and bool(paths))


def restricted(state: Any, every: set[str], some: set[str]) -> Any:
    """The state with every dict by path, and all counts, cut down to some paths."""
    is_leaf = _is_by_path(every)

    def cut(node: Any) -> Any:
        if isinstance(node, Counts):
            at = [i for i, p in enumerate(node.paths) if p in some]
            return Counts(node.updates, tuple(node.paths[i] for i in at), tuple(node.cohorts[i] for i in at))
        return {p: node[p] for p in node if p in some} if is_leaf(node) else node

    return jax.tree.map(cut, state, is_leaf=is_leaf)


def merged(before: Any, after: Any, every: set[str]) -> Any:
    """The old state with what a restricted step gave put over it."""
    is_leaf = _is_by_path(every)
    flat, treedef = jax.tree_util.tree_flatten(before, is_leaf=is_leaf)
    new = treedef.flatten_up_to(after)

    def put(b: Any, a: Any) -> Any:
        if isinstance(b, Counts):
            return Counts(a.updates, b.paths, b.cohorts)
        return {**b, **a} if is_leaf(b) else a

    return jax.tree_util.tree_unflatten(treedef, [put(b, a) for b, a in zip(flat, new, strict=True)])


def counts(state: Any) -> list[Counts]:
    """All counts in a state, in its order."""
    return [c for c in jax.tree.leaves(state, is_leaf=_is_counts) if _is_counts(c)]


def with_counts(state: Any, told: Any) -> Any:
    """A state whose counts have these paths and cohorts, in its order."""
    given = iter(told)
    put = lambda node: Counts(node.updates, *next(given)) if _is_counts(node) else node  # noqa: E731
    return jax.tree.map(put, state, is_leaf=_is_counts)


def cohorts(state: Any) -> Callable[[str], tuple[int, ...]]:
    """Which cohorts a path is of, in the order of the counts in a state."""
    known = [dict(zip(c.paths, c.cohorts, strict=True)) for c in counts(state)]
    return lambda path: tuple(found[path] for found in known)


def packed(state: Any, packing: Packing, paths: set[str]) -> Any:
    """A state by path with small arrays in their vectors."""
    vectors = packing.vectors()
    return _by_path(state, paths, packing.pack, lambda path: [vectors.get(path, path)])


def unpacked(state: Any, packing: Packing, paths: set[str]) -> Any:
    """A state whose small arrays are in vectors, by path; ``paths`` are those it has, the vectors' names among them."""
    parts = {name: [path for path, _ in parts] for name, parts in packing.groups}
    return _by_path(state, paths, packing.unpack, lambda path: parts.get(path, [path]))


def _by_path(state: Any, paths: set[str], arrays: Callable[[Any], Any], names: Callable[[str], list[str]]) -> Any:
    """A state with another way to keep arrays: what its dicts become, and what takes the place of a path in counts."""
    is_leaf = _is_by_path(paths)

    def put(node: Any) -> Any:
        if isinstance(node, Counts):
            of = {name: c for path, c in zip(node.paths, node.cohorts, strict=True) for name in names(path)}
            order = tuple(sorted(of))
            return Counts(node.updates, order, tuple(of[name] for name in order))
        return arrays(node) if is_leaf(node) else node

    return jax.tree.map(put, state, is_leaf=is_leaf)


def _is_counts(node: Any) -> bool:
    return isinstance(node, Counts)


def carried(before: Any, fresh: Any, old: set[str], new: set[str], same: set[str]) -> Any:
    """Fresh state for new paths, with what the old state holds for unchanged ones, and its numbers and steps."""
    was, _ = jax.tree_util.tree_flatten(before, is_leaf=_is_by_path(old))
    by_path = _is_by_path(new)
    now, treedef = jax.tree_util.tree_flatten(fresh, is_leaf=by_path)
    if len(was) != len(now):
        raise StructureError(
            "a rule whose state has one form for every model",
            got="another form for the changed one",
            fix="make a new Optimizer",
            where="Optimizer.sync",
        )

    def keep(w: Any, n: Any) -> Any:
        if isinstance(n, Counts):
            return _adopted(w, n.paths, same)
        return {p: w[p] if p in same else n[p] for p in n} if by_path(n) else w

    return jax.tree_util.tree_unflatten(treedef, [keep(w, n) for w, n in zip(was, now, strict=True)])


def _adopted(counts: Counts, paths: tuple[str, ...], same: set[str]) -> Counts:
    """The counts of cohorts of which something is left, and a new cohort for new paths, which starts at 0."""
    was = {p: c for p, c in zip(counts.paths, counts.cohorts, strict=True) if p in same}
    left = sorted({was[p] for p in paths if p in was})
    cohorts = tuple(left.index(was[p]) if p in was else len(left) for p in paths)
    updates = [counts.updates[c] for c in left]
    if len(left) in cohorts or not left:
        updates.append(jnp.zeros((), jnp.int32))
    return Counts(jnp.stack(updates), paths, cohorts)
