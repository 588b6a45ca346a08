"""A student with its teacher as one model, and the loss by which it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from phlox.compress._asking import WithMap
from phlox.compress.calibration._watching import Forward, forward_of
from phlox.compress.distillation._pairs import Pairs, features_of, heard_of
from phlox.compress.distillation._terms import activation_map, attention_distance, softened
from phlox.core import Module, StructureError, describe, stop_gradient
from phlox.loop import takes_weights, weighed

_WHERE = "px.compress.distil"


class Distillation(Module):
    """A student beside its teacher, made by ``px.compress.distil``: called, it is the student.

    ``px.fit(lesson, data, loss=lesson.loss, …)`` trains the student, in place, and the maps between features; the
    teacher stands still and infers. The loss also tells its terms: ``truth_loss``, ``logits_loss``, ``feature_loss``,
    ``attention_loss``.

    Attributes:
        student: the model that learns; it has no part that ``px.compress.distil`` added.
        teacher: a copy of the one that it learns from, frozen.
        adapters: maps from features of the student to those of the teacher, by path in the student.
    """

    student: Module
    teacher: Module
    adapters: dict[str, Module]
    truth: Callable[..., Any] | None
    alpha: float
    temperature: float
    logits_loss: Callable[..., Any] | None
    features: Pairs
    feature_loss: Callable[..., Any]
    feature_weight: float
    attention: Pairs
    attention_weight: float
    forward: Forward | None
    target: Callable[[Any], Any] | None

    def __init__(self, student: Module, teacher: Module, adapters: dict[str, Module], **options: Any):
        self.student, self.teacher, self.adapters = student, teacher, adapters
        for name, value in options.items():
            setattr(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the student says."""
        return self.student(*args, **kwargs)

    @property
    def loss(self) -> Callable[..., Any]:
        """The loss of the student beside its teacher, for ``px.fit`` and ``px.evaluate``."""
        return _loss if self._weighs else _loss_unweighted

    @property
    def _weighs(self) -> bool:
        """Whether all terms can weigh examples."""
        given = (self.truth, self.logits_loss, self.feature_loss if self.features else None)
        return all(takes_weights(one) for one in given if one is not None)

    def _terms(self, batch: tuple[Any, ...], weight: Any) -> dict[str, tuple[float, Any]]:
        """By name, how much each term counts and what it is."""
        given = batch[0] if len(batch) == 1 else batch
        forward = forward_of(self.forward, _WHERE)
        ours = heard_of(self.student, forward, given, self.features, self.attention)
        theirs = heard_of(self.teacher, forward, given, self.features.values(), self.attention.values())
        theirs = stop_gradient(theirs)
        target = _target(self, given)
        found: dict[str, tuple[float, Any]] = {}
        if self.truth is not None:
            found["truth"] = 1 - self.alpha, weighed(self.truth, ours[""], target, weight, _WHERE)
        if self.alpha > 0:
            found["logits"] = self.alpha, self._answers(ours[""], theirs[""], _counted(ours[""], target, weight))
        if self.features:
            pairs = [(self._mapped(path, ours[path]), theirs[other]) for path, other in self.features.items()]
            each = [weighed(self.feature_loss, y, features_of(z), weight, _WHERE) for y, z in pairs]
            found["feature"] = self.feature_weight, sum(each)
        if self.attention:
            maps = [(_map_of(ours[path]), _map_of(theirs[other])) for path, other in self.attention.items()]
            found["attention"] = self.attention_weight, sum(attention_distance(*both, weight) for both in maps)
        return found

    def _answers(self, ours: Any, theirs: Any, weight: Any) -> Any:
        for y in (ours, theirs):
            if not hasattr(y, "dtype") or not jnp.issubdtype(y.dtype, jnp.floating):
                fix = "pass forward=lambda model, batch: … that gives its scores"
                raise StructureError("an answer that is one array of floats", got=describe(y), fix=fix, where=_WHERE)
        if self.logits_loss is not None:
            return weighed(self.logits_loss, ours, theirs, weight, _WHERE)
        return softened(ours, theirs, self.temperature, weight)

    def _mapped(self, path: str, y: Any) -> Any:
        y = features_of(y)
        return self.adapters[path](y) if path in self.adapters else y


def _loss(model: Distillation, *batch: Any, weight: Any = None) -> tuple[Any, dict[str, Any]]:
    """The loss of a student beside its teacher, and its terms by themselves."""
    terms = model._terms(batch[:2], _both(batch, weight))
    total = sum(share * value for share, value in terms.values())
    return total, {f"{name}_loss": value for name, (_, value) in terms.items()}


def _loss_unweighted(model: Distillation, *batch: Any) -> tuple[Any, dict[str, Any]]:
    """The same where a term cannot weigh examples; batches then come without padding."""
    return _loss(model, *batch)


def _both(batch: tuple[Any, ...], weight: Any) -> Any:
    """The weights of examples, padding being 0."""
    if len(batch) < 3:
        return weight
    own = jnp.asarray(batch[2])
    return own if weight is None else jnp.where(weight.reshape(weight.shape + (1,) * (own.ndim - 1)), own, 0)


def _target(model: Distillation, batch: Any) -> Any:
    if model.target is not None:
        return model.target(batch)
    if isinstance(batch, tuple):
        return batch[1]
    if model.truth is None:
        return None
    got = (
        f"a dict of {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else f"a single array {describe(batch)}"
    )
    fix = 'pass target=lambda batch: batch["…"], or leave loss= out, to learn from the teacher alone'
    raise StructureError("batches (x, y) for a loss of the truth", got=got, fix=fix, where=_WHERE)


def _counted(answer: Any, target: Any, weight: Any) -> Any:
    """The weights of an answer's places: none where integers say which class is right and one is negative."""
    shape = getattr(answer, "shape", ())[:-1]
    if not hasattr(target, "dtype") or not jnp.issubdtype(target.dtype, jnp.integer) or target.shape != shape:
        return weight
    counts = jnp.asarray(target) >= 0
    if weight is None:
        return counts
    own = jnp.asarray(weight)
    return jnp.where(counts, own.reshape(own.shape + (1,) * (len(shape) - own.ndim)), 0)


def _map_of(y: Any) -> jax.Array:
    """What a layer attends to: its weights where it is attention, else where in space it is active."""
    return y.weights if isinstance(y, WithMap) else activation_map(y)
