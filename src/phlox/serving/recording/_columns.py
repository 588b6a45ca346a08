"""Arrays as columns of a table: a list of values and one of sizes; of large ones a summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.serving.recording._record import Record
from phlox.serving.recording._recording import Recording
from phlox.serving.recording._redaction import redacted
from phlox.serving.recording._texts import columns_of

SHAPE, SUMMARY = ".shape", ".summary"
"""What stands behind a column's name for its sizes, and for what is told of a large one."""
_KINDS = {"b": "bool", "i": "int64", "u": "uint64", "O": "string", "U": "string", "S": "string"}
_ARROW = {"bool": "bool_", "float": "float32", "double": "float64"}
_NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def row_of(record: Record, recording: Recording, worker: int) -> tuple[dict[str, Any], dict[str, str]]:
    """A request's row, and the kind of each column of inputs and outputs."""
    row: dict[str, Any] = {
        "time": record.time // 1000, "request_id": None, "model": record.model, "version": record.version,
        "protocol": record.protocol, "signature": record.signature, "status": record.status,
        "seconds": record.seconds, "worker": worker,
    }  # fmt: skip
    kinds: dict[str, str] = {}
    for name, column in redacted(_columns(record), recording.redact, recording.key).items():
        kind = _kind(column)
        if name == "request_id":
            row[name] = str(column.reshape(-1)[0])
        elif kind is None:
            continue
        elif column.size > recording.elements:
            row[name + SUMMARY], kinds[name + SUMMARY] = summary_of(column), "summary"
        else:
            row[name], row[name + SHAPE] = _values(column, kind), list(column.shape)
            kinds[name], kinds[name + SHAPE] = kind, "shape"
    return row, kinds


def schema_of(kinds: Mapping[str, str]) -> Any:
    """The schema of such rows."""
    import pyarrow as pa

    number = pa.float64()
    summary = pa.struct(
        [("count", pa.int64()), ("nans", pa.int64()), *((n, number) for n in ("mean", "std", "min", "max"))]
    )
    told = [
        ("time", pa.timestamp("us", tz="UTC")), ("request_id", pa.string()), ("model", pa.string()),
        ("version", pa.int64()), ("protocol", pa.string()), ("signature", pa.string()), ("status", pa.int32()),
        ("seconds", number), ("worker", pa.int32()),
    ]  # fmt: skip
    made = {"summary": summary, "shape": pa.list_(pa.int32())}
    for name, kind in kinds.items():
        told.append((name, made[kind] if kind in made else pa.list_(getattr(pa, _ARROW.get(kind, kind))())))
    return pa.schema(told)


def summary_of(column: np.ndarray) -> dict[str, Any]:
    """What is told of a large array; of texts, of how many characters they have.

    >>> summary_of(np.float32([1, 3, np.nan]))
    {'count': 3, 'nans': 1, 'mean': 2.0, 'std': 1.0, 'min': 1.0, 'max': 3.0}
    """
    flat = column.reshape(-1)
    if column.dtype.kind in "OUS":
        flat = np.array([len(x) if isinstance(x, str | bytes) else 0 for x in flat.tolist()])
    numbers = flat.astype(np.float64)
    seen = numbers[~np.isnan(numbers)]
    told = (seen.mean(), seen.std(), seen.min(), seen.max()) if seen.size else (None,) * 4
    named = zip(("mean", "std", "min", "max"), told, strict=True)
    numbers_told = {name: x if x is None else float(x) for name, x in named}
    return {"count": int(flat.size), "nans": int(flat.size - seen.size), **numbers_told}


def _columns(record: Record) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {"request_id": np.array([record.id], object)}
    for which, named in (("inputs", record.inputs), ("outputs", record.outputs)):
        for name, value in named.items():
            try:
                found[f"{which}.{name}"] = np.asarray(value)
            except ValueError:  # what a client sent was no array
                continue
    return {**found, **(columns_of(record.body, record.answer) if record.body else {})}


def _kind(column: np.ndarray) -> str | None:
    if column.dtype.name in _NARROW or column.dtype == np.float32:
        return "float"
    return "double" if column.dtype.kind == "f" else _KINDS.get(column.dtype.kind)


def _values(column: np.ndarray, kind: str) -> Any:
    flat = column.reshape(-1)
    if kind == "string":
        return [x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x) for x in flat.tolist()]
    return flat.astype(np.float32 if kind == "float" else np.float64) if kind in ("float", "double") else flat.tolist()
