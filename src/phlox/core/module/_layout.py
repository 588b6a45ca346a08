"""How the attributes of one Module come apart into items (arrays and Modules) and go together again.

A ``Spec`` describes a value with its items taken out. A ``Layout`` is the Spec of all attributes of
a Module with its class and flags: it holds no array, is compared by type and value, and serves as
the static part of the Module's pytree node. An ``Anatomy`` binds a Layout to one living Module: where
each item sits, and what its containers held, so that a later change is noticed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, MappingView
from functools import partial
from operator import is_, itemgetter
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType
from typing import Any

import jax
import numpy as np

from phlox.core import _compat
from phlox.core._errors import StructureError
from phlox.core._static import static_key

Path = tuple[Any, ...]
ARRAY_TYPES = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)
USED_UP = (GeneratorType, map, filter, zip, enumerate, reversed, type(iter([])), type(iter(())))
_DEEPEST = 100  # levels of containers in one attribute: more is one that holds itself
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type, FunctionType, BuiltinFunctionType})

# Filled by _module: the base class, which this file must recognise and cannot import.
module_class: type = type("_NoModuleYet", (), {})


def set_module_class(cls: type) -> None:
    """Tell this file what a Module is."""
    global module_class
    module_class = cls


def is_array(value: Any) -> bool:
    """True for JAX arrays (typed keys and tracers too), NumPy arrays, and shapes that stand for arrays."""
    return type(value) is _compat.ArrayImpl or isinstance(value, ARRAY_TYPES)


def dotted(path: Path) -> str:
    """``('layers', 0, 'weight')`` as ``layers.0.weight``."""
    return ".".join(str(p) for p in path)


def displayed(path: Path) -> str:
    """``('layers', 0, 'weight')`` as ``.layers[0].weight``, to stand behind a variable's name."""
    return "".join(f".{p}" if isinstance(p, str) and p.isidentifier() else f"[{p!r}]" for p in path)


# --- specs -----------------------------------------------------------------------------------------


class Item:
    """An array or a Module stands here."""

    key: Any = "item"
    size = 1
    bound = False  # holds a bound method of its owner

    def make(self, items: Iterator[Any], owner: Any) -> Any:
        return next(items)

    def bind(self, binder: Binder, holder: Any, at: Any, value: Any, path: Path) -> None:
        binder.item(holder, at)


ITEM = Item()


class Static:
    """A value that holds no array."""

    size = 0
    bound = False

    def __init__(self, value: Any):
        self.value = value
        self.key = ("static", static_key(value))

    def make(self, items: Iterator[Any], owner: Any) -> Any:
        return self.value

    def bind(self, binder: Binder, holder: Any, at: Any, value: Any, path: Path) -> None:
        pass


class OwnMethod(Static):
    """A bound method of the very Module that holds it: in a copy it is the copy's."""

    bound = True

    def __init__(self, function: Any):
        self.value = function
        self.key = ("own method", static_key(function))

    def make(self, items: Iterator[Any], owner: Any) -> Any:
        return MethodType(self.value, owner)


class Container:
    """A list, tuple, dict, partial, method of another Module, or registered pytree node; specs for its children."""

    def __init__(self, kind: Any, labels: Path, children: tuple[Any, ...], treedef: Any = None):
        self.kind, self.labels, self.children, self.treedef = kind, labels, children, treedef
        self.size = sum(c.size for c in children)
        self.bound = any(c.bound for c in children)
        self.key = (kind, static_key(labels), tuple(c.key for c in children), treedef)

    def make(self, items: Iterator[Any], owner: Any) -> Any:
        values = [child.make(items, owner) for child in self.children]
        if self.kind is list:
            return values
        if self.kind is tuple:
            return tuple(values)
        if self.kind is dict:
            return dict(zip(self.labels, values, strict=True))
        if self.treedef is None:
            return _method_or_partial(self.kind, values)
        return jax.tree_util.tree_unflatten(self.treedef, values)

    def bind(self, binder: Binder, holder: Any, at: Any, value: Any, path: Path) -> None:
        values = children_of(value)
        if values is None or len(values) != len(self.children) or labels_of(value, values) != self.labels:
            raise StructureError(
                "its containers to stay as they were when it was taken apart",
                got=f"another {type(value).__name__} at {displayed(path)}",
                fix="make the change outside the transformed function; the next call sees it",
                where=f"attribute {path[0]}",
            )
        binder.watch(value)
        inner = binder.enter(holder, at, value)
        for label, child, v in zip(self.labels, self.children, values, strict=True):
            child.bind(inner, value, label, v, (*path, label))


