r"""How far a smaller model's answers are from the model's, $\|y' - y\| / \|y\|$: of each layer, of each example."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.compress._asking import heard
from phlox.compress.calibration._watching import Forward
from phlox.compress.reporting._latency import examples_of
from phlox.core import Module, StructureError, eval_shape, jit


class Answers(NamedTuple):
    """(n, places) the class that each model tells of a place, and the right one, negative where none counts."""

    before: Any
    after: Any
    target: Any


class Changes(NamedTuple):
    """What became of answers to all data."""

    layers: dict[str, float]
    examples: Any  # (n,)
    answers: Answers | None
    left_out: int  # layers of the model that the smaller one has not, or that give something else there

    @property
    def flipped(self) -> Any:
        """(n,) the share of an example's places whose class changed; None where there are no classes."""
        if self.answers is None:
            return None
        other, counts = self._places()
        return other.sum(1) / np.maximum(counts.sum(1), 1)

    @property
    def share_flipped(self) -> float | None:
        """The share of all places whose class changed."""
        if self.answers is None:
            return None
        other, counts = self._places()
        return float(other.sum() / max(counts.sum(), 1))

    def _places(self) -> tuple[Any, Any]:
        """(n, places) which changed, and which count."""
        assert self.answers is not None
        before, after, target = self.answers
        return (before != after) & (target >= 0), target >= 0


class _Seen(NamedTuple):
    """The same of one batch, as sums."""

    layers: OrderedDict[str, tuple[Any, Any]]
    examples: Any
    answers: Answers | None


def changes_of(model: Module, smaller: Module, forward: Forward, batches: Sequence[Any], where: str) -> Changes:
    """Both models asked about all batches.

    Raises:
        StructureError: two that give results of other forms.
    """
    _check_alike(model, smaller, forward, batches[0], where)
    seen = [_compared(model, smaller, forward, batch) for batch in batches]
    sums = {path: np.sum([np.asarray(one.layers[path], np.float64) for one in seen], 0) for path in seen[0].layers}
    answers = [one.answers for one in seen if one.answers is not None]
    of_all = Answers(*(_joined(parts) for parts in zip(*answers, strict=True))) if answers else None
    errors = {path: ratio(*both) for path, both in sums.items()}
    there = len(eval_shape(heard, model, forward, batches[0]))
    return Changes(errors, np.concatenate([one.examples for one in seen]), of_all, there - len(errors))


def ratio(change: float, whole: float) -> float:
    """A relative change from two sums of squares; where there was nothing, nothing or all.

    >>> ratio(1.0, 4.0), ratio(0.0, 0.0), ratio(1.0, 0.0)
    (0.5, 0.0, inf)
    """
    return math.sqrt(change / whole) if whole else math.inf if change else 0.0


def _joined(parts: Sequence[Any]) -> Any:
    """Classes of all batches by example; shorter ones are filled up with what does not count."""
    flat = [np.asarray(part).reshape(len(part), -1) for part in parts]
    most = max(part.shape[1] for part in flat)
    return np.concatenate([np.pad(p, [(0, 0), (0, most - p.shape[1])], constant_values=-1) for p in flat])


def _check_alike(model: Module, smaller: Module, forward: Forward, batch: Any, where: str) -> None:
    ours, theirs = (eval_shape(forward, m, batch) for m in (model, smaller))
    forms = [[(a.shape, jax.tree.structure(y)) for a in jax.tree.leaves(y)] for y in (ours, theirs)]
    if forms[0] != forms[1]:
        shapes = " and ".join(str([list(a.shape) for a in jax.tree.leaves(y)]) for y in (ours, theirs))
        fix = "pass forward= that gives what both have to tell"
        raise StructureError("two models with results of one form", got=shapes, fix=fix, where=where)


@jit
def _compared(model: Module, smaller: Module, forward: Forward, batch: Any) -> _Seen:
    ours, theirs = heard(model, forward, batch), heard(smaller, forward, batch)
    both = [path for path in ours if path in theirs and _alike(ours[path], theirs[path])]
    sums = [(_squares(_less(theirs[path], ours[path])), _squares(ours[path])) for path in both]
    y, z = ours[""], theirs[""]
    layers = OrderedDict(zip(both, sums, strict=True))  # JAX sorts a dict
    return _Seen(layers, _by_example(y, z, examples_of(batch)), _classes(y, z, _target(batch)))


def _alike(y: Any, z: Any) -> bool:
    a, b = jax.tree.flatten(y), jax.tree.flatten(z)
    return a[1] == b[1] and all(jnp.shape(p) == jnp.shape(q) for p, q in zip(a[0], b[0], strict=True))


def _numbers(y: Any) -> list[jax.Array]:
    """The arrays of a result that hold no counts and no choices, in float32 at least."""
    floats = [a for a in jax.tree.leaves(y) if hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.inexact)]
    return [a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in floats]


def _less(y: Any, z: Any) -> list[jax.Array]:
    return [a - b for a, b in zip(_numbers(y), _numbers(z), strict=True)]


def _squares(y: Any) -> jax.Array:
    return sum((jnp.sum(jnp.abs(a) ** 2) for a in _numbers(y)), jnp.zeros(()))


def _by_example(y: Any, z: Any, count: int) -> jax.Array:
    """(count,) the relative change of each example's answer, over all arrays with an axis of them."""

    def squares(arrays: list[jax.Array]) -> jax.Array:
        rows = [jnp.abs(a.reshape(count, -1)) ** 2 for a in arrays if a.ndim and a.shape[0] == count]
        return sum((row.sum(1) for row in rows), jnp.zeros(count))

    change, whole = squares(_less(z, y)), squares(_numbers(y))
    return jnp.where(change == 0, 0, jnp.sqrt(change / whole))


def _target(batch: Any) -> Any:
    return batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None


def _classes(y: Any, z: Any, target: Any) -> Answers | None:
    """What is told of each place, where the data says which class is right: integers, one for each place."""
    if not hasattr(y, "dtype") or not jnp.issubdtype(y.dtype, jnp.floating) or not hasattr(target, "dtype"):
        return None
    if not jnp.issubdtype(target.dtype, jnp.integer) or y.ndim < 2 or target.shape != y.shape[:-1] or y.shape[-1] < 2:
        return None
    return Answers(y.argmax(-1), z.argmax(-1), jnp.asarray(target))
