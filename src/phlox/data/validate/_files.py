"""A schema as a file: JSON that people read and change, a column on each line."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from phlox.core import PhloxError, StructureError, describe
from phlox.data.readers._files import corrupt, file_bytes
from phlox.data.validate._rules import Column

FORMAT = 1
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Column) if f.default is not dataclasses.MISSING}
_KINDS: dict[str, tuple[type, ...]] = {
    "kind": (str,), "missing": (int, float), "low": (int, float, str), "high": (int, float, str), "values": (list,),
    "finite": (bool,), "unique": (bool,), "required": (bool,), "place": (list,),
}  # fmt: skip


class Told(NamedTuple):
    """What a file says."""

    columns: tuple[Column, ...]
    repeated: float
    more: bool


def content_of(told: Told) -> dict[str, Any]:
    """What the file holds; of a column only what is not as usual."""
    columns = {column.name: _entry(column) for column in told.columns}
    return {"format": FORMAT, "repeated": told.repeated, "more": told.more, "columns": columns}


def _entry(column: Column) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": column.kind}
    for name, usual in _DEFAULTS.items():
        value = getattr(column, name)
        if name == "place":
            value = None if value is None or value == (column.name, None) else list(value)
        if value != usual:
            told[name] = list(value) if isinstance(value, tuple) else value
    return told


def told_by(content: Any, where: str) -> Told:
    """From what a file holds.

    Raises:
        StructureError: it is no schema's, or of a later version. RangeError: rules that mean nothing.
    """
    if not isinstance(content, Mapping):
        fix = "give what schema.content() gave"
        raise StructureError("the content of a schema", got=describe(content), fix=fix, where=where)
    version, columns = content.get("format"), content.get("columns")
    if version != FORMAT or not isinstance(columns, Mapping):
        fix = "update Phlox, or write the schema anew"
        got = f"format {version!r}" if version != FORMAT else "no columns"
        raise StructureError(f"a schema of format {FORMAT}", got=got, fix=fix, where=where)
    repeated, more = content.get("repeated", 1.0), content.get("more", False)
    if isinstance(repeated, bool) or not isinstance(repeated, (int, float)) or not isinstance(more, bool):
        fix = 'write "repeated": 0.1, "more": false'
        raise StructureError(
            "repeated as a number, more as a truth", got=f"{repeated!r}, {more!r}", fix=fix, where=where
        )
    return Told(tuple(_column(name, entry, where) for name, entry in columns.items()), repeated, more)


def _column(name: str, entry: Any, where: str) -> Column:
    if not isinstance(entry, Mapping) or "kind" not in entry:
        fix = 'write {"kind": "number"}'
        raise StructureError(f"what is expected of {name!r}", got=repr(entry)[:60], fix=fix, where=where)
    told = dict(entry)
    for key, value in told.items():
        kinds = _KINDS.get(key)
        if kinds is None or not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = f"{key} of {name!r} as {_words(kinds)}" if kinds else f"{name!r} with {', '.join(_KINDS)}"
            got = repr(value)[:60] if kinds else repr(key)[:60]
            raise StructureError(expected, got=got, fix="look at the line of this column", where=where)
    place = told.pop("place", None)
    if place is not None and (len(place) != 2 or not isinstance(place[0], str)):
        fix = 'write ["x", 0]'
        raise StructureError(f"place of {name!r} as a part and a feature", got=repr(place)[:60], fix=fix, where=where)
    values = told.pop("values", None)
    return Column(
        name=name,
        values=None if values is None else tuple(values),
        place=(name, None) if place is None else (place[0], place[1]),
        **told,
    )


def _words(kinds: tuple[type, ...]) -> str:
    names = {int: "a number", float: "a number", str: "text", bool: "a truth", list: "a list"}
    return " or ".join(dict.fromkeys(names[kind] for kind in kinds))


def write_schema(told: Told, path: str | os.PathLike[str]) -> None:
    """Write a file, whole or not at all.

    Raises:
        FileError: it cannot be written.
    """
    from phlox.weights import replacing

    content = content_of(told)
    head = "".join(f" {json.dumps(key)}: {json.dumps(content[key])},\n" for key in ("format", "repeated", "more"))
    lines = (f"  {json.dumps(n, ensure_ascii=False)}: {_line(entry)}" for n, entry in content["columns"].items())
    text = "{\n" + head + ' "columns": {\n' + ",\n".join(lines) + "\n }\n}\n"
    with replacing(path, where="Schema.save") as beside:
        beside.write_text(text, "utf-8")


def _line(entry: Any) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False)


def read_schema(path: str | os.PathLike[str]) -> Told:
    """Read a file.

    Raises:
        FileError: it cannot be read. CorruptFileError: it is no schema.
    """
    where = "Schema.load"
    try:
        return told_by(json.loads(file_bytes(path, None, where)), where)
    except PhloxError as error:
        if not isinstance(error, StructureError):
            raise
        raise corrupt(error.expected, error.got or "", path, where, error.fix) from error
    except (ValueError, RecursionError) as error:
        raise corrupt("a schema in JSON", str(error)[:200], path, where, "mend the file at this place") from error
