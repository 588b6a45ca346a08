"""Trees of version 5, whose nodes and leaves are numbered through all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.interchange.onnx_reading.operators.learned._classes import ANEW, ML
from phlox.interchange.onnx_reading.operators.learned._scores import real, transformed
from phlox.interchange.onnx_reading.operators.learned._trees import MEMBER, Nodes, gathered, ids, table_of

_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@OPERATORS.on("TreeEnsemble", since=5, domain=ML)
def _ensemble(call: Call, x: Any) -> Any:
    """(rows, features) to (rows, targets)."""
    aggregate, transform = call.get("aggregate_function", 1), call.get("post_transform", 0)
    if not (0 <= aggregate < len(_AGGREGATES) and 0 <= transform < len(_TRANSFORMS)):
        raise call.refusal("numbers of aggregate_function and post_transform", f"{aggregate}, {transform}", ANEW)
    kind = _AGGREGATES[aggregate]
    weights = np.asarray(call["leaf_weights"]).reshape(-1)
    nodes = _joined(call, len(weights))
    leaf = len(nodes.yes) - len(weights) + np.arange(len(weights))
    shape = len(nodes.yes), call.get("n_targets", 1)
    table = table_of(call, leaf, ids(call, "leaf_targetids"), weights, shape, kind)
    named = Call(call.node, {"post_transform": _TRANSFORMS[transform]}, call.version, call.run)
    return transformed(named, gathered(call, real(x), nodes, table, kind))


def _joined(call: Call, leaves: int) -> Nodes:
    """Nodes, and behind them leaves, as nodes that lead to themselves."""
    features, modes = ids(call, "nodes_featureids"), np.asarray(call["nodes_modes"]).reshape(-1).astype(np.int32)
    count = len(features)
    ends = np.arange(count, count + leaves)

    def led(name: str, leaf: str) -> np.ndarray:
        return np.concatenate([ids(call, name) + count * (ids(call, leaf) != 0), ends])

    yes, no = led("nodes_truenodeids", "nodes_trueleafs"), led("nodes_falsenodeids", "nodes_falseleafs")
    splits, roots = np.asarray(call["nodes_splits"]).reshape(-1), ids(call, "tree_roots")
    missing = np.asarray(call.get("nodes_missing_value_tracks_true") or [0] * count, bool)
    wrong = not len(yes) == len(no) == count + leaves or not len(splits) == len(modes) == len(missing) == count
    if wrong or not count or any(a.min() < 0 or a.max() >= count + leaves for a in (yes, no, roots)):
        raise call.refusal("nodes that lead to nodes", "others", ANEW)
    if modes.min() < 0 or modes.max() > MEMBER:
        raise call.refusal(f"tests from 0 to {MEMBER}", str(modes.max()), "write the trees with these")

    def filled(a: np.ndarray, by: Any) -> np.ndarray:
        return np.concatenate([a, np.full(leaves, by, a.dtype)])

    nodes = (filled(features, 0), filled(modes, modes[0]), filled(splits, 0), yes, no, filled(missing, False))
    return Nodes(*nodes, roots, _members(call, modes, count + leaves))


def _members(call: Call, modes: np.ndarray, count: int) -> np.ndarray | None:
    """The sets that nodes ask for, which stand one after the other with a NaN behind each."""
    asking = np.flatnonzero(modes == MEMBER)
    if not asking.size:
        return None
    values = np.asarray(call["membership_values"]).reshape(-1)
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) != len(asking):
        got = f"{len(ends)} for {len(asking)}"
        raise call.refusal("a set for each node that asks for one", got, ANEW)
    sets = np.split(values, ends + 1)[: len(asking)]
    widest = max(len(s) for s in sets)
    call.sized([count, widest])
    table = np.full((count, widest), np.nan, values.dtype)
    for node, members in zip(asking, sets, strict=True):
        table[node, : len(members)] = members
    return table
