"""What an optimiser is for: one Module, or several in a list, tuple or dict, whose arrays have paths all the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    StructureError,
    agreed,
    copy,
    describe,
    gradients_by_path,
    merge,
    modules,
    paths,
    plan_of,
    trainable_arrays,
    write_arrays,
)
from phlox.nn import ParameterKind, parameter_kinds

Models = Any  # a Module, or a list, tuple or dict of Models


def check_models(model: Any, where: str, fix: str) -> None:
    """Refuse what holds no Module, or something else beside them."""
    found = list(roots(model).values())
    strange = [v for v in found if not isinstance(v, Module)]
    if strange or not found:
        raise StructureError(
            "a Module, or a list, tuple or dict of Modules, as the model",
            got=describe(strange[0]) if strange else f"an empty {type(model).__name__}",
            fix=fix,
            where=where,
        )


def roots(model: Models) -> dict[str, Any]:
    """The Modules by where they stand; a single one under the empty path."""
    if isinstance(model, Module):
        return {"": model}
    leaves = jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_end)[0]
    return {jax.tree_util.keystr(at, simple=True, separator="."): v for at, v in leaves}


def _is_end(value: Any) -> bool:
    return value is None or isinstance(value, Module)


def _under(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if prefix and path else prefix or path


def parts(model: Models) -> dict[str, Module]:
    """Every Module in them by its path."""
    return {_under(at, path): m for at, root in roots(model).items() for path, m in modules(root).items()}


def trained(model: Models) -> dict[str, Any]:
    """The trainable arrays by first path; what is shared, also by two Modules of a list, appears once."""
    if isinstance(model, Module):
        return trainable_arrays(model)
    found = {}
    first = _first_paths(model)
    for at, root in roots(model).items():
        for path, value in trainable_arrays(root).items():
            if first[_under(at, path)] == _under(at, path):
                found[_under(at, path)] = value
    return found


def kinds(model: Models) -> dict[str, ParameterKind]:
    """What each array is, by its first path."""
    found = roots(model).items()
    return {_under(at, path): kind for at, root in found for path, kind in parameter_kinds(root).items()}


def _first_paths(model: Models) -> dict[str, str]:
    """The first path of every array by each of its paths from a root."""
    found: dict[str, str] = {}
    owners: dict[tuple[int, int], str] = {}
    for at, root in roots(model).items():
        plan = plan_of([root])
        for name, (m, item) in zip(plan.structure.names(), plan.structure.leaves, strict=True):
            found[_under(at, name)] = owners.setdefault((id(plan.module(m)), item), _under(at, name))
    return found


def gradients(model: Models, grads: Any, where: str) -> dict[str, Any]:
    """Gradients by the first path of the arrays they belong to; what is None is left out."""
    if isinstance(model, Module):
        return gradients_by_path(model, grads, where)
    if _is_by_path(grads):
        return _named(model, grads, where)
    given, known = roots(grads), roots(model)
    if set(given) != set(known):
        raise StructureError(
            f"a gradient for each of {', '.join(known)}",
            got=f"those of {', '.join(given) or 'nothing'}" if not isinstance(grads, Module) else describe(grads),
            fix="pass what px.grad returned for this very list, tuple or dict; None for a Module that has none",
            where=where,
        )
    first = _first_paths(model)
    copies: dict[str, list[tuple[str, Any]]] = {}
    for at, root in known.items():
        if given[at] is not None:
            for path, g in gradients_by_path(root, given[at], where).items():
                copies.setdefault(first[_under(at, path)], []).append((_under(at, path), g))
    return {path: agreed(found, where) for path, found in copies.items()}


def _is_by_path(grads: Any) -> bool:
    ends = list(grads.values()) if isinstance(grads, dict) else [grads]
    return isinstance(grads, dict) and all(v is None or hasattr(v, "dtype") for v in ends)


def _named(model: Models, grads: dict[str, Any], where: str) -> dict[str, Any]:
    known = _first_paths(model)
    unknown = next((path for path in grads if path not in known), None)
    if unknown is not None:
        raise StructureError(
            "gradients by path",
            got=f"the unknown path {unknown!r}",
            fix=f"use the paths of the models: {', '.join([*known][:3])} …",
            where=where,
        )
    return {known[path]: g for path, g in grads.items() if g is not None}


def write(model: Models, arrays: dict[str, Any]) -> None:
    """Write arrays by first path."""
    if isinstance(model, Module):
        write_arrays(model, arrays)
        return
    for at, root in roots(model).items():
        mine = {path: arrays[_under(at, path)] for path in paths(root) if _under(at, path) in arrays}
        write_arrays(root, mine)


def rebuilt(model: Models, arrays: dict[str, Any]) -> Models:
    """A copy that holds these arrays, and the model's own where there are none."""
    if isinstance(model, Module):
        others = paths(model)
        return merge(model, arrays, {path: v for path, v in others.items() if path not in arrays})
    twin = copy(model)
    write(twin, {path: jnp.asarray(v) for path, v in arrays.items()})
    return twin
