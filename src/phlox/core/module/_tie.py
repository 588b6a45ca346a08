"""Arrays that are one: ``px.tie`` makes an attribute read through to another, and ``px.untie`` gives it its own again.

The array goes into a small Module, ``Tied``, that stands in every owner where the array stood. Sharing of Modules is
what every transform, file and optimiser keeps, so one ``Tied`` has one gradient, one slot and one entry. Its place in
a path is empty: the array's path is that of the attribute. An owner gets a class of its own, whose attribute reads and
writes the array, transposed where that was asked for. Models that tie nothing have neither.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp

from phlox.core._errors import ShapeError, StructureError, describe
from phlox.core.context._scope import check_write
from phlox.core.module._anatomy import touch
from phlox.core.module._arrays import dotted, is_array
from phlox.core.module._module import Module, Param
from phlox.core.module._plan import ARRAY, Plan, plan_of
from phlox.core.transforms._disguise import put_on

M = TypeVar("M", bound=Module)
Ties = tuple[tuple[str, bool], ...]  # attribute, and whether it is the transpose of the array


class Tied(Module):
    """One array that is an attribute of several Modules."""

    value: Param
    _veiled: ClassVar[bool] = True  # paths do not show it

    def __init__(self, value: Any):
        self.value = value


@dataclass(frozen=True)
class _Place:
    """Where an array stands: an attribute of a Module; ``direct`` is False inside a list, tuple or dict."""

    module: Module
    name: str
    order: tuple[int, int]
    direct: bool
    state: bool
    frozen: bool

    @property
    def cell(self) -> Tied | None:
        held = self.module.__dict__[self.name]
        return held if isinstance(held, Tied) else None

    @property
    def flipped(self) -> bool:
        return dict(ties_of(type(self.module))).get(self.name, False)


def tie(model: M, path: str, to: str, *, transpose: bool = False) -> M:
    """Make the array at one path the array at another: one parameter, wherever the model goes.

    There is one gradient, the sum over both uses, one slot in an optimiser and one entry in a file, under the first
    path. ``model.head.weight`` reads as an array still, transposed where asked; assigning to either writes both.
    Ties hold in copies, under every px transform, in files and pickles. Call it where the model is built, also with
    ``self`` in a constructor; for an optimiser that is there already, call ``opt.sync(model)``.

    Assigning alone, ``self.head.weight = self.embed.weight``, gives two parameters that part at the first step. A whole
    layer is shared by assigning it: ``self.head = self.embed``.

    Arguments:
        model: the Module that both paths start from, changed in place and returned.
        path: what gives up its own array, ``"head.weight"``.
        to: what it is from now on, ``"embed.weight"``.
        transpose: swap the last two axes: a Dense weight (in, out) of an Embedding's (num, dim).

    Raises:
        StructureError: no array at a path, one inside a list, or State.
        ShapeError: arrays of different shapes or dtypes.

    Source: Press and Wolf, "Using the output embedding to improve language models", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> class LM(px.Module):
    ...     def __init__(self):
    ...         self.embed, self.head = px.Embedding(9, 4), px.Dense(4, 9, bias=False)
    ...         px.tie(self, "head.weight", "embed.weight", transpose=True)
    ...     def __call__(self, tokens):
    ...         return self.head(self.embed(tokens))
    >>> model = LM()
    >>> model.head.weight.shape, list(px.paths(model))
    ((4, 9), ['embed.weight'])
    """
    places = _places(model)
    mine, source = _found(places, path, model, "px.tie"), _found(places, to, model, "px.tie")
    if (mine.module, mine.name) == (source.module, source.name):
        raise StructureError(
            "two arrays",
            got=f"{path} and {to}, which are one attribute of one Module",
            fix="nothing: they are shared already",
            where="px.tie",
        )
    _check_fit(mine, source, path, to, transpose)
    for place in (mine, source):
        if not place.module._px.at_home():
            check_write(place.module, place.name)
    cell = source.cell
    if cell is None:
        first = min(mine, source, key=lambda place: place.order)
        flip = transpose and first is mine  # the array lies as its first path has it
        cell = Tied(_turned(getattr(source.module, source.name), flip))
        cell._px.frozen = source.frozen
        _attach(source, cell, flip)
    _attach(mine, cell, source.flipped != transpose)
    return model


def untie(model: M, path: str) -> M:
    """Give an attribute that ``px.tie`` tied an array of its own again, equal to what it reads now.

    Where one attribute is then left of those that were tied, it is an ordinary one too.

    Raises:
        StructureError: no array at the path, or one that is not tied.

    >>> import phlox as px
    >>> model = px.tie(px.Chain(px.Dense(2, 2), px.Dense(2, 2)), "layers.1.weight", "layers.0.weight")
    >>> list(px.paths(px.untie(model, "layers.1.weight")))
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """
    places = _places(model)
    place = _found(places, path, model, "px.untie")
    cell = place.cell
    if cell is None:
        tied = [p for p, other in places.items() if other.cell is not None]
        raise StructureError(
            "an attribute that px.tie tied",
            got=f"{path}, which is not",
            fix=f"choose among {', '.join(tied)}" if tied else "nothing in this model is tied",
            where="px.untie",
        )
    left = {(id(p.module), p.name): p for p in places.values() if p.cell is cell}
    if not place.module._px.at_home():
        check_write(place.module, place.name)
    del left[id(place.module), place.name]
    _release(place, cell)
    if len(left) == 1:
        _release(next(iter(left.values())), cell)
    return model


def warn_of_one_array_twice(model: Module) -> None:
    """Warn where one array of two axes or more is trained at two paths, which part at the first step."""
    plan = plan_of([model])
    structure = plan.structure
    seen: dict[int, int] = {}
    for i, value in enumerate(plan.gather()):
        if getattr(value, "ndim", 0) < 2 or not structure.is_trainable(i, value):
            continue
        first = seen.setdefault(id(value), i)
        if first != i:
            a, b = structure.names()[first], structure.names()[i]
            warnings.warn(
                f"one array is trained at {a} and at {b}: two parameters, which part at the first step. If they are "
                f'to be one, px.tie(model, "{b}", "{a}"); if not, give each its own, px.copy(array).',
                stacklevel=3,
            )
            return


# --- classes -----------------------------------------------------------------------------------------


def ties_of(cls: type) -> Ties:
    """What attributes of a class read through, and how."""
    return getattr(cls, "_ties", ())


def plain_class(cls: type[Module]) -> type[Module]:
    """The class that a tied Module's user wrote."""
    return getattr(cls, "_plain", cls)


