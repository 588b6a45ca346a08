"""Infidelity: how far attributions are from what perturbations do to a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError, answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import ask
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._programs import scores_of
from phlox.interpret.asking._question import Forward
from phlox.interpret.asking._targets import Target
from phlox.interpret.asking._trees import is_floating, row_sums

_WHERE = "px.interpret.infidelity"


@answering
def infidelity(
    model: Any,
    x: Any,
    attribution: Any,
    *,
    target: Target = None,
    noise: float = 0.003,
    perturb: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    samples: int = 16,
    normalize: bool = False,
    forward: Forward | None = None,
    batch_size: int | None = None,
    key: Any = None,
) -> Any:
    r"""Infidelity: $\mathbb{E}_I [(I \cdot a - (F(x) - F(x - I)))^2]$ of each row, the smaller the better.

    Shapes:
        x: a tree of (rows, …); attribution: the same; infidelity: (rows,).

    Arguments:
        model, x, target, forward, batch_size: as of ``integrated_gradients``.
        attribution: an ``Attribution``, or its values, a.
        noise: the standard deviation of I, normal.
        perturb: in its place, ``perturb(generator, x)`` of NumPy's generator gives (I, x - I), or what else stands for
            the perturbed input.
        samples: how many I.
        normalize: whether a is first scaled by the factor that is best, $β = \mathbb{E}[I \cdot a \, ΔF] /
            \mathbb{E}[(I \cdot a)^2]$ of each row.
        key: where I are drawn from; by default the stream of ``px.seed``.

    Raises:
        ShapeError: rows, targets or attributions that do not fit.
        RangeError: samples below 1, noise not above 0.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> model, x = px.Chain(px.Dense.of(jnp.array([[1.0], [-2.0]]), None)), jnp.array([[2.0, 3.0]])
    >>> float(px.interpret.infidelity(model, x, jnp.array([[1.0, -2.0]]), key=0)[0]) < 1e-9
    True
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1 or not noise > 0:
        got = f"samples={samples!r}, noise={noise!r}"
        raise RangeError("samples of 1 or more, noise above 0", got=got, fix="leave them out", where=_WHERE)
    asked = ask(model, x, target, _WHERE, forward=forward, gradients=False)
    values = attribution.values if isinstance(attribution, Attribution) else attribution
    check_like(values, asked.z, _WHERE)
    perturb = _normal(noise) if perturb is None else perturb
    scores = scores_of(asked, batch_size=batch_size, progress=False)
    said, done = [], []
    draws = generator(key)
    for _ in range(samples):
        moved, there = perturb(draws, asked.z)
        check_like(there, asked.z, _WHERE)
        said.append(row_sums(jax.tree.map(lambda i, a: i * a, moved, values)))
        done.append(scores - scores_of(asked, there, batch_size=batch_size, progress=False))
    foretold, came = jnp.stack(said), jnp.stack(done)
    if normalize:
        below = (foretold**2).mean(0)
        foretold = foretold * jnp.where(below == 0, 1, (foretold * came).mean(0) / jnp.where(below == 0, 1, below))
    return ((foretold - came) ** 2).mean(0)


def _normal(noise: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    def perturb(draws: Any, x: Any) -> tuple[Any, Any]:
        leaves, form = jax.tree.flatten(x)
        moved = [
            jnp.asarray(noise * draws.standard_normal(v.shape), v.dtype) if is_floating(v) else jnp.zeros_like(v)
            for v in leaves
        ]
        return form.unflatten(moved), form.unflatten([v - i for v, i in zip(leaves, moved, strict=True)])

    return perturb


def check_like(values: Any, x: Any, where: str) -> None:
    """Refuse a tree whose leaves do not spread to the input's.

    Raises:
        ShapeError: it has another form, or other shapes.
    """
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (values, x)]
    leaves = [jax.tree.leaves(tree) for tree in (values, x)]
    fits = jax.tree.structure(values) == jax.tree.structure(x) and all(
        jnp.ndim(a) == v.ndim and all(m in (n, 1) for m, n in zip(jnp.shape(a), v.shape, strict=True))
        for a, v in zip(*leaves, strict=True)
    )
    if not fits:
        fix = "pass what a method gave for this x, without layer="
        raise ShapeError(f"a tree like the input, {shapes[1]}", got=str(shapes[0]), fix=fix, where=where)