Spec = Item | Static | Container


def is_plain(value: Any) -> bool:
    """True for what is no container and no Module, by its type alone."""
    return type(value) in _PLAIN or is_array(value)


def is_own_method(value: Any, owner: Any) -> bool:
    """True for a bound method of ``owner``."""
    return type(value) is MethodType and value.__self__ is owner


def children_of(value: Any) -> list[Any] | None:
    """The children of a container, one level down; None for what is no container."""
    kind = type(value)
    if kind is list or kind is tuple:
        return list(value)
    if kind is dict:
        return list(value.values())
    if kind in _PLAIN or is_array(value) or isinstance(value, (module_class, *USED_UP, MappingView)):
        return None
    if kind is MethodType:
        return [value.__self__, value.__func__] if isinstance(value.__self__, module_class) else None
    if kind is partial or (isinstance(value, partial) and _takes_module(value.func)):
        return [value.func, value.args, value.keywords]
    leaves = jax.tree_util.tree_leaves(value, is_leaf=lambda v: v is not value)
    return None if len(leaves) == 1 and leaves[0] is value else leaves


def _takes_module(function: Any) -> bool:
    """True for a Module or a method of one: a ``jax.tree_util.Partial`` would hide it in its static part."""
    return isinstance(function, module_class) or (
        type(function) is MethodType and isinstance(function.__self__, module_class)
    )


def _method_or_partial(kind: type, parts: list[Any]) -> Any:
    """A bound method or partial from what ``children_of`` gave."""
    if kind is MethodType:
        return MethodType(parts[1], parts[0])
    function, args, keywords = parts
    made = kind(function)
    made.__setstate__((function, args, keywords, {}))  # these very keywords: slots may point into the dict
    return made


def labels_of(value: Any, children: list[Any]) -> Path:
    """Names of the children: dict keys, namedtuple fields, a method's and a partial's attributes, else positions."""
    if type(value) is dict:
        return tuple(value)
    if type(value) is MethodType:
        return "__self__", "__func__"
    if isinstance(value, partial) and len(children) == 3 and children[0] is value.func:
        return "func", "args", "keywords"
    fields = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple) and len(fields) == len(children):
        return fields
    return tuple(range(len(children)))


def spec_of(value: Any, path: Path, owner: Any) -> Spec:
    """Describe a value by what it holds; ``path`` is for the error, ``owner`` the Module whose attribute it is."""
    if is_array(value):
        return ITEM
    kind = type(value)
    if isinstance(value, module_class):
        if value is owner:
            refuse_cycle(owner, path)
        if kind is weakref.ProxyType or kind is weakref.CallableProxyType:  # it says it were a Module
            _refuse_hidden(value, path, owner)
        return ITEM
    if kind in _PLAIN:
        if kind is FunctionType and (value.__closure__ or value.__defaults__ or value.__kwdefaults__):
            _refuse_hidden(value, path, owner)
        return Static(value)
    if is_own_method(value, owner):
        return OwnMethod(value.__func__)
    children = children_of(value)
    if children is None:
        _refuse_hidden(value, path, owner)
        return Static(value)
    if len(path) > _DEEPEST:
        refuse_cycle(owner, (*path[:3], "…"))
    labels = labels_of(value, children)
    specs = tuple(spec_of(c, (*path, label), owner) for c, label in zip(children, labels, strict=True))
    if kind in (list, tuple, dict):
        return Container(kind, labels, specs)
    if labels and labels[0] in ("func", "__self__") and (kind is MethodType or isinstance(value, partial)):
        made = Container(kind, labels, specs)
        return made if made.size or made.bound else Static(value)
    treedef = jax.tree_util.tree_structure(value, is_leaf=lambda v: v is not value)
    return Container(kind, labels, specs, treedef)


def _refuse_hidden(value: Any, path: Path, owner: Any) -> None:
    from phlox.core.module._hidden import refuse

    refuse(value, path, owner)


