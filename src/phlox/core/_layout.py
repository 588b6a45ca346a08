"""How the attributes of one Module come apart into items (arrays and Modules) and go together again.

A ``Spec`` describes a value with its items taken out. A ``Layout`` is the Spec of all attributes of
a Module with its class and flags: it holds no array, is compared by type and value, and serves as
the static part of the Module's pytree node. An ``Anatomy`` binds a Layout to one living Module: where
each item sits, and what its containers held, so that a later change is noticed.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from operator import is_, itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import jax
import numpy as np

from phlox.core import _compat
from phlox.core._errors import StructureError, describe
from phlox.core._static import static_key

Path = tuple[Any, ...]
ARRAY_TYPES = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)
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

    def make(self, items: Iterator[Any]) -> Any:
        return next(items)

    def bind(self, binder: Binder, holder: Any, at: Any, value: Any, path: Path) -> None:
        binder.item(holder, at)


ITEM = Item()


class Static:
    """A value that holds no array."""

    size = 0

    def __init__(self, value: Any):
        self.value = value
        self.key = ("static", static_key(value))

    def make(self, items: Iterator[Any]) -> Any:
        return self.value

    def bind(self, binder: Binder, holder: Any, at: Any, value: Any, path: Path) -> None:
        pass


class Container:
    """A list, tuple, dict or registered pytree node with specs for its children."""

    def __init__(self, kind: Any, labels: Path, children: tuple[Any, ...], treedef: Any = None):
        self.kind, self.labels, self.children, self.treedef = kind, labels, children, treedef
        self.size = sum(c.size for c in children)
        self.key = (kind, static_key(labels), tuple(c.key for c in children), treedef)

    def make(self, items: Iterator[Any]) -> Any:
        values = [child.make(items) for child in self.children]
        if self.kind is list:
            return values
        if self.kind is tuple:
            return tuple(values)
        if self.kind is dict:
            return dict(zip(self.labels, values, strict=True))
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


def children_of(value: Any) -> list[Any] | None:
    """The children of a container, one level down; None for what is no container."""
    kind = type(value)
    if kind is list or kind is tuple:
        return list(value)
    if kind is dict:
        return list(value.values())
    if kind in _PLAIN or is_array(value) or isinstance(value, module_class):
        return None
    leaves = jax.tree_util.tree_leaves(value, is_leaf=lambda v: v is not value)
    return None if len(leaves) == 1 and leaves[0] is value else leaves


def labels_of(value: Any, children: list[Any]) -> Path:
    """Names of the children: dict keys, namedtuple fields, else positions."""
    if type(value) is dict:
        return tuple(value)
    fields = getattr(type(value), "_fields", None)
    if isinstance(value, tuple) and isinstance(fields, tuple) and len(fields) == len(children):
        return fields
    return tuple(range(len(children)))


def spec_of(value: Any, path: Path) -> Spec:
    """Describe a value by what it holds; ``path`` is for the error."""
    if is_array(value) or isinstance(value, module_class):
        return ITEM
    kind = type(value)
    if kind in _PLAIN:
        return Static(value)
    children = children_of(value)
    if children is None:
        refuse_hidden_arrays(value, path)
        return Static(value)
    labels = labels_of(value, children)
    specs = tuple(spec_of(c, (*path, label)) for c, label in zip(children, labels, strict=True))
    if kind in (list, tuple, dict):
        return Container(kind, labels, specs)
    treedef = jax.tree_util.tree_structure(value, is_leaf=lambda v: v is not value)
    return Container(kind, labels, specs, treedef)


def refuse_hidden_arrays(value: Any, path: Path) -> None:
    """Raise where a container that JAX does not know holds an array or a Module: both would be frozen."""
    if isinstance(value, (set, frozenset, deque)):
        inner: Any = value
    elif isinstance(value, (np.ndarray, np.generic, type)):
        return
    elif isinstance(value, MethodType):
        inner = ()  # a bound method reads its owner when it is called; the guard speaks then
    else:
        inner = getattr(value, "__dict__", {}).values() if not callable(value) else ()
    for v in list(inner):
        if is_array(v) or isinstance(v, module_class):
            raise StructureError(
                "arrays and Modules in lists, tuples, dicts, Modules or registered pytrees",
                got=f"a {type(value).__name__} at {displayed(path)} that holds {describe(v)}, which JAX cannot see",
                fix=f"use a list, tuple or dict for {displayed(path)}"
                if isinstance(value, (set, frozenset, deque))
                else f"make {type(value).__name__} a px.Module, or register it with jax.tree_util.register_dataclass",
                where=f"attribute {path[0]}",
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

    def make(self, items: Iterator[Any]) -> dict[str, Any]:
        """Fresh attributes around the given items."""
        return {name: spec.make(items) for name, spec in self.attrs}

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
        if not isinstance(value, tuple):
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
            type(v) in _BY_IDENTITY or isinstance(v, module_class) for v in self.expected
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
