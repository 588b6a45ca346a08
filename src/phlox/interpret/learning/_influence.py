"""Influence functions: by how much the loss of examples would change if a model had not seen another."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, StructureError, answering
from phlox.interpret.learning._examples import Examples, Loss, data_of

_WHERE = "px.interpret.influence"


@answering
def influence(
    model: Module,
    loss: Loss,
    train: Any,
    test: Any,
    *,
    damping: float = 0.0,
    tolerance: float = 1e-5,
    steps: int = 1000,
    batch_size: int = 256,
    progress: bool | None = None,
) -> Any:
    r"""Influence functions: $\frac{1}{n} \nabla L(z')^\top (H + λ)^{-1} \nabla L(z)$, what z' loses without z.

    H is the second derivative of the mean loss over ``train``; the system is solved by conjugate gradients, each
    product with H taken over batches. Of a convex model at its minimum this is what training again without z changes,
    to the first order in 1/n.

    Shapes:
        train: a tuple of (n, …); test: a tuple of (m, …); influences: (m, n), positive for those that helped.

    Arguments:
        model: a trained model; what is frozen in it is left out. It infers.
        loss: ``loss(model, *batch)``, the mean over a batch, with what training added to it, such as weight decay.
        train, test: examples z and z'.
        damping: λ at least 0; above it makes up for a model that is not convex, or not at its minimum.
        tolerance: how small what is left of the system gets, relative to its size.
        steps: how many steps conjugate gradients may take.
        batch_size: rows at a time.
        progress: whether a bar is shown; None shows it in a terminal where it takes long.

    Raises:
        StructureError: what is no model; a system that is not positive, or not solved in so many steps.
        RangeError: an option outside its range.
        ShapeError: leaves with different numbers of rows.

    Source: Koh and Liang, "Understanding black-box predictions via influence functions", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> loss = lambda m, x, y: px.losses.mse(m(x), y)
    >>> x, y = jnp.ones((2, 1)), jnp.array([[0.0], [2.0]])
    >>> model = px.Dense.of(jnp.ones((1, 1)), None)  # the mean, as trained
    >>> px.interpret.influence(model, loss, (x, y), (x[:1], y[:1])).tolist()
    [[1.0, -1.0]]
    """
    for fine, what, got in (
        (damping >= 0, "damping of 0 or more", damping),
        (0 < tolerance < 1, "a tolerance between 0 and 1", tolerance),
        (isinstance(steps, int) and steps >= 1, "steps of 1 or more", steps),
        (isinstance(batch_size, int) and batch_size >= 1, "batch_size of 1 or more", batch_size),
    ):
        if not fine:
            raise RangeError(what, got=repr(got), fix="leave it out", where=_WHERE)
    train, rows = data_of(train, _WHERE)
    test, _ = data_of(test, _WHERE)
    examples = Examples(model, loss, _WHERE)
    product = _curvature(examples, train, rows, batch_size)
    solved = jnp.stack([_solved(product, v, damping, tolerance, steps) for v in examples.slopes(test)])
    return np.asarray(examples.times(train, rows, solved, progress)) / rows


def _curvature(examples: Examples, train: Any, rows: int, batch_size: int) -> Any:
    """The product of a vector with the second derivative of the mean loss."""

    @jax.jit
    def of_some(vector: Any, direction: Any, batch: Any) -> Any:
        return jax.jvp(lambda v: jax.grad(examples.loss)(v, batch), (vector,), (direction,))[1]

    cuts = [slice(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
    parts = [(jax.tree.map(lambda v, cut=cut: v[cut], train), (cut.stop - cut.start) / rows) for cut in cuts]
    return lambda v: sum(share * of_some(examples.vector, v, part) for part, share in parts)


def _solved(product: Any, wanted: Any, damping: float, tolerance: float, steps: int) -> Any:
    """Conjugate gradients, until what is left is small."""
    found, left = jnp.zeros_like(wanted), wanted
    way, size = left, jnp.vdot(left, left)
    enough = tolerance**2 * float(size)
    for _ in range(steps):
        if float(size) <= enough:
            return found
        moved = product(way) + damping * way
        curve = jnp.vdot(way, moved)
        if not float(curve) > 0:
            fix = "train the model to its minimum, or add damping=0.01"
            raise StructureError(
                "a loss that curves upward", got=f"{float(curve):.3g} along a way", fix=fix, where=_WHERE
            )
        step = size / curve
        found, left = found + step * way, left - step * moved
        size, before = jnp.vdot(left, left), size
        way = left + size / before * way
    if float(size) <= enough:
        return found
    fix = "raise steps=, damping= or tolerance="
    got = f"{float(size) ** 0.5 / max(enough**0.5, 1e-30) * tolerance:.3g} of it left"
    raise StructureError(f"a system that {steps} steps solve", got=got, fix=fix, where=_WHERE)