def refuse_cycle(module: Any, path: Path) -> None:
    """Raise: a Module is found again among its own parts, at ``path`` below it."""
    from phlox.core.context._trail import variable_of  # which looks into no Module

    raise StructureError(
        "a tree of Modules",
        got=f"one that holds itself among its own parts, at {displayed(path)}",
        fix="keep references back to a parent out of the attributes, and pass it as an argument",
        where=f"{variable_of(module) or 'model'} {module._brief()}",
        located=True,
    )


# --- layouts ---------------------------------------------------------------------------------------


class Layout:
    """A Module with its items taken out; interned, so that equal Layouts are one object."""

    __slots__ = (
        "__weakref__",
        "attrs",
        "auto",
        "cls",
        "forced",
        "frozen",
        "hash",
        "heads",
        "key",
        "paths",
        "pinned",
        "take",
    )

    def __init__(self, cls: Any, attrs: tuple[tuple[str, Spec], ...], flags: tuple[Any, ...], key: Any):
        self.cls, self.attrs, self.key, self.hash = cls, attrs, key, hash(key)
        self.frozen, self.pinned, self.auto = flags
        self.forced: dict[str, Spec] = dict(attrs)  # for copies: what was an item stays one, whatever it holds
        self.paths: tuple[Path, ...] = tuple(p for name, spec in attrs for p in _item_paths(spec, (name,)))
        if cls._veiled:
            self.paths = ((),) * len(self.paths)
        self.heads = tuple(name for name, spec in attrs for _ in range(spec.size))  # each item's attribute
        direct = [name for name, spec in attrs if spec is ITEM]
        simple = all(spec is ITEM or isinstance(spec, Static) for _, spec in attrs)
        self.take: Callable[[dict[str, Any]], tuple[Any, ...]] | None = None
        if simple:
            self.take = (lambda d: ()) if not direct else itemgetter(*direct) if len(direct) > 1 else _Only(direct[0])

    def make(self, items: Iterator[Any], owner: Any) -> dict[str, Any]:
        """Fresh attributes around the given items, for the Module ``owner``."""
        return {name: spec.make(items, owner) for name, spec in self.attrs}

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Layout) and self.hash == other.hash and self.key == other.key)

    def __repr__(self) -> str:
        mode = {True: "trainmode", False: "testmode", None: "training" if self.auto else "automode"}[self.pinned]
        hint = " (combine it with another model by px.map)" if self.auto else ""
        statics = ", ".join(f"{n}={s.value!r}" for n, s in self.attrs if isinstance(s, Static))
        return f"{self.cls.__name__}[{mode}{hint}{', frozen' if self.frozen else ''}]({statics})"


