"""How a model is built, as JSON: the live object taken apart, attribute by attribute. ``_rebuilding`` is the way back.

A value that JSON has is written as it is; every other is a dict with one entry, whose key says what it is::

    {"modules": [{"class": "phlox:Dense", "frozen": false, "pinned": null,
                  "attributes": [["weight", {"array": "layers.0.weight"}], ["act", {"function": "phlox:relu"}], …]},
                 {"class": "phlox:Chain", "attributes": [["layers", [{"module": 0}]]], …}],
     "version": 1}

Modules stand children first, the root last, each once: what is shared stays shared, and no loop can be written.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, StructureError, Tied, describe, modules, plain_class, state_dict, ties_of
from phlox.weights._naming import name_of

VERSION = 1
LARGEST = 16 << 20  # characters of a description
DEEPEST = 64  # containers in one attribute
MOST_LEVELS = 200  # Modules inside Modules
KINDS = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
KINDS |= {"float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"}
FAMILIES: dict[str, Any] = {"numpy": np, "jax.numpy": jnp}
_BITS = 4096  # of a whole number


def described(model: Module, where: str) -> str:
    """The description of a model.

    Raises:
        StructureError: an attribute that no file can name, such as a lambda.
    """
    text = _Writer(model, where).describe(model)
    if len(text) > LARGEST:
        raise StructureError(
            f"a description of at most {LARGEST} characters",
            got=f"{len(text)}",
            fix="keep data in arrays, not in lists of numbers",
            where=where,
        )
    return text


class _Writer:
    def __init__(self, model: Module, where: str):
        self.where = where
        self.paths = {id(module): path for path, module in modules(model).items()}
        self.tied: dict[int, str] = {}  # the path that a tied array was met at first
        self.left = set(state_dict(model))  # names of arrays that were not met yet
        self.index: dict[int, int] = {}
        self.entries: list[dict[str, Any]] = []

    def describe(self, model: Module) -> str:
        self.module(model, "", 0)
        if self.left:
            raise self.refusal(f"an array of {min(self.left)}", "a place of its own")
        return json.dumps({"modules": self.entries, "version": VERSION}, separators=(",", ":"), allow_nan=False)

    def module(self, module: Module, path: str, level: int) -> int:
        if id(module) in self.index:
            return self.index[id(module)]
        path, cls = self.paths.get(id(module), path), plain_class(type(module))
        name, ties = name_of(cls), dict(ties_of(type(module)))
        if name is None or level > MOST_LEVELS:
            raise self.refusal(cls, path)
        state = module.__getstate__()
        attributes = []
        for at, v in state["attributes"].items():
            where = f"{path}.{at}" if path else at
            attributes.append([at, self.attribute(module, v, where, level, ties.get(at))])
        frozen = state["frozen"] if isinstance(state["frozen"], bool) else sorted(state["frozen"])
        self.entries.append({"attributes": attributes, "class": name, "frozen": frozen, "pinned": state["pinned"]})
        self.index[id(module)] = len(self.index)
        return self.index[id(module)]

    def attribute(self, module: Module, value: Any, path: str, level: int, flipped: bool | None) -> Any:
        """What stands in an attribute of a Module, ``flipped`` saying how where it is tied."""
        if flipped is not None:
            return self.tie(value, path, flipped)
        if isinstance(value, types.MethodType) and value.__self__ is module:
            return {"method": value.__func__.__name__}
        return self.value(value, path, level, 0)

    def value(self, value: Any, path: str, level: int, depth: int) -> Any:
        """One value, which is met at ``path``."""
        if depth > DEEPEST:
            raise self.refusal(value, path)
        if isinstance(value, Module) and id(value) in self.paths:
            return {"module": self.module(value, path, level + 1)}
        if path in self.left and isinstance(value, (jax.Array, np.ndarray)):
            self.left.remove(path)
            return {"array": path}
        plain = _plain(value)
        if plain is not _NOTHING:
            return plain
        return self.container(value, path, lambda v, at: self.value(v, f"{path}.{at}", level, depth + 1))

    def tie(self, held: Tied, path: str, flipped: bool) -> Any:
        """An array that is tied, by the path that a file has it under."""
        path = self.tied.setdefault(id(held), path)
        self.left.discard(path)
        return {"tied": [path, flipped, held._px.frozen is True]}

    def container(self, value: Any, path: str, inside: Callable[[Any, Any], Any]) -> Any:
        """A value with others in it; ``inside`` describes one of them."""
        kind = type(value)
        if kind is list:
            return [inside(v, i) for i, v in enumerate(value)]
        if kind is tuple:
            return {"tuple": [inside(v, i) for i, v in enumerate(value)]}
        if kind is dict:
            return {"dict": [[inside(k, k), inside(v, k)] for k, v in value.items()]}
        if kind in (set, frozenset):
            return {kind.__name__: sorted((inside(v, "*") for v in value), key=json.dumps)}
        if kind is slice:
            return {"slice": [inside(v, "*") for v in (value.start, value.stop, value.step)]}
        if kind is functools.partial:
            return {"partial": [inside(getattr(value, at), at) for at in ("func", "args", "keywords")]}
        return self.named(value, path, inside)

    def named(self, value: Any, path: str, inside: Callable[[Any, Any], Any]) -> Any:
        """Functions, and records of the user's own classes."""
        kind = type(value)
        fields = fields_of(kind)
        if fields is None and callable(value) and not isinstance(value, type):
            name = name_of(value)
            if name is not None:
                return {"function": name}
        elif (name := name_of(kind)) is not None:
            if isinstance(value, enum.Enum):
                return {"enum": [name, value.name]}
            if fields is not None:
                at = _positions(value)
                held = [(f, getattr(value, f)) for f in fields]
                return {"record": [name, [[f, inside(v, at.get(id(v), f))] for f, v in held]]}
        raise self.refusal(value, path)

    def refusal(self, value: Any, path: str) -> StructureError:
        shown = getattr(value, "__qualname__", None) or describe(value)
        return StructureError(
            "attributes that a file can describe",
            got=f"{shown} at {path or 'the root'}",
            fix="use numbers, text, Modules, arrays, containers and dataclasses of them, and functions and classes "
            "that stand in a module under their own name; or save the arrays alone with px.weights.save_safetensors",
            where=self.where,
        )


_NOTHING = object()


def _plain(value: Any) -> Any:
    """Numbers, text, dtypes; ``_NOTHING`` for all else."""
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int and value.bit_length() <= _BITS:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is complex:
        return {"complex": [_plain(value.real), _plain(value.imag)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if value is ...:
        return {"ellipsis": None}
    if kind is range:
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, np.dtype) and value.name in KINDS:
        return {"dtype": value.name}
    if isinstance(value, np.generic) and value.dtype.name in KINDS:
        return {"number": [value.dtype.name, value.tobytes().hex()]}
    for family in ("numpy", "jax.numpy"):
        name = getattr(value, "__name__", None)
        if name in KINDS and getattr(FAMILIES[family], name, None) is value:
            return {"scalar": [family, name]}
    return _NOTHING


def fields_of(kind: type) -> tuple[str, ...] | None:
    """The names of a dataclass's or a named tuple's fields; None for other classes."""
    if dataclasses.is_dataclass(kind):
        return tuple(f.name for f in dataclasses.fields(kind))
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None


def _positions(value: Any) -> dict[int, int]:
    """The position of each child of a dataclass that is a pytree, by the child's id: paths name them so."""
    if isinstance(value, tuple):
        return {}
    children = jax.tree_util.tree_leaves(value, is_leaf=lambda v: v is not value)
    return {id(child): i for i, child in enumerate(children)}
