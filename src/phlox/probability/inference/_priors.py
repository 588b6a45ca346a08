"""Priors by path: which distribution each array of a model is drawn from, before data is seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.core import Module, RangeError, ShapeError, describe, means, trainable_arrays
from phlox.probability.distributions._distribution import Distribution

Priors = Distribution | Mapping[str, Distribution]
"""One prior for all that trains, or by path or pattern; where several patterns mean an array, the first counts."""


def priors_of(model: Module, priors: Priors, where: str) -> dict[str, Distribution]:
    """The prior of each array that trains, by path.

    Raises:
        RangeError: an array without one, a pattern that means none, or what is no distribution.
        ShapeError: a prior of another shape than its array.
    """
    given = {"**": priors} if isinstance(priors, Distribution) else dict(priors)
    wrong = next((p for p, prior in given.items() if not isinstance(prior, Distribution)), None)
    if wrong is not None or not given:
        fix = 'write priors={"**.weight": px.probability.Normal(0.0, 1.0)}'
        got = "none" if wrong is None else f"{describe(given[wrong])} for {wrong!r}"
        raise RangeError("distributions by path", got=got, fix=fix, where=where)
    arrays = trainable_arrays(model)
    found = {path: _first(given, path, value) for path, value in arrays.items()}
    without = [path for path, pattern in found.items() if pattern is None]
    if without or not arrays:
        fix = f'add "{without[0]}": a distribution, or px.freeze it' if without else "px.thaw what is to be inferred"
        got = f"none for {', '.join(without[:4])}" if without else "a model in which nothing trains"
        raise RangeError("a prior for each array that trains", got=got, fix=fix, where=where)
    idle = [p for p in given if not any(_means(p, path, value) for path, value in arrays.items())]
    if idle:
        fix = f"choose among {', '.join(list(arrays)[:6])}"
        raise RangeError("patterns that mean arrays of the model", got=repr(idle[0]), fix=fix, where=where)
    chosen = {path: given[str(pattern)] for path, pattern in found.items()}
    for path, prior in chosen.items():
        _check_shape(path, prior, arrays[path], where)
    return chosen


def _first(given: Mapping[str, Distribution], path: str, value: Any) -> str | None:
    return next((pattern for pattern in given if _means(pattern, path, value)), None)


def _means(pattern: str, path: str, value: Any) -> bool:
    """As everywhere; ``**.`` stands for nothing too, so that it means the root's own arrays."""
    return means(pattern, path, value) or means(pattern, f".{path}", value)


def _check_shape(path: str, prior: Distribution, value: Any, where: str) -> None:
    own, shape = (*prior.batch_shape, *prior.event_shape), tuple(value.shape)
    fits = len(own) <= len(shape) and all(a in (1, b) for a, b in zip(reversed(own), reversed(shape), strict=False))
    event = len(prior.event_shape)
    if not fits or (event and own[-event:] != shape[-event:]):
        fix = "give a prior of numbers, or of arrays that broadcast to it"
        raise ShapeError(f"a prior of {path}, {describe(value)}", got=f"one of shape {own}", fix=fix, where=where)
