"""A model's answers: all rows in batches, in inference, and one number of each where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from phlox.core import Module, RangeError, ShapeError, describe, jit, training
from phlox.interpret.probing._columns import rows_of, taken

Target = int | Callable[[Any], Any] | None


@jit
def _asked(model: Module, x: Any) -> Any:
    return model(x)


def answers(model: Any, x: Any, where: str, batch_size: int = 4096) -> Any:
    """What a model says to all rows, as NumPy arrays; the model infers, and stays as it is.

    A Module is compiled, for few sizes of batches: short ones are filled up by their last row. Another function is
    called as it is.
    """
    rows = rows_of(x, where)
    parts = [_of(model, taken(x, slice(at, at + batch_size)), batch_size, where) for at in range(0, rows, batch_size)]
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *several: np.concatenate(several), *parts)


def _of(model: Any, x: Any, batch_size: int, where: str) -> Any:
    rows = rows_of(x, where)
    with training(False):
        if not isinstance(model, Module):
            return jax.tree.map(np.asarray, model(x))
        size = min(batch_size, 1 << (rows - 1).bit_length())
        output = _asked(model, taken(x, np.minimum(np.arange(size), rows - 1)))
    return jax.tree.map(lambda part: np.asarray(part)[:rows], output)


def array_of(output: Any, where: str) -> np.ndarray:
    """The one array of an answer.

    Raises:
        ShapeError: there are several.
    """
    leaves = jax.tree.leaves(output)
    if len(leaves) != 1:
        got = f"{len(leaves)} arrays" + (f" by name: {', '.join(output)}" if isinstance(output, Mapping) else "")
        fix = "give target=, a function of a row's answer: lambda answer: answer['logits'][1]"
        raise ShapeError("a model that answers with one array", got=got, fix=fix, where=where)
    return np.asarray(leaves[0])


def scores_of(output: Any, target: Target, where: str) -> np.ndarray:
    """One number for each row: of a class, by a function, or the only one that there is.

    Raises:
        ShapeError: several numbers, and none is chosen. RangeError: there is no such class.
    """
    if callable(target):
        chosen = np.asarray(jax.vmap(target)(output))
    else:
        chosen = array_of(output, where)
        if target is not None:
            if chosen.ndim != 2 or not -chosen.shape[1] <= target < chosen.shape[1]:
                fix = "give the number of a class, or a function of a row's answer"
                raise RangeError(f"a class of {describe(chosen)}", got=repr(target), fix=fix, where=where)
            chosen = chosen[:, target]
    if chosen.ndim == 2 and chosen.shape[1] == 1:
        chosen = chosen[:, 0]
    if chosen.ndim != 1:
        fix = "give target=, the number of a class or a function of a row's answer"
        raise ShapeError("one number for each row", got=describe(chosen), fix=fix, where=where)
    return chosen
