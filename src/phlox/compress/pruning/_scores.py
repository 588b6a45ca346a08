"""What a number of a weight is worth: those of the lowest scores go first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress.pruning._weights import Weight
from phlox.core import RangeError, ShapeError, describe, key_or_draw

By = str | Mapping[str, Any]
BY = ("magnitude", "random")


def scores_of(weights: Sequence[Weight], by: By, key: Any, speaker: str) -> list[np.ndarray]:
    """The score of each number; of those that are left out already, lower than any.

    Raises:
        RangeError: no known measure, a weight without given scores, scores that are NaN.
        ShapeError: given scores of another shape.
    """
    if isinstance(by, Mapping):
        found = [_given(one, by, speaker) for one in weights]
    elif by == "magnitude":
        found = [np.abs(one.value) for one in weights]
    elif by == "random":
        keys = jax.random.split(key_or_draw(key), len(weights))
        found = [np.asarray(jax.random.uniform(k, one.mask.shape)) for k, one in zip(keys, weights, strict=True)]
    else:
        fix = 'by="magnitude" is usual; movement is measured in training, by px.compress.Pruning'
        expected = 'by="magnitude", by="random", or scores by path'
        raise RangeError(expected, got=repr(by)[:100], fix=fix, where=speaker)
    return [np.where(one.mask, score, -np.inf) for one, score in zip(weights, found, strict=True)]


def _given(weight: Weight, scores: Mapping[str, Any], speaker: str) -> np.ndarray:
    """The scores that a user gave for a weight."""
    path = f"{weight.path}.{weight.name}".lstrip(".")
    if path not in scores:
        got, fix = f"none for {path}", f'give them, or leave the layer out: skip="{weight.path}"'
        raise RangeError("scores for each weight that is meant", got=got, fix=fix, where=speaker)
    given = np.asarray(jnp.asarray(scores[path]).astype(jnp.float32))
    if given.shape != weight.mask.shape:
        expected, fix = f"scores {weight.mask.shape} for {path}", "give one number for each of the weight"
        raise ShapeError(expected, got=describe(scores[path]), fix=fix, where=speaker)
    if np.isnan(given).any():
        raise RangeError(
            "scores that are numbers", got=f"NaN for {path}", fix="look where they come from", where=speaker
        )
    return given
