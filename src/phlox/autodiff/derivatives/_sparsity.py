"""Which numbers of a result depend on which numbers of an input, read from the lines of a program.

A value of size s has a matrix (s, n) of booleans: whether an element moves with each of the n elements that are
followed. Each line makes the matrices of its results from those of its operands. What is read from a line may be more
than what holds, never less: an operation that is not known here mixes all that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import sparse

from phlox.autodiff._program import Flat, Line, flat
from phlox.autodiff._rules import ELEMENTWISE, STOPS
from phlox.core._compat import scan_counts

Matrix = Any
"""A sparse matrix of booleans; None where nothing depends."""

_MOVES = frozenset(["reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "rev", "slice", "tile", "pad"]
                   + ["concatenate", "split", "stack", "unstack", "gather", "scatter", "dynamic_slice"]
                   + ["dynamic_update_slice"])  # fmt: skip
_REDUCTIONS = frozenset(["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"])
_RUNNING = frozenset(["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])
_EFFECTS = frozenset(["debug_callback", "debug_print", "pure_callback", "io_callback", "ffi_call"])


@dataclass
class Followed:
    """A value: what it depends on, and what it is where that is known without running."""

    moves: Matrix = None
    known: Any = None


def depends(program: Flat, inputs: Sequence[Followed]) -> list[Followed]:
    """What the outputs of a program depend on."""
    values = [Followed() for _ in program.types]
    for number, x in program.constants.items():
        values[number] = Followed(known=x)
    for number, value in zip(program.inputs, inputs, strict=True):
        values[number] = value
    for line in program.lines:
        for number, value in zip(line.makes, _made(program, line, [values[n] for n in line.reads]), strict=True):
            values[number] = value if program.carries(number) else Followed(known=value.known)
    return [values[n] for n in program.outputs]


def _made(program: Flat, line: Line, xs: list[Followed]) -> list[Followed]:
    """The results of one line."""
    nothing = [Followed() for _ in line.makes]
    if all(x.moves is None for x in xs):
        known = line.kind not in _EFFECTS and all(x.known is not None for x in xs)
        return [Followed(known=y) for y in line.run([x.known for x in xs])] if known else nothing
    if line.kind in _WITH_PROGRAMS:
        return _WITH_PROGRAMS[line.kind](line, xs)
    if line.kind in STOPS:
        return nothing
    shapes = [[program.types[n].shape for n in part] for part in (line.reads, line.makes)]
    return [Followed(m) for m in _matrices(line, xs, *shapes)]


def _matrices(line: Line, xs: list[Followed], shapes: Any, made: Any) -> list[Matrix]:
    if line.kind in ELEMENTWISE and (line.kind != "select_n" or xs[0].known is None):
        return [_elementwise(line, xs, shapes, made[0])]
    if line.kind in _MOVES or line.kind == "select_n":
        return _moved(line, xs, shapes, made)
    if line.kind in _REDUCTIONS:
        return [_reduced(xs[0].moves, shapes[0], line.params["axes"])]
    if line.kind in _RUNNING:
        return [_running(xs[0].moves, shapes[0], line.params["axis"], line.params["reverse"])]
    if line.kind in ("scatter-add", "scatter_add", "scatter-sub", "scatter_sub") and xs[1].known is not None:
        return [_united(xs[0].moves, _scattered(line, xs, shapes))]
    if line.kind == "dot_general":
        return [_dot(line, xs, shapes, made[0])]
    if line.kind == "conv_general_dilated" and xs[1].moves is None:
        return [_conv(line, xs[0].moves, shapes, made[0])]
    return [_mixed(xs, math.prod(shape)) for shape in made]


def _united(*found: Matrix) -> Matrix:
    some = [m for m in found if m is not None]
    return sum(some[1:], some[0]) if some else None


def _taken(moves: Matrix, rows: Any) -> Matrix:
    """The rows of a matrix at these places; empty ones at places below zero."""
    rows = np.asarray(rows).reshape(-1)
    here = np.flatnonzero(rows >= 0)
    pick = sparse.csr_matrix((np.ones(here.size, bool), (here, rows[here])), (rows.size, moves.shape[0]))
    return pick @ moves


def _places(shape: Sequence[int]) -> Any:
    return np.arange(math.prod(shape)).reshape(shape)


def _mixed(xs: Sequence[Followed], size: int) -> Matrix:
    """Everything depends on everything that is read."""
    some = [x.moves for x in xs if x.moves is not None]
    row = sparse.csr_matrix(np.asarray(sum(m.astype(np.int64).sum(0) for m in some)) > 0)
    return sparse.csr_matrix(np.ones((size, 1), bool)) @ row


def _elementwise(line: Line, xs: Sequence[Followed], shapes: Any, made: Any) -> Matrix:
    parts = []
    for i, (x, shape) in enumerate(zip(xs, shapes, strict=True)):
        if x.moves is not None:
            rows = np.broadcast_to(_places(shape), made)
            others = [o.known for j, o in enumerate(xs) if j != i and o.known is not None]
            if line.kind == "mul" and others:  # nothing passes a zero that stands in the function
                rows = np.where(np.broadcast_to(np.asarray(others[0]), made) == 0, -1, rows)
            parts.append(_taken(x.moves, rows))
    return _united(*parts)


def _moved(line: Line, xs: Sequence[Followed], shapes: Any, made: Any) -> list[Matrix]:
    """The line itself is run on the places of its operands' elements, counted from 1 over all of them; 0 is nothing."""
    floats = [_is_float(x, n, line) for n, x in enumerate(xs)]
    if any(x.known is None for x, f in zip(xs, floats, strict=True) if not f):
        return [_mixed(xs, math.prod(shape)) for shape in made]  # a place that is computed
    numbered, stacked, start = [], [], 1
    for x, shape, is_float in zip(xs, shapes, floats, strict=True):
        if is_float and x.moves is not None:
            numbered.append(jnp.asarray(start + _places(shape), jnp.int32))
            stacked.append(x.moves)
            start += x.moves.shape[0]
        else:
            numbered.append(jnp.zeros(shape, jnp.int32) if is_float else x.known)
    together = sparse.vstack(stacked, "csr")
    moving = line.source[1].primitive  # run here by itself, as numbers that stand in the line are replaced too
    made = moving.bind(*numbered, **line.params)
    return [_taken(together, np.asarray(y) - 1) for y in (made if moving.multiple_results else [made])]


