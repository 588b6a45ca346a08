"""px.compress.drop_layers: whole layers removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from phlox.compress._layers import check_model
from phlox.core import Module, StructureError, Where, chosen_paths, copy, eval_shape, modules, tree_map
from phlox.nn import RepeatedLayer

M = TypeVar("M", bound=Module)
_WHERE = "px.compress.drop_layers"


def drop_layers(model: M, where: Where, *inputs: Any) -> M:
    """A copy of a model without some of its layers, the others as they were.

    What a layer is given goes to the next one: of residual blocks the sum that they add to is left. Layers that stand
    in a list, tuple or dict of the model can go, those of ``px.Chain`` and blocks of ``px.models`` among them, and
    rounds of a ``RepeatedLayer``, whose paths end with their number: ``"trunk.3"``.

    Arguments:
        model: a model.
        where: which layers: a path or pattern, several, or a predicate (path, layer).
        inputs: what the model is called with; only shapes and dtypes count.

    Raises:
        RangeError: a choice that means no such layer.
        StructureError: nothing would be left of a list, or the model would not run, or give another form.

    Source: Fan, Grave and Joulin, "Reducing transformer depth on demand with structured dropout", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.Chain(px.Dense(4, 8), *(px.Dense(8, 8, px.relu) for _ in range(6)), px.Dense(8, 3))
    >>> small = px.compress.drop_layers(model, ["layers.2", "layers.4"], jnp.ones((1, 4)))
    >>> len(small), small(jnp.ones((1, 4))).shape
    (6, (1, 3))
    """
    check_model(model, _WHERE)
    whole = _form(model, inputs)
    model = copy(model)
    layers = {path: layer for path, layer in _able(model) if path}
    meant = chosen_paths(where, layers, layers, "layer in a list", _WHERE)
    gone = {path for path in meant if not any(path.startswith(f"{other}.") for other in meant)}
    for path, holder in modules(model).items():
        begin = f"{path}." if path else ""
        if isinstance(holder, RepeatedLayer):
            _drop_rounds(holder, [t for t in range(len(holder)) if f"{begin}{t}" in gone], path)
        for name, value in list(vars(holder).items()):
            left = _left(value, f"{begin}{name}", gone)
            if left is not value:
                setattr(holder, name, left)
    if (form := _form(model, inputs)) != whole:
        fix = "drop layers whose results have the form of what they are given"
        raise StructureError(f"results as before, {whole}", got=form, fix=fix, where=_WHERE)
    return model


def _form(model: Module, inputs: Any) -> str:
    """The shapes and dtypes of what a model gives, in words."""
    try:
        made = eval_shape(model, *inputs)
    except Exception as error:
        got, fix = str(error).splitlines()[0][:200], "drop layers whose results have the form of what they are given"
        raise StructureError("a model that runs on these inputs", got=got, fix=fix, where=_WHERE) from error
    return ", ".join(f"{one.dtype}{list(one.shape)}" for one in jax.tree.leaves(made))


def _able(model: Module) -> Iterator[tuple[str, Module]]:
    """The layers that can be dropped, by path."""
    for path, holder in modules(model).items():
        begin = f"{path}." if path else ""
        if isinstance(holder, RepeatedLayer):
            yield from ((f"{begin}{t}", holder.block) for t in range(len(holder)) if not holder.share)
        for name, value in vars(holder).items():
            yield from _inside(value, f"{begin}{name}")


def _inside(value: Any, path: str) -> Iterator[tuple[str, Module]]:
    """The layers in a container, at any depth."""
    for key, item in _items(value):
        if isinstance(item, Module):
            yield f"{path}.{key}", item
        yield from _inside(item, f"{path}.{key}")


def _items(value: Any) -> list[tuple[Any, Any]]:
    """What stands in a list, tuple or dict, by number or key."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if type(value) in (list, tuple) else []


def _left(value: Any, path: str, gone: set[str]) -> Any:
    """A container without the layers that go; itself where none does."""
    items = _items(value)
    kept = {key: _left(item, f"{path}.{key}", gone) for key, item in items if f"{path}.{key}" not in gone}
    if len(kept) == len(items) and all(kept[key] is item for key, item in items):
        return value
    if not kept:
        fix = "leave one, or replace the whole by px.identity"
        raise StructureError(f"a layer of {path} that stays", got=f"all {len(items)}", fix=fix, where=_WHERE)
    return kept if isinstance(value, dict) else type(value)(kept.values())


def _drop_rounds(holder: RepeatedLayer[Any], gone: list[int], path: str) -> None:
    """Take rounds out of stacked blocks, in place."""
    if not gone:
        return
    kept = np.setdiff1d(np.arange(len(holder)), gone)
    if not kept.size:
        fix = "leave one, or replace the whole by px.identity"
        raise StructureError(f"a round of {path} that stays", got=f"all {len(gone)}", fix=fix, where=_WHERE)
    holder.block = tree_map(lambda array: array[kept], holder.block)
    holder.repeats = len(kept)
