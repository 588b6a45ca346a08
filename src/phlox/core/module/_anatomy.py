"""A Module taken apart and put together: its layout, bound to it as it is now, and made anew where it changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from phlox.core._errors import StructureError
from phlox.core.context._here import Meta, Node
from phlox.core.module._binding import Binder
from phlox.core.module._layout import Layout, intern_layout
from phlox.core.module._spec import (
    ITEM,
    Container,
    Item,
    children_of,
    is_own_method,
    is_plain,
    labels_of,
    refuse_cycle,
    spec_of,
)

epoch = [0]  # moves with every change of structure anywhere: a quick test that nothing changed at all


class Anatomy:
    """A Layout bound to one Module, as of one version of it."""

    __slots__ = ("layout", "slots", "snaps", "version")

    def __init__(self, attributes: dict[str, Any], layout: Layout, version: int):
        binder = Binder()
        for name, spec in layout.attrs:
            if spec is ITEM:
                binder.slots.append((attributes, name))
            elif isinstance(spec, Container):
                binder.bind(spec, attributes, name, attributes[name], (name,))
        self.layout, self.version = layout, version
        self.slots, self.snaps = binder.slots, binder.snaps

    def items(self) -> list[Any]:
        """The arrays and Modules, in the Layout's order."""
        return [holder[at] for holder, at in self.slots]


def touch(meta: Meta, name: str | None = None) -> None:
    """Note that a Module's structure changed, so that plans are made anew."""
    meta.version += 1
    if name is not None and meta.forced is not None and name in meta.forced:
        meta.forced = {k: v for k, v in meta.forced.items() if k != name}
    epoch[0] += 1


# --- taking apart ----------------------------------------------------------------------------------


def examine(module: Node) -> Anatomy:
    """The anatomy of a Module as it is now, from the cache where nothing changed."""
    meta = module._px
    anatomy: Anatomy | None = meta.anatomy
    if anatomy is not None and anatomy.version == meta.version and all(s.unchanged() for s in anatomy.snaps):
        return anatomy
    attributes = module.__dict__
    flags = (meta.frozen, meta.pinned, meta.auto)
    forced = meta.forced
    if forced is None:
        layout = intern_layout(type(module), tuple((n, spec_of(v, (n,), module)) for n, v in attributes.items()), flags)
        anatomy = Anatomy(attributes, layout, meta.version)
    else:
        anatomy = _examine_forced(module, forced, flags)
    if anatomy_changed(meta.anatomy, anatomy):
        touch(meta)
        anatomy.version = meta.version
    if meta.sound != epoch[0]:
        _refuse_cycles(module)
    meta.anatomy = anatomy
    return anatomy


def _refuse_cycles(root: Node) -> None:
    """Raise where a Module below ``root`` holds itself; each is walked once while no structure changes."""
    now, above = epoch[0], {id(root)}
    walk = [(root, ("",), _parts_of(root))]  # from the root down to where we are
    while walk:
        module, _, rest = walk[-1]
        step, part = next(rest, (None, None))
        if step is None or part is None:
            walk.pop()
            above.discard(id(module))
            module._px.sound = now
        elif id(part) in above:
            start = next(n for n, (m, _, _) in enumerate(walk) if m is part)
            refuse_cycle(part, tuple(s for _, way, _ in walk[start + 1 :] for s in way) + step)
        elif part._px.sound != now:
            above.add(id(part))
            walk.append((part, step, _parts_of(part)))


def _parts_of(module: Node) -> Iterator[tuple[Any, Any]]:
    """The Modules that a Module holds itself, with the ways to them."""
    stack = [((name,), value) for name, value in reversed(module.__dict__.items())]
    while stack:
        path, value = stack.pop()
        if isinstance(value, Node):
            yield path, value
        elif not is_plain(value) and not is_own_method(value, module):
            children = children_of(value) or []
            labels = labels_of(value, children) if children else ()
            stack += [((*path, label), child) for label, child in zip(labels, children, strict=True)][::-1]


def anatomy_changed(old: Anatomy | None, new: Anatomy) -> bool:
    """True where a container was changed in place, which no ``__setattr__`` could see."""
    return old is not None and old.version == new.version


def _examine_forced(module: Node, forced: dict[str, Any], flags: tuple[Any, ...]) -> Anatomy:
    """Examine a Module whose items were decided when it was rebuilt, whatever they hold now."""
    attributes, version = module.__dict__, module._px.version
    attrs = tuple((n, forced[n] if n in forced else spec_of(v, (n,), module)) for n, v in attributes.items())
    try:
        return Anatomy(attributes, intern_layout(type(module), attrs, flags), version)
    except StructureError:  # a container changed since: decide it by what it holds
        attrs = tuple((n, s if isinstance(s, Item) else spec_of(attributes[n], (n,), module)) for n, s in attrs)
        return Anatomy(attributes, intern_layout(type(module), attrs, flags), version)


# --- putting together ------------------------------------------------------------------------------


def unborn(cls: type) -> Any:
    """An instance without attributes; no ``__init__`` runs."""
    self = object.__new__(cls)
    object.__setattr__(self, "_px", Meta())
    return self


def blank(layout: Layout) -> Any:
    """A Module of the layout's class and flags without attributes; no ``__init__`` runs."""
    module = unborn(layout.cls)
    meta = module._px
    meta.frozen, meta.pinned, meta.auto = layout.frozen, layout.pinned, layout.auto
    meta.forced = layout.forced
    return module


def fill(module: Node, layout: Layout, items: Any) -> None:
    """Give a blank Module its attributes."""
    attributes = module.__dict__
    attributes.update(layout.make(iter(items), module))
    module._px.anatomy = Anatomy(attributes, layout, module._px.version)
