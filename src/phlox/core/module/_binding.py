"""A Spec bound to a living value: where each item sits, and what the containers held, so that a change is noticed."""

from __future__ import annotations

from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from phlox.core import _compat
from phlox.core._errors import StructureError
from phlox.core.context._here import Node
from phlox.core.module._arrays import Path, displayed, is_array
from phlox.core.module._spec import ITEM, Container, Spec, children_of, labels_of, method_or_partial


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
        return method_or_partial(type(node), children)
    return _compat.rebuild_one_level(node, children)


class Binder:
    """Walks a Spec along a living value, noting where the items are and what the containers hold."""

    __slots__ = ("anchor", "slots", "snaps")

    def __init__(self) -> None:
        self.slots: list[tuple[Any, Any]] = []
        self.snaps: list[Snap] = []
        self.anchor: tuple[Any, Any, Path] | None = None

    def bind(self, spec: Spec, holder: Any, at: Any, value: Any, path: Path) -> None:
        """Go through the ``value`` that sits at ``holder[at]``, along its Spec; ``path`` is for the error."""
        if spec is ITEM:
            self.slots.append((holder, at) if self.anchor is None else (self._deep(holder, at), None))
        elif isinstance(spec, Container):
            self._container(spec, holder, at, value, path)

    def _container(self, spec: Container, holder: Any, at: Any, value: Any, path: Path) -> None:
        values = children_of(value)
        if values is None or len(values) != len(spec.children) or labels_of(value, values) != spec.labels:
            raise StructureError(
                "its containers to stay as they were when it was taken apart",
                got=f"another {type(value).__name__} at {displayed(path)}",
                fix="make the change outside the transformed function; the next call sees it",
                where=f"attribute {path[0]}",
            )
        if not isinstance(value, (tuple, MethodType, partial)):
            self.snaps.append(Snap(value))
        inner = self._inside(holder, at, value)
        for label, child, v in zip(spec.labels, spec.children, values, strict=True):
            inner.bind(child, value, label, v, (*path, label))

    def _deep(self, holder: Any, at: Any) -> Deep:
        """The place ``holder[at]``, reached from the anchor."""
        assert self.anchor is not None
        anchor, key, way = self.anchor
        siblings = children_of(holder)
        assert siblings is not None
        step = at if isinstance(at, int) else labels_of(holder, siblings).index(at)
        return Deep(anchor, key, (*way, step))

    def _inside(self, holder: Any, at: Any, value: Any) -> Binder:
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
            deep = self._deep(holder, at)
            inner.anchor = (deep.anchor, deep.at, deep.way)
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
            type(v) in _BY_IDENTITY or (isinstance(v, Node) and type(v).__eq__ is object.__eq__) for v in self.expected
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
