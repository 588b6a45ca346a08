"""Requests that were written down, read again."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, OptionError
from phlox.serving.recording._columns import SHAPE, SUMMARY
from phlox.weights import CorruptFileError, MissingFileError

_WHERE = "px.serving.requests"


@dataclass(frozen=True)
class Recorded:
    """One request.

    Arguments:
        time: when it came, in UTC.
        request_id, model, version, protocol, signature, status, worker: as they are called.
        seconds: to its answer.
        inputs, outputs: arrays by name; of a large one the summary.
    """

    time: datetime
    request_id: str | None
    model: str
    version: int
    protocol: str
    signature: str
    status: int
    seconds: float
    worker: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


class Requests:
    """The requests of one model in a folder, in the order of their time.

    Arguments:
        files: those that hold them.
        version: which they are of; None for all.
        since, until: when they came, the end left out; None for all.
    """

    files: list[Path]

    def __init__(self, files: list[Path], version: int | None, since: datetime | None, until: datetime | None):
        self.files = files
        self._version, self._since, self._until = version, since, until

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def table(self) -> Any:
        """All of it as a ``pyarrow.Table``: a row for each request.

        Raises:
            CorruptFileError: a file is damaged.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = pa.concat_tables([_read(path) for path in self.files], promote_options="permissive")
        bounds = (
            ("version", "equal", self._version),
            ("time", "greater_equal", self._since),
            ("time", "less", self._until),
        )
        for name, test, bound in bounds:
            if bound is not None:
                whole = whole.filter(pc.call_function(test, [whole[name], pa.scalar(bound, whole[name].type)]))
        return whole.sort_by("time")

    def column(self, name: str) -> np.ndarray:
        """An input or output of all requests that have it, rows behind rows: ``"inputs.x"``, (rows, …).

        Raises:
            OptionError: no request has it, or has it whole; or their rows are of different sizes.
        """
        table = self.table
        if name not in table.column_names:
            there = ", ".join(n for n in table.column_names if "." in n and not n.endswith(SHAPE))
            fix = "raise Recording's elements for large ones"
            raise OptionError(f"a column among {there}"[:500], got=repr(name)[:100], fix=fix, where=_WHERE)
        rows = zip(table[name].to_pylist(), table[name + SHAPE].to_pylist(), strict=True)
        arrays = [_array(table.schema.field(name).type, values, shape) for values, shape in rows if values is not None]
        try:
            return np.concatenate([np.atleast_1d(one) for one in arrays])
        except ValueError as error:
            shapes = sorted({str(list(one.shape[1:])) for one in arrays})
            got, fix = " and ".join(shapes[:3]), "take them one by one: for request in requests"
            raise OptionError(f"rows of {name} of one size", got=got, fix=fix, where=_WHERE) from error

    def __iter__(self) -> Iterator[Recorded]:
        table = self.table
        types = {field.name: field.type for field in table.schema}
        for batch in table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                parts: dict[str, dict[str, Any]] = {"inputs": {}, "outputs": {}}
                for name, value in row.items():
                    which, _, rest = name.partition(".")
                    if which not in parts or value is None or name.endswith(SHAPE):
                        continue
                    if name.endswith(SUMMARY):
                        parts[which][rest.removesuffix(SUMMARY)] = value
                    else:
                        parts[which][rest] = _array(types[name], value, row[name + SHAPE])
                told: dict[str, Any] = {n: row[n] for n in Recorded.__dataclass_fields__ if n not in parts}
                yield Recorded(**told, inputs=parts["inputs"], outputs=parts["outputs"])


def requests(
    folder: str | os.PathLike[str],
    model: str | None = None,
    *,
    version: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Requests:
    """The requests that a server has written down.

    Arguments:
        folder: a ``Recording``'s.
        model: whose; may be left out where there is one.
        version: of that model.
        since, until: when they came; the end is left out. With a time zone.

    Raises:
        MissingFileError: there is no such folder, or nothing of such a model.
        OptionError: several models, and none is named; a time without a zone.
        MissingExtraError: pyarrow is missing.

    >>> import numpy as np, tempfile, phlox as px
    >>> class Doubler(px.serving.Servable):
    ...     def predict(self, signature, inputs):
    ...         return {"y": 2 * inputs["x"]}
    >>> doubler = Doubler(inputs={"x": px.Spec("batch", 2)}, outputs={"y": px.Spec("batch", 2)})
    >>> folder = tempfile.mkdtemp()
    >>> recording = px.serving.Recording(folder, redact=[px.serving.Redaction("request_id")])
    >>> with px.serving.Server({"doubler": doubler}, port=0, recording=recording) as server:
    ...     with px.serving.Client(server.url) as client:
    ...         _ = client.predict("doubler", {"x": np.float32([[1, 2]])})
    >>> found = px.serving.requests(folder)
    >>> found.column("outputs.y").tolist(), [one.status for one in found]
    ([[2.0, 4.0]], [200])
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", got="none", fix='pip install "phlox[tables]"', where=_WHERE)
    for bound in (since, until):
        if bound is not None and bound.tzinfo is None:
            fix = "datetime.now(timezone.utc)"
            raise OptionError("a time with its zone", got=str(bound), fix=fix, where=_WHERE)
    home = Path(folder)
    names = sorted(p.name for p in home.iterdir() if p.is_dir()) if home.is_dir() else []
    there = [name for name in names if _files(home / name)]
    if model is None and len(there) > 1:
        got = ", ".join(there)[:200]
        raise OptionError("one model, or its name", got=got, fix=f"requests(folder, {there[0]!r})", where=_WHERE)
    if not there or (model is not None and model not in there):
        expected = f"requests of {model or 'a model'} in {home}"
        fix = "serve with --log-requests; what is fresh is written within a minute"
        raise MissingFileError(expected, got=", ".join(there)[:200] or "none", fix=fix, where=_WHERE)
    return Requests(_files(home / (model or there[0])), version, since, until)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.parquet") if not p.name.startswith("."))


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        fix = "take it out of the folder: it was not written by a server"
        raise CorruptFileError(f"requests in {path}", got=str(error)[:200], fix=fix, where=_WHERE) from error


def _array(kind: Any, values: list[Any], shape: list[int]) -> np.ndarray:
    """A column's value as the array that it was."""
    name = str(kind.value_type)
    dtype: Any = {"string": object, "float": "float32", "double": "float64"}.get(name, name)
    made = np.empty(len(values), dtype)
    made[:] = values
    sizes = tuple(shape)
    fits = int(np.prod(sizes)) == len(values)
    return made.reshape(sizes) if fits else made  # of one that was cut its first values are left
