"""A loop's carry: arrays and Modules that go round, by value through JAX's loops and by identity for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core._errors import StructureError
from phlox.core.module._anatomy import examine
from phlox.core.module._arrays import displayed, is_array
from phlox.core.module._plan import path_text, plan_of
from phlox.core.transforms._carried import Carried
from phlox.core.transforms._functionalize import (
    Call,
    Outcome,
    Place,
    Record,
    functionalize,
    is_module,
    write_back,
    write_captured,
)
from phlox.core.transforms._names import array_names


class MoreCapturedError(Exception):
    """The body wrote captured Modules that the loop does not carry yet; it is traced again with them."""

    def __init__(self, places: Sequence[Place]):
        super().__init__("captured State must be carried")
        self.places = places


class Loop:
    """The body of a loop, ``fn(carry, *rest) -> (carry, result)``, as a function of leaves.

    The leaves of the carry come in three parts: those of Modules in it, its bare arrays, and State of captured Modules
    that the body writes. A Module that the body returns at its place stays itself; another one of the
    same structure replaces it.
    """

    def __init__(self, fn: Callable[..., tuple[Any, Any]], init: Any, rest: Sequence[Any], kind: str):
        self.kind = kind
        self.call: Call = functionalize(self._wrapped(fn), (init, *rest), {}, kind=kind, scalars=True)
        self.form = Carried(init, f"px.{kind}")
        spec, structure = self.call.spec[: len(self.form.leaves)], self.call.plan.structure
        self.spec = spec
        self.bare = [v for k, v in spec if k == "array"]
        roots = {v for k, v in spec if k == "module"}
        owned = structure.modules_below(structure.roots[r] for r in roots)
        others = {v for k, v in self.call.spec[len(spec) :] if k == "module"}
        shared = owned & structure.modules_below(structure.roots[r] for r in others)
        if shared:
            raise StructureError(
                "Modules either in the carry or in what is scanned over",
                got="one in both",
                fix="take it out of one of them; a Module that is the same in all rounds may also be captured",
                where=f"px.{kind}",
            )
        self.leaves = [i for i, (m, _) in enumerate(structure.leaves) if m in owned]
        self.captured: list[Place] = []
        self.replaced: frozenset[int] = frozenset()

    def start(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The carry before the first round."""
        arrays = [jnp.asarray(self.call.bare[i]) for i in self.bare]
        return [self.call.leaves[i] for i in self.leaves], arrays, [held(place) for place in self.captured]

    def names(self) -> list[str]:
        """The ways to what ``start`` gives, for JAX's messages."""
        arrays, bare = array_names(self.call)
        captured = [f"{type(m).__name__}{displayed(examine(m).layout.paths[item])}" for m, item in self.captured]
        return [*(arrays[i] for i in self.leaves), *(bare[i] for i in self.bare), *captured]

    def _wrapped(self, fn: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
        def body(carry: Any, *rest: Any) -> Any:
            given = jax.tree_util.tree_leaves(carry, is_leaf=is_module)
            new, result = fn(carry, *rest)
            moved, bare = self._taken_apart(given, new)
            return moved, bare, result

        body.__wrapped__ = fn  # type: ignore[attr-defined]  # what names and signature are asked of
        return body

    def _taken_apart(self, given: list[Any], new: Any) -> tuple[dict[int, list[Any]], list[Any]]:
        """The arrays of Modules that replace those of the carry, and the carry's bare arrays."""
        found = self.form.check(given, new)
        moved: dict[int, list[Any]] = {}
        bare = []
        for (kind, v), was, now in zip(self.spec, given, found, strict=True):
            if kind == "array":
                bare.append(now if is_array(now) else jnp.asarray(now))
            elif kind == "module" and now is not was:
                moved[v] = plan_of([now]).gather()
        self.replaced = frozenset(moved)
        return moved, bare

    def step(
        self, carry: tuple[list[Any], list[Any], list[Any]], leaves: dict[int, Any], bare: dict[int, Any]
    ) -> tuple[tuple[list[Any], list[Any], list[Any]], Outcome, int]:
        """One round: the next carry, what came out beside it, and how many outputs belong to the carry."""
        modules, arrays, captured = carry
        everything = list(self.call.leaves)
        for i, v in [*zip(self.leaves, modules, strict=True), *leaves.items()]:
            everything[i] = v
        given = list(self.call.bare)
        for i, v in [*zip(self.bare, arrays, strict=True), *bare.items()]:
            given[i] = v
        with self.holding(captured):
            outcome = self.call.pure(everything, given)
        return self._next(carry, outcome)

    @contextmanager
    def holding(self, values: list[Any]) -> Iterator[None]:
        """While a round runs, captured Modules hold what the loop carries for them."""
        originals = [held(place) for place in self.captured]
        try:
            for place, v in zip(self.captured, values, strict=True):
                hold(place, v)
            yield
        finally:
            for place, v in zip(self.captured, originals, strict=True):
                hold(place, v)

    def _next(self, carry: Any, outcome: Outcome) -> tuple[Any, Outcome, int]:
        record = outcome.record
        known = {name_of_place(p) for p in self.captured}
        more = [p for p in record.captured if name_of_place(p) not in known]
        if more:
            raise MoreCapturedError(more)
        written = dict(zip(record.written, outcome.written, strict=True))
        modules = [written.get(i, old) for i, old in zip(self.leaves, carry[0], strict=True)]
        used = self._put_replaced(modules, outcome, written)
        arrays = list(outcome.outputs[used : used + len(self.bare)])
        moved = {name_of_place(p): v for p, v in zip(record.captured, outcome.captured, strict=True)}
        captured = [moved.get(name_of_place(p), old) for p, old in zip(self.captured, carry[2], strict=True)]
        return (modules, arrays, captured), outcome, used + len(self.bare)

    def _put_replaced(self, modules: list[Any], outcome: Outcome, written: dict[int, Any]) -> int:
        """Put the arrays of replaced Modules in the carry; returns how many outputs they took."""
        structure, used = self.call.plan.structure, 0
        for root in sorted(self.replaced):
            below = structure.modules_below([structure.roots[root]])
            mine = [i for i in self.leaves if structure.leaves[i][0] in below]
            if any(i in written for i in mine):
                raise StructureError(
                    "a Module of the carry to be changed in place, or replaced by another",
                    got=f"both: {path_text(structure, next(i for i in mine if i in written))} was written too",
                    fix="return the Module that was changed, or leave it as it was and return the new one",
                    where=f"px.{self.kind}",
                )
            for i in mine:
                modules[self.leaves.index(i)] = outcome.outputs[used]
                used += 1
        return used

    def finish(self, carry: tuple[list[Any], list[Any], list[Any]], record: Record) -> Any:
        """Write the last carry back into the caller's objects, and give it its form."""
        modules, arrays, captured = carry
        structure, plan = self.call.plan.structure, self.call.plan
        last = dict(zip(self.leaves, modules, strict=True))
        write_back(plan, [i for i in record.written if i in last], [last[i] for i in record.written if i in last])
        write_captured(self.captured, captured)
        flat, found = [], iter(arrays)
        fresh = structure.build([last.get(i) for i in range(len(structure.leaves))]) if self.replaced else []
        for kind, v in self.spec:
            if kind == "array":
                flat.append(next(found))
            elif kind == "module":
                at = structure.roots[v]
                flat.append(fresh[at] if v in self.replaced else plan.module(at))
            else:
                flat.append(v)
        return jax.tree_util.tree_unflatten(self.form.treedef, flat)


def until_captured(loop: Loop, run: Callable[[], Any]) -> Any:
    """Run a traced loop, again with more State carried wherever its body wrote a captured Module."""
    while True:
        try:
            return run()
        except MoreCapturedError as more:
            loop.captured.extend(more.places)


def name_of_place(place: Place) -> tuple[int, int]:
    return place[0]._px.uid, place[1]


def held(place: Place) -> Any:
    holder, at = examine(place[0]).slots[place[1]]
    return holder[at]


def hold(place: Place, value: Any) -> None:
    holder, at = examine(place[0]).slots[place[1]]
    holder[at] = value
