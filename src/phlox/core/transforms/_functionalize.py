"""The one function under every px transform: a call on objects becomes a pure function of arrays.

``functionalize(f, args, kwargs)`` (1) takes the arguments apart into array leaves, and gives a
``Call`` whose ``pure(leaves)`` (2) rebuilds fresh copies around whatever leaves it gets, traced or
not, (3) runs ``f`` on them and returns an ``Outcome``: the arrays in the result, and the leaves that
``f`` wrote. ``commit(outcome)`` (4) writes those back into the caller's objects and rebuilds the
result, where a Module of the caller's comes back as that same object. A transform is then a few
lines: apply JAX's transform to ``pure``, and commit.

What is static about an outcome (which leaves were written, how the result is put together) travels
as the static part of a pytree node, so it survives jit's cache, checkpoint and vmap without a side
table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from phlox.core._errors import StructureError, describe, shown
from phlox.core._static import static_key
from phlox.core.context._here import DIFFERENTIATING, Meta
from phlox.core.context._scope import Body, check_write
from phlox.core.module._anatomy import examine, touch
from phlox.core.module._arrays import displayed, is_array
from phlox.core.module._module import Module
from phlox.core.module._plan import ARRAY, Plan, Structure, modules_of, named_path, plan_of, root_name
from phlox.core.transforms._refused import REFUSALS, explain, refuse_hidden

_PLAIN = (str, bytes, type(None), type)  # results that cannot hide an array
SCALARS = (bool, int, float, complex, np.generic)


class Outcome:
    """What a pure call gives: arrays in the result, arrays written, and a static ``Record`` of them."""

    __slots__ = ("captured", "outputs", "record", "written")
    outputs: Sequence[Any]
    written: Sequence[Any]
    captured: Sequence[Any]
    record: Record

    def __init__(self, outputs: Sequence[Any], written: Sequence[Any], captured: Sequence[Any], record: Record):
        self.outputs, self.written, self.captured, self.record = outputs, written, captured, record


jax.tree_util.register_pytree_node(
    Outcome, lambda o: ((o.outputs, o.written, o.captured), o.record), lambda record, c: Outcome(*c, record)
)

Place = tuple[Module, int]  # an item of a captured Module


class Record:
    """The static side of an Outcome. Compared by identity: it is made once per trace."""

    __slots__ = ("captured", "result", "written")
    result: Result
    written: tuple[int, ...]
    captured: tuple[Place, ...]

    def __init__(self, result: Result, written: tuple[int, ...], captured: tuple[Place, ...] = ()):
        self.result = result  # how the result is rebuilt from ``outputs``
        self.written = written  # which leaves of the plan ``Outcome.written`` holds
        self.captured = captured  # which items of captured Modules ``Outcome.captured`` holds


class Result:
    """A result with its arrays taken out; Modules of the caller's come back as themselves."""

    __slots__ = ("arrays", "known", "leaves", "single", "structure", "treedef")
    arrays: int  # how many outputs are arrays of the result itself; those of new Modules follow
    known: dict[int, int]  # parts of new Modules that are the caller's own: index there → index here
    leaves: list[tuple[str, Any]]
    single: bool  # the result is one array
    structure: Structure | None  # of the Modules in the result that are not the caller's
    treedef: Any

    @classmethod
    def of(cls, value: Any, inputs: list[Module], differentiated: bool) -> tuple[Result, list[Any]]:
        """The Result that describes ``value``, and the arrays in it; ``inputs`` are the copies of the caller's."""
        self = cls()
        flat, self.treedef = jax.tree_util.tree_flatten(value, is_leaf=is_module)
        position = {id(m): i for i, m in enumerate(inputs)}
        unique = list({id(v): v for v in flat if isinstance(v, Module) and id(v) not in position}.values())
        if differentiated:
            _forget_training(unique)
        order = {id(m): i for i, m in enumerate(unique)}
        arrays: list[Any] = []
        self.leaves = []
        for v in flat:
            if isinstance(v, Module):
                known = position.get(id(v))
                self.leaves.append(("new", order[id(v)]) if known is None else ("known", known))
            elif is_array(v) or isinstance(v, SCALARS):
                self.leaves.append(("array", len(arrays)))
                arrays.append(v)
            else:
                self.leaves.append(("static", v))
        self.single = len(flat) == 1 and len(arrays) == 1 and flat[0] is value
        self.arrays, self.structure, self.known = len(arrays), None, {}
        if unique:
            plan = plan_of(unique)
            self.structure = plan.structure
            parts = [plan.module(m) for m in range(len(plan.modules))]
            self.known = {m: position[id(part)] for m, part in enumerate(parts) if id(part) in position}
            arrays += plan.gather()
        return self, arrays

    def rebuild(self, outputs: Sequence[Any], module: Callable[[int], Any]) -> Any:
        """The result around ``outputs``; ``module(i)`` is the caller's i-th Module."""
        if self.single:
            return outputs[0]
        roots: list[Module] = []
        if self.structure is not None:
            built = self.structure.build(outputs[self.arrays :])
            for m, i in self.known.items():
                _replace(self.structure, built, m, module(i))
            roots = [built[r] for r in self.structure.roots]
        get = {
            "array": lambda at: outputs[at],
            "new": lambda at: roots[at],
            "known": module,
            "static": lambda v: v,
        }
        return jax.tree_util.tree_unflatten(self.treedef, [get[kind](at) for kind, at in self.leaves])


