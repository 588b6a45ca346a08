"""Scores and their gradients, as compiled programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import jit, value_and_grad
from phlox.interpret.asking._asked import Asked
from phlox.interpret.asking._question import Context, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._trees import folded, is_floating, tiled, unfolded


def slopes(question: Question, z: Any, context: Context) -> tuple[Any, Any]:
    """The scores (rows,), and their gradients by z, zeros for leaves that have none; for use in a program."""
    leaves, form = jax.tree.flatten(z)
    moved = [is_floating(v) for v in leaves]

    def total(question: Question, floats: list[Any]) -> Any:
        rest = iter(floats)
        scores = question(form.unflatten([next(rest) if m else v for v, m in zip(leaves, moved, strict=True)]), context)
        return scores.sum(), scores

    floats = [v for v, m in zip(leaves, moved, strict=True) if m]
    (_, scores), found = value_and_grad(total, 1, has_aux=True)(question, floats)
    rest = iter(found)
    zeros = [jnp.zeros(v.shape) for v in leaves]
    return scores, form.unflatten([next(rest) if m else z for m, z in zip(moved, zeros, strict=True)])


@jit
def _scores(question: Question, z: Any, context: Context) -> Any:
    return question(z, context)


@jit
def _gradients(question: Question, z: Any, context: Context) -> tuple[Any, Any]:
    return slopes(question, z, context)


def scores_of(asked: Asked, z: Any = None, **options: Any) -> Any:
    """(rows,) the scores of what is asked, or of something else in place of it."""
    asked = asked if z is None else asked.of(z, asked.context)
    return rounds(asked, 1, lambda part, _: _scores(part.question, part.z, part.context), **options)


def gradients_of(asked: Asked, **options: Any) -> tuple[Any, Any]:
    """The scores (rows,), and their gradients."""
    return rounds(asked, 1, lambda part, _: _gradients(part.question, part.z, part.context), **options)


def scores_at(asked: Asked, others: Any, count: int, **options: Any) -> Any:
    """(count, rows) the scores of other values, a tree (count, …), each with what goes with every row."""

    def work(part: Asked, numbers: Any, _: Any) -> Any:
        return _scores_at(part.question, jax.tree.map(lambda v: v[numbers], others), part.z, part.context)

    return rounds(asked, count, work, each=(np.arange(count),), stacked=True, **options)


@jit
def _scores_at(question: Question, others: Any, z: Any, context: Context) -> Any:
    copies = jax.tree.leaves(others)[0].shape[0]

    def for_rows(v: Any, b: Any) -> Any:
        return jnp.broadcast_to(b[:, None] if is_floating(v) else v[None], (copies, *v.shape))

    scores = question(folded(jax.tree.map(for_rows, z, others)), tiled(context, copies))
    return unfolded(scores, copies)
