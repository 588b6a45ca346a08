"""px.vmap: a function of one example, over many; keys split, and no batched value slips into unbatched State."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from phlox.core import _compat
from phlox.core._errors import ShapeError, StateError, describe, form
from phlox.core.context._random import is_key
from phlox.core.module._plan import named_path, path_text
from phlox.core.transforms._bound import carried, named_after
from phlox.core.transforms._functionalize import Call, Record, functionalize, is_module, write_back

P = ParamSpec("P")
R = TypeVar("R")


def vmap(
    fn: Callable[P, R],
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_name: str | None = None,
    axis_size: int | None = None,
) -> Callable[P, R]:
    """Make a function that maps ``fn`` over an axis of its arguments, as ``jax.vmap`` does.

    A Module whose axis is None is one for all examples: its random keys are split along the axis, and the caller's
    advance once if ``fn`` drew; other State it may write only with values that are the same for all. A
    Module whose axis is a number is a stack of models, and so is its State afterwards. Modules built inside
    come out stacked.

    Arguments:
        fn: a function of one example.
        in_axes: the axis of each positional argument, an int, None, or a prefix of its tree; keyword arguments have 0.
        out_axes: the axis of the results, likewise.
        axis_name: a name for collectives such as ``jax.lax.pmean``.
        axis_size: examples, where no argument tells.

    Raises:
        StateError: a value that differs between examples is written to State that is one for all.
        ShapeError: mapped axes of different sizes, or none.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> stack = px.vmap(lambda key: px.Dense(2, 3, key=key))(jax.random.split(jax.random.key(0), 5))
    >>> stack.weight.shape, px.vmap(lambda m, x: m(x), in_axes=(0, None))(stack, jnp.ones(2)).shape
    ((5, 2, 3), (5, 3))
    """

    inner, first, named = carried(fn)
    same = [None] * len(jax.tree_util.tree_leaves(first, is_leaf=is_module))  # what it brings is one for all examples

    @named_after(fn)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        call = functionalize(inner, (*first, *args), {**named, **kwargs}, kind="vmap")
        names = {k: 0 if k in kwargs else None for k in sorted({*named, *kwargs})}  # as a dict flattens
        given = {k: kwargs.get(k, named.get(k)) for k in names}
        axes = [*same, *_axes_of(in_axes, args)]
        for k, axis in names.items():
            axes += [axis] * len(jax.tree_util.tree_leaves(given[k], is_leaf=is_module))
        return _Mapping(call, axes, out_axes, axis_name, axis_size).run()

    return mapped


class _Mapping:
    """One mapped call."""

    def __init__(self, call: Call, axes: list[Any], out_axes: Any, name: str | None, size: int | None):
        self.call, self.out_axes, self.name = call, out_axes, name
        structure = call.plan.structure
        self.roots: dict[int, Any] = {}
        self.bare: list[Any] = []
        for (kind, v), axis in zip(call.spec, axes, strict=True):
            if kind == "array":
                self.bare.append(axis)
            elif kind == "module" and self.roots.setdefault(v, axis) != axis:
                raise ShapeError(
                    "one axis for a Module that is passed twice",
                    got=f"{self.roots[v]} and {axis}",
                    fix="give both places the same entry in in_axes, or pass px.copy(model) to one of them",
                    where="px.vmap",
                )
        owner: dict[int, Any] = {}
        for root, axis in self.roots.items():
            for m in structure.modules_below([structure.roots[root]]):
                if owner.setdefault(m, axis) != axis:
                    raise ShapeError(
                        "one axis for a Module shared by two arguments",
                        got=f"{owner[m]} and {axis}",
                        fix="give both arguments the same entry in in_axes, or pass px.copy(model) for one of them",
                        where="px.vmap",
                    )
        self.leaves: list[Any] = [owner[m] for m, _ in structure.leaves]
        self.size = self._size(size)
        self.split = {i for i, v in enumerate(call.leaves) if self.leaves[i] is None and is_key(v)}
        self.record: Record | None = None

    def _size(self, size: int | None) -> int:
        sizes: dict[str, int] = {} if size is None else {"axis_size": size}
        call = self.call
        names = [path_text(call.structure, i) for i in range(len(call.leaves))]
        names += [f"array {i} of the arguments" for i in range(len(call.bare))]
        for what, value, axis in zip(names, [*call.leaves, *call.bare], [*self.leaves, *self.bare], strict=True):
            if axis is None:
                continue
            if value.ndim == 0 or not -value.ndim <= axis < value.ndim:
                raise ShapeError(
                    f"{self._named(what, names)} to have the axis {axis} that it is mapped over",
                    got=describe(value),
                    fix="choose an axis that it has; None in in_axes is for what is the same for all examples",
                    where="px.vmap",
                )
            sizes[what] = value.shape[axis]
        if len(set(sizes.values())) != 1:
            raise ShapeError(
                "mapped axes of one size",
                got=", ".join(f"{n} at {self._named(w, names)}" for w, n in sizes.items()) or "no mapped argument",
                fix="give in_axes None for what is the same for all examples, such as a model: in_axes=(None, 0)",
                where="px.vmap",
            )
        return next(iter(sizes.values()))

    def _named(self, what: str, names: list[str]) -> str:
        """One of the names above, under the variable of the caller's."""
        i = names.index(what) if what in names else len(names)
        call = self.call
        return named_path(call.plan, call.structure, i) if i < len(call.leaves) else what

    def run(self) -> Any:
        call, kept = self.call, dict[int, Any]()
        leaves, axes = list(call.leaves), list(self.leaves)
        for i in self.split:
            kept[i], leaves[i] = _split(call.leaves[i], self.size)
            axes[i] = 0
        outs = jax.vmap(
            self._body,
            in_axes=(axes, self.bare),
            out_axes=(0, None, 0, None),
            axis_name=self.name,
            axis_size=self.size,
        )(leaves, call.bare)
        return self._commit(kept, *outs)

    def _body(self, leaves: list[Any], bare: list[Any]) -> tuple[Any, Any, Any, Any]:
        """One example; what is written comes out apart: stacked, or one for all."""
        outcome = self.call.pure(leaves, bare)
        self.record = outcome.record
        axes = self._output_axes(outcome.record)
        mapped = [v for v, a in zip(outcome.outputs, axes, strict=True) if a is not None]
        same = [v for v, a in zip(outcome.outputs, axes, strict=True) if a is None]
        stacked, one = [], []
        for i, value in zip(outcome.record.written, outcome.written, strict=True):
            if i in self.split:
                continue
            if self.leaves[i] is not None:
                stacked.append(value)
            else:
                self._refuse_batched(i, value)
                one.append(value)
        return mapped, same, stacked, one

    def _output_axes(self, record: Record) -> list[Any]:
        """The axis of every output array; those of Modules have 0."""
        result = record.result
        shell = jax.tree_util.tree_unflatten(result.treedef, [object() for _ in result.leaves])
        per_leaf = _axes_of(self.out_axes, shell)
        found = {at: axis for (kind, at), axis in zip(result.leaves, per_leaf, strict=True) if kind == "array"}
        rest = 0 if result.structure is None else len(result.structure.leaves)
        return [found[i] for i in range(result.arrays)] + [0] * rest

    def _refuse_batched(self, leaf: int, value: Any) -> None:
        if _compat.batched_here(value):
            structure = self.call.plan.structure
            raise StateError(
                "State that is one for all examples to be written with one value",
                got=f"a value for {named_path(self.call.plan, structure, leaf)} that differs between examples",
                fix='reduce it over the axis, jax.lax.pmean(value, "batch") inside px.vmap(…, axis_name="batch"), or '
                "map over a stack of models",
                where="px.vmap",
            )

    def _commit(self, kept: dict[int, Any], mapped: Any, same: Any, stacked: Any, one: Any) -> Any:
        record = self.record
        assert record is not None
        stacked, one, written = iter(stacked), iter(one), []
        for i in record.written:
            axis = self.leaves[i]
            if i in self.split:
                written.append(kept[i])
            elif axis is not None:
                written.append(_moved(next(stacked), axis))
            else:
                written.append(next(one))
        write_back(self.call.plan, record.written, written)
        mapped, same = iter(mapped), iter(same)
        outputs = [next(same) if a is None else _moved(next(mapped), a) for a in self._output_axes(record)]
        return record.result.rebuild(outputs, self.call.plan.module)


def _moved(x: jax.Array, axis: int) -> jax.Array:
    return x if axis == 0 else jnp.moveaxis(x, 0, axis)


def _axes_of(axes: Any, tree: Any) -> list[Any]:
    """An axis for every leaf, from a prefix of the tree."""
    found: list[Any] = []
    if isinstance(axes, list):
        axes = tuple(axes)

    def spread(axis: Any, sub: Any) -> None:
        found.extend([axis] * len(jax.tree_util.tree_leaves(sub, is_leaf=is_module)))

    try:
        jax.tree_util.tree_map(spread, axes, tree, is_leaf=lambda a: a is None)
    except ValueError:
        raise ShapeError(
            "axes like what they are for: one for all, or one for each part",
            got=f"{axes} for {form(jax.tree_util.tree_structure(tree, is_leaf=is_module))}",
            fix="give one entry for each argument, or for each result; None is for what is the same for all examples",
            where="px.vmap",
        ) from None
    return found


def _split(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """The key the caller keeps, and one for each example along a new first axis."""
    rows = jax.vmap(lambda k: jax.random.split(k, n + 1))(key.reshape(-1))
    rows = jnp.moveaxis(rows, 1, 0).reshape(n + 1, *key.shape)
    return rows[0], rows[1:]