class _Only:
    """``itemgetter`` of one name, as a tuple."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __call__(self, d: dict[str, Any]) -> tuple[Any, ...]:
        return (d[self.name],)


def _item_paths(spec: Spec, path: Path) -> list[Path]:
    if spec is ITEM:
        return [path]
    if isinstance(spec, Container):
        return [p for label, c in zip(spec.labels, spec.children, strict=True) for p in _item_paths(c, (*path, label))]
    return []


_interned: weakref.WeakValueDictionary[Any, Layout] = weakref.WeakValueDictionary()


def intern_layout(cls: type, attrs: tuple[tuple[str, Spec], ...], flags: tuple[Any, ...]) -> Layout:
    """The one Layout of this class, these attributes and flags."""
    key = (cls, flags, tuple((name, spec.key) for name, spec in attrs))
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = Layout(cls, attrs, flags, key)
    return found


# --- binding a layout to a living Module ---------------------------------------------------------------


class Deep:
    """A place inside immutable containers, read and written like an item of a mutable one.

    ``anchor[at]`` is the outermost immutable container, ``way`` the positions from there down. Writing rebuilds
    the containers on the way.
    """

    __slots__ = ("anchor", "at", "way")

    def __init__(self, anchor: Any, at: Any, way: Path):
        self.anchor, self.at, self.way = anchor, at, way

    def __getitem__(self, _: None) -> Any:
        value = self.anchor[self.at]
        for step in self.way:
            value = value[step] if type(value) is tuple else children_of(value)[step]  # type: ignore[index]
        return value

    def __setitem__(self, _: None, value: Any) -> None:
        self.anchor[self.at] = _replaced(self.anchor[self.at], self.way, value)


def _replaced(node: Any, way: Path, value: Any) -> Any:
    if not way:
        return value
    children = children_of(node)
    assert children is not None
    children[way[0]] = _replaced(children[way[0]], way[1:], value)
    if type(node) is tuple:
        return tuple(children)
    if type(node) is MethodType or isinstance(node, partial):
        return _method_or_partial(type(node), children)
    return _compat.rebuild_one_level(node, children)


class Binder:
    """Walks a Spec along a living value, noting where the items are and what the containers hold."""

    __slots__ = ("anchor", "slots", "snaps")

    def __init__(self) -> None:
        self.slots: list[tuple[Any, Any]] = []
        self.snaps: list[Snap] = []
        self.anchor: tuple[Any, Any, Path] | None = None

    def item(self, holder: Any, at: Any) -> None:
        if self.anchor is not None:
            anchor, key, way = self.anchor
            position = children_of(holder)
            assert position is not None
            step = at if isinstance(at, int) else labels_of(holder, position).index(at)
            self.slots.append((Deep(anchor, key, (*way, step)), None))
        else:
            self.slots.append((holder, at))

    def watch(self, value: Any) -> None:
        if not isinstance(value, (tuple, MethodType, partial)):
            self.snaps.append(Snap(value))

    def enter(self, holder: Any, at: Any, value: Any) -> Binder:
        """The binder for what is inside ``value``: anchored from the first immutable container on."""
        if type(value) in (list, dict) and self.anchor is None:
            return self
        inner = Binder()
        inner.slots, inner.snaps = self.slots, self.snaps
        if type(value) in (list, dict):
            return inner  # a list inside a tuple can be written in place again
        if self.anchor is None:
            inner.anchor = (holder, at, ())
        else:
            anchor, key, way = self.anchor
            siblings = children_of(holder)
            assert siblings is not None
            step = at if isinstance(at, int) else labels_of(holder, siblings).index(at)
            inner.anchor = (anchor, key, (*way, step))
        return inner


_BY_IDENTITY = (FunctionType, BuiltinFunctionType)


class Snap:
    """What a mutable container held. In lists and dicts arrays may change; anything else is a change of structure."""

    __slots__ = ("container", "expected", "keys", "mode")

    def __init__(self, container: Any):
        self.container = container
        values = children_of(container)
        assert values is not None
        self.keys = tuple(container) if type(container) is dict else None
        self.expected: list[Any] = [ITEM if is_array(v) else v for v in values]
        if type(container) not in (list, dict):
            self.mode, self.expected = "node", values
        elif any(v is ITEM for v in self.expected):
            self.mode = "arrays"
        elif type(container) is list and all(
            type(v) in _BY_IDENTITY or (isinstance(v, module_class) and type(v).__eq__ is object.__eq__)
            for v in self.expected
        ):
            self.mode = "equal"  # list == compares identities first, at C speed
        else:
            self.mode = "identical"

    def unchanged(self) -> bool:
        if self.mode == "equal":
            return self.container == self.expected
        container, expected = self.container, self.expected
        if self.mode == "identical":
            if type(container) is list:
                return len(container) == len(expected) and all(map(is_, container, expected))
            return self._same_keys() and all(map(is_, container.values(), expected))
        values = children_of(container)
        if values is None or len(values) != len(expected) or not self._same_keys():
            return False
        return all(v is e or (e is ITEM and is_array(v)) for v, e in zip(values, expected, strict=True))

    def _same_keys(self) -> bool:
        return self.keys is None or (len(self.container) == len(self.keys) and all(map(is_, self.container, self.keys)))


class Anatomy:
    """A Layout bound to one Module, as of one version of it."""

    __slots__ = ("layout", "slots", "snaps", "version")

    def __init__(self, attributes: dict[str, Any], layout: Layout, version: int):
        binder = Binder()
        for name, spec in layout.attrs:
            if spec is ITEM:
                binder.slots.append((attributes, name))
            elif isinstance(spec, Container):
                spec.bind(binder, attributes, name, attributes[name], (name,))
        self.layout, self.version = layout, version
        self.slots, self.snaps = binder.slots, binder.snaps

    def items(self) -> list[Any]:
        """The arrays and Modules, in the Layout's order."""
        return [holder[at] for holder, at in self.slots]
