"""Sums over indices: products of matrices, and convolutions.

An index that is summed over can be removed where what it adds is nothing: where one of both sides is zero at it, as a
weight is whose rows of a removed feature are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.compress.structure._links import Label, Links, Value


def dot_general(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """A product: (batch, free of the left, free of the right)."""
    (contracted, batch) = equation.params["dimension_numbers"]
    left, right = values
    for a, b in zip(*contracted, strict=True):
        summed(left, a, right, b, links, reason)
    axes: list[Label] = []
    zero: list[bool] = []
    for a, b in zip(*batch, strict=True):
        axes.append(links.join(left.axes[a], right.axes[b], reason))
        zero.append(left.vanishes(a) or right.vanishes(b))
    for side, used in ((left, (*contracted[0], *batch[0])), (right, (*contracted[1], *batch[1]))):
        free = [axis for axis in range(side.rank) if axis not in used]
        axes += [side.axes[axis] for axis in free]
        zero += [side.vanishes(axis) for axis in free]
    return [Value(tuple(axes), tuple(zero), left.blank or right.blank)]


def summed(left: Value, a: int, right: Value, b: int, links: Links, reason: str) -> None:
    """Link two axes that are summed over together; hold them where a removed index would have added something."""
    one, other = left.axes[a], right.axes[b]
    links.join(one, other, reason)
    if not left.vanishes(a) and not right.vanishes(b):
        links.hold(one, reason)
        links.hold(other, reason)


def conv_general_dilated(values: list[Value], equation: Any, links: Links, reason: str) -> list[Value]:
    """A convolution; of groups each is removed with all its channels."""
    params, (x, weight) = equation.params, values
    spec, groups = params["dimension_numbers"], params["feature_group_count"]
    outs, ins, *window = spec.rhs_spec
    for axis in window:
        links.hold(weight.axes[axis], reason)
    for axis in spec.lhs_spec[2:]:
        links.hold(x.axes[axis], reason)
    made: Label = weight.axes[outs]
    if params["batch_group_count"] != 1:
        for value in values:
            for label in value.axes:
                links.hold(label, reason)
        made = None
    elif groups == 1:
        summed(x, spec.lhs_spec[1], weight, ins, links, reason)
    else:
        links.hold(weight.axes[ins], reason)
        made = _grouped(x.axes[spec.lhs_spec[1]], made, groups, links, reason)
    axes: list[Label] = [None] * x.rank
    zero = [False] * x.rank
    axes[spec.out_spec[0]] = x.axes[spec.lhs_spec[0]]
    axes[spec.out_spec[1]], zero[spec.out_spec[1]] = made, weight.vanishes(outs)
    return [Value(tuple(axes), tuple(zero))]


def _grouped(ins: Label, outs: Label, groups: int, links: Links, reason: str) -> Label:
    """Link all channels of a group, those that come in and those that go out."""
    for label in (ins, outs):
        if label is not None:
            rows = label.reshape(groups, -1)
            links.join(np.repeat(rows[:, 0], rows.shape[1] - 1), rows[:, 1:].ravel(), reason)
    firsts = [None if label is None else label.reshape(groups, -1)[:, 0] for label in (ins, outs)]
    links.join(firsts[0], firsts[1], reason)
    return outs if firsts[0] is not None else None
