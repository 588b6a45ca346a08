"""A model from its description: put together without its ``__init__``, from names that are allowed and nothing else."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from phlox.core import Module, StructureError, Tied, modules, state_dict, tied_class
from phlox.weights._describing import DEEPEST, FAMILIES, KINDS, LARGEST, MOST_LEVELS, VERSION, fields_of
from phlox.weights._naming import Allowed


class MalformedError(ValueError):
    """A description that says nothing sensible."""


def rebuilt(text: str, arrays: Mapping[str, Any], allowed: Allowed) -> Module:
    """The model that a description describes, around these arrays by name.

    Raises:
        MalformedError: a description that says nothing sensible.
        NotAllowedError: it names something that is not allowed.
    """
    if len(text) > LARGEST:
        raise MalformedError(f"a description of {len(text)} characters")
    try:
        whole = json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_constant)
        version, entries = _entries(whole, "version", "modules")
        if type(version) is not int or version != VERSION:
            raise MalformedError(f"version {str(version)[:20]} of the description, where this Phlox knows {VERSION}")
        root = _Reader(arrays, allowed).build(entries)
        if len(state_dict(root)) != len(arrays):
            raise MalformedError("an array that is no part of the model, or where JAX cannot see it")
    except (RecursionError, TypeError, ValueError, OverflowError, StructureError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(str(error)[:200] or type(error).__name__) from error
    return root


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("an entry that is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise MalformedError(f"the number {name}")


def _entries(value: Any, *names: str) -> list[Any]:
    """The values of a dict that has exactly these entries."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise MalformedError(f"something else than a dict of {', '.join(names)}")
    return [value[name] for name in names]


def _sized(value: Any, size: int | None = None) -> list[Any]:
    """A list, of this length."""
    if not isinstance(value, list) or (size is not None and len(value) != size):
        raise MalformedError("something else than a list" + ("" if size is None else f" of {size}"))
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedError("something else than text")
    return value


class _OwnMethod(NamedTuple):
    """A method of the Module whose attribute it is."""

    name: str

    def of(self, module: Module) -> Any:
        function = inspect.getattr_static(type(module), self.name, None)
        if not isinstance(function, types.FunctionType):
            raise MalformedError(f"no method {self.name[:200]!r} of {type(module).__name__}")
        return types.MethodType(function, module)


class _Place(NamedTuple):
    """What stands in an attribute that is tied."""

    cell: Tied
    flipped: bool


