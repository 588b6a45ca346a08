"""Sensitivity: how far an attribution moves where its input hardly does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, answering
from phlox.interpret._attribution import Attribution
from phlox.interpret.asking._asked import as_rows
from phlox.interpret.asking._draws import generator
from phlox.interpret.asking._trees import is_floating, row_sums

_WHERE = "px.interpret.sensitivity"


@answering
def sensitivity(
    explain: Callable[[Any], Any], x: Any, *, radius: float = 0.02, samples: int = 10, key: Any = None
) -> Any:
    r"""Sensitivity: $\max_{|δ_i| \le r} \|a(x + δ) - a(x)\| / \|a(x)\|$ of each row, over draws of δ.

    Shapes:
        x: a tree of (rows, …); sensitivity: (rows,).

    Arguments:
        explain: gives an ``Attribution``, or its values, of an input; one that draws needs a key of its own, so that it
            draws the same.
        radius: r above 0, in the units of the input.
        samples: how many δ, even in the box.
        key: where they are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: samples below 1, a radius not above 0.
        ShapeError: leaves with different numbers of rows.

    Source: Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> explain = lambda x: px.interpret.saliency(lambda x: x[:, 0] - 2 * x[:, 1], x)
    >>> px.interpret.sensitivity(explain, jnp.array([[2.0, 3.0]]), key=0).tolist()
    [0.0]
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1 or not radius > 0:
        got = f"samples={samples!r}, radius={radius!r}"
        raise RangeError("samples of 1 or more, a radius above 0", got=got, fix="leave them out", where=_WHERE)
    x, _ = as_rows(x, _WHERE)
    leaves, form = jax.tree.flatten(x)
    before = _values(explain(x))
    size = jnp.sqrt(row_sums(jax.tree.map(jnp.square, before)))
    worst = jnp.zeros(size.shape)
    draws = generator(key)
    for _ in range(samples):
        near = [
            v + jnp.asarray(draws.uniform(-radius, radius, v.shape), v.dtype) if is_floating(v) else v for v in leaves
        ]
        after = _values(explain(form.unflatten(near)))
        moved = jnp.sqrt(row_sums(jax.tree.map(lambda a, b: jnp.square(a - b), after, before)))
        worst = jnp.maximum(worst, moved / jnp.where(size == 0, 1, size))
    return worst


def _values(found: Any) -> Any:
    return found.values if isinstance(found, Attribution) else found
