"""One Module with its items (arrays and Modules) taken out.

A ``Layout`` is the Spec of each attribute of a Module, with its class and flags. It holds no array, is compared by type
and value, and serves as the static part of the Module's pytree node.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from phlox.core.module._arrays import Path
from phlox.core.module._spec import ITEM, Container, Spec, Static


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
