"""A model with its answers to all observations, read as probabilities of classes or as numbers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from phlox.core import RangeError, ShapeError, describe
from phlox.interpret.exploring._observations import Observations
from phlox.interpret.probing._answers import answers, array_of

Reading = Literal["logits", "probabilities", "numbers"]
READINGS: tuple[Reading, ...] = ("logits", "probabilities", "numbers")
_WHERE = "px.interpret.explore"


class Subject:
    """A model that is probed.

    Arguments:
        name: as the page calls it.
        model: a Module, or a function of what the observations give.
        observations: those that it is asked about, all at once.
        reading: what its answers are; None to tell by the answers and the target.
        classes: the number of classes, where it is known.
    """

    name: str
    model: Any
    reading: Reading
    scores: np.ndarray  # (rows, classes) probabilities; (rows,) numbers

    def __init__(self, name: str, model: Any, observations: Observations, reading: Reading | None, classes: int):
        self.name, self.model = name, model
        output = self._raw(observations.inputs(observations.whole()))
        self.reading = reading or _told(output, observations, classes)
        self.scores = self._read(output)
        if len(self.scores) != observations.count:
            fix = "let the model answer each observation"
            got = describe(output)
            raise ShapeError(f"answers to {observations.count} observations", got=got, fix=fix, where=_WHERE)

    @property
    def numbers(self) -> bool:
        """Whether it answers with a number, and not with classes."""
        return self.reading == "numbers"

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return 0 if self.numbers else self.scores.shape[1]

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each observation, or its number, (rows,)."""
        return self.scores if self.numbers else self.scores.argmax(1)

    def score(self, which: int) -> np.ndarray:
        """The probability of a class, or the number, (rows,)."""
        return self.scores if self.numbers else self.scores[:, which]

    def ask(self, x: Any) -> np.ndarray:
        """Answers to other inputs, in the same reading."""
        return self._read(self._raw(x))

    def ask_one(self, x: Any, which: int) -> np.ndarray:
        """The probability of a class, or the number, (rows,)."""
        found = self.ask(x)
        return found if self.numbers else found[:, which]

    def _raw(self, x: Any) -> np.ndarray:
        output = array_of(answers(self.model, x, _WHERE), _WHERE)
        output = output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output
        if output.ndim not in (1, 2):
            fix = "wrap the model: lambda x: model(x)[:, 0]"
            raise ShapeError("answers (rows,) or (rows, classes)", got=describe(output), fix=fix, where=_WHERE)
        return output.astype(np.float64)

    def _read(self, output: np.ndarray) -> np.ndarray:
        if self.reading == "numbers":
            if output.ndim == 2:
                fix = "wrap the model so that it answers with one number, or read its answers as logits"
                raise ShapeError("numbers (rows,)", got=describe(output), fix=fix, where=_WHERE)
            return output
        return probabilities(output, self.reading)


def probabilities(output: np.ndarray, reading: Reading) -> np.ndarray:
    """Probabilities of classes (rows, classes); one column is that of the second of two.

    Raises:
        RangeError: probabilities that are none.

    >>> import numpy as np
    >>> probabilities(np.array([0.25, 0.5]), "probabilities").tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    if reading == "probabilities":
        if not ((output >= -1e-6) & (output <= 1 + 1e-6)).all():
            odd, fix = output[(output < -1e-6) | (output > 1 + 1e-6)], 'read them as "logits"'
            raise RangeError("probabilities from 0 to 1", got=f"{odd.flat[0]:.4g}", fix=fix, where=_WHERE)
        return np.stack([1 - output, output], 1) if output.ndim == 1 else output
    if output.ndim == 1:
        yes = np.where(output >= 0, 1, np.exp(np.minimum(output, 0))) / (1 + np.exp(-np.abs(output)))
        return np.stack([1 - yes, yes], 1)
    shifted = np.exp(output - output.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _told(output: np.ndarray, observations: Observations, classes: int) -> Reading:
    """What answers seem to be: several columns, and one for a target of two classes, are of classes."""
    if output.ndim == 1 and classes != 2 and not observations.binary:
        return "numbers"
    within = bool(((output >= 0) & (output <= 1)).all())
    if output.ndim == 2:
        within = within and bool(np.allclose(output.sum(1), 1, atol=1e-4))
    return "probabilities" if within else "logits"
