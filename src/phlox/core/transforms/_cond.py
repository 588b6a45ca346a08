"""px.cond: one of two branches; State is the union of what both would write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._errors import ShapeError, StructureError, describe, form
from phlox.core.transforms._carry import Place, held, name_of_place
from phlox.core.transforms._functionalize import Call, Outcome, functionalize, write_back, write_captured
from phlox.core.transforms._names import array_names, named, pure_of

R = TypeVar("R")


def cond(pred: Any, true_fn: Callable[..., R], false_fn: Callable[..., R], *operands: Any) -> R:
    """Run one of two functions by a scalar condition, as ``jax.lax.cond`` does.

    Both take the operands and return results of one form. State that a branch writes, on operands or on
    Modules captured from the enclosing px scope, moves if that branch runs. Where nothing is traced it is
    a Python ``if``, and the branch that does not run is not looked at: the forms are compared where the call is traced.

    Arguments:
        pred: a scalar, true or false.
        true_fn: what runs if it holds.
        false_fn: what runs if not.
        operands: arguments of both.

    Raises:
        ShapeError: ``pred`` is no scalar, or the results differ in shape or dtype.
        StructureError: the results differ in form.

    >>> import phlox as px
    >>> float(px.cond(True, lambda x: x + 1.0, lambda x: x - 1.0, 2.0))
    3.0
    """
    if jnp.shape(pred) != ():
        raise ShapeError(
            "a scalar condition",
            got=describe(pred),
            where="px.cond",
            fix="reduce it with .all() or .any(); to choose element by element use jnp.where",
        )
    if _compat.python_control_flow():
        return true_fn(*operands) if bool(pred) else false_fn(*operands)
    calls = [functionalize(fn, operands, {}, kind="cond", scalars=True) for fn in (true_fn, false_fn)]
    leaves, bare = calls[0].leaves, calls[0].bare
    shapes = [jax.eval_shape(pure_of(call), leaves, bare) for call in calls]
    _refuse_different(shapes)
    written = sorted({i for o in shapes for i in o.record.written})
    places = list({name_of_place(p): p for o in shapes for p in o.record.captured}.values())
    branches = [_branch(call, written, places) for call in calls]
    outputs, values, captured = jax.lax.cond(pred, *branches, leaves, bare)
    plan = calls[0].plan
    write_back(plan, written, values)
    write_captured(places, captured)
    return shapes[0].record.result.rebuild(outputs, plan.module)


def _branch(call: Call, written: list[int], places: list[Place]) -> Callable[..., Any]:
    """A branch that gives, besides its outputs, a value for all that either branch writes."""

    def run(leaves: list[Any], bare: list[Any]) -> tuple[Any, Any, Any]:
        outcome = call.pure(leaves, bare)
        new = dict(zip(outcome.record.written, outcome.written, strict=True))
        moved = {name_of_place(p): v for p, v in zip(outcome.record.captured, outcome.captured, strict=True)}
        captured = [moved[name_of_place(p)] if name_of_place(p) in moved else held(p) for p in places]
        return outcome.outputs, [new.get(i, leaves[i]) for i in written], captured

    arrays, others = array_names(call)
    return named(run, call, [*arrays, *others])


def _refuse_different(shapes: list[Outcome]) -> None:
    a, b = shapes
    ra, rb = a.record.result, b.record.result
    same = (ra.treedef, ra.leaves, ra.structure, ra.known) == (rb.treedef, rb.leaves, rb.structure, rb.known)
    if not same:
        raise StructureError(
            "branches that return results of one form",
            got=f"{form(ra.treedef)} from the first and {form(rb.treedef)} from the second",
            fix="return the same lists, tuples, dicts and Modules from both",
            where="px.cond",
        )
    for x, y in zip(a.outputs, b.outputs, strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise ShapeError(
                "branches that return arrays of one shape and dtype",
                got=f"{describe(x)} from the first and {describe(y)} from the second",
                fix="make them alike, for example with .astype, by padding, or by jnp.where in place of px.cond",
                where="px.cond",
            )
