"""The plan of array slots of one or several Modules: where every array sits, with sharing kept.

Making a plan walks the Modules once. It stays valid until some structure changes, which version
numbers and container snapshots tell in a microsecond. Its ``Structure`` holds no array and is interned,
so compiled programs are keyed by it and an equal model finds the same program.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp

from phlox.core._errors import StructureError
from phlox.core._static import static_key
from phlox.core.context._here import Meta, Node, here
from phlox.core.context._scope import check_read
from phlox.core.context._trail import path_of, where
from phlox.core.module._anatomy import Anatomy, blank, epoch, examine, fill
from phlox.core.module._arrays import Path, displayed, dotted, is_array
from phlox.core.module._binding import Snap
from phlox.core.module._layout import Layout

ARRAY = -1  # the kind of an item that is an array; a Module's kind is its index, else a ("static", …) key


class Structure:
    """Modules with their arrays taken out: layouts, and which item is which Module or array."""

    __slots__ = ("__weakref__", "_names", "_routes", "hash", "key", "leaves", "nodes", "others", "parents", "roots")
    hash: int
    key: tuple[Any, ...]
    nodes: tuple[tuple[Layout, tuple[Any, ...]], ...]
    others: Any
    roots: tuple[int, ...]

    def __init__(self, nodes: tuple[tuple[Layout, tuple[Any, ...]], ...], roots: tuple[int, ...], others: Any):
        self.nodes, self.roots, self.others = nodes, roots, others
        self.key = (nodes, roots)
        self.hash = hash(self.key)
        self._names: list[str] | None = None
        self._routes: dict[str, int] | None = None
        # For each leaf: (module index, item index). For each module: (parent, item index) on the first path.
        self.leaves: list[tuple[int, int]] = []
        self.parents: dict[int, tuple[int, int]] = {}
        for m, (_, kinds) in enumerate(nodes):
            for i, kind in enumerate(kinds):
                if kind == ARRAY:
                    self.leaves.append((m, i))
                elif isinstance(kind, int) and kind not in roots:
                    self.parents.setdefault(kind, (m, i))

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Structure) and self.hash == other.hash and self.key == other.key)

    def module_path(self, m: int) -> tuple[int, Path]:
        """The root (its position) and the first path from there to Module ``m``."""
        if m in self.roots:
            return self.roots.index(m), ()
        parent, item = self.parents[m]
        root, path = self.module_path(parent)
        return root, (*path, *self.nodes[parent][0].paths[item])

    def leaf_path(self, leaf: int) -> tuple[int, Path]:
        """The root (its position) and the path from there to an array."""
        m, item = self.leaves[leaf]
        root, path = self.module_path(m)
        return root, (*path, *self.nodes[m][0].paths[item])

    def names(self) -> list[str]:
        """The dotted first path of every leaf below its root."""
        if self._names is None:
            names = [dotted(self.leaf_path(i)[1]) for i in range(len(self.leaves))]
            twice = (
                next((n for i, n in enumerate(names) if n in names[:i]), None) if len(set(names)) < len(names) else None
            )
            if twice is not None:
                raise StructureError(
                    "a path of its own for every array",
                    got=f"two arrays at {twice}",
                    fix="take the dot out of the dict key, or name it otherwise",
                )
            self._names = names
        return self._names

    def routes(self) -> dict[str, int]:
        """Every dotted path to every leaf, also those that reach a shared part again."""
        if self._routes is None:
            index = {place: i for i, place in enumerate(self.leaves)}
            self._routes = {}
            open_ends: list[tuple[int, Path]] = [(root, ()) for root in reversed(self.roots)]
            while open_ends:
                m, path = open_ends.pop()
                layout, kinds = self.nodes[m]
                for i, kind in enumerate(kinds):
                    if kind == ARRAY:
                        self._routes[dotted((*path, *layout.paths[i]))] = index[m, i]
                    elif isinstance(kind, int):
                        open_ends.append((kind, (*path, *layout.paths[i])))
        return self._routes

    def is_state(self, leaf: int) -> bool:
        """True where the class annotates the array as State."""
        m, item = self.leaves[leaf]
        layout = self.nodes[m][0]
        return layout.cls._roles.get(layout.heads[item], layout.cls._default_role) == "State"

    def is_frozen(self, leaf: int) -> bool:
        """True where ``px.freeze`` reached the array."""
        m, item = self.leaves[leaf]
        layout = self.nodes[m][0]
        return layout.frozen is True or (bool(layout.frozen) and dotted(layout.paths[item]) in layout.frozen)

    def is_trainable(self, leaf: int, value: Any) -> bool:
        """True for floating and complex arrays that are neither State nor frozen."""
        return jnp.issubdtype(value.dtype, jnp.inexact) and not self.is_state(leaf) and not self.is_frozen(leaf)

    def modules_below(self, roots: Iterable[int]) -> set[int]:
        """Indices of the Modules reachable from these."""
        seen: set[int] = set()
        queue = list(roots)
        while queue:
            m = queue.pop()
            if m not in seen:
                seen.add(m)
                queue += [k for k in self.nodes[m][1] if isinstance(k, int) and k != ARRAY]
        return seen

    def build(self, leaves: Sequence[Any], training: set[int] | None = None) -> list[Any]:
        """Fresh Modules around the given leaves, sharing kept; ``training`` ones count as differentiated."""
        modules = [blank(layout) for layout, _ in self.nodes]
        for m in training or ():
            modules[m]._px.auto = True
        it = iter(leaves)
        for module, (layout, kinds), others in zip(modules, self.nodes, self.others, strict=True):
            fill(
                module,
                layout,
                [
                    next(it) if k == ARRAY else modules[k] if isinstance(k, int) else others[i]
                    for i, k in enumerate(kinds)
                ],
            )
        if training:
            for m in training:
                modules[m]._px.anatomy = None  # its layout carries the flag
        return modules


_structures: weakref.WeakValueDictionary[Any, Structure] = weakref.WeakValueDictionary()


class Plan:
    """Where the arrays of some Modules are now."""

    __slots__ = ("epoch", "metas", "modules", "shapes", "slots", "snaps", "structure", "versions")
    epoch: int
    versions: list[int]
    modules: list[weakref.ref[Node]]
    structure: Structure

    def __init__(self, roots: Sequence[Node]):
        walk = _Walk(roots)
        self.epoch = epoch[0]
        self.metas: list[Meta] = [m._px for m in walk.modules]
        self.versions = [m.version for m in self.metas]
        self.modules = [weakref.ref(m) for m in walk.modules]
        self.slots: list[tuple[Any, Any]] = walk.slots
        self.snaps: list[Snap] = [s for a in walk.anatomies for s in a.snaps]
        self.structure = walk.structure()

    def valid(self) -> bool:
        """True while no structure changed since the plan was made."""
        if self.epoch != epoch[0]:
            for meta, version in zip(self.metas, self.versions, strict=True):
                if meta.version != version:
                    return False
            self.epoch = epoch[0]
        for snap in self.snaps:  # noqa: SIM110 - runs at every call, and a generator costs more than the checks
            if not snap.unchanged():
                return False
        return True

    def gather(self) -> list[Any]:
        """The arrays, in the structure's order."""
        return [holder[at] for holder, at in self.slots]

    def module(self, m: int) -> Any:
        """The living Module at an index."""
        module = self.modules[m]()
        assert module is not None
        return module

    def at_home(self) -> bool:
        """True where every Module may be written without further checks."""
        return all(meta.at_home() for meta in self.metas)

    def check_read(self) -> Plan:
        """Raise where reading these arrays would freeze them or lose their gradient; returns the plan."""
        if here.scope is not None:
            for m, meta in enumerate(self.metas):
                if not meta.at_home():
                    check_read(self.module(m))
        return self


