"""Models made ready for inference, each kept as long as the one that it was made of is what it was.

A copy goes as soon as an array of its model does: training holds no second set of weights, and what is said follows
the weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from phlox.core import Module, at, copy, modules, split, thaw, training
from phlox.nn import optimize_for_inference

_CALM = ("phlox.nn.features.", "phlox.nn.normalisation.", "phlox.nn.space.")  # their State moves in training alone


class _Kept(NamedTuple):
    model: weakref.ref[Module]
    form: Any  # the model without its arrays
    arrays: Sequence[weakref.ref[Any]]
    fast: Module | None  # None: the model itself

    def fits(self, model: Module, form: Any, arrays: Sequence[Any]) -> bool:
        same = self.model() is model and self.form == form and len(self.arrays) == len(arrays)
        return same and all(ref() is a for ref, a in zip(self.arrays, arrays, strict=True))


_kept: dict[int, _Kept] = {}  # by the id of a model


def prepared(model: Module) -> Module:
    """A copy by ``px.optimize_for_inference``, the same one as long as the model is what it was; or the model.

    The model itself where nothing is to be gained, where a part of it trains whatever is said, and where a call may
    leave something behind in it, which a copy would keep for itself.
    """
    arrays, form = jax.tree.flatten(model)
    kept = _kept.get(id(model))
    if kept is None or not kept.fits(model, form, arrays):
        fast = _made(model) if _may_be_made(model, arrays) else None
        kept = _keep(model, form, arrays, fast)
    return model if kept.fast is None else kept.fast


def give_up(model: Module) -> None:
    """Have the model itself taken from now on: its copy cannot be called."""
    kept = _kept.get(id(model))
    if kept is not None:
        _kept[id(model)] = kept._replace(fast=None)


def _keep(model: Module, form: Any, arrays: Sequence[Any], fast: Module | None) -> _Kept:
    key = id(model)

    def forget(ref: weakref.ref[Any]) -> None:
        held = _kept.get(key)
        if held is not None and (ref is held.model or any(ref is one for one in held.arrays)):
            del _kept[key]

    _kept[key] = _Kept(weakref.ref(model, forget), form, [weakref.ref(a, forget) for a in arrays], fast)
    return _kept[key]


def _made(model: Module) -> Module | None:
    told: list[str] = []
    fast = optimize_for_inference(model, tell=told.append)
    return None if told == ["nothing to be done"] else fast


def _may_be_made(model: Module, arrays: Sequence[Any]) -> bool:
    on_one_cpu = all(isinstance(a, jax.Array) and {d.platform for d in a.devices()} == {"cpu"} for a in arrays)
    if not on_one_cpu or any(len(a.devices()) > 1 for a in arrays):
        return False
    with training(False):
        if any(part.training for part in modules(model).values()):
            return False
    kept_by = {path.rpartition(".")[0] for path in split(thaw(copy(model)))[1]}
    return all(type(at(model, path) if path else model).__module__.startswith(_CALM) for path in kept_by)
