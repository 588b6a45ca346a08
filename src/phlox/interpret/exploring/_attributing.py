"""What made a model answer so, for one observation: a number for each feature, pixel or word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module
from phlox.interpret.exploring._observations import Observations, Pictures, Rows, Texts
from phlox.interpret.exploring._subject import Reading, Subject
from phlox.interpret.gradients._integrated import integrated_gradients
from phlox.interpret.perturbing._kernel_shap import kernel_shap
from phlox.interpret.perturbing._occlusion import occlusion

INTEGRATED, SHAP, WITHOUT, HIDDEN = "integrated gradients", "Kernel SHAP", "left out one by one", "hidden squares"


@dataclass(frozen=True)
class Parts:
    """What each part of an observation did.

    Arguments:
        names: of the features or words; () for a picture.
        values: (parts,), or (height, width) of a picture.
        against: what parts were compared with, in words.
    """

    names: tuple[str, ...]
    values: np.ndarray
    against: str


def methods(subject: Subject, observations: Observations) -> list[str]:
    """The methods that there are for a model and a kind of observations, the first is taken at first.

    Those that follow gradients, or ask in compiled programs, want a Module that reads the numbers themselves.
    """
    direct = isinstance(subject.model, Module) and observations.prepare is None
    if isinstance(observations, Texts):
        return [WITHOUT]
    if isinstance(observations, Pictures):
        return [INTEGRATED, HIDDEN] if direct else []
    return [INTEGRATED, SHAP, WITHOUT] if direct else [WITHOUT]


def attributed(subject: Subject, observations: Observations, one: Any, which: int, method: str) -> Parts:
    """What each part of an observation did for the probability of a class, or for the number."""
    if method == WITHOUT:
        return _words(subject, observations, one, which) if isinstance(observations, Texts) else _left_out(
            subject, observations, one, which
        )  # fmt: skip
    x = jnp.asarray(observations.inputs(observations.some([one])))
    target = Shown(subject.reading, which)
    if isinstance(observations, Pictures):
        if method == HIDDEN:
            window = tuple(max(1, n // 7) for n in x.shape[1:3])
            found = occlusion(subject.model, x, window=window, target=target, baselines=float(x.mean()), progress=False)
            return Parts((), np.asarray(found.values)[0].sum(-1), "squares in the mean colour")
        found = integrated_gradients(subject.model, x, target=target, baselines=float(x.min()), progress=False)
        return Parts((), np.asarray(found.values)[0].sum(-1), "a picture of the darkest colour")
    mean = jnp.asarray(observations.inputs(observations.whole())).mean(0)
    if method == SHAP:
        found = kernel_shap(subject.model, x, target=target, baselines=mean, key=0, progress=False)
    else:
        found = integrated_gradients(subject.model, x, target=target, baselines=mean, progress=False)
    return Parts(tuple(_columns(observations)), np.asarray(found.values)[0], "the mean of all observations")


@dataclass(frozen=True)
class Shown:
    """The number that the page shows, as a function of a model's answer to one row; equal ones share programs.

    Arguments:
        reading: what the answer is.
        which: the class.
    """

    reading: Reading
    which: int

    def __call__(self, answer: Any) -> Any:
        (values,) = jax.tree.leaves(answer)
        if self.reading == "numbers":
            return values.reshape(())
        if values.size == 1:
            yes = values.reshape(()) if self.reading == "probabilities" else jax.nn.sigmoid(values.reshape(()))
            return yes if self.which == 1 else 1 - yes
        return values[self.which] if self.reading == "probabilities" else jax.nn.softmax(values)[self.which]


def _columns(observations: Observations) -> dict[str, np.ndarray]:
    assert isinstance(observations, Rows)
    return observations.columns


def _left_out(subject: Subject, observations: Observations, one: dict[str, Any], which: int) -> Parts:
    """How far the answer falls where a feature has its mean, or its commonest value, instead."""
    columns = _columns(observations)
    others = [{**one, name: _common(column)} for name, column in columns.items()]
    scores = subject.ask_one(observations.inputs(observations.some([one, *others])), which)
    return Parts(tuple(columns), scores[0] - scores[1:], "the mean, or the commonest value, of each feature")


def _common(column: np.ndarray) -> Any:
    if column.dtype.kind in "fiu":
        return float(np.nanmean(column))
    values, counts = np.unique(column, return_counts=True)
    return values[counts.argmax()].item()


def _words(subject: Subject, observations: Observations, one: str, which: int) -> Parts:
    """How far the answer falls without a word."""
    words = one.split()
    others = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    scores = subject.ask_one(observations.inputs(observations.some([" ".join(words), *others])), which)
    return Parts(tuple(words), scores[0] - scores[1:], "the text without the word")
