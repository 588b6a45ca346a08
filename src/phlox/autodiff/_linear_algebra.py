"""Rules of linear algebra: decompositions, and solutions of linear systems.

Each comes from the differential of what defines the result: A = L Lᴴ, P A = L U, A V = V diag(w), A x = b. The last two
axes are the matrix, those before a batch. Cotangents are transposed without conjugation, as in ``_rules``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from phlox.autodiff._program import flat
from phlox.autodiff._rules import no_slope, on
from phlox.autodiff._walk import Step, pulled

_EXACT = lax.Precision.HIGHEST


def _t(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2)


def _dot(*xs: Any) -> Any:
    found = xs[0]
    for x in xs[1:]:
        found = jnp.matmul(found, x, precision=_EXACT)
    return found


def _diagonal(x: Any) -> Any:
    """A matrix with these numbers on its diagonal."""
    return x[..., None] * jnp.eye(x.shape[-1], dtype=x.dtype)


@on("cholesky", text="inv(Lᵀ) Φ(Lᵀ {g}) inv(L), with L = {y} and Φ its lower half, the diagonal halved")
def _cholesky(step: Step, g: Any) -> list[Any]:
    """Of L̇ = L Φ(L⁻¹ Ȧ L⁻ᴴ)."""
    factor = jnp.tril(step.ys[0])
    below = _dot(_t(factor), g)
    half = jnp.tril(below) - _diagonal(jnp.diagonal(below, axis1=-2, axis2=-1)) / 2
    left = lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)
    return [lax.linalg.triangular_solve(factor, left, left_side=False, lower=True, conjugate_a=True)]


@on("triangular_solve", text=("-∂b {y}ᵀ, its triangle, with ∂b the cotangent of {x[1]}", "solve({x[0]}ᵀ, {g})"))
def _triangular_solve(step: Step, g: Any) -> list[Any]:
    a, x = step.xs[0], step.ys[0]
    turned, lower, left = step["transpose_a"], step["lower"], step["left_side"]
    g_b = lax.linalg.triangular_solve(
        a,
        g,
        left_side=left,
        lower=lower,
        transpose_a=not turned,
        conjugate_a=step["conjugate_a"],
        unit_diagonal=step["unit_diagonal"],
    )
    g_a = -_dot(g_b, _t(x)) if left else -_dot(_t(x), g_b)
    g_a = _t(g_a) if turned else g_a
    g_a = jnp.conj(g_a) if step["conjugate_a"] else g_a
    off = 1 if step["unit_diagonal"] else 0
    return [jnp.tril(g_a, -off) if lower else jnp.triu(g_a, off), g_b]


@on("eigh", text="conj(V) (diag(∂w) + F * (Vᵀ ∂V)) Vᵀ, with F[i, j] = 1 / (w[j] - w[i]), of {g}")
def _eigh(step: Step, g_v: Any, g_w: Any) -> list[Any]:
    """Of V̇ = V (F ∘ C) and ẇ = Re diag(C), where C = Vᴴ Ȧ V and no two eigenvalues are equal."""
    v, w = step.ys[0], step.ys[1]
    size = step.xs[0].shape[-1]
    if step["subset_by_index"] not in (None, (0, size)):
        raise no_slope("eigh of some eigenvalues", step.line.layer)
    same = jnp.eye(size, dtype=w.dtype)
    apart = 1 / (same + w[..., None, :] - w[..., :, None]) - same
    inside = _diagonal(g_w.astype(v.dtype)) + apart * _dot(_t(v), g_v)
    return [_dot(jnp.conj(v), inside, _t(v))]


@on("lu", text="Pᵀ inv(Lᵀ) (tril(Lᵀ {g}, -1) + triu({g} Uᵀ)) inv(Uᵀ)")
def _lu(step: Step, g: Any, *places: Any) -> list[Any]:
    """Of L̇ = L tril(M, -1) and U̇ = triu(M) U, where M = L⁻¹ P Ȧ U⁻¹."""
    del places  # whole numbers, which have no cotangents
    back = _lu_back
    for _ in range(g.ndim - 2):
        back = jax.vmap(back)
    return [back(step.ys[0], step.ys[2], g)]


def _lu_back(both: Any, order: Any, g: Any) -> Any:
    """The factors lie in one matrix (rows, columns); each is made square, with ones on the rest of its diagonal."""
    rows, columns = both.shape
    least = min(rows, columns)
    lower = jnp.eye(rows, dtype=both.dtype).at[:, :least].add(jnp.tril(both[:, :least], -1))
    rest = jnp.where(jnp.arange(columns) < least, 0, 1).astype(both.dtype)
    upper = jnp.diag(rest).at[:least].add(jnp.triu(both[:least]))
    middle = jnp.tril(_dot(_t(lower), g), -1) + jnp.triu(_dot(g, _t(upper)))
    left = lax.linalg.triangular_solve(lower, middle, left_side=True, lower=True, transpose_a=True, unit_diagonal=True)
    whole = lax.linalg.triangular_solve(upper, left, left_side=False, lower=False, transpose_a=True)
    return jnp.zeros_like(whole).at[order].set(whole)


@on("tridiagonal_solve", text=("-∂d * {y} a row before", "-∂d * {y}", "-∂d * {y} a row after", "∂d = solve(Tᵀ, {g})"))
def _tridiagonal_solve(step: Step, g: Any) -> list[Any]:
    """The transpose has the diagonals below and above exchanged, and each moved along by one."""
    below, diagonal, above, _ = step.xs
    moved = lambda v, n: jnp.roll(v, n, -1).at[..., 0 if n > 0 else -1].set(0)  # noqa: E731
    g_b = lax.linalg.tridiagonal_solve(moved(above, 1), diagonal, moved(below, -1), g)
    x = step.ys[0]
    beside = jnp.zeros_like(x[..., :1, :])
    before, after = jnp.concatenate([beside, x[..., :-1, :]], -2), jnp.concatenate([x[..., 1:, :], beside], -2)
    return [*(-jnp.sum(g_b * v, -1) for v in (before, x, after)), g_b]


@on("custom_linear_solve", text="-∂b through what multiplies by the matrix, with ∂b = solve(matrixᵀ, {g})")
def _custom_linear_solve(step: Step, *gs: Any) -> list[Any]:
    """Of A x = b: ∂b solves Aᵀ ∂b = ∂x, and to A goes what -∂b gives on its way back through A x."""
    counts, programs = step["const_lengths"], step["jaxprs"]
    if programs.transpose_solve is None:
        raise no_slope("a linear solve without transpose_solve", step.line.layer)
    (matvec, vecmat, solve, transposed), rhs = _parted(step.xs, counts)
    found = flat(programs.transpose_solve, step.line.layer)
    values = found.run([*transposed, *gs[: len(rhs)]])
    g_b = [values[n] for n in found.outputs[: len(rhs)]]
    wanted = [jnp.issubdtype(x.dtype, jnp.inexact) for x in matvec]
    product = flat(programs.matvec, step.line.layer)
    g_a = pulled(
        product, [*matvec, *step.ys[: len(rhs)]], [-g for g in g_b], [*wanted, *[False] * len(rhs)], step.rules
    )
    return [*g_a[: len(matvec)], *[None] * (len(vecmat) + len(solve) + len(transposed)), *g_b]


def _parted(xs: Sequence[Any], counts: Any) -> tuple[list[Sequence[Any]], Sequence[Any]]:
    """Operands of a linear solve: constants of its four programs, and the right-hand side."""
    at, parts = 0, []
    for n in (counts.matvec, counts.vecmat, counts.solve, counts.transpose_solve):
        parts.append(xs[at : at + n])
        at += n
    return parts, xs[at:]
