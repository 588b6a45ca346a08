"""Scores where some features are there, and baselines stand for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import jit
from phlox.interpret.asking._asked import Asked
from phlox.interpret.asking._question import Context, Question
from phlox.interpret.asking._rounds import rounds
from phlox.interpret.asking._trees import folded, tiled, unfolded
from phlox.interpret.perturbing._features import Features

Chosen = Callable[[Any], Any]
"""From numbers of coalitions (copies,) which features are there, (copies, features) booleans."""


def scores_without(
    asked: Asked, base: Any, features: Features, coalitions: int, chosen: Chosen, **options: Any
) -> np.ndarray[Any, Any]:
    """(coalitions, rows) the scores, in float64 on the host."""
    ids = jax.tree.map(jnp.asarray, features.ids)

    def work(part: Asked, base: Any, numbers: Any, _: Any) -> Any:
        return _valued(part.question, part.z, part.context, base, ids, jnp.asarray(chosen(np.asarray(numbers))))

    found = rounds(asked, coalitions, work, beside=(base,), each=(np.arange(coalitions),), stacked=True, **options)
    return np.asarray(found, np.float64)


@jit
def _valued(question: Question, z: Any, context: Context, base: Any, ids: Any, chosen: Any) -> Any:
    """(copies, rows)."""
    mixed = jax.tree.map(lambda v, b, i: jnp.where(chosen[:, None, i], v[None], b[None]), z, base, ids)
    copies = chosen.shape[0]
    return unfolded(question(folded(mixed), tiled(context, copies)), copies)
