"""Copies, and the parts of a model that stand still: copy, freeze, thaw, constant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp

from phlox.core._errors import StructureError, describe
from phlox.core.module._anatomy import touch
from phlox.core.module._arrays import dotted
from phlox.core.module._module import Module
from phlox.core.module._paths import Choice, means
from phlox.core.module._plan import modules_of, plan_of
from phlox.core.transforms._functionalize import is_module

T = TypeVar("T")
M = TypeVar("M", bound=Module)


def copy(tree: T) -> T:
    """A copy that can change without the original: Modules anew, sharing kept, arrays shared until written.

    Takes a Module, or a list, tuple or dict of them. Arrays are immutable, so nothing is moved in memory. An array
    alone comes back as one of its own, for a parameter that is to start equal to another.

    >>> import phlox as px
    >>> a = px.Dense(2, 3); b = px.copy(a)
    >>> b is a, b.weight is a.weight
    (False, True)
    """
    if isinstance(tree, jax.Array):
        return jnp.array(tree, copy=True)
    flat, treedef = jax.tree_util.tree_flatten(tree, is_leaf=is_module)
    roots = list({id(v): v for v in flat if isinstance(v, Module)}.values())
    plan = plan_of(roots).check_read()
    built = plan.structure.build(plan.gather())
    at = {id(r): built[plan.structure.roots[i]] for i, r in enumerate(roots)}
    return jax.tree_util.tree_unflatten(treedef, [at.get(id(v), v) for v in flat])


def constant(model: M) -> M:
    """A read-only copy whose weights a compiled function may capture, to be frozen into its program.

    It takes no gradient and its State cannot be written; later changes of ``model`` are not seen.

    >>> import jax.numpy as jnp, phlox as px
    >>> teacher = px.constant(px.Dense.of(jnp.ones((2, 1)), None))
    >>> px.jit(lambda x: teacher(x))(jnp.ones((1, 2))).tolist()
    [[2.0]]
    """
    plan = plan_of([model])  # reading it from outside is the point
    fixed = plan.structure.build(plan.gather())
    for module in fixed:
        module._px.constant, module._px.frozen = True, True
        touch(module._px)
    root: M = fixed[plan.structure.roots[0]]
    return root


def freeze(model: M, *which: Module | Choice) -> M:
    """Take arrays out of training: no gradient is computed for them, and a part frozen whole infers.

    Arguments:
        model: the Module to freeze, whole if nothing follows.
        which: parts of it, paths and patterns such as ``"encoder"``, ``"encoder.layers.*.mlp"`` or ``"*.bias"``, or
            predicates ``(path, array) -> bool``.

    Raises:
        StructureError: a pattern or predicate that matches nothing, or a part of another model.

    >>> import phlox as px
    >>> model = px.freeze(px.Dense(2, 3), "bias")
    >>> list(px.split(model)[0])
    ['weight']
    """
    return _mark(model, which, True)


def thaw(model: M, *which: Module | Choice) -> M:
    """Undo ``px.freeze`` for a model, or for parts, patterns or predicates as there.

    >>> import phlox as px
    >>> list(px.split(px.thaw(px.freeze(px.Dense(2, 3)), "weight"))[0])
    ['weight']
    """
    return _mark(model, which, False)


def _mark(model: M, which: tuple[Module | Choice, ...], frozen: bool) -> M:
    if not which:
        for module in modules_of(model):
            _set_frozen(module, frozen)
        return model
    plan = plan_of([model])
    for choice in _one_by_one(which):
        leaves = _chosen(model, choice)
        by_module: dict[int, set[str]] = {}
        for i in leaves:
            m, item = plan.structure.leaves[i]
            by_module.setdefault(m, set()).add(dotted(plan.structure.nodes[m][0].paths[item]))
        if isinstance(choice, Module):
            for module in modules_of(choice):
                _set_frozen(module, frozen)
            continue
        for m, names in by_module.items():
            everything = {dotted(plan.structure.nodes[m][0].paths[i]) for (n, i) in plan.structure.leaves if n == m}
            module = plan.module(m)
            now = everything if module._px.frozen is True else set(module._px.frozen or ())
            now = now | names if frozen else now - names
            _set_frozen(module, True if now == everything else frozenset(now) or False)
    return model


def _one_by_one(which: tuple[Module | Choice, ...]) -> Iterator[Module | Choice]:
    """Choices out of tuples, so that each must mean something."""
    for choice in which:
        if isinstance(choice, tuple):
            yield from _one_by_one(choice)
        else:
            yield choice


def _set_frozen(module: Module, frozen: frozenset[str] | bool) -> None:
    module._px.frozen = frozen
    touch(module._px)


def _chosen(model: Module, choice: Module | Choice) -> list[int]:
    """The leaves of a model that a part, a pattern or a predicate names; at least one."""
    plan = plan_of([model])
    structure = plan.structure
    if isinstance(choice, Module):
        index = {id(plan.module(m)): m for m in range(len(plan.modules))}
        if id(choice) not in index:
            raise StructureError(
                f"a part of this {type(model).__name__}",
                got=f"a {choice._brief()} that is not in it",
                fix="pass a part of this very model, as it is found by attribute or index",
                where="px.freeze",
            )
        below = structure.modules_below([index[id(choice)]])
        return [i for i, (m, _) in enumerate(structure.leaves) if m in below]
    names = structure.names()
    if isinstance(choice, str) or callable(choice):
        found = [i for i, (n, v) in enumerate(zip(names, plan.gather(), strict=True)) if means(choice, n, v)]
    else:
        raise StructureError(
            "a Module, a path pattern or a predicate",
            got=describe(choice),
            fix='name the part by itself, as "encoder.*", or as lambda path, array: …',
            where="px.freeze",
        )
    if not found:
        raise StructureError(
            f"a choice that matches an array of this {type(model).__name__}",
            got=repr(choice),
            fix=f"choose among its paths: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}",
            where="px.freeze",
        )
    return found