def _forget_training(modules: list[Module]) -> None:
    """What leaves a differentiation is no longer its argument."""
    for root in modules:
        for m in modules_of(root):
            if m._px.auto:
                m._px.auto = False
                touch(m._px)


def _replace(structure: Structure, built: list[Module], m: int, owner: Module) -> None:
    """Put the caller's own Module wherever the rebuilt one ``m`` stands."""
    for parent, (_, kinds) in zip(built, structure.nodes, strict=True):
        slots = examine(parent).slots
        for i, kind in enumerate(kinds):
            if kind == m and kind != ARRAY:
                holder, at = slots[i]
                holder[at] = owner


def is_module(x: Any) -> bool:
    """True for Modules; the ``is_leaf`` of every flattening here."""
    return isinstance(x, Module)


class Call:
    """One call of a function, its arguments taken apart."""

    __slots__ = ("bare", "fn", "kind", "label", "leaves", "plan", "spec", "structure", "training", "treedef")
    fn: Callable[..., Any]
    kind: str
    label: str
    treedef: Any
    plan: Plan
    structure: Structure
    leaves: list[Any]

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        *,
        kind: str,
        scalars: bool = False,
        label: str | None = None,
    ):
        """Take apart; ``scalars`` says whether Python numbers become array leaves, ``label`` what errors call it."""
        self.fn, self.kind, self.label = fn, kind, label or kind
        flat, self.treedef = jax.tree_util.tree_flatten((tuple(args), kwargs), is_leaf=is_module)
        roots: list[Module] = []
        order: dict[int, int] = {}
        self.bare: list[Any] = []
        self.spec: list[tuple[str, Any]] = []
        for v in flat:
            if isinstance(v, Module):
                if id(v) not in order:
                    order[id(v)] = len(roots)
                    roots.append(v)
                self.spec.append(("module", order[id(v)]))
            elif is_array(v) or (scalars and isinstance(v, SCALARS)):
                self.spec.append(("array", len(self.bare)))
                self.bare.append(v)
            else:
                self.spec.append(("static", v))
        self.plan = plan_of(roots).check_read()
        self.structure = self.plan.structure
        self.leaves = self.plan.gather()
        self.training: set[int] = set()  # the Modules that are differentiated, and train

    def static_key(self) -> Any:
        """What a compiled program depends on besides shapes and dtypes."""
        statics = tuple(static_key(v) if kind == "static" else (kind, v) for kind, v in self.spec)
        return self.structure, self.treedef, statics

    def originals(self) -> frozenset[Meta]:
        """The caller's Modules whose values must not be read while their copies are differentiated."""
        return frozenset(self.plan.metas[m] for m in self.training)

    def pure(self, leaves: Sequence[Any], bare: Sequence[Any]) -> Outcome:
        """Run the function on copies around these arrays. Nothing of the caller's changes."""
        copies = self.structure.build(leaves, self.training)
        plan = Plan([copies[r] for r in self.structure.roots])
        roots = [copies[r] for r in self.structure.roots]
        flat = [roots[v] if kind == "module" else bare[v] if kind == "array" else v for kind, v in self.spec]
        args, kwargs = jax.tree_util.tree_unflatten(self.treedef, flat)
        with Body(self.kind, self.originals() if self.kind in DIFFERENTIATING else frozenset()) as scope:
            scope.label = self.label
            for m in copies:  # born in the body, whatever trace the caller is in
                m._px.scope, m._px.trace = scope, scope.trace
            try:
                value = self.fn(*args, **kwargs)
            except REFUSALS as error:
                explain(error, self)
                raise
            finally:
                captured = scope.settle()
            written = self._written(plan, copies, leaves)
            self._refuse_changed_containers(args, kwargs, flat)
            result, outputs = Result.of(value, copies, self.kind in DIFFERENTIATING)
            refuse_hidden([v for kind, v in result.leaves if kind == "static" and not isinstance(v, _PLAIN)], self)
        after = plan.gather()
        record = Record(result, written, tuple((m, item) for m, item, _ in captured))
        return Outcome(outputs, [after[i] for i in written], [value for _, _, value in captured], record)

    def _written(self, plan: Plan, copies: list[Module], before: Sequence[Any]) -> tuple[int, ...]:
        """Which leaves the body wrote; raises where it changed more than values."""
        if not plan.valid():
            self._refuse_changed_structure(plan, copies)
        written = tuple(i for i, (a, b) in enumerate(zip(before, plan.gather(), strict=True)) if a is not b)
        for i in written:
            was, now = before[i], plan.slots[i][0][plan.slots[i][1]]
            if plan.structure.is_state(i) and was.dtype != now.dtype:
                raise StructureError(
                    f"{named_path(getattr(self, 'plan', None), plan.structure, i)} to keep its dtype {was.dtype} "
                    "inside a trace",
                    got=describe(now),
                    fix=f"write it with .astype({str(was.dtype)!r})",
                    where=f"px.{self.label}",
                )
        return written

    def _refuse_changed_structure(self, plan: Plan, copies: list[Module]) -> None:
        roots = [copies[r] for r in plan.structure.roots]
        now = Plan(roots)
        same = now.structure is plan.structure and all(
            a() is b() for a, b in zip(now.modules, plan.modules, strict=True)
        )
        if same:
            plan.slots, plan.snaps = now.slots, now.snaps
            return
        raise StructureError(
            "a model whose structure stays as it was inside a trace",
            got=difference(plan, now, getattr(self, "plan", None)),
            fix="make the change outside the transformed function, which the next call sees; a number that calls "
            "change must be an array",
            where=f"px.{self.label}",
        )

    def _refuse_changed_containers(self, args: Any, kwargs: Any, flat: list[Any]) -> None:
        """A list or dict argument that the body changed: the caller's would stay as it was."""
        now, treedef = jax.tree_util.tree_flatten((args, kwargs), is_leaf=is_module)
        if treedef != self.treedef or any(a is not b for a, b in zip(flat, now, strict=True)):
            raise StructureError(
                "list and dict arguments to stay as they were (only Modules carry changes out)",
                got="one whose contents changed",
                fix="return the new contents, or keep them in a Module that is an argument",
                where=f"px.{self.label}",
            )

    def commit(self, outcome: Outcome) -> Any:
        """Write back what the body wrote, and rebuild the result."""
        record = outcome.record
        write_back(self.plan, record.written, outcome.written)
        write_captured(record.captured, outcome.captured)
        return record.result.rebuild(outcome.outputs, self.plan.module)


