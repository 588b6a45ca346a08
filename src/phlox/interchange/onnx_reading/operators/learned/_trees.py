"""Ensembles of decision trees: all rows go down all trees at once, a level at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading.operators.learned._classes import ANEW

_LARGEST = 1 << 27
"""Numbers in the table of leaves."""
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_TESTS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, at: x <= at, lambda x, at: x < at, lambda x, at: x >= at, lambda x, at: x > at,
    lambda x, at: x == at, lambda x, at: x != at,
)  # fmt: skip
MEMBER = len(MODES)


@dataclass(frozen=True)
class Nodes:
    """All nodes of all trees, by number; a leaf leads to itself."""

    features: np.ndarray
    modes: np.ndarray
    values: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    missing: np.ndarray
    """Whether NaN goes where the test holds."""
    roots: np.ndarray
    members: np.ndarray | None = None
    """(nodes, most) the set that a node asks for, filled up with NaN."""

    def depth(self, call: Call) -> int:
        """How many steps lead to the deepest leaf.

        Raises:
            ExportError: a node that two others lead to, so that there may be a circle.
        """
        itself = np.arange(len(self.yes))
        inner = np.flatnonzero((self.yes != itself) | (self.no != itself))
        targets = np.concatenate([self.yes[inner], self.no[inner], self.roots])
        counted = np.bincount(targets, minlength=len(self.yes))
        if (counted[inner] > 1).any():
            raise call.refusal("trees", "a node that two others lead to", ANEW)
        steps, level = 0, np.intersect1d(self.roots, inner)
        while level.size:
            steps, level = steps + 1, np.intersect1d(np.concatenate([self.yes[level], self.no[level]]), inner)
        return steps


def _leaves(call: Call, nodes: Nodes, x: Any) -> Any:
    """The leaf of each row in each tree, (rows, trees)."""
    if nodes.features.size and not 0 <= nodes.features.min() <= nodes.features.max() < x.shape[1]:
        got = f"{x.shape[1]} for nodes that ask for {nodes.features.max()}"
        raise call.refusal("as many features as the trees ask for", got, "give it inputs of these features")
    held = jax.tree.map(jnp.asarray, (nodes.features, nodes.modes, nodes.values, nodes.yes, nodes.no, nodes.missing))
    features, modes, values, yes, no, missing = held
    kinds = np.unique(nodes.modes).tolist()

    def step(_: Any, at: Any) -> Any:
        value = jnp.take_along_axis(x, features[at], 1)
        tests = [_test(nodes, kind, value, values[at], at) for kind in kinds]
        holds = tests[0] if len(tests) == 1 else jnp.select([modes[at] == kind for kind in kinds], tests)
        return jnp.where(holds | (missing[at] & jnp.isnan(value)), yes[at], no[at])

    start = jnp.broadcast_to(jnp.asarray(nodes.roots), (x.shape[0], len(nodes.roots)))
    return jax.lax.fori_loop(0, nodes.depth(call), step, start)


def _test(nodes: Nodes, kind: int, value: Any, against: Any, at: Any) -> Any:
    if kind != MEMBER or nodes.members is None:
        return _TESTS[kind](value, against)
    return (jnp.asarray(nodes.members)[at] == value[..., None]).any(-1)


def ids(call: Call, name: str) -> np.ndarray:
    """An attribute of whole numbers."""
    return np.asarray(call[name], np.int64)


def table_of(call: Call, leaf: Any, targets: Any, weights: Any, shape: tuple[int, int], kind: str) -> np.ndarray:
    """What each node gives to each target, (nodes, targets)."""
    if not len(leaf) == len(targets) == len(weights) or not 0 <= targets.min() <= targets.max() < shape[1]:
        got = f"{len(leaf)} leaves, {len(weights)} weights, and targets up to {targets.max(initial=0)}"
        raise call.refusal(f"a weight and one of {shape[1]} targets for each leaf", got, ANEW)
    if shape[0] * shape[1] > _LARGEST:
        raise call.refusal(f"at most {_LARGEST} weights of leaves", str(shape), "write the trees as several ensembles")
    table = np.full(shape, EMPTY[kind], weights.dtype)
    if EMPTY[kind]:
        table[leaf, targets] = weights
    else:
        np.add.at(table, (leaf, targets), weights)
    return table


EMPTY = {"SUM": 0.0, "AVERAGE": 0.0, "MIN": np.inf, "MAX": -np.inf}
"""The ways to put trees together, and what a leaf gives to a target that it says nothing of."""


def gathered(call: Call, x: Any, nodes: Nodes, table: np.ndarray, kind: str) -> Any:
    """What the trees give together: (rows, features) to (rows, targets)."""
    each = constant(table)[_leaves(call, nodes, x)]
    if kind in ("SUM", "AVERAGE"):
        return each.sum(1) / (each.shape[1] if kind == "AVERAGE" else 1)
    y = each.min(1) if kind == "MIN" else each.max(1)
    return jnp.where(jnp.isinf(y), 0, y)