@functools.cache
def tied_class(cls: type[Module], ties: Ties) -> type[Module]:
    """A class like ``cls`` with attributes that read through a ``Tied``; made once."""
    if not ties:
        return cls
    body: dict[str, Any] = {name: _attribute(name, flipped) for name, flipped in ties}
    body |= {"_ties": ties, "_plain": cls, "__reduce_ex__": _reduced}
    body |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), body)


def _attribute(name: str, flipped: bool) -> property:
    def read(self: Module) -> Any:
        held = self.__dict__[name]
        if not isinstance(held, Tied):  # a wrapper lent it a computed array
            return held
        return _turned(held.value, flipped)

    def write(self: Module, value: Any) -> None:
        held = self.__dict__[name]
        if not isinstance(held, Tied) or not is_array(value):
            _refuse(self, f"a value of type {type(value).__name__}")
        held.value = _turned(value, flipped)

    return property(read, write, lambda self: _refuse(self, "a deletion"))


def _refuse(module: Module, got: str) -> Any:
    names = " and ".join(name for name, _ in ties_of(type(module)))
    raise StructureError(
        f"an array for {names}, which px.tie tied",
        got=got,
        fix="untie it first: px.untie(model, path)",
        where=module._brief(),
    )


def _reduced(self: Module, protocol: Any) -> Any:
    del protocol
    cls: Any = type(self)
    return _restored, (cls._plain, cls._ties), self.__getstate__()


def _restored(cls: type[Module], ties: Ties) -> Module:
    return Module.__new__(tied_class(cls, ties))


