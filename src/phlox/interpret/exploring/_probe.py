"""What is probed: observations, the models' answers to them, and what can be drawn and sliced by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.interpret.exploring._observations import Observations, Rows
from phlox.interpret.exploring._subject import Subject
from phlox.interpret.exploring._worker import Worker

_WHERE = "px.interpret.explore"
_FEW = 10  # distinct numbers that are slices by themselves
NONE = "—"


class Probe:
    """One model or two with their answers to observations, and a thread in which they are asked more.

    Arguments:
        observations: what the models are asked about.
        subjects: the models with their answers.
        classes: names of classes, in the order of the answers; None for those of the target.

    Raises:
        RangeError: models, classes and a target that do not go together.
    """

    observations: Observations
    subjects: tuple[Subject, ...]
    classes: tuple[str, ...]
    codes: np.ndarray | None
    worker: Worker

    def __init__(self, observations: Observations, subjects: Sequence[Subject], classes: Sequence[Any] | None):
        self.observations, self.subjects = observations, tuple(subjects)
        first, *others = self.subjects
        for other in others:
            if other.numbers != first.numbers or other.classes != first.classes:
                got = f"{first.name} with {_answers(first)}, {other.name} with {_answers(other)}"
                fix = "compare models that answer the same question; answers= says how they are read"
                raise RangeError("two models with answers of one kind", got=got, fix=fix, where=_WHERE)
        self.classes, self.codes = _classes(observations.target, first, classes)
        self.worker = Worker()

    # --- what can be drawn -----------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """What can be drawn of each observation."""
        features = list(self.observations.columns) if isinstance(self.observations, Rows) else []
        answers = [f"{what}{of}" for of in self._suffixes() for what in self._whats()]
        apart = ["difference of answers"] if len(self.subjects) > 1 else []
        target = [] if self.observations.target is None else ["target"]
        return [*answers, *apart, *target, *features, *self.observations.known]

    def column(self, name: str, which: int) -> np.ndarray:
        """Numbers or texts of all observations, (rows,).

        Arguments:
            which: the class whose probability the answer is.
        """
        if name == "target" and self.observations.target is not None:
            return self.observations.target if self.codes is None else np.array(self.classes)[self.codes]
        if name == "difference of answers":
            return self.subjects[1].score(which) - self.subjects[0].score(which)
        for subject, of in zip(self.subjects, self._suffixes(), strict=True):
            if name == f"answer{of}":
                return subject.score(which)
            if name == f"predicted{of}":
                return np.array(self.classes)[subject.predicted]
            if name == f"right{of}":
                return np.where(subject.predicted == self.codes, "right", "wrong")
            if name == f"error{of}":
                return subject.scores - np.asarray(self.observations.target, np.float64)
        own = self.observations.columns if isinstance(self.observations, Rows) else {}
        return own[name] if name in own else self.observations.known[name]

    def slices(self, name: str) -> np.ndarray:
        """Names of slices by a column, (rows,): its values where they are few, quarters of its numbers else."""
        column = self.column(name, 0)
        values = np.unique(column[column == column])
        if column.dtype.kind not in "fiub" or len(values) <= _FEW:
            return column.astype(str)
        first, middle, last = np.nanquantile(column.astype(np.float64), [0.25, 0.5, 0.75])
        names = np.array([f"Q1 ≤ {first:.4g}", f"Q2 ≤ {middle:.4g}", f"Q3 ≤ {last:.4g}", f"Q4 > {last:.4g}"])
        return names[np.searchsorted([first, middle, last], column)]

    @property
    def sliceable(self) -> list[str]:
        """Columns by which there are slices that can be told apart on a page."""
        own = self.observations.columns if isinstance(self.observations, Rows) else {}
        known = {**own, **self.observations.known}
        return [name for name, c in known.items() if c.dtype.kind in "fiub" or len(np.unique(c)) <= 2 * _FEW]

    def _whats(self) -> list[str]:
        if not self.classes:
            return ["answer", *(["error"] if self.observations.target is not None else [])]
        return ["answer", "predicted", *(["right"] if self.codes is not None else [])]

    def _suffixes(self) -> list[str]:
        return [""] if len(self.subjects) == 1 else [f" of {subject.name}" for subject in self.subjects]


def _answers(subject: Subject) -> str:
    return "numbers" if subject.numbers else f"{subject.classes} classes"


def _classes(
    target: np.ndarray | None, subject: Subject, given: Sequence[Any] | None
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of classes, and the number of each observation's class.

    Raises:
        RangeError: names or a target that do not go with the model.
    """
    if subject.numbers:
        if given is not None:
            fix = 'leave classes= out, or say answers="logits"'
            raise RangeError("no classes of a model that answers with numbers", got=repr(given), fix=fix, where=_WHERE)
        if target is not None and target.dtype.kind not in "fiub":
            fix = 'say answers="logits" or "probabilities" for a model of classes'
            raise RangeError("a target of numbers", got=f"texts such as {target[0]!r}", fix=fix, where=_WHERE)
        return (), None
    count = subject.classes
    numbered = target is None or target.dtype.kind in "iub" or (
        target.dtype.kind == "f" and bool((target == np.round(target)).all())
    )  # fmt: skip
    if given is None and target is not None and not numbered:
        given = np.unique(target).tolist()
    names = tuple(map(str, range(count) if given is None else given))
    if len(names) != count or len(set(names)) != count:
        fix = "name the classes in the order of the model's answers: classes=…"
        raise RangeError(f"{count} classes, as the model has", got=", ".join(names), fix=fix, where=_WHERE)
    if target is None:
        return names, None
    codes = target.astype(int) if numbered else np.array([names.index(t) if t in names else -1 for t in target])
    if codes.min() < 0 or codes.max() >= count:
        odd = target[(codes < 0) | (codes >= count)][0]
        fix = "check classes=, and rows without a target"
        raise RangeError(f"a target among {', '.join(names)}", got=repr(odd), fix=fix, where=_WHERE)
    return names, codes
