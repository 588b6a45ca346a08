"""A part of a model by its path, to read or to replace: the paths are those that ``px.paths`` and errors print."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeVar

import jax

from phlox.core._errors import StructureError, describe
from phlox.core.module._module import Module
from phlox.core.module._paths import is_pattern, steps
from phlox.core.module._spec import children_of, labels_of
from phlox.core.module._tree import modules, paths

T = TypeVar("T")


def at(model: Any, path: str) -> Any:
    """The part of a model at a path: a Module, an array, a container or any attribute.

    Paths are those of ``px.paths`` and ``px.modules``, ``"encoder.layers.3.mlp"``; what errors print,
    ``"encoder.layers[3].mlp"``, is read alike. Of what is shared every path leads to the same object.

    Arguments:
        model: a Module, or a list, tuple or dict of them.
        path: attributes, positions in lists and keys of dicts, with dots between; empty for the model itself.

    Raises:
        StructureError: nothing is there; names the part of the path that exists.

    >>> import phlox as px
    >>> model = px.Chain(px.Dense(2, 3), px.relu)
    >>> px.at(model, "layers.0.weight") is model.layers[0].weight
    True
    """
    found = _walk(model, steps(path))
    if found is None:
        raise _nothing("px.at", model, path)
    return found[-1][1]


def set_at(model: T, path: str, part: Any) -> T:
    """Put another part at a path of a model, in place, as an assignment would; gives the model.

    A part that is shared stays where its other paths lead.

    Arguments:
        model: a Module, or a list or dict of them.
        path: as in ``px.at``; the attribute, position or key must be there.
        part: what to put there.

    Raises:
        StructureError: nothing is there to be replaced.

    >>> import phlox as px
    >>> px.set_at(px.Chain(px.Dense(2, 3), px.relu), "layers.1", px.tanh).layers[1].__name__
    'tanh'
    """
    found = _walk(model, steps(path))
    if found is None:
        raise _nothing("px.set_at", model, path)
    while len(found) > 1:
        label, _ = found.pop()
        holder = found[-1][1]
        if isinstance(holder, Module):
            setattr(holder, label, part)
            return model
        if isinstance(holder, (list, dict)):
            holder[label] = part
            return model
        part = _rebuilt(holder, label, part)  # a tuple: made anew, and put in its place in turn
    raise StructureError(
        "the path of a part that can be assigned",
        got=f"{path!r} in a {type(model).__name__}",
        fix="assign the whole: model = part",
        where="px.set_at",
    )


def _walk(value: Any, parts: list[str]) -> list[tuple[Any, Any]] | None:
    """The way down as (label, value), from the root on; a key of a dict may hold dots. None where it ends early."""
    if not parts:
        return [("", value)]
    for label, child in _children(value):
        text = str(label)
        length = text.count(".") + 1
        if ".".join(parts[:length]) == text:
            below = _walk(child, parts[length:])
            if below is not None:
                return [("", value), (label, below[0][1]), *below[1:]]
    return None


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Module):
        return [(name, getattr(value, name)) for name in vars(value)]
    children = children_of(value)
    return [] if children is None else list(zip(labels_of(value, children), children, strict=True))


def _rebuilt(holder: Any, label: Any, part: Any) -> Any:
    children = children_of(holder)
    assert children is not None
    labels = labels_of(holder, children)
    children[labels.index(label)] = part
    treedef = jax.tree_util.tree_structure(holder, is_leaf=lambda v: v is not holder)
    return jax.tree_util.tree_unflatten(treedef, children)


def _nothing(where: str, model: Any, path: str) -> StructureError:
    parts = steps(path)
    reach = next(n for n in range(len(parts) - 1, -1, -1) if _walk(model, parts[:n]) is not None)
    there, last = ".".join(parts[:reach]), _walk(model, parts[:reach])
    holds = [str(label) for label, _ in _children(last[-1][1])] if last else []
    known = [p for p in [*(modules(model) if isinstance(model, Module) else ()), *paths(model)] if p]
    close = get_close_matches(path, known, 1, 0.7)
    few = ", ".join(holds[:6]) + (" …" if len(holds) > 6 else "")
    fix = f"write {close[0]!r}" if close else f"choose among what is there: {few}" if holds else "end the path there"
    if is_pattern(path):
        fix = "give one path; px.freeze and px.thaw take patterns, px.modules(model) has all paths"
    got = f"{path!r}, of which {there!r} is the last there" if there else repr(path)
    name = model._brief() if isinstance(model, Module) else describe(model)
    return StructureError(f"the path of a part of {name}", got=got, fix=fix, where=where)