class _Walk:
    """One walk over Modules, children after parents, each Module once."""

    def __init__(self, roots: Sequence[Node]):
        self.modules: list[Node] = []
        self.anatomies: list[Anatomy] = []
        self.index: dict[int, int] = {}
        self.kinds: list[list[Any]] = []
        self.others: list[dict[int, Any]] = []
        self.slots: list[tuple[Any, Any]] = []
        self.open: list[Node] = []
        self.roots = tuple(self.visit(root) for root in roots)
        for m, kinds in enumerate(self.kinds):
            self.collect(m, kinds)

    def visit(self, module: Node) -> int:
        found = self.index.get(id(module))
        if found is not None:
            if any(m is module for m in self.open):
                raise StructureError(
                    "a tree of Modules",
                    got="one that holds itself among its own parts",
                    fix="keep references back to a parent out of the attributes, and pass it as an argument",
                    where=where(module),
                )
            return found
        here = self.index[id(module)] = len(self.modules)
        anatomy = examine(module)
        self.modules.append(module)
        self.anatomies.append(anatomy)
        kinds: list[Any] = []
        others: dict[int, Any] = {}
        self.kinds.append(kinds)
        self.others.append(others)
        self.open.append(module)
        for i, item in enumerate(anatomy.items()):
            if is_array(item):
                kinds.append(ARRAY)
            elif isinstance(item, Node):
                kinds.append(self.visit(item))
            else:
                others[i] = item
                kinds.append(("static", static_key(item)))
        self.open.pop()
        return here

    def collect(self, m: int, kinds: list[Any]) -> None:
        anatomy = self.anatomies[m]
        for i, kind in enumerate(kinds):
            if kind == ARRAY:
                self.slots.append(anatomy.slots[i])

    def structure(self) -> Structure:
        nodes = tuple((a.layout, tuple(k)) for a, k in zip(self.anatomies, self.kinds, strict=True))
        key = (nodes, self.roots)
        found = _structures.get(key)
        if found is None:
            found = _structures[key] = Structure(nodes, self.roots, tuple(self.others))
        return found


# --- the cache -------------------------------------------------------------------------------------

_plans: dict[Any, tuple[Plan, list[weakref.ref[Any]]]] = {}


def plan_of(roots: Sequence[Node]) -> Plan:
    """The valid plan of these Modules, from the cache where nothing changed."""
    key = tuple([m._px.uid for m in roots])
    cached = _plans.get(key)
    if cached is not None and cached[0].valid():
        return cached[0]
    plan = Plan(roots)
    forget: Callable[[Any], None] = lambda _, key=key: _plans.pop(key, None) and None  # noqa: E731
    _plans[key] = plan, [weakref.ref(m, forget) for m in roots]
    return plan


def modules_of(root: Node) -> list[Any]:
    """Every Module in a tree, each once, parents first."""
    plan = plan_of([root])
    return [plan.module(m) for m in range(len(plan.modules))]


def path_text(structure: Structure, leaf: int, name: str = "model") -> str:
    """The path of an array as a user writes it."""
    return name + displayed(structure.leaf_path(leaf)[1])


def named_path(plan: Plan | None, structure: Structure, leaf: int) -> str:
    """The path of an array from the variable that holds its root; looks through the callers' frames, so for errors."""
    return path_text(structure, leaf, root_name(plan, structure.leaf_path(leaf)[0]))


def root_name(plan: Plan | None, root: int) -> str:
    """What the caller calls a plan's root: the variable that holds it, or the way to it from one, else ``model``."""
    module = None if plan is None else plan.modules[plan.structure.roots[root]]()
    return "model" if module is None else path_of(module)