class _Reader:
    def __init__(self, arrays: Mapping[str, Any], allowed: Allowed):
        self.arrays, self.allowed = dict(arrays), allowed
        self.made: list[Module] = []
        self.tied: dict[str, Tied] = {}
        self.levels: list[int] = []
        self.inner = 0  # the deepest level among the Modules that the one being read holds

    def build(self, entries: Any) -> Module:
        for entry in _sized(entries):
            name, attributes, frozen, pinned = _entries(entry, "class", "attributes", "frozen", "pinned")
            cls = self.allowed.module_class(_text(name))
            self.inner = 0
            pairs = [_sized(pair, 2) for pair in _sized(attributes)]
            values = {_text(at): self.value(v, 0) for at, v in pairs}
            if len(values) != len(pairs) or pinned not in (None, True, False):
                raise MalformedError(f"attributes or flags of {cls.__name__} that cannot be")
            if self.inner >= MOST_LEVELS:
                raise MalformedError(f"more than {MOST_LEVELS} Modules inside each other")
            flag = frozen if isinstance(frozen, bool) else frozenset(_text(f) for f in _sized(frozen))
            ties = tuple(sorted((at, v.flipped) for at, v in values.items() if isinstance(v, _Place)))
            values = {at: v.cell if isinstance(v, _Place) else v for at, v in values.items()}
            module = Module.__new__(tied_class(cls, ties))
            values = {at: v.of(module) if isinstance(v, _OwnMethod) else v for at, v in values.items()}
            module.__setstate__({"attributes": values, "frozen": flag, "pinned": pinned})
            self.made.append(module)
            self.levels.append(self.inner + 1)
        if not self.made or len(modules(self.made[-1])) != len(self.made):
            raise MalformedError("a Module that is no part of the model, or none at all")
        return self.made[-1]

    def value(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise MalformedError(f"more than {DEEPEST} containers inside each other")
        if isinstance(value, list):
            return [self.value(v, depth + 1) for v in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1:
            raise MalformedError("a dict without a kind")
        [(kind, content)] = value.items()
        if kind in ("tuple", "set", "frozenset"):
            made = [self.value(v, depth + 1) for v in _sized(content)]
            return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](made)
        read = _READERS.get(kind)
        if read is None:
            raise MalformedError(f"the unknown kind {kind[:40]!r}")
        return read(self, content, depth + 1)

    def array(self, content: Any, depth: int) -> Any:
        if _text(content) not in self.arrays:
            raise MalformedError(f"no array {content[:200]!r}, or one that is used twice")
        return self.arrays.pop(content)

    def tie(self, content: Any, depth: int) -> _Place:
        path, flipped, frozen = _sized(content, 3)
        if depth > 1 or type(flipped) is not bool or type(frozen) is not bool:
            raise MalformedError("a tied array that is no attribute of a Module, or with other flags")
        if _text(path) not in self.tied:
            self.tied[path] = Tied(self.array(path, depth))
            self.tied[path]._px.frozen = frozen
        return _Place(self.tied[path], flipped)

    def method(self, content: Any, depth: int) -> _OwnMethod:
        if depth > 1:
            raise MalformedError("a method that is no attribute of a Module")
        return _OwnMethod(_text(content))

    def module(self, content: Any, depth: int) -> Module:
        if type(content) is not int or not 0 <= content < len(self.made):
            raise MalformedError("a Module that is not there yet")
        self.inner = max(self.inner, self.levels[content])
        return self.made[content]

    def dictionary(self, content: Any, depth: int) -> dict[Any, Any]:
        pairs = [_sized(pair, 2) for pair in _sized(content)]
        made = {self.value(k, depth): self.value(v, depth) for k, v in pairs}
        if len(made) != len(pairs):
            raise MalformedError("a key that is there twice")
        return made

    def several(self, make: Callable[..., Any], content: Any, size: int, depth: int) -> Any:
        return make(*[self.value(v, depth) for v in _sized(content, size)])

    def partial(self, content: Any, depth: int) -> Any:
        function, args, keywords = (self.value(v, depth) for v in _sized(content, 3))
        if not callable(function) or not isinstance(args, tuple) or not isinstance(keywords, dict):
            raise MalformedError("a partial of something else than a function and its arguments")
        if not all(isinstance(name, str) for name in keywords):
            raise MalformedError("keywords that are no text")
        return functools.partial(function, *args, **keywords)

    def record(self, content: Any, depth: int) -> Any:
        name, pairs = _sized(content, 2)
        cls = self.allowed.record_class(_text(name))
        values = {_text(field): self.value(v, depth) for field, v in (_sized(p, 2) for p in _sized(pairs))}
        fields = fields_of(cls)
        if fields is None or tuple(values) != fields:
            raise MalformedError(f"a {cls.__name__} with other fields")
        if issubclass(cls, tuple):
            return tuple.__new__(cls, values.values())
        made = object.__new__(cls)
        for field, v in values.items():
            object.__setattr__(made, field, v)
        return made

    def enumeration(self, content: Any, depth: int) -> Any:
        name, member = (_text(v) for v in _sized(content, 2))
        cls = self.allowed.record_class(name)
        if not issubclass(cls, enum.Enum) or member not in cls.__members__:
            raise MalformedError(f"no member of {cls.__name__}")
        return cls[member]

    def number(self, content: Any, depth: int) -> Any:
        name, raw = (_text(v) for v in _sized(content, 2))
        if name not in KINDS:
            raise MalformedError(f"the unknown dtype {name[:40]!r}")
        words = bytes.fromhex(raw)
        if len(words) != jnp.dtype(name).itemsize:
            raise MalformedError(f"{len(words)} bytes for one {name}")
        return np.frombuffer(words, jnp.dtype(name))[0]

    def dtype(self, content: Any, depth: int) -> Any:
        if _text(content) not in KINDS:
            raise MalformedError(f"the unknown dtype {content[:40]!r}")
        return jnp.dtype(content)

    def scalar(self, content: Any, depth: int) -> Any:
        family, name = (_text(v) for v in _sized(content, 2))
        if family not in FAMILIES or name not in KINDS:
            raise MalformedError("an unknown scalar type")
        return getattr(FAMILIES[family], name)

    def complex(self, content: Any, depth: int) -> complex:
        parts = [self.value(v, depth) for v in _sized(content, 2)]
        if any(type(v) is not float for v in parts):
            raise MalformedError("a complex number of something else than two numbers")
        return complex(*parts)


def _not_finite(reader: _Reader, content: Any, depth: int) -> float:
    if content not in ("nan", "inf", "-inf"):
        raise MalformedError("an unknown number")
    return float(content)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise MalformedError("something else than a whole number")
    return value


_READERS: dict[str, Callable[[_Reader, Any, int], Any]] = {
    "array": _Reader.array,
    "bytes": lambda reader, content, depth: bytes.fromhex(_text(content)),
    "complex": _Reader.complex,
    "dict": _Reader.dictionary,
    "dtype": _Reader.dtype,
    "ellipsis": lambda reader, content, depth: ...,
    "enum": _Reader.enumeration,
    "float": _not_finite,
    "function": lambda reader, content, depth: reader.allowed.function(_text(content)),
    "method": _Reader.method,
    "module": _Reader.module,
    "number": _Reader.number,
    "partial": _Reader.partial,
    "range": lambda reader, content, depth: range(*map(_whole, _sized(content, 3))),
    "record": _Reader.record,
    "scalar": _Reader.scalar,
    "tied": _Reader.tie,
    "slice": lambda reader, content, depth: reader.several(slice, content, 3, depth),
}
