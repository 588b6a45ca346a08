"""Trees of versions 1 and 3, whose nodes have two numbers: of the tree, and of the node in it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.interchange.onnx_reading.operators.learned._classes import ANEW, ML, class_at, number_of_classes
from phlox.interchange.onnx_reading.operators.learned._scores import floats, of_two, real, transformed
from phlox.interchange.onnx_reading.operators.learned._trees import EMPTY, MODES, Nodes, gathered, ids, table_of


@OPERATORS.on("TreeEnsembleRegressor", domain=ML)
def _regressor(call: Call, x: Any) -> Any:
    """(rows, features) to (rows, targets)."""
    kind = call.get("aggregate_function", "SUM")
    if kind not in EMPTY:
        raise call.refusal(f"an aggregate_function among {', '.join(EMPTY)}", kind, "write it with one of these")
    nodes, leaf = _numbered(call, "target")
    shape = len(nodes.yes), call["n_targets"]
    table = table_of(call, leaf, ids(call, "target_ids"), floats(call, "target_weights"), shape, kind)
    return transformed(call, _based(call, gathered(call, real(x), nodes, table, kind)))


@OPERATORS.on("TreeEnsembleClassifier", domain=ML)
def _classifier(call: Call, x: Any) -> Any:
    """(rows, features) to classes (rows,) and scores (rows, classes).

    Two classes of which the leaves weigh one alone have a score and its opposite.
    """
    classes = number_of_classes(call)
    nodes, leaf = _numbered(call, "class")
    shape = len(nodes.yes), classes
    table = table_of(call, leaf, ids(call, "class_ids"), floats(call, "class_weights"), shape, "SUM")
    scores = gathered(call, real(x), nodes, table, "SUM")
    used = set(call["class_ids"])
    if classes != 2 or len(used) > 1:
        scores = _based(call, scores)
        return class_at(call, scores.argmax(-1)), transformed(call, scores)
    base = floats(call, "base_values")
    score = scores[:, used.pop()] + (base[-1] if base.size else 0)
    shares = bool((floats(call, "class_weights") >= 0).all())
    second = (score > (0.5 if shares else 0)).astype(jnp.int32)
    return class_at(call, second), of_two(call, score, shares)


def _based(call: Call, scores: Any) -> Any:
    base = floats(call, "base_values").astype(scores.dtype)
    if base.size not in (0, 1, scores.shape[1]):
        raise call.refusal("a base value for each target", f"{base.size} for {scores.shape[1]} targets", ANEW)
    return scores + base if base.size else scores


def _numbered(call: Call, prefix: str) -> tuple[Nodes, np.ndarray]:
    """The nodes, and the node of each weight of a leaf."""
    trees = ids(call, "nodes_treeids")
    own, yes, no = (_pairs(call, trees, ids(call, f"nodes_{n}")) for n in ("nodeids", "truenodeids", "falsenodeids"))
    weighted = _pairs(call, ids(call, f"{prefix}_treeids"), ids(call, f"{prefix}_nodeids"))
    distinct, places = np.unique(np.concatenate([own, yes, no, weighted]), axis=0, return_inverse=True)
    mine, yes, no, weighted = np.split(places.reshape(-1), np.cumsum([len(own), len(yes), len(no)]))
    itself = np.arange(len(own))
    number = np.full(len(distinct), -1)
    number[mine] = itself
    modes, leaf = _modes(call, len(own))
    yes, no = (np.where(leaf, itself, number[a]) for a in (yes, no))
    if (
        len(np.unique(mine)) < len(own)
        or min(yes.min(initial=0), no.min(initial=0), number[weighted].min(initial=0)) < 0
    ):
        raise call.refusal("each node once, and branches to nodes", "others", ANEW)
    values, missing = floats(call, "nodes_values"), call.get("nodes_missing_value_tracks_true") or [0] * len(own)
    columns = (ids(call, "nodes_featureids"), modes, values, yes, no, np.asarray(missing, bool))
    if any(len(c) != len(own) for c in columns):
        raise call.refusal(f"{len(own)} entries for each part of the nodes", "others", ANEW)
    features = np.where(leaf, 0, columns[0])
    return Nodes(features, *columns[1:], _roots(call, trees, yes, no, itself)), number[weighted]


def _pairs(call: Call, trees: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    if trees.shape != nodes.shape or not trees.size:
        got = f"{trees.size} trees and {nodes.size} nodes"
        raise call.refusal("a tree for each node", got, ANEW)
    return np.stack([trees, nodes], 1)


def _modes(call: Call, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The tests by number, and which nodes are leaves, whose test does not matter."""
    names = call["nodes_modes"]
    for name in set(names) - {*MODES, "LEAF"}:
        raise call.refusal(f"tests among {', '.join(MODES)}", name, "write the trees with these")
    if len(names) != count:
        raise call.refusal(f"{count} tests", str(len(names)), ANEW)
    leaf = np.array([name == "LEAF" for name in names])
    found = np.array([-1 if name == "LEAF" else MODES.index(name) for name in names], np.int32)
    usual = found[~leaf]
    return np.where(leaf, usual[0] if usual.size else 0, found), leaf


def _roots(call: Call, trees: np.ndarray, yes: np.ndarray, no: np.ndarray, itself: np.ndarray) -> np.ndarray:
    """The one node of each tree that no other leads to."""
    led = np.zeros(len(itself), bool)
    for to in (yes, no):
        led[to[to != itself]] = True
    roots = np.flatnonzero(~led)
    if sorted(trees[roots]) != sorted(set(trees.tolist())):
        raise call.refusal("trees, each with one root", "a circle, or nodes that hang free", ANEW)
    return roots
