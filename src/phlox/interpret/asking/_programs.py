"""Scores and their gradients, as compiled programs."""

from __future__ import annotations

from typing import Any

import jax

from phlox.core import jit, value_and_grad
from phlox.interpret.asking._asked import Asked
from phlox.interpret.asking._question import Context, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._trees import is_floating


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
    zeros = [jax.numpy.zeros(v.shape) for v in leaves]
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