def write_back(plan: Plan, which: Sequence[int], values: Sequence[Any]) -> None:
    """Write leaves into the Modules of a plan, where that is safe."""
    if which and not plan.at_home():
        for i in which:
            m, item = plan.structure.leaves[i]
            if not plan.metas[m].at_home():
                check_write(plan.module(m), displayed(plan.structure.nodes[m][0].paths[item]).lstrip("."))
    for i, value in zip(which, values, strict=True):
        holder, at = plan.slots[i]
        holder[at] = value


def write_captured(places: Sequence[Place], values: Sequence[Any]) -> None:
    """Write what a body wrote on captured Modules, where that is safe in the scope around it."""
    for module, item in places:  # all are checked before the first is written
        if not module._px.at_home():
            check_write(module, displayed(examine(module).layout.paths[item]).lstrip("."))
    for (module, item), value in zip(places, values, strict=True):
        holder, at = examine(module).slots[item]
        holder[at] = value


def functionalize(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    kind: str,
    scalars: bool = False,
    label: str | None = None,
) -> Call:
    """Take one call of ``fn`` apart into a pure function of array leaves (see the top of this file)."""
    return Call(fn, args, kwargs, kind=kind, scalars=scalars, label=label)


def difference(before: Plan, after: Plan, owners: Plan | None = None) -> str:
    """Where two plans of the same roots part, as text; ``owners`` is the caller's, for the names of its variables."""
    a, b = before.structure, after.structure
    for m, ((la, ka), (lb, kb)) in enumerate(zip(a.nodes, b.nodes, strict=False)):
        root, path = a.module_path(m)
        name = root_name(owners, root) + displayed(path)
        if la.cls is not lb.cls:
            return f"{name}, a {la.cls.__name__} that became a {lb.cls.__name__}"
        if la is not lb:
            return f"{name}{_attribute_difference(la, lb)}"
        for i, (was, now) in enumerate(zip(ka, kb, strict=True)):
            if was != now:
                old, new = _kind_shown(a, was), _kind_shown(b, now)
                change = "shared in another way" if old == new else f"changed from {old} to {new}"
                return f"{name}{displayed(la.paths[i])}, {change}"
    for ra, rb, m in zip(before.modules, after.modules, range(len(a.nodes)), strict=False):
        if ra() is not rb():
            root, path = a.module_path(m)
            return f"{root_name(owners, root)}{displayed(path)}, replaced by another {a.nodes[m][0].cls.__name__}"
    return f"{len(b.nodes)} Modules where there were {len(a.nodes)}"


def _kind_shown(structure: Structure, kind: Any) -> str:
    if isinstance(kind, int):
        return "an array" if kind == ARRAY else f"a {structure.nodes[kind][0].cls.__name__}"
    return "something that is no array"


def _attribute_difference(a: Any, b: Any) -> str:
    was, now = dict(a.attrs), dict(b.attrs)
    for name in (*was, *now):
        if name not in was:
            return f".{name}, which is new"
        if name not in now:
            return f".{name}, which is gone"
        if was[name].key != now[name].key:
            return f".{name}, changed from {_shown(was[name])} to {_shown(now[name])}"
    return ", whose mode or frozen parts changed"


def _shown(spec: Any) -> str:
    if hasattr(spec, "value"):
        return shown(spec.value)
    return "an array or Module" if spec.size == 1 and not hasattr(spec, "labels") else f"{spec.size} parts"
