"""What metrics of texts have in common: texts with their targets, and counts that are added up on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from phlox.core import RangeError, ShapeError, State, StructureError, at_eager, describe
from phlox.metrics import _sums
from phlox.metrics._metric import Metric, Statistics


class TextMetric(Metric):
    """Counts of texts, the number of texts first; what is counted, and what it comes to, a class says."""

    sums: State  # (2, counts) sums of weight · count, as pairs
    _names = ("sums",)

    def _count(self, prediction: str, targets: Sequence[str]) -> Sequence[float]:
        """What is counted of one text."""
        raise NotImplementedError

    def _score(self, texts: float, sums: list[float]) -> Any:
        """The value of sums over so many texts, not 0."""
        raise NotImplementedError

    def _nothing(self) -> Any:
        """The value of no text: NaN in the form of the value."""
        raise NotImplementedError

    def _width(self) -> int:
        """How many numbers are counted of a text."""
        raise NotImplementedError

    def compute(self) -> Any:
        """The value of all that was taken in, as numbers of Python's."""
        if isinstance(self.sums, Tracer):
            raise _compiled(f"{type(self).__name__}.compute")
        texts, *sums = np.asarray(self.sums, np.float64).sum(axis=0).tolist()
        return self._score(texts, sums) if texts else self._nothing()

    def _zero(self) -> Statistics:
        return {"sums": _sums.zeros(1 + self._width())}

    def _read(self, prediction: Any, target: Any, weight: Any) -> tuple[Any, ...]:
        where = f"{type(self).__name__}.update"
        if not at_eager():
            raise _compiled(where)
        texts, targets = _texts(prediction, target, where)
        weights = _weights(weight, len(texts), where)
        total = np.zeros(1 + self._width())
        for text, wanted, w in zip(texts, targets, weights, strict=True):
            if w:
                total += w * np.array([1, *self._count(text, wanted)], np.float64)
        return (total,)

    def _absorb(self, arrays: tuple[Any, ...], axis_name: str | None) -> None:
        if axis_name is not None:
            raise _compiled(f"{type(self).__name__}.update")
        total = np.asarray(self.sums, np.float64).sum(axis=0) + arrays[0]
        high = total.astype(np.float32)
        self.sums = jnp.asarray(np.stack([high, (total - high).astype(np.float32)]))


def _compiled(where: str) -> StructureError:
    fix, got = "call it outside px.jit and px.vmap, on texts that a tokenizer decoded", "a compiled function"
    return StructureError("to run line by line, as texts are no arrays", got=got, fix=fix, where=where)


def _texts(prediction: Any, target: Any, where: str) -> tuple[list[str], list[list[str]]]:
    """Texts, and the targets of each; one text alone is a batch of one."""
    if isinstance(prediction, str):
        prediction, target = [prediction], [target]
    texts, several = _listed(prediction, "prediction", where), _listed(target, "target", where)
    if len(texts) != len(several):
        fix = "give each text its target, or a list of its targets: list(zip(*target)) where they are listed by target"
        raise ShapeError("as many targets as texts", got=f"{len(several)} for {len(texts)}", fix=fix, where=where)
    targets = [[t] if isinstance(t, str) else _listed(t, "target", where) for t in several]
    for strings, name in ((texts, "prediction"), ([t for some in targets for t in some], "target")):
        wrong = [s for s in strings if not isinstance(s, str)]
        if wrong:
            fix = "decode tokens to texts first, and give a text for each; a target may be a list of texts"
            raise StructureError(f"strings as {name}", got=_shown(wrong[0]), fix=fix, where=where)
    if not all(targets):
        raise ShapeError("a target for each text", got="an empty list", fix="give one or more", where=where)
    return texts, targets


def _listed(given: Any, name: str, where: str) -> list[Any]:
    if isinstance(given, np.ndarray) and given.ndim > 0 and given.dtype.kind in "UO":
        given = given.tolist()
    if not isinstance(given, list | tuple):
        fix = "give a list of strings; decode tokens to texts first"
        raise StructureError(f"strings as {name}", got=_shown(given), fix=fix, where=where)
    return list(given)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, bytes | int | float | None) else describe(value)


def _weights(weight: Any, count: int, where: str) -> np.ndarray:
    """(count,) float64: ones, a mask, or numbers of at least 0."""
    if weight is None:
        return np.ones(count)
    w = np.asarray(weight)
    if w.shape not in ((), (count,)):
        fix = "give one weight for each text"
        raise ShapeError(f"weight of shape [{count}]", got=describe(w), fix=fix, where=where)
    if w.dtype.kind not in "biuf" or not (w >= 0).all() or np.isinf(w).any():
        fix = "leave texts out by a weight of 0"
        raise RangeError("weights of at least 0", got=describe(w), fix=fix, where=where)
    return np.broadcast_to(w.astype(np.float64), (count,))


def option(name: str, value: Any, choices: Sequence[str], where: str) -> None:
    """Refuse what is neither a function nor one of the choices."""
    if not callable(value) and value not in choices:
        listed = ", ".join(map(repr, choices))
        fix = f"choose one of {listed}, or give a function"
        raise RangeError(f"{name} to be one of {listed}, or a function", got=repr(value), fix=fix, where=where)
