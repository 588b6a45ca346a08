"""Adapters computed into weights, and weights given back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from phlox.adapt._attaching import mark_trainable, wrappers
from phlox.adapt._choosing import check_model
from phlox.adapt._switching import chosen_names
from phlox.core import Module, StructureError, copy, replaced

M = TypeVar("M", bound=Module)


def merge(model: M, name: str | Iterable[str] | None = None, *, keep: bool = True) -> M:
    """Compute adapters into the weights, so that a model with them costs what the bare one does; in place.

    The layers' own arrays are kept, and what is merged does not train. Merging always begins from these, so that doing
    it again, or with other adapters, adds nothing twice.

    Arguments:
        model: a model with adapters.
        name: of the adapter, or several; None for those in use. The others rest.
        keep: whether the wrappers stay, for ``px.adapt.unmerge``; without, layers are themselves again, with new
            weights, and all adapters are gone.

    Raises:
        RangeError: a name that no adapter has.
        StructureError: a prefix, which is no change of weights; nothing is changed then.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.adapt.lora(px.Chain(px.Dense(3, 2)), where="*")
    >>> px.adapt.adapters(px.adapt.merge(model)).parts[0].state, type(px.adapt.merge(model, keep=False)[0]).__name__
    ('merged', 'Dense')
    """
    where = "px.adapt.merge"
    check_model(model, where)
    found = wrappers(model)
    names = None if name is None else chosen_names(model, name, where)
    before = {path: (wrapper.active, wrapper.merged) for path, wrapper in found.items()}
    try:
        for wrapper in found.values():
            wrapper.merged = None
            wrapper.active = wrapper.active if names is None else names
        arrays = {path: wrapper.changed_arrays() if wrapper.used else None for path, wrapper in found.items()}
    except StructureError:
        for path, wrapper in found.items():
            wrapper.active, wrapper.merged = before[path]
        raise
    for path, wrapper in found.items():
        wrapper.merged = arrays[path]
    mark_trainable(model)
    return model if keep else replaced(model, {id(one): one.plain() for one in found.values()}, where)


def unmerge(model: M) -> M:
    """Give layers their own arrays back, bit for bit, with adapters beside them as before; in place.

    Where nothing is merged, nothing happens.

    Arguments:
        model: a model with adapters.

    >>> import phlox as px
    >>> model = px.adapt.merge(px.adapt.lora(px.Chain(px.Dense(3, 2)), where="*"))
    >>> px.adapt.adapters(px.adapt.unmerge(model)).parts[0].state
    'in use'
    """
    check_model(model, "px.adapt.unmerge")
    for wrapper in wrappers(model).values():
        wrapper.merged = None
    mark_trainable(model)
    return model


def plain(model: M, where: str) -> M:
    """A model without wrappers, whose adapters are merged, or rest; a copy where there are any.

    Arguments:
        model: any model.
        where: the function that speaks in errors.

    Raises:
        StructureError: an adapter in use that is not merged.
    """
    if beside := [path for path, wrapper in wrappers(model).items() if wrapper.computing]:
        raise StructureError(
            "a model whose adapters are merged, or rest",
            got=f"one in use at {beside[0]}",
            fix="call px.adapt.merge(model) first, or write the adapter alone: px.adapt.save(model, folder)",
            where=where,
        )
    if not wrappers(model):
        return model
    twin = copy(model)
    return replaced(twin, {id(one): one.plain() for one in wrappers(twin).values()}, where)


def without(model: M) -> M:
    """A copy of a model as it is without adapters."""
    twin = copy(model)
    return replaced(twin, {id(one): one.layer for one in wrappers(twin).values()}, "px.adapt")
