"""What a class body may say about a Module's arrays, and what it may not hide from its instances."""

from __future__ import annotations

import functools
import inspect
from typing import Any, ClassVar, get_origin

import jax

from phlox.core._errors import StructureError, describe
from phlox.core.context._here import Node
from phlox.core.module._arrays import is_array


def array_defaults(cls: type) -> dict[str, Any]:
    """Annotated arrays of a class body, ``weight: px.Param = jnp.ones(3)``; each instance gets them as its own.

    Raises:
        StructureError: what instances would share, or what no transform would see: Modules and unannotated JAX arrays
            in the class body, slots, cached properties.
    """
    found: dict[str, Any] = {}
    annotations = inspect.get_annotations(cls)
    if _slots(cls):
        raise _error(
            cls,
            "its attributes in its __dict__",
            f"__slots__ = {_slots(cls)}",
            "leave __slots__ (slots=True of a dataclass) away: arrays in slots are no part of the model",
        )
    for name, value in list(vars(cls).items()):
        if isinstance(value, functools.cached_property):
            raise _error(
                cls,
                "attributes that change with its arrays",
                f"the cached_property {name}, whose value would go stale and become a part of the model",
                f"make {name} a property, or compute in __init__ what never changes",
            )
        for held in _held(value):
            is_constant = isinstance(held, Node) and held._px.constant
            if is_array(held) and name in annotations and held is value:
                if not _is_class_variable(annotations[name]):
                    found[name] = value
            elif isinstance(held, (jax.Array, Node)) and not is_constant:
                raise _error(
                    cls,
                    "Modules and arrays that are made in __init__, anew for each instance",
                    f"{describe(held)} in the class body at {name}, which all instances would share and no gradient "
                    "would reach",
                    f"set self.{name} in __init__"
                    if isinstance(held, Node)
                    else f"annotate it, {name}: px.Param = …; for a constant annotate ClassVar, or use a NumPy array",
                )
    return found


def _slots(cls: type) -> tuple[str, ...]:
    slots = vars(cls).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(n for n in names if n not in ("__dict__", "__weakref__"))


def _held(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if type(value) in (list, tuple) else [value]


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "ClassVar" in annotation
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _error(cls: type, expected: str, got: str, fix: str) -> StructureError:
    return StructureError(expected, got=got, fix=fix, where=f"class {cls.__name__}")
