"""What an attribute holds, with its arrays and Modules taken out: a ``Spec``, from which it is made again."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, MappingView
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import jax

from phlox.core._errors import StructureError
from phlox.core._static import static_key
from phlox.core.context._frames import variable_of
from phlox.core.context._here import Node
from phlox.core.module._arrays import Path, displayed, is_array
from phlox.core.module._hidden import USED_UP, refuse_hidden

_DEEPEST = 100  # levels of containers in one attribute: more is one that holds itself
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None), type, FunctionType, BuiltinFunctionType})
_WHOLE = (Node, *USED_UP, MappingView)  # no containers, whatever JAX and Python make of them


class Item:
    """An array or a Module stands here."""

    key: Any = "item"
    size = 1
    bound = False  # holds a bound method of its owner

    def make(self, items: Iterator[Any], owner: Any) -> Any:
        return next(items)


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
            return method_or_partial(self.kind, values)
        return jax.tree_util.tree_unflatten(self.treedef, values)


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
    if kind in _PLAIN or is_array(value) or isinstance(value, _WHOLE):
        return None
    if kind is MethodType:
        return [value.__self__, value.__func__] if isinstance(value.__self__, Node) else None
    if kind is partial or (isinstance(value, partial) and _takes_module(value.func)):
        return [value.func, value.args, value.keywords]
    leaves = jax.tree_util.tree_leaves(value, is_leaf=lambda v: v is not value)
    return None if len(leaves) == 1 and leaves[0] is value else leaves


def _takes_module(function: Any) -> bool:
    """True for a Module or a method of one: a ``jax.tree_util.Partial`` would hide it in its static part."""
    return isinstance(function, Node) or (type(function) is MethodType and isinstance(function.__self__, Node))


def method_or_partial(kind: type, parts: list[Any]) -> Any:
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
    if isinstance(value, Node):
        if value is owner:
            refuse_cycle(owner, path)
        if kind is weakref.ProxyType or kind is weakref.CallableProxyType:  # it says it were a Module
            refuse_hidden(value, path, owner)
        return ITEM
    if kind in _PLAIN:
        if kind is FunctionType and (value.__closure__ or value.__defaults__ or value.__kwdefaults__):
            refuse_hidden(value, path, owner)
        return Static(value)
    if is_own_method(value, owner):
        return OwnMethod(value.__func__)
    children = children_of(value)
    if children is None:
        refuse_hidden(value, path, owner)
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


def refuse_cycle(module: Any, path: Path) -> None:
    """Raise: a Module is found again among its own parts, at ``path`` below it."""
    raise StructureError(
        "a tree of Modules",
        got=f"one that holds itself among its own parts, at {displayed(path)}",
        fix="keep references back to a parent out of the attributes, and pass it as an argument",
        where=f"{variable_of(module) or 'model'} {module._brief()}",
        located=True,
    )
