"""Programs inside programs: calls are written out, loops become Scan and Loop, branches become If."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.core._compat import scan_counts
from phlox.interchange.onnx._build import computed, number, reversed_
from phlox.interchange.onnx._graph import Graph, Value
from phlox.interchange.onnx._parts import parts, spread, spread_types
from phlox.interchange.onnx._sizes import scalar
from phlox.interchange.onnx._step import Rules, Step
from phlox.interchange.onnx._types import BOOL, INT64

RULES = Rules()

_CALLS = (
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "custom_lin", "custom_vmap_call", "composite", "eval_jaxpr",
)  # fmt: skip
_HELD = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")


_IDENTITIES = (
    "name", "copy", "copy_p", "pvary", "sharding_constraint", "layout_constraint", "reshard", "stop_gradient"
)  # fmt: skip
_SEVERAL = ("optimization_barrier", "device_put")
HANDED_ON = frozenset([*_CALLS, *_IDENTITIES, *_SEVERAL])
"""What hands its arguments on, keys of random streams too."""


@RULES.on(*_CALLS)
def _call(graph: Graph, step: Step, *xs: Any) -> list[Any]:
    body = next(step.params[name] for name in _HELD if name in step.params)
    return step.run(graph, body, xs)


@RULES.on(*_IDENTITIES)
def _itself(graph: Graph, step: Step, x: Any) -> Any:
    return x


@RULES.on(*_SEVERAL)
def _themselves(graph: Graph, step: Step, *xs: Any) -> list[Any]:
    return list(xs)


# --- scan ------------------------------------------------------------------------------------------------


@RULES.on("scan")
def _scan(graph: Graph, step: Step, *xs: Any) -> list[Any]:
    n, carries = scan_counts(step.params)
    m = n + carries
    consts, carry, rows = list(xs[:n]), spread(xs[n:m]), spread(xs[m:])
    stacked = spread_types(step.outs[m - n :])
    if not rows:
        return _counted_loop(graph, step, consts, carry)
    body = graph.child("Scan")
    state = [body.input("state", v.shape, v.dtype) for v in carry]
    elements = [body.input("row", v.shape[1:], v.dtype) for v in rows]
    given = [*consts, *parts([*state, *elements], step["jaxpr"].in_avals[n:])]
    body.finish(spread(step.run(body, step["jaxpr"], given)))
    way = int(step["reverse"])
    directions = {"scan_input_directions": [way] * len(rows)}
    if stacked:
        directions["scan_output_directions"] = [way] * len(stacked)
    outs = spread_types(step.outs)
    results = graph.ops("Scan", [*carry, *rows], outs, body=body, num_scan_inputs=len(rows), **directions)
    return parts(results, step.outs)


def _counted_loop(graph: Graph, step: Step, consts: list[Any], carry: list[Value]) -> list[Any]:
    """A scan over no arrays, so many times."""
    body = graph.child("Loop")
    body.input("round", (), INT64)
    going = body.input("going", (), BOOL)
    state = [body.input("state", v.shape, v.dtype) for v in carry]
    given = [*consts, *parts(state, step["jaxpr"].in_avals[len(consts) :])]
    body.finish([going, *spread(step.run(body, step["jaxpr"], given))])
    times = scalar(graph, step["length"])
    found = graph.ops("Loop", [times, None, *carry], spread_types(step.outs), body=body)
    rows = found[len(carry) :]
    if step["reverse"]:
        rows = [reversed_(graph, y, [0]) for y in rows]
    return parts([*found[: len(carry)], *rows], step.outs)


# --- while -------------------------------------------------------------------------------------------------


@RULES.on("while")
def _while(graph: Graph, step: Step, *xs: Any) -> list[Any]:
    n = step["cond_nconsts"]
    m = n + step["body_nconsts"]
    asked, used, carry = list(xs[:n]), list(xs[n:m]), list(xs[m:])
    (first,) = step.run(graph, step["cond_jaxpr"], [*asked, *carry])
    body = graph.child("Loop")
    body.input("round", (), INT64)
    body.input("going", (), BOOL)
    flat = spread(carry)
    state = [body.input("state", v.shape, v.dtype) for v in flat]
    given = [*used, *parts(state, step["body_jaxpr"].in_avals[len(used) :])]
    after = step.run(body, step["body_jaxpr"], given)
    (again,) = step.run(body, step["cond_jaxpr"], [*asked, *after])
    body.finish([again, *spread(after)])
    results = graph.ops("Loop", [None, first, *flat], spread_types(step.outs), body=body)
    return parts(results, step.outs)


# --- cond ---------------------------------------------------------------------------------------------------


@RULES.on("cond")
def _cond(graph: Graph, step: Step, index: Value, *xs: Any) -> list[Any]:
    branches = step["branches"]
    if index.known is not None:
        at = min(max(int(index.known), 0), len(branches) - 1)
        return step.run(graph, branches[at], xs)
    return parts(_chosen(graph, step, index, xs, len(branches) - 1), step.outs)


def _chosen(graph: Graph, step: Step, index: Value, xs: Sequence[Any], last: int) -> list[Value]:
    """The last branch if the index reaches it, else one of those before."""
    if index.dtype == BOOL:
        reached = index
    else:
        reached = computed(graph, "GreaterOrEqual", index, number(graph, index, last), dtype=BOOL)
    then, otherwise = graph.child("then"), graph.child("else")
    then.finish(spread(step.run(then, step["branches"][last], xs)))
    if last == 1:
        otherwise.finish(spread(step.run(otherwise, step["branches"][0], xs)))
    else:
        otherwise.finish(_chosen(otherwise, step, index, xs, last - 1))
    return graph.ops("If", [reached], spread_types(step.outs), then_branch=then, else_branch=otherwise)


@RULES.on("platform_index")
def _platform(graph: Graph, step: Step) -> Value:
    """The branch that is for every platform, or else the CPU's."""
    platforms = step["platforms"]
    for i, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return graph.constant(np.int32(i))
    raise step.refusal("code for particular devices alone", "give jax.lax.platform_dependent a default")