def _is_float(x: Followed, n: int, line: Line) -> bool:
    return jnp.issubdtype(line.source[1].invars[n].aval.dtype, jnp.inexact)


def _reduced(moves: Matrix, shape: Any, axes: Sequence[int]) -> Matrix:
    kept = [1 if a in axes else n for a, n in enumerate(shape)]
    return _incidence(np.broadcast_to(_places(kept), shape), _places(shape), math.prod(kept), math.prod(shape)) @ moves


def _incidence(rows: Any, columns: Any, size: int, width: int) -> Matrix:
    """A matrix (size, width) with a one at each pair of a row and a column; none where one is below zero."""
    rows, columns = (np.asarray(v).reshape(-1) for v in np.broadcast_arrays(rows, columns))
    there = (rows >= 0) & (columns >= 0)
    ones = np.ones(int(there.sum()), np.int64)
    return sparse.csr_matrix((ones, (rows[there], columns[there])), (size, width)).astype(bool)


def _running(moves: Matrix, shape: Any, axis: int, reverse: bool) -> Matrix:
    along = np.moveaxis(_places(shape), axis, -1)
    before = np.tril(np.ones((shape[axis],) * 2, bool))
    from_, to = along[..., None, :], along[..., :, None]
    size = math.prod(shape)
    return _incidence(np.where(before.T if reverse else before, to, -1), from_, size, size) @ moves


def _scattered(line: Line, xs: Sequence[Followed], shapes: Any) -> Matrix:
    """Each update lands where the line writes it when it is the only one; found by gathering places there."""
    if xs[2].moves is None:
        return None
    size, updates = math.prod(shapes[0]), math.prod(shapes[2])
    at = jax.vjp(lambda u: line.run([jnp.zeros(shapes[0]), xs[1].known, u])[0], jnp.zeros(shapes[2]))[1]
    places = at(jnp.asarray(_places(shapes[0]) + 1, jnp.result_type(float)))[0]
    rows = np.abs(np.asarray(places)).astype(np.int64) - 1  # of what lies outside, nothing
    return _incidence(rows, _places(shapes[2]), size, updates) @ xs[2].moves


def _dot(line: Line, xs: Sequence[Followed], shapes: Any, made: Any) -> Matrix:
    """Each product of the sum: which element of either operand it reads, and where it is added."""
    (contract, batch) = line.params["dimension_numbers"]
    own = [[a for a in range(len(shapes[k])) if a not in (*contract[k], *batch[k])] for k in (0, 1)]
    count = len(batch[0])
    places = []
    for k in (0, 1):  # as (batch, own of the left, own of the right, contracted)
        ordered = np.transpose(_places(shapes[k]), (*batch[k], *own[k], *contract[k]))
        gap = (1,) * len(own[1 - k])
        at = count if k == 1 else count + len(own[0])
        places.append(ordered.reshape((*ordered.shape[:at], *gap, *ordered.shape[at:])))
    result = _places(made).reshape((*made, *(1,) * len(contract[0])))
    parts = []
    for k, x in enumerate(xs):
        if x.moves is not None:
            other, rows = xs[1 - k].known, result
            if other is not None:
                rows = np.where(np.asarray(other).reshape(-1)[places[1 - k]] == 0, -1, result)
            parts.append(_incidence(rows, places[k], math.prod(made), math.prod(shapes[k])) @ x.moves)
    return _united(*parts)


