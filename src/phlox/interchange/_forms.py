"""A result as named outputs, and back: its form is data, so that no class of the model's is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import ExportError, Module, describe, is_key, state_dict

Form = dict[str, Any]
"""``{"array": name}``, ``{"value": v}``, ``{"tuple": [form, …]}``, ``{"list": […]}`` or ``{"dict": {key: form}}``."""


def taken_apart(result: Any, where: str, inputs: Iterable[str] = ()) -> tuple[dict[str, Any], Form]:
    """The arrays of a result by name, and the form that puts them together again.

    One array is called ``output``; parts of a tuple ``output_0``, ``output_1``; those of a dict, a named tuple or a
    Module have the names that they have there, and ``_out`` behind it where an input has it too, as files hold one
    array for a name. Named tuples, dataclasses and Modules come back as dicts.

    Raises:
        ExportError: something that is neither an array nor a container, or no array at all.

    >>> arrays, form = taken_apart({"y": np.ones(2), "z": (np.zeros(1), None)}, "")
    >>> list(arrays), form["dict"]["z"]
    (['y', 'z_0'], {'tuple': [{'array': 'z_0'}, {'value': None}]})
    >>> list(taken_apart({"cache": np.ones(2)}, "", inputs=["cache"])[0])
    ['cache_out']
    """
    arrays = _Named(inputs)
    form = _form(result, "", arrays, where)
    if not arrays:
        fix = "return the arrays that are wanted"
        raise ExportError("a result with an array in it", got=describe(result), fix=fix, where=where)
    return dict(arrays), form


class _Named(dict[str, Any]):
    """Arrays by names of their own, none of them an input's."""

    def __init__(self, inputs: Iterable[str]):
        super().__init__()
        self._inputs = frozenset(inputs)

    def keep(self, name: str, value: Any) -> str:
        """Keep an array, and say under which name."""
        name = f"{name}_out" if name in self._inputs else name
        free, n = name, 1
        while free in self or free in self._inputs:
            n += 1
            free = f"{name}_{n}"
        self[free] = jnp.asarray(value)
        return free


def put_together(form: Form, arrays: Mapping[str, Any]) -> Any:
    """The result that a form describes, around these arrays by name."""
    [(kind, content)] = form.items()
    if kind == "array":
        return arrays[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: put_together(inner, arrays) for key, inner in content.items()}
    made = [put_together(inner, arrays) for inner in content]
    return tuple(made) if kind == "tuple" else made


def _form(value: Any, name: str, arrays: _Named, where: str) -> Form:
    if is_key(value):
        value = jax.random.key_data(value)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return {"array": arrays.keep(name or "output", value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    if isinstance(value, Module):
        return {"dict": {n: _form(x, _below(name, n), arrays, where) for n, x in state_dict(value).items()}}
    fields = _fields(value)
    if fields is not None:
        return {"dict": {str(k): _form(v, _below(name, str(k)), arrays, where) for k, v in fields.items()}}
    if isinstance(value, (tuple, list)):
        parts = [_form(v, f"{name or 'output'}_{i}", arrays, where) for i, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    raise ExportError(
        "a result of arrays, in tuples, lists, dicts or Modules", got=f"{describe(value)} at {name or 'the top'}",
        fix="return what it holds, by name", where=where,
    )  # fmt: skip


def _fields(value: Any) -> Mapping[str, Any] | None:
    """What stands under names in a dict, a named tuple or a dataclass; None for all else."""
    if isinstance(value, Mapping):
        return value
    names = getattr(value, "_fields", None) or getattr(value, "__dataclass_fields__", None)
    return None if names is None or isinstance(value, type) else {n: getattr(value, n) for n in names}


def _below(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
