"""Looking over a whole tree of Modules, with sharing kept: map, paths, modules, norms, gradients by path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import _errors as errors
from phlox.core._compat import Tracer
from phlox.core._errors import StructureError
from phlox.core.module._arrays import Path, dotted, is_array
from phlox.core.module._module import Module
from phlox.core.module._plan import ARRAY, Plan, plan_of
from phlox.core.transforms._functionalize import is_module, write_back

T = TypeVar("T")


def modules(model: Module) -> dict[str, Module]:
    """Every Module in a tree by its first path, the root under the empty path.

    >>> import phlox as px
    >>> list(px.modules(px.Chain(px.Dense(2, 3), px.Dense(3, 1))))
    ['', 'layers.0', 'layers.1']
    """
    plan = plan_of([model])
    structure = plan.structure
    shown = [m for m, (layout, _) in enumerate(structure.nodes) if not layout.cls._veiled]
    return {dotted(structure.module_path(m)[1]): plan.module(m) for m in shown}


def paths(model: Any) -> dict[str, Any]:
    """Every array in a tree by its first path; what is shared appears once.

    Takes a Module, or a list, tuple or dict of Modules and arrays.

    >>> import phlox as px
    >>> list(px.paths(px.Dense(2, 3)))
    ['weight', 'bias']
    """
    if isinstance(model, Module):
        plan = plan_of([model]).check_read()
        return dict(zip(plan.structure.names(), plan.gather(), strict=True))
    found: dict[str, Any] = {}
    seen: set[tuple[int, int]] = set()  # a Module and the item in it
    for where, value in jax.tree_util.tree_flatten_with_path(model, is_leaf=is_module)[0]:
        prefix = jax.tree_util.keystr(where, simple=True, separator=".")
        if is_array(value):
            found[prefix] = value
        elif isinstance(value, Module):
            plan = plan_of([value]).check_read()
            owners = [(id(plan.module(m)), item) for m, item in plan.structure.leaves]
            for owner, name, leaf in zip(owners, plan.structure.names(), plan.gather(), strict=True):
                if owner not in seen:
                    found[f"{prefix}.{name}"] = leaf
            seen.update(owners)
    return found


Above = list[tuple[Module, Any]]


def owners(model: Module) -> list[tuple[str, Any, list[tuple[Above, Path]]]]:
    """Every array of a model but State, with its first path and the ways to it.

    A way is the Modules on it, each with the attribute that it goes on by, and the path within the last. An array
    has one way, the first, unless it is tied: then it has one for each Module that reads it.
    """
    plan = plan_of([model]).check_read()
    structure = plan.structure

    def above(m: int, item: int) -> Above:
        way = [(plan.module(m), structure.nodes[m][0].heads[item])]
        return [*above(*structure.parents[m]), *way] if m in structure.parents else way

    def ways(m: int, item: int) -> list[tuple[Above, Path]]:
        if not structure.nodes[m][0].cls._veiled:
            return [(above(m, item), structure.nodes[m][0].paths[item])]
        return [
            way
            for p, (_, kinds) in enumerate(structure.nodes)
            for i, k in enumerate(kinds)
            if k == m
            for way in ways(p, i)
        ]

    arrays = zip(structure.names(), plan.gather(), structure.leaves, strict=True)
    return [(name, v, ways(*leaf)) for i, (name, v, leaf) in enumerate(arrays) if not structure.is_state(i)]


def tree_map(fn: Callable[..., Any], tree: T, *others: Any) -> T:
    """Map a function over the arrays of trees of the same form, keeping what is shared shared.

    Unlike ``jax.tree.map``, which rebuilds a shared part once for each path to it, this visits it once.
    Where the first tree holds None (a gradient of a frozen array), the result does too.

    Arguments:
        fn: takes one array of each tree.
        tree: a Module, or a list, tuple or dict of them and of arrays.
        others: trees of the same form.

    Raises:
        StructureError: the trees differ in form.

    >>> import phlox as px
    >>> half = px.map(lambda w: w / 2, px.Dense(2, 3))
    >>> type(half).__name__
    'Dense'
    """
    flat, treedef = jax.tree_util.tree_flatten(tree, is_leaf=is_module)
    rest = []
    for other in others:
        leaves, form = jax.tree_util.tree_flatten(other, is_leaf=is_module)
        if form != treedef:
            raise StructureError(
                "trees of one form",
                got=f"{errors.form(treedef)} beside {errors.form(form)}",
                fix="map over trees with the same lists, tuples and dicts",
                where="px.map",
            )
        rest.append(leaves)
    roots = [v for v in flat if isinstance(v, Module)]
    mapped = iter(_map_modules(fn, roots, [[v for v in leaves if isinstance(v, Module)] for leaves in rest]))
    out = [next(mapped) if isinstance(v, Module) else fn(v, *(r[i] for r in rest)) for i, v in enumerate(flat)]
    return jax.tree_util.tree_unflatten(treedef, out)


def _map_modules(fn: Callable[..., Any], roots: list[Module], rest: list[list[Module]]) -> list[Module]:
    if not roots:
        return []
    unique = list({id(r): r for r in roots}.values())
    plan = plan_of(unique).check_read()
    columns = [plan.gather()]
    for modules in rest:
        first = {id(r): m for r, m in reversed(list(zip(roots, modules, strict=True)))}
        columns.append(_aligned(plan, plan_of([first[id(r)] for r in unique]).check_read()))
    values = [None if any(v is None for v in row) else fn(*row) for row in zip(*columns, strict=True)]
    built = plan.structure.build(values)
    at = {id(r): built[plan.structure.roots[i]] for i, r in enumerate(unique)}
    return [at[id(r)] for r in roots]


def _aligned(plan: Plan, other: Plan) -> list[Any]:
    """The leaves of another plan in this one's order, by position; None where the other holds None."""
    a, b = plan.structure, other.structure
    if len(a.nodes) != len(b.nodes) or a.roots != b.roots:
        raise StructureError(
            f"a tree with the {len(a.nodes)} Modules of the first",
            got=f"one with {len(b.nodes)}",
            fix="map over models that are built alike",
            where="px.map",
        )
    values = dict(zip(b.leaves, other.gather(), strict=True))
    for m, i in a.leaves:
        layout, kinds = b.nodes[m]
        if layout.cls is not a.nodes[m][0].cls or i >= len(kinds) or layout.paths[i] != a.nodes[m][0].paths[i]:
            raise StructureError(
                f"{dotted(a.module_path(m)[1])}.{dotted(a.nodes[m][0].paths[i])} in every tree",
                got=f"a {layout.cls.__name__} without it",
                fix="map over models that are built alike",
                where="px.map",
            )
        if kinds[i] != ARRAY and b.others[m].get(i) is not None:
            values[m, i] = b.others[m][i]
    return [values.get(leaf) for leaf in a.leaves]


