"""px.scan and px.while_loop: one compiled body for all rounds; plain Python loops where nothing is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._errors import ShapeError, StateError, describe
from phlox.core.module._arrays import is_array
from phlox.core.module._module import Module
from phlox.core.module._plan import named_path, plan_of
from phlox.core.module._tree import tree_map
from phlox.core.transforms._carried import Carried, carry_and_y
from phlox.core.transforms._carry import Loop, until_captured
from phlox.core.transforms._functionalize import SCALARS, Outcome, functionalize, is_module, write_back
from phlox.core.transforms._names import array_names, named

C = TypeVar("C", bound=Module | jax.Array)  # a carry that stays what it is; a number becomes an array


@overload
def scan(
    fn: Callable[[C, Any], tuple[C, Any]],
    init: C,
    xs: Any = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[C, Any]: ...
@overload
def scan(
    fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]: ...
def scan(
    fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    r"""Carry a value through a function over the first axis of ``xs``: $(c_{t+1}, y_t) = f(c_t, x_t)$.

    Modules may be in the carry (changed in place from round to round), in ``xs`` (stacked along the first axis, one
    slice a round), or captured from the enclosing px scope: State that the body writes there is carried too. Where
    nothing is traced it is a Python loop, so a debugger steps through it.

    Arguments:
        fn: takes ``(carry, x)`` and returns ``(carry, y)``.
        init: the first carry, a tree of arrays and Modules.
        xs: a tree whose leaves have the rounds as first axis, or None.
        length: rounds, where ``xs`` does not tell.
        reverse: go from the last round to the first.
        unroll: rounds per step of the compiled loop.

    Returns:
        The last carry, and all y stacked along a new first axis.

    Raises:
        ShapeError: the carry changes shape or dtype, or first axes differ.
        StructureError: ``fn`` returns no pair, the carry changes its form, or a Module its structure.

    >>> import jax.numpy as jnp, phlox as px
    >>> last, sums = px.scan(lambda c, x: (c + x, c + x), 0.0, jnp.arange(4.0))
    >>> float(last), sums.tolist()
    (6.0, [0.0, 1.0, 3.0, 6.0])
    """
    rounds = _rounds(xs, length)
    if _compat.python_control_flow():
        return _python_scan(fn, init, xs, rounds, reverse)
    return _traced_scan(fn, init, xs, rounds, reverse, unroll)


def _rounds(xs: Any, length: int | None) -> int:
    sizes = [] if length is None else [length]
    for leaf in jax.tree_util.tree_leaves(xs):
        if getattr(leaf, "ndim", 0) < 1:
            raise ShapeError(
                "xs with a first axis of rounds",
                got=describe(leaf),
                fix="stack what differs from round to round; carry or capture what is the same",
                where="px.scan",
            )
        sizes.append(leaf.shape[0])
    if not sizes or len(set(sizes)) != 1:
        got = f"{sorted(set(sizes))} rounds" if sizes else "neither xs nor length"
        raise ShapeError(
            "xs of one length", got=got, fix="give all of xs as many rounds, or pass length=", where="px.scan"
        )
    return sizes[0]


def _python_scan(fn: Any, init: Any, xs: Any, rounds: int, reverse: bool) -> tuple[Any, Any]:
    carry, ys, form = init, [], Carried(init, "px.scan")
    order = range(rounds - 1, -1, -1) if reverse else range(rounds)
    stacks = {id(v): v for v in jax.tree_util.tree_leaves(xs, is_leaf=is_module) if is_module(v)}
    for t in order:
        at = lambda a, t=t: a[t]  # noqa: E731
        x = tree_map(at, xs) if xs is not None else None
        before = {id(m): _arrays(m) for m in jax.tree_util.tree_leaves(x, is_leaf=is_module) if is_module(m)}
        given = jax.tree_util.tree_leaves(carry, is_leaf=is_module) if ys else form.leaves
        carry, y = carry_and_y(fn(carry, x))
        form.check(given, carry)
        parts = {id(m): m for m in jax.tree_util.tree_leaves(x, is_leaf=is_module) if is_module(m)}
        for stack, part in zip(stacks.values(), parts.values(), strict=True):  # each once, however often it is passed
            _put_slice(stack, part, before[id(part)], t)
        ys.append(y)
    if reverse:
        ys.reverse()
    carry = jax.tree_util.tree_map(lambda c: c if is_module(c) else jnp.asarray(c), carry, is_leaf=is_module)
    if not ys:
        return carry, _no_rounds(fn, init, xs)
    return carry, tree_map(lambda *parts: jnp.stack(parts), ys[0], *ys[1:])


def _no_rounds(fn: Any, init: Any, xs: Any) -> Any:
    """What y looks like with no round at all: arrays of length 0, by shapes alone."""
    _, ys = jax.eval_shape(lambda c, x: jax.lax.scan(fn, c, x), init, xs)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), ys)


def _arrays(module: Any) -> list[Any]:
    return plan_of([module]).gather()


def _put_slice(stack: Any, part: Any, before: list[Any], t: int) -> None:
    """Write what one round changed on its slice of a stacked Module back into the stack."""
    plan, after = plan_of([stack]), _arrays(part)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a is not b]
    leaves = plan.gather()
    write_back(plan, changed, [leaves[i].at[t].set(after[i]) for i in changed])


def _traced_scan(fn: Any, init: Any, xs: Any, rounds: int, reverse: bool, unroll: int) -> tuple[Any, Any]:
    def pair(carry: Any, x: Any) -> tuple[Any, Any]:
        return carry_and_y(fn(carry, x))

    pair.__wrapped__ = fn  # type: ignore[attr-defined]  # what names and signature are asked of
    loop = Loop(pair, init, (xs,), "scan")
    call = loop.call
    spec = call.spec[len(loop.spec) :]
    bare = [v for k, v in spec if k == "array"]
    leaves = [i for i in range(len(call.leaves)) if i not in set(loop.leaves)]

    def body(carry: Any, x: Any) -> tuple[Any, Outcome]:
        carry, outcome, used = loop.step(
            carry, dict(zip(leaves, x[0], strict=True)), dict(zip(bare, x[1], strict=True))
        )
        written = dict(zip(outcome.record.written, outcome.written, strict=True))
        stacked = [written[i] for i in leaves if i in written]
        return carry, Outcome(outcome.outputs[used:], stacked, (), outcome.record)

    scanned = ([call.leaves[i] for i in leaves], [jnp.asarray(call.bare[i]) for i in bare])

    arrays, others = array_names(call)
    rest = [*(arrays[i] for i in leaves), *others[len(loop.bare) :]]

    def run() -> Any:
        known = named(body, call, [*loop.names(), *rest])
        length = rounds if isinstance(rounds, int) else None  # a symbol is known by what is scanned alone
        return jax.lax.scan(known, loop.start(), scanned, length, reverse=reverse, unroll=unroll)

    carry, out = until_captured(loop, run)
    record = out.record
    write_back(call.plan, [i for i in leaves if i in record.written], out.written)
    last = loop.finish(carry, record)
    used = record.result.arrays + (0 if record.result.structure is None else len(record.result.structure.leaves))
    padding = [None] * (used - len(out.outputs))
    return last, record.result.rebuild([*padding, *out.outputs], call.plan.module)[2]


@overload
def while_loop(test: Callable[[C], Any], fn: Callable[[C], C], init: C) -> C: ...
@overload
def while_loop(test: Callable[[Any], Any], fn: Callable[[Any], Any], init: Any) -> Any: ...
def while_loop(test: Callable[[Any], Any], fn: Callable[[Any], Any], init: Any) -> Any:
    """Repeat ``carry = fn(carry)`` while ``test(carry)`` holds, as ``jax.lax.while_loop`` does.

    Modules in the carry change in place; State of captured Modules that ``fn`` writes is carried too. Where nothing
    is traced it is a Python loop. Reverse-mode gradients need a loop of known length: use ``px.scan``.

    Arguments:
        test: takes the carry, returns a scalar boolean; it may not write State.
        fn: takes the carry, returns the next.
        init: the first carry, a tree of arrays and Modules.

    Raises:
        ShapeError: the carry changes shape or dtype.
        StateError: ``test`` writes State.

    >>> import phlox as px
    >>> int(px.while_loop(lambda n: n < 100, lambda n: n * 2, 3))
    192
    """
    if _compat.python_control_flow():
        carry, form = init, Carried(init, "px.while_loop")
        while bool(_scalar(test(carry))):
            given = jax.tree_util.tree_leaves(carry, is_leaf=is_module)
            carry = fn(carry)
            form.check(given, carry)
        return jax.tree_util.tree_map(lambda c: c if is_module(c) else jnp.asarray(c), carry, is_leaf=is_module)

    def with_nothing(carry: Any) -> tuple[Any, None]:
        return fn(carry), None

    with_nothing.__wrapped__ = fn  # type: ignore[attr-defined]  # what names and signature are asked of
    loop = Loop(with_nothing, init, (), "while_loop")
    records: list[Any] = []

    def body(carry: Any) -> Any:
        carry, outcome, _ = loop.step(carry, {}, {})
        records.append(outcome.record)
        return carry

    def holds(carry: Any) -> Any:
        return _test(test, init, loop, carry)

    def run() -> Any:
        asked = functionalize(test, (init,), {}, kind="while_loop", scalars=True)
        return jax.lax.while_loop(named(holds, asked, loop.names()), named(body, loop.call, loop.names()), loop.start())

    carry = until_captured(loop, run)
    return loop.finish(carry, records[-1])


def _test(test: Any, init: Any, loop: Loop, carry: Any) -> Any:
    """Evaluate the test on a carry of leaves."""
    call = functionalize(test, (init,), {}, kind="while_loop", scalars=True)
    leaves, bare = list(call.leaves), list(call.bare)
    for i, v in zip(loop.leaves, carry[0], strict=True):
        leaves[i] = v
    for i, v in zip(loop.bare, carry[1], strict=True):
        bare[i] = v
    with loop.holding(carry[2]):
        outcome = call.pure(leaves, bare)
    if outcome.written or outcome.captured:
        structure = call.plan.structure
        what = named_path(call.plan, structure, outcome.record.written[0]) if outcome.written else "a captured Module"
        raise StateError(
            "a test that only reads",
            got=f"a write to {what}",
            fix="make the change in the body, and let the test look at the result",
            where="px.while_loop",
        )
    if not outcome.record.result.single:
        raise _no_scalar("no array")
    return jnp.asarray(_scalar(outcome.outputs[0])).astype(bool)  # a number is true as Python has it


def _scalar(value: Any) -> Any:
    """What a test returned, if it is one number."""
    if not (is_array(value) or isinstance(value, SCALARS)):
        raise _no_scalar(describe(value))
    if jnp.shape(value) != ():
        raise _no_scalar(describe(value))
    return value


def _no_scalar(got: str) -> ShapeError:
    return ShapeError(
        "a test that returns a scalar boolean", got=got, fix="reduce it with .all() or .any()", where="px.while_loop"
    )