def _turned(value: Any, flipped: bool) -> Any:
    """The array with its last two axes swapped; what stands for one in a mapped tree stays."""
    if not flipped or not is_array(value):
        return value
    if isinstance(value, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((*value.shape[:-2], value.shape[-1], value.shape[-2]), value.dtype)
    return jnp.swapaxes(value, -1, -2)


def _attach(place: _Place, cell: Tied, flipped: bool) -> None:
    _become(place, cell, {place.name: flipped})


def _release(place: _Place, cell: Tied) -> None:
    value = getattr(place.module, place.name)
    own = value if isinstance(value, jax.ShapeDtypeStruct) else jnp.array(value, copy=True)
    _become(place, own, {})
    if cell._px.frozen and place.module._px.frozen is not True:
        place.module._px.frozen = frozenset(place.module._px.frozen or ()) | {place.name}
        touch(place.module._px)


def _become(place: _Place, held: Any, tie: dict[str, bool]) -> None:
    """Put what it now holds into a Module's attribute, and give the Module the class for it."""
    module = place.module
    ties = {name: flipped for name, flipped in ties_of(type(module)) if name != place.name} | tie
    module.__dict__[place.name] = held
    touch(module._px, place.name)
    put_on(module, tied_class(plain_class(type(module)), tuple(sorted(ties.items()))))


# --- places ------------------------------------------------------------------------------------------


def _places(model: Module) -> dict[str, _Place]:
    """Where the arrays of a model stand, by every path to them."""
    plan = plan_of([model])
    structure = plan.structure
    index = {leaf: i for i, leaf in enumerate(structure.leaves)}
    found: dict[str, _Place] = {}
    ends: list[tuple[int, tuple[Any, ...]]] = [(structure.roots[0], ())]
    while ends:
        m, path = ends.pop()
        layout, kinds = structure.nodes[m]
        for i, kind in enumerate(kinds):
            here = (*path, *layout.paths[i])
            leaf = _leaf(plan, index, m, i, kind)
            if leaf is not None:
                direct, state, frozen = len(layout.paths[i]) == 1, structure.is_state(leaf), structure.is_frozen(leaf)
                found[dotted(here)] = _Place(plan.module(m), layout.heads[i], (m, i), direct, state, frozen)
            elif isinstance(kind, int):
                ends.append((kind, here))
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def _leaf(plan: Plan, index: dict[tuple[int, int], int], m: int, item: int, kind: Any) -> int | None:
    """Which leaf an item is, by itself or as a ``Tied``; None for other Modules."""
    if kind == ARRAY:
        return index[m, item]
    if isinstance(kind, int) and plan.structure.nodes[kind][0].cls._veiled:
        return index.get((kind, 0))
    return None


def _found(places: dict[str, _Place], path: Any, model: Module, where: str) -> _Place:
    """The place at a path, if it is one that can be tied."""
    expected, fix = f"the path of an array of this {type(model).__name__}", _examples(places)
    if not isinstance(path, str):
        same = [p for p, place in places.items() if getattr(place.module, place.name, None) is path]
        got = f"the array at {same[0]} itself" if same else describe(path)
        raise StructureError(expected, got=got, fix=fix, where=where)
    place = places.get(path)
    if place is None:
        raise StructureError(expected, got=repr(path), fix=fix, where=where)
    if not place.direct or place.state:
        raise StructureError(
            "an attribute of a Module that holds a parameter",
            got=f"{path}, which is " + ("State" if place.state else f"inside a container of {place.module._brief()}"),
            fix="share the Module that holds it" if place.state else "make it an attribute of a Module of its own",
            where=where,
        )
    return place


def _examples(places: dict[str, _Place]) -> str:
    named = [p for p, place in places.items() if place.direct and not place.state]
    return f"name two of its paths as text, such as {', '.join(map(repr, named[:3]))}"


def _check_fit(mine: _Place, source: _Place, path: str, to: str, transpose: bool) -> None:
    old, new = getattr(mine.module, mine.name), getattr(source.module, source.name)
    turned = (*new.shape[:-2], *new.shape[:-3:-1])
    if transpose and new.ndim < 2:
        raise ShapeError(
            "two axes or more to transpose", got=f"{to} {describe(new)}", fix="leave transpose out", where="px.tie"
        )
    if (old.shape, old.dtype) == (turned if transpose else new.shape, new.dtype):
        return
    other = (*new.shape[:-2], *new.shape[:-3:-1]) if not transpose else new.shape
    fits = old.dtype == new.dtype and old.shape == other
    raise ShapeError(
        f"{path} {describe(old)} to be {'the transpose of ' if transpose else ''}{to}",
        got=f"{to} {describe(new)}",
        fix=("leave transpose out" if transpose else "pass transpose=True")
        if fits
        else "build both of the same sizes and dtype",
        where="px.tie",
    )