def global_norm(tree: Any) -> jax.Array:
    r"""The Euclidean norm of all arrays of a tree, $\sqrt{\sum_i |x_i|^2}$, each shared one counted once.

    ``optax.tree.norm`` counts a shared part once for every path to it. Squares and sums in float32 at least. Its
    gradient at 0 is 0, and a NaN anywhere makes it NaN.

    >>> import jax.numpy as jnp, phlox as px
    >>> float(px.global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}))
    5.0
    """
    arrays = [x for x in paths(tree).values() if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not arrays:
        return jnp.zeros(())
    squares = [_square(x) for x in arrays]
    return root(sum(squares[1:], squares[0]))


def _square(x: Any) -> jax.Array:
    r"""$\sum |x|^2$; of float16, 300² is no number, so widened first."""
    real, imag = jnp.real(x), jnp.imag(x) if jnp.iscomplexobj(x) else None
    wide = lambda part: part.astype(jnp.promote_types(part.dtype, jnp.float32))  # noqa: E731
    total = jnp.sum(jnp.square(wide(real)))
    return total if imag is None else total + jnp.sum(jnp.square(wide(imag)))


def root(square: jax.Array) -> jax.Array:
    """The square root, whose derivative at 0 is 0, as a norm's is by convention; NaN stays NaN."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


# --- gradients by path -----------------------------------------------------------------------------


def gradients_by_path(model: Module, grads: Any, where: str) -> dict[str, Any]:
    """Gradients by the first path of the arrays they belong to; what is None is left out.

    Gradients whose shared parts were untied by plain JAX are accepted where the copies agree.

    Raises:
        StructureError: gradients of another model, or copies of a shared part that differ.
    """
    if not isinstance(grads, Module):
        return _from_mapping(model, grads, where)
    plan = plan_of([model])
    structure = plan.structure
    given = plan_of([grads])
    ours, theirs, values = structure.routes(), given.structure.routes(), given.gather()
    unknown = [p for p in theirs if p not in ours]
    if unknown or type(grads) is not type(model):
        raise StructureError(
            f"gradients of this {type(model).__name__}",
            got=f"a {type(grads).__name__}" + (f" with an array at {unknown[0]}" if unknown else ""),
            fix="pass what px.grad returned for this very model",
            where=where,
        )
    copies: dict[int, list[tuple[str, Any]]] = {}
    for path, leaf in ours.items():
        if path in theirs:
            copies.setdefault(leaf, []).append((path, values[theirs[path]]))
    names = structure.names()
    return {names[leaf]: agreed(found, where) for leaf, found in sorted(copies.items())}


def _from_mapping(model: Module, grads: Any, where: str) -> dict[str, Any]:
    known = plan_of([model]).structure.names()
    if not isinstance(grads, dict) or any(k not in known for k in grads):
        got = (
            type(grads).__name__
            if not isinstance(grads, dict)
            else f"the unknown path {next(k for k in grads if k not in known)!r}"
        )
        raise StructureError(
            "a gradient Module, or a dict from path to array",
            got=got,
            where=where,
            fix=f"pass what px.grad returned, or use the paths of the model: {', '.join([*known][:3])} …",
        )
    return {k: v for k, v in grads.items() if v is not None}


def agreed(copies: list[tuple[str, Any]], where: str) -> Any:
    """The one gradient of a shared array, from copies that must be equal."""
    path, first = copies[0]
    others = [v for _, v in copies[1:] if v is not first]
    if not others:
        return first

    def check(first: Any, *others: Any) -> Any:
        for other in others:
            if not np.array_equal(np.asarray(first), np.asarray(other), equal_nan=True):
                raise StructureError(
                    f"one gradient for the shared {path}",
                    got=f"copies of it that differ ({', '.join(p for p, _ in copies)})",
                    fix="use px.grad, and px.map in place of jax.tree.map, which keep what is shared shared",
                    where=where,
                )
        return np.asarray(first)

    if isinstance(first, Tracer) or any(isinstance(o, Tracer) for o in others):
        return jax.pure_callback(check, jax.ShapeDtypeStruct(first.shape, first.dtype), first, *others)
    check(first, *others)
    return first


# --- trainable arrays by path, for optimisers --------------------------------------------------------


def trainable_arrays(model: Module) -> dict[str, Any]:
    """The trainable arrays of a model by first path."""
    plan = plan_of([model])
    structure = plan.structure
    named = zip(structure.names(), plan.gather(), strict=True)
    return {n: v for i, (n, v) in enumerate(named) if structure.is_trainable(i, v)}


def write_arrays(model: Module, arrays: dict[str, Any]) -> None:
    """Write arrays into a model by first path, where that is safe here."""
    plan = plan_of([model])
    index = {n: i for i, n in enumerate(plan.structure.names())}
    write_back(plan, [index[n] for n in arrays], list(arrays.values()))
