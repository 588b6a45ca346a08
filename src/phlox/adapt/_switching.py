"""Which adapters are in use; adapters taken out; what there is, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax.numpy as jnp

from phlox.adapt._attaching import names_in, put_in_use, refuse_while_merged, wrappers
from phlox.adapt._choosing import check_model
from phlox.core import Module, RangeError, paths, replaced, trainable_arrays

M = TypeVar("M", bound=Module)


def use(model: M, name: str | Iterable[str] | None) -> M:
    """Let an adapter compute, several that add up, or with None the bare model; in place.

    What is in use trains, what rests is frozen.

    Arguments:
        model: a model with adapters.
        name: one of ``px.adapt.adapters(model).names``, several of them, or None.

    Raises:
        RangeError: a name that no adapter has.
        StructureError: adapters are merged.

    >>> import jax.numpy as jnp, phlox as px
    >>> model = px.adapt.lora(px.Chain(px.Dense(3, 2)), 1, where="*", name="a")
    >>> model = px.adapt.lora(model, 1, where="*", name="b")
    >>> px.adapt.use(model, ["a", "b"])[0].active, px.adapt.use(model, None)[0].active
    (('a', 'b'), ())
    """
    check_model(model, "px.adapt.use")
    names = chosen_names(model, () if name is None else name, "px.adapt.use")
    refuse_while_merged(model, "px.adapt.use")
    put_in_use(model, names)
    return model


def remove(model: M, name: str) -> M:
    """Take an adapter out of a model, in place; layers that had no other are themselves again.

    The base weights are as they were before. The model is given back, which is another object only where it is itself
    a layer that was adapted.

    Arguments:
        model: a model with adapters.
        name: of the adapter.

    Raises:
        RangeError: a name that no adapter has.
        StructureError: adapters are merged.

    >>> import phlox as px
    >>> model = px.adapt.lora(px.Chain(px.Dense(3, 2)), where="*")
    >>> type(px.adapt.remove(model, "default")[0]).__name__
    'Dense'
    """
    check_model(model, "px.adapt.remove")
    (gone,) = chosen_names(model, (name,), "px.adapt.remove")
    refuse_while_merged(model, "px.adapt.remove")
    empty: dict[int, Module] = {}
    for wrapper in wrappers(model).values():
        wrapper.adapters = {key: part for key, part in wrapper.adapters.items() if key != gone}
        wrapper.active = tuple(key for key in wrapper.active if key != gone)
        if not wrapper.adapters:
            empty[id(wrapper)] = wrapper.layer
    return replaced(model, empty, "px.adapt.remove")


def chosen_names(model: Module, names: str | Iterable[str], where: str) -> tuple[str, ...]:
    """Names of adapters that there are.

    Raises:
        RangeError: another one.
    """
    given, known = ((names,) if isinstance(names, str) else tuple(names)), names_in(model)
    for name in given:
        if name not in known:
            fix = f"choose among {', '.join(map(repr, known))}" if known else "make one: px.adapt.lora(model)"
            raise RangeError("the name of an adapter of the model", got=repr(name)[:100], fix=fix, where=where)
    return given


@dataclass(frozen=True)
class Part:
    """An adapter in one layer."""

    name: str
    path: str
    """Of the layer, as it is without adapters."""
    kind: str
    """``"LoRA"``, ``"DoRA"``, ``"IA³"``, ``"prefix"`` or ``"whole"``."""
    rank: int | None
    parameters: int
    """How many numbers it has."""
    state: str
    """``"in use"``, ``"merged"`` or ``"resting"``."""


@dataclass(frozen=True)
class Report:
    """The adapters of a model; printed, a table."""

    parts: tuple[Part, ...]
    trained: int
    """How many of the model's numbers train."""
    total: int
    """How many it has, adapters included."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the adapters."""
        return tuple(dict.fromkeys(part.name for part in self.parts))

    def __str__(self) -> str:
        rows = [("adapter", "layer", "kind", "rank", "parameters", "")]
        rows += [
            (one.name, one.path, one.kind, str(one.rank or ""), f"{one.parameters:,}", one.state) for one in self.parts
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        share = f"{self.trained:,} of {self.total:,} parameters train ({self.trained / max(self.total, 1):.2%})"
        return "\n".join([*lines, share])


def adapters(model: Module) -> Report:
    """What adapters a model has: where, of which kind and rank, with how many parameters.

    Arguments:
        model: any model.

    >>> import phlox as px
    >>> print(px.adapt.adapters(px.adapt.lora(px.Chain(px.Dense(6, 4), px.relu), 2, where="*")))
    adapter  layer     kind  rank  parameters
    default  layers.0  LoRA  2     20          in use
    20 of 48 parameters train (41.67%)
    """
    check_model(model, "px.adapt.adapters")
    parts = [
        Part(name, path, part.kind, part.rank, _count(part), _state(wrapper, name))
        for path, wrapper in wrappers(model).items()
        for name, part in wrapper.adapters.items()
    ]
    order = names_in(model)
    trained = sum(array.size for array in trainable_arrays(model).values())
    merged = sum(array.size for one in wrappers(model).values() for array in (one.merged or {}).values())
    total = _count(model) - merged  # which stand beside the layers' own
    return Report(tuple(sorted(parts, key=lambda part: order.index(part.name))), trained, total)


def _state(wrapper: Any, name: str) -> str:
    if name not in wrapper.active:
        return "resting"
    return "in use" if wrapper.merged is None else "merged"


def _count(model: Module) -> int:
    return sum(array.size for array in paths(model).values() if jnp.issubdtype(array.dtype, jnp.inexact))
