"""The form of ``bundle.json``: what stands where, and of which kind; everything else is refused.

A schema is a type, or several; ``[schema]`` for a list of any length; ``(schema, schema)`` for a list of just these;
a dict of schemas by key, where a key that ends with ``?`` may be missing and ``"*"`` stands for any key; or ``ANY``.
"""

from __future__ import annotations

import math
from types import UnionType
from typing import Any

ANY = object

_ARRAY = {"name": str, "shape": [int | str], "dtype": str, "below?": int}
_SIGNATURE = {
    "inputs": [_ARRAY],
    "outputs": [_ARRAY],
    "result": ANY,  # how outputs stand in the result: checked where it is put together
    "sizes": {"*": (int, int)},
    "program": {"*": str},
}
_WRITTEN = {"file": str, "tolerance": float, "error": float, "details": {"*": ANY}}
SCHEMA: Any = {
    "format": int,
    "name": str,
    "version": str,
    "signatures": {"*": _SIGNATURE},
    "targets": {"*": {"*": _WRITTEN}},
    "classes": [str],
    "preprocessing": {"*": ANY},
    "encoders": {"*": {"table": [str], "unknown": int | None}},
    "provenance": {"*": ANY},
    "card": str,
    "files": {"*": (int, str)},
}


def fault(value: Any, schema: Any = SCHEMA, at: str = "") -> str | None:
    """What is wrong with a value, and where; None where nothing is.

    >>> fault({"a": [1, "x"]}, {"a": [int], "b?": str})
    "whose 'a.1' is 'x'"
    >>> fault({}, {"a": int})
    "which has no 'a'"
    """
    if schema is ANY:
        return None
    if isinstance(schema, dict):
        return _dict_fault(value, schema, at)
    if isinstance(schema, list):
        return _list_fault(value, [schema[0]] * len(value) if isinstance(value, list) else [], at)
    if isinstance(schema, tuple):
        return _list_fault(value, list(schema), at)
    return None if _is(value, schema) else _odd(value, at)


def _is(value: Any, kinds: type | UnionType) -> bool:
    """Whether a value of JSON is of a kind; a truth is no number, a whole number may stand for a real one."""
    if isinstance(value, bool):
        return isinstance(True, kinds) and kinds is bool
    if kinds is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, kinds)


def _dict_fault(value: Any, schema: dict[str, Any], at: str) -> str | None:
    if not isinstance(value, dict):
        return _odd(value, at)
    for key in schema:
        if key != "*" and not key.endswith("?") and key not in value:
            return f"which has no {_path(at, key)!r}"
    for key, entry in value.items():
        inner = schema.get(key, schema.get(f"{key}?", schema.get("*")))
        if inner is None:
            return f"which has an unknown {_path(at, key)!r}"
        if found := fault(entry, inner, _path(at, key)):
            return found
    return None


def _list_fault(value: Any, schemas: list[Any], at: str) -> str | None:
    if not isinstance(value, list) or len(value) != len(schemas):
        return _odd(value, at)
    faults = (
        fault(entry, schema, _path(at, str(i))) for i, (entry, schema) in enumerate(zip(value, schemas, strict=True))
    )
    return next(filter(None, faults), None)


def _path(at: str, key: str) -> str:
    return f"{at}.{key[:100]}" if at else key[:100]


def _odd(value: Any, at: str) -> str:
    return f"whose {at or 'whole'!r} is {repr(value)[:60]}"