def _conv(line: Line, moves: Matrix, shapes: Any, made: Any) -> Matrix:
    """The convolution itself is run on places, with a kernel that is one at a single tap."""
    numbers = line.params["dimension_numbers"]
    taps = [n for a, n in enumerate(shapes[1]) if a != numbers.rhs_spec[0]]
    order = [a for a in range(len(shapes[1])) if a != numbers.rhs_spec[0]]
    options = {k: v for k, v in line.params.items() if k not in ("precision", "preferred_element_type", "out_sharding")}
    run = jax.jit(lambda x, kernel: lax.conv_general_dilated(x, kernel, precision=lax.Precision.HIGHEST, **options))
    places, found = jnp.asarray(1.0 + _places(shapes[0]), jnp.result_type(float)), []
    for tap in np.ndindex(*taps):
        kernel = np.zeros(shapes[1])
        where: list[Any] = [slice(None)] * len(shapes[1])
        for axis, n in zip(order, tap, strict=True):
            where[axis] = n
        kernel[tuple(where)] = 1
        rows = np.rint(np.asarray(run(places, jnp.asarray(kernel, places.dtype)))).astype(np.int64)
        found.append(_taken(moves, rows - 1))
    return _united(*found)


# --- lines that hold programs -----------------------------------------------------------------------------


def _scan(line: Line, xs: list[Followed]) -> list[Followed]:
    """Step by step, each with what is known of it."""
    constants, carries = scan_counts(line.params)
    body, length = flat(line.params["jaxpr"], line.layer), line.params["length"]
    carry, rows = xs[constants : constants + carries], xs[constants + carries :]
    steps: list[list[Followed]] = []
    for t in range(length)[::-1] if line.params["reverse"] else range(length):
        here = [_row(x, t, length) for x in rows]
        results = depends(body, [*xs[:constants], *carry, *here])
        carry = results[:carries]
        steps.append(results[carries:])
    steps = steps[::-1] if line.params["reverse"] else steps
    sizes = [math.prod(body.types[n].shape) for n in body.outputs[carries:]]
    ys = [_stacked([s[i].moves for s in steps], size) for i, size in enumerate(sizes)]
    return [*(Followed(c.moves) for c in carry), *map(Followed, ys)]


def _row(x: Followed, t: int, length: int) -> Followed:
    if x.moves is None:
        return Followed(known=None if x.known is None else x.known[t])
    size = x.moves.shape[0] // length
    return Followed(x.moves[t * size : (t + 1) * size])


def _stacked(moves: Sequence[Matrix], size: int) -> Matrix:
    some = next((m for m in moves if m is not None), None)
    if some is None:
        return None
    nothing = sparse.csr_matrix((size, some.shape[1]), dtype=bool)
    return sparse.vstack([nothing if m is None else m for m in moves], "csr")


def _cond(line: Line, xs: list[Followed]) -> list[Followed]:
    which, *operands = xs
    branches = [flat(b, line.layer) for b in line.params["branches"]]
    if which.known is not None:
        branches = [branches[int(np.clip(which.known, 0, len(branches) - 1))]]
    found = [depends(b, operands) for b in branches]
    return [Followed(_united(*(f[i].moves for f in found))) for i in range(len(line.makes))]


def _while(line: Line, xs: list[Followed]) -> list[Followed]:
    """Round by round while the condition is known; from there on what any number of rounds would mix."""
    c, b = line.params["cond_nconsts"], line.params["body_nconsts"]
    ask, body = flat(line.params["cond_jaxpr"], line.layer), flat(line.params["body_jaxpr"], line.layer)
    asked, constants, carry = xs[:c], xs[c : c + b], xs[c + b :]
    while (go := depends(ask, [*asked, *carry])[0].known) is not None:
        if not bool(go):
            return carry
        carry = depends(body, [*constants, *carry])
    carry = [Followed(x.moves) for x in carry]
    while True:
        more = depends(body, [*constants, *carry])
        grown = [Followed(_united(a.moves, m.moves)) for a, m in zip(carry, more, strict=True)]
        if all(_count(a.moves) == _count(g.moves) for a, g in zip(carry, grown, strict=True)):
            return grown
        carry = grown


def _count(moves: Matrix) -> int:
    return 0 if moves is None else moves.count_nonzero()


_WITH_PROGRAMS: dict[str, Callable[[Line, list[Followed]], list[Followed]]] = {
    "scan": _scan,
    "cond": _cond,
    "while": _while,
}


def pattern(program: Flat, followed: int) -> Matrix:
    """(m, n) which of the m numbers that a program gives depend on the n of the input of this position."""
    sizes = [math.prod(program.types[n].shape) for n in (*program.outputs, program.inputs[followed])]
    inputs = [Followed() for _ in program.inputs]
    inputs[followed] = Followed(sparse.identity(sizes[-1], format="csr").astype(bool))
    rows = [
        sparse.csr_matrix((size, sizes[-1]), dtype=bool) if value.moves is None else value.moves
        for value, size in zip(depends(program, inputs), sizes[:-1], strict=True)
    ]
    found: Matrix = sparse.vstack(rows, "csr")
    found.sort_indices()
    return found
