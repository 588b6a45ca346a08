"""Rules of what holds programs: loops, branches, functions with a rule of their users'.

Each runs the programs inside forward and back by the same walk, so a rule that is replaced is replaced in them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from phlox.autodiff._program import Flat, flat, traced
from phlox.autodiff._rules import no_slope, on
from phlox.autodiff._walk import Step, pulled, zeros
from phlox.core import StructureError
from phlox.core._compat import Tracer, scan_counts


def _floats(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _chosen(xs: Sequence[Any], which: Sequence[bool]) -> list[Any]:
    return [x for x, wanted in zip(xs, which, strict=True) if wanted]


def _filled(found: Sequence[Any], which: Sequence[bool]) -> list[Any]:
    """Values at the places that are marked, None at the others."""
    rest = iter(found)
    return [next(rest) if wanted else None for wanted in which]


@on("scan", text="scan back from the last step, {g}")
def _scan(step: Step, *gs: Any) -> list[Any]:
    constants, carries = scan_counts(step.line.params)
    return _loop_back(
        step,
        flat(step["jaxpr"], step.line.layer),
        step.xs[:constants],
        step.xs[constants : constants + carries],
        step.xs[constants + carries :],
        gs,
        length=step["length"],
        reverse=step["reverse"],
    )


def _loop_back(
    step: Step,
    body: Flat,
    constants: Sequence[Any],
    start: Sequence[Any],
    xs: Sequence[Any],
    gs: Sequence[Any],
    *,
    length: int,
    reverse: bool,
) -> list[Any]:
    """Forward again to keep what each step began with; then its steps from the last to the first, each walked back.

    Along goes the cotangent of the carry, and the sum of those of the constants.
    """
    c, k = len(constants), len(start)
    float_c, float_k, float_x = ([_floats(v) for v in part] for part in (constants, start, xs))

    def forward(carry: Any, x: Any) -> Any:
        values = body.run([*constants, *carry, *x])
        return [values[n] for n in body.outputs[:k]], carry

    _, before = lax.scan(forward, list(start), list(xs), length, reverse)

    def backward(carry: Any, at: Any) -> Any:
        total, g_carry = carry
        began, x, g_ys = at
        seeds = [*_filled(g_carry, float_k), *g_ys]
        wanted = [*float_c, *float_k, *float_x]
        found = pulled(body, [*constants, *began, *x], seeds, wanted, step.rules)
        more = _chosen(found[:c], float_c)
        return ([a + b for a, b in zip(total, more, strict=True)], _chosen(found[c : c + k], float_k)), _chosen(
            found[c + k :], float_x
        )

    nothing = [jnp.zeros_like(v) for v in _chosen(constants, float_c)]
    end = (nothing, _chosen(gs[:k], float_k))
    (total, g_start), g_xs = lax.scan(backward, end, (before, list(xs), list(gs[k:])), length, not reverse)
    return [*_filled(total, float_c), *_filled(g_start, float_k), *_filled(g_xs, float_x)]


@on("while", text="as many steps back as were run, {g}")
def _while(step: Step, *gs: Any) -> list[Any]:
    """A scan once the rounds are known, which the run forward counts."""
    c, b = step["cond_nconsts"], step["body_nconsts"]
    asked, constants, start = step.xs[:c], step.xs[c : c + b], step.xs[c + b :]
    body = flat(step["body_jaxpr"], step.line.layer)
    rounds = _rounds(flat(step["cond_jaxpr"]), body, asked, constants, start, step.line.layer)
    found = _loop_back(step, body, constants, start, [], gs, length=rounds, reverse=False)
    return [*[None] * c, *found]


def _rounds(ask: Flat, body: Flat, asked: Any, constants: Any, start: Any, layer: str) -> int:
    """How often a loop goes round: counted by running what its condition needs, where that is known."""
    needs = _decides(ask, body, len(asked), len(constants))
    known = [*asked, *(x for x, n in zip(start, needs, strict=True) if n)]
    if any(isinstance(x, Tracer) for x in known):
        raise StructureError(
            "while loops whose number of rounds is known where the program runs",
            got="one that is compiled, and counts by a traced value",
            fix="use px.scan, or run the program outside px.jit and other transforms",
            where=layer or "the model",
            located=True,
        )
    carry, rounds = list(start), 0
    with jax.ensure_compile_time_eval():
        while bool(ask.run([*asked, *carry])[ask.outputs[0]]):
            values = body.run([*constants, *carry])
            carry, rounds = [values[n] for n in body.outputs], rounds + 1
    return rounds


def _decides(ask: Flat, body: Flat, asked: int, constants: int) -> list[bool]:
    """Which parts of a carry the condition depends on, at once or by way of others."""
    inside = _sources(ask, ask.outputs)
    needs = [n in inside for n in ask.inputs[asked:]]
    while True:
        found = _sources(body, [n for n, wanted in zip(body.outputs, needs, strict=True) if wanted])
        more = [a or n in found for a, n in zip(needs, body.inputs[constants:], strict=True)]
        if more == needs:
            return needs
        needs = more


def _sources(program: Flat, outputs: Sequence[int]) -> set[int]:
    reached = set(outputs)
    for line in reversed(program.lines):
        if reached.intersection(line.makes):
            reached.update(line.reads)
    return reached


@on("cond", text="the branch that ran, back, {g}")
def _cond(step: Step, *gs: Any) -> list[Any]:
    which, *operands = step.xs
    wanted = [w and _floats(x) for x, w in zip(operands, step.wanted[1:], strict=True)]

    def back_through(closed: Any) -> Callable[..., Any]:
        program = flat(closed, step.line.layer)
        return lambda xs, gs: _chosen(pulled(program, xs, gs, wanted, step.rules), wanted)

    found = lax.switch(which, [back_through(b) for b in step["branches"]], operands, list(gs))
    return [None, *_filled(found, wanted)]


@on("custom_jvp_call", text="the function's own rule, read backwards, {g}")
def _custom_jvp(step: Step, *gs: Any) -> list[Any]:
    return _slope_back(step, gs)


@on(
    *("qr", "svd", "eig", "reduce", "approx_top_k", "random_gamma"),
    *("bessel_i0e", "bessel_i1e", "polygamma", "igamma", "igammac", "regularized_incomplete_beta"),
    text="the operation's slope, read backwards, {g}",
)
def _by_slope(step: Step, *gs: Any) -> list[Any]:
    try:
        return _slope_back(step, gs)
    except (NotImplementedError, ValueError) as error:
        raise no_slope(f"{step.line.kind}, of which JAX says: {error}", step.line.layer) from None


def _slope_back(step: Step, gs: Sequence[Any]) -> list[Any]:
    """What a slope does to directions is a linear program; that program is walked back."""
    which = [w and _floats(x) for x, w in zip(step.xs, step.wanted, strict=True)]

    def along(*directions: Any) -> list[Any]:
        def outputs(*moved: Any) -> list[Any]:
            by_place = _filled(moved, which)
            xs = [x if m is None else m for x, m in zip(step.xs, by_place, strict=True)]
            return [y for y in step.line.run(xs) if _floats(y)]

        return jax.jvp(outputs, tuple(_chosen(step.xs, which)), directions)[1]

    given = [jnp.zeros_like(x) for x in _chosen(step.xs, which)]
    seeds = [g for g, y in zip(gs, step.ys, strict=True) if _floats(y)]
    found = pulled(traced(along, *given), given, seeds, [True] * len(given), step.rules)
    return _filled(found, which)


@on("custom_vjp_call", text="the function's own backward, {g}")
def _custom_vjp(step: Step, *gs: Any) -> list[Any]:
    which = [_floats(x) for x in step.xs]

    def outputs(*moved: Any) -> list[Any]:
        by_place = _filled(moved, which)
        xs = [x if m is None else m for x, m in zip(step.xs, by_place, strict=True)]
        return [y for y in step.line.run(xs) if _floats(y)]

    ys, back = jax.vjp(outputs, *_chosen(step.xs, which))
    seeds = [zeros(y) if g is None else g for g, y in zip([g for g in gs if g is not None], ys, strict=True)]
    return _filled(back(seeds), which)


def _through(compute: Callable[..., Any], step: Step, gs: Sequence[Any]) -> list[Any]:
    """Back through other operations that compute the same."""
    which = [_floats(x) for x in step.xs]
    found = pulled(traced(compute, *step.xs), step.xs, gs, which, step.rules)
    return [g if w else None for g, w in zip(found, which, strict=True)]


@on("cumprod", "cummax", "cummin", "cumlogsumexp", text="as a tree of pairs, {g}")
def _running(step: Step, g: Any) -> list[Any]:
    pair = {"cumprod": lax.mul, "cummax": lax.max, "cummin": lax.min, "cumlogsumexp": jnp.logaddexp}[step.line.kind]
    return _through(lambda x: [lax.associative_scan(pair, x, step["reverse"], step["axis"])], step, [g])


@on("reduce_prod", text="as a tree of pairs, {g}")
def _reduce_prod(step: Step, g: Any) -> list[Any]:
    axes = step["axes"]

    def product(x: Any) -> list[Any]:
        kept = [a for a in range(x.ndim) if a not in axes]
        rows = jnp.transpose(x, [*kept, *axes]).reshape(*(x.shape[a] for a in kept), -1)
        return [lax.associative_scan(lax.mul, rows, axis=len(kept))[..., -1]]

    return _through(product, step, [g])


@on("sort", text="{g} in the order before")
def _sort(step: Step, *gs: Any) -> list[Any]:
    axis, x = step["dimension"], step.xs[0]
    place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    order = lax.sort([*step.xs, place], dimension=axis, num_keys=step["num_keys"])[-1]
    return [None if g is None else jnp.put_along_axis(jnp.zeros_like(g), order, g, axis, inplace=False) for g in gs]
