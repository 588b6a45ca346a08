"""ArrayRecord files, which Grain reads."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phlox.core import MissingExtraError
from phlox.data.readers._files import corrupt
from phlox.data.readers.shards._features import Features, Parse, parse_of
from phlox.data.readers.shards._opening import begins
from phlox.data.readers.shards._paths import Shards, shard_paths
from phlox.data.readers.shards._shards import rows_of


def read_array_record(
    paths: Shards, features: Features = None, *, shard: tuple[int, int] | None = None
) -> ArrayRecords:
    """The records of ArrayRecord files by index, as observations: data for ``px.DataLoader``.

    The package ``array-record``, which comes with Grain where there is one for the system, reads them.

    Arguments:
        paths: a file, a pattern such as ``"train-*.array_record"``, or several.
        features: as for ``px.data.read_tfrecord``: what is wanted of each record's ``tf.train.Example``, such as
            TensorFlow Datasets writes; or a function of a record's bytes, such as ``bytes`` or ``pickle.loads``.
        shard: (index, count): every count-th file from the index on.

    Raises:
        MissingExtraError: ``array-record`` is not installed.
        MissingFileError: no such file. RangeError: what is no shape and no decoder; a shard out of range.
        CorruptFileError: no ArrayRecord file, a damaged one, or one of other features.

    >>> import tempfile, phlox as px
    >>> from array_record.python.array_record_module import ArrayRecordWriter
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = ArrayRecordWriter(f"{folder}/two.array_record", "group_size:1")
    ...     _ = writer.write(b"first"), writer.write(b"second"), writer.close()
    ...     records = px.data.read_array_record(f"{folder}/two.array_record", bytes)
    ...     len(records), records[1]
    (2, b'second')

    Source: Google, ArrayRecord, https://github.com/google/array_record.
    """
    where = "read_array_record"
    return ArrayRecords(shard_paths(paths, shard, where), parse_of(features, where))


class ArrayRecords:
    """The records of files by index; it can be pickled, and each process opens the files anew."""

    paths: tuple[Path, ...]

    def __init__(self, paths: tuple[Path, ...], parse: Parse):
        self.paths, self._parse = paths, parse
        sources = _sources(parse.where)
        for path in paths:
            begins(path, 1, parse.where)  # what is a folder or a pipe, or not to be read, says so
        self._source: Any = self._tried(lambda: sources.ArrayRecordDataSource([str(path) for path in paths]))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Any:
        return self.__getitems__([i])[0]

    def __getitems__(self, index: Sequence[int]) -> list[Any]:
        """Several at once, read in threads."""
        rows = rows_of(index, len(self)).tolist()
        found = self._tried(lambda: self._source.__getitems__(rows)) if rows else []
        return [self._parse(data, self._named(), f"record {i}") for data, i in zip(found, rows, strict=True)]

    def __repr__(self) -> str:
        return f"{self._parse.where}: {len(self)} observations in {len(self.paths)} files"

    def _tried(self, read: Any) -> Any:
        try:
            return read()
        except RuntimeError as error:  # what the package raises, whatever is wrong
            raise corrupt("ArrayRecord files", str(error) or "others", self._named(), self._parse.where) from None

    def _named(self) -> Path:
        """The file, or the folder that the first of several is in."""
        return self.paths[0] if len(self.paths) == 1 else self.paths[0].parent


def _sources(where: str) -> Any:
    try:
        return importlib.import_module("array_record.python.array_record_data_source")
    except ImportError as error:
        fix = "pip install array-record, where there is one for this system"
        raise MissingExtraError("array-record", got=str(error), fix=fix, where=where) from error
