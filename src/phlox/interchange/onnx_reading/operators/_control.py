"""If, Loop, Scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import describe
from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, constant, is_known, library
from phlox.interchange.onnx_reading.operators._table import OPERATORS

_CUT = "give what decides by px.load_onnx(file, fixed={name: value}), or cut the model before this node"
_UNROLLED = 64
"""Steps up to which a loop of known length is written out, so that sizes may change on the way."""


@OPERATORS.on("If")
def _if(call: Call, which: Any) -> Any:
    branches = call["then_branch"], call["else_branch"]
    if not isinstance(which, Tracer):
        return call.run(branches[0 if bool(np.asarray(which).reshape(())) else 1])
    forms: list[list[str]] = []

    def branch(graph: Any) -> Callable[[], Any]:
        def run() -> Any:
            found = tuple(map(constant, call.run(graph)))
            forms.append([describe(y) for y in found])
            return found

        return run

    try:
        return jax.lax.cond(which.reshape(()), *map(branch, branches))
    except TypeError as error:
        if len(forms) == 2 and forms[0] != forms[1]:
            got = " and ".join(", ".join(form) for form in forms)
            raise call.refusal("branches that give the same sizes and dtypes", got, _CUT) from error
        raise


@OPERATORS.on("Loop")
def _loop(call: Call, most: Any, go: Any, *carried: Any) -> Any:
    """At most so many steps, while a flag holds; what the body gives beyond what it carries is stacked."""
    body = call["body"]
    count = None if most is None or isinstance(most, Tracer) else int(np.asarray(most).reshape(()))
    traced = any(isinstance(x, Tracer) for x in (most, go, *carried))
    found = None
    if not traced or (count is not None and count <= _UNROLLED):
        found = _written_out(call, body, count, go, carried)
    elif count is not None and not isinstance(go, Tracer) and (go is None or bool(np.asarray(go))):
        found = _scanned(call, body, count, carried)
    if found is not None:
        return found
    if len(body.outputs) > 1 + len(carried):
        raise call.refusal("stacked results of a known number of steps", "a number that inputs decide", _CUT)
    return _while(call, body, most, go, carried)


class _UnsureError(Exception):
    """The flag of a body depends on inputs."""


def _scanned(call: Call, body: Any, count: int, carried: Any) -> Any:
    """Many steps of a body whose flag is known to hold, or None where it depends on inputs."""

    def step(state: Any, i: Any) -> Any:
        go, *outs = call.run(body, i, np.asarray(True), *state)
        if not is_known(go) or not bool(go):
            raise _UnsureError
        found = tuple(map(constant, outs))
        return found[: len(carried)], found[len(carried) :]

    try:
        last, rows = jax.lax.scan(step, tuple(map(constant, carried)), jnp.arange(count, dtype=canonical(np.int64)))
    except _UnsureError:
        return None
    return *last, *rows


def _written_out(call: Call, body: Any, count: int | None, go: Any, carried: Any) -> Any:
    """Step by step, or None where the flag turns out to depend on inputs."""
    state, stacked = list(carried), []
    step = 0
    while count is None or step < count:
        if isinstance(go, Tracer):
            return None
        if go is not None and not bool(np.asarray(go).reshape(())):
            break
        go, *outs = call.run(body, np.asarray(step, np.int64), np.asarray(True) if go is None else go, *state)
        state, rows = outs[: len(state)], outs[len(carried) :]
        stacked.append(rows)
        step += 1
    return *state, *_stacked(call, body, len(carried), stacked)


def _stacked(call: Call, body: Any, carried: int, rows: list[list[Any]]) -> list[Any]:
    ports = body.outputs[1 + carried :]
    if rows:
        return [library(*column).stack(column) for column in zip(*rows, strict=True)]
    return [np.zeros((0, *(n for n in p.shape or () if isinstance(n, int))), p.dtype or np.float32) for p in ports]


def _while(call: Call, body: Any, most: Any, go: Any, carried: Any) -> Any:
    limit = jnp.asarray(np.iinfo(np.int32).max if most is None else most).reshape(()).astype(jnp.int32)
    first = jnp.asarray(True if go is None else go).reshape(())

    def step(state: Any) -> Any:
        i, go, *values = state
        go, *outs = call.run(body, i.astype(canonical(np.int64)), go, *values)
        return i + 1, jnp.asarray(go).reshape(()), *map(constant, outs)

    start = (jnp.zeros((), jnp.int32), first, *map(constant, carried))
    return jax.lax.while_loop(lambda s: (s[0] < limit) & s[1], step, start)[2:]


@OPERATORS.on("Scan", since=9)
def _scan(call: Call, *values: Any) -> Any:
    body, count = call["body"], call["num_scan_inputs"]
    held, rows = list(map(constant, values[: len(values) - count])), list(map(constant, values[len(values) - count :]))
    outs = len(body.outputs) - len(held)
    axes, back = (call.get(n) or [0] * count for n in ("scan_input_axes", "scan_input_directions"))
    rows = [jnp.moveaxis(x, a, 0) for x, a in zip(rows, axes, strict=True)]
    rows = [jnp.flip(x, 0) if b else x for x, b in zip(rows, back, strict=True)]

    def step(carry: Any, at: Any) -> Any:
        found = list(map(constant, call.run(body, *carry, *at)))
        return found[: len(held)], found[len(held) :]

    last, ys = jax.lax.scan(step, held, rows)
    axes, back = (call.get(n) or [0] * outs for n in ("scan_output_axes", "scan_output_directions"))
    ys = [jnp.flip(y, 0) if b else y for y, b in zip(ys, back, strict=True)]
    return *last, *(jnp.moveaxis(y, 0, a) for y, a in zip(ys, axes, strict=True))


@OPERATORS.on("Scan", since=8)
def _scan_of_rows(call: Call, lengths: Any, *values: Any) -> Any:
    """Version 8: with an axis of the batch before that of time."""
    if lengths is not None:
        raise call.refusal("rows of one length", "sequence_lens", "convert the file to version 9 or later")
    return jax.vmap(lambda *xs: _scan(call, *xs))(*map(constant, values))
