"""Layers of a student and their likes in the teacher, by path, and maps where they give other numbers of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.compress._asking import WithMap, heard
from phlox.compress.calibration._watching import Forward
from phlox.core import Module, RangeError, ShapeError, StructureError, at, describe, eval_shape, modules, seed
from phlox.nn import Dense, MultiHeadAttention

_WHERE = "px.compress.distil"
Pairs = dict[str, str]
"""By path in the student, the path in the teacher."""


def as_pairs(given: Any, student: Module, teacher: Module, option: str) -> Pairs:
    """Pairs of layers from what the user said: paths of the student with those of the teacher, or paths of both.

    Raises:
        RangeError: what is no path of a layer.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        given = {path: path for path in ([given] if isinstance(given, str) else given)}
    for side, model, names in (("student", student, given), ("teacher", teacher, given.values())):
        there = modules(model)
        for name in names:
            if name not in there:
                known = ", ".join([path for path in there if path][:4])
                fix = f"choose among those of px.modules({side}): {known} …"
                raise RangeError(f"{option}= of paths in the {side}", got=repr(name)[:100], fix=fix, where=_WHERE)
    return dict(given)


def heard_of(model: Module, forward: Forward, batch: Any, features: Any, attention: Any) -> dict[str, Any]:
    """The answer of a model, and what these layers give; of attention with its weights.

    Raises:
        StructureError: a layer that is not called where it can be heard.
    """
    maps = [path for path in attention if isinstance(at(model, path), MultiHeadAttention)]
    found = heard(model, forward, batch, {*features, *attention}, maps)
    if lost := [path for path in (*features, *attention) if path not in found]:
        fix = "choose one that is called for itself, outside px.scan, px.vmap and px.remat"
        raise StructureError("a layer that is called", got=lost[0], fix=fix, where=_WHERE)
    return found


def features_of(y: Any) -> Any:
    """What a layer gives, without the weights of its attention."""
    return y.result if isinstance(y, WithMap) else y


def adapters_for(
    pairs: Pairs, given: Mapping[str, Module], student: Mapping[str, Any], teacher: Mapping[str, Any], key: Any
) -> dict[str, Module]:
    """By path in the student, a map from what its layer gives to what the teacher's does, where these differ.

    Arguments:
        given: the user's own.
        student, teacher: shapes of what their layers give, by path.

    Raises:
        RangeError: an adapter for no pair.
        ShapeError: layers, or an adapter, whose results differ in more than features.
    """
    if strange := [path for path in given if path not in pairs]:
        fix = "name it in features= too"
        raise RangeError("adapters= of paths in features=", got=repr(strange[0])[:100], fix=fix, where=_WHERE)
    found: dict[str, Module] = {}
    for path, other in pairs.items():
        ours, theirs = features_of(student[path]), features_of(teacher[other])
        if path in given:
            found[path], ours = given[path], eval_shape(given[path], ours)
        elif _differ_in_features(ours, theirs):
            with seed(key):
                found[path] = Dense(ours.shape[-1], theirs.shape[-1])
            ours = eval_shape(found[path], ours)
        if not hasattr(ours, "shape") or not hasattr(theirs, "shape") or ours.shape != theirs.shape:
            got = f"{describe(ours)} at {path} and {describe(theirs)} at {other}"
            fix = "pair layers that see as many places, or pass a Module in adapters= that makes one of the other"
            raise ShapeError("features of one shape, but for their number", got=got, fix=fix, where=_WHERE)
    return found


def _differ_in_features(ours: Any, theirs: Any) -> bool:
    shapes = [getattr(y, "shape", ()) for y in (ours, theirs)]
    return all(shapes) and shapes[0][:-1] == shapes[1][:-1] and shapes[0] != shapes[1]
