"""TFRecord files of ``tf.train.Example``, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from phlox.data.readers._files import corrupt
from phlox.data.readers.shards._features import Features, Parse, parse_of
from phlox.data.readers.shards._framing import HEAD, checked_data, is_packed, next_record, places
from phlox.data.readers.shards._opening import opened
from phlox.data.readers.shards._paths import Shards, shard_paths
from phlox.data.readers.shards._shards import IndexedShards, StreamedShards, sharded


@overload
def read_tfrecord(
    paths: Shards,
    features: Features = None,
    *,
    stream: Literal[True],
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> StreamedShards: ...


@overload
def read_tfrecord(
    paths: Shards,
    features: Features = None,
    *,
    stream: Literal[False],
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards: ...


@overload
def read_tfrecord(
    paths: Shards,
    features: Features = None,
    *,
    stream: bool | None = None,
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards | StreamedShards: ...


def read_tfrecord(
    paths: Shards,
    features: Features = None,
    *,
    stream: bool | None = None,
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards | StreamedShards:
    """The records of TFRecord files as observations, dicts of their features: data for ``px.DataLoader``.

    Plain files get an index by one pass over the lengths in them: a length, any order, worker processes. Gzipped files
    are a stream. Lengths and data are checked by their checksums as they are read.

    Arguments:
        paths: a file, a pattern such as ``"train-*.tfrecord"`` or ``"train-{000..127}.tfrecord"``, or several.
        features: what is wanted of each record's ``tf.train.Example``, by name: a shape, ``()`` for one value; None,
            (n,) as it lies, int64 or float32, or a list of byte strings; "jpg", "png", "npy", "txt" or "json", or a
            function, that decodes a byte string, images as (height, width, 3) uint8. Without it, all as they lie. Or
            a function of the whole record's bytes, where it is no Example; ``bytes`` leaves it as it is.
        stream: True reads one after the other, False insists on an index; None looks at the files.
        seed: of a stream, the order of its files, another one for each epoch; None keeps theirs.
        shard: (index, count): every count-th file from the index on. A loader gives each process its rows by itself;
            where each has files of its own, give it ``shard=(0, 1)``.

    Raises:
        MissingFileError: no such file. RangeError: what is no shape and no decoder; a shard out of range.
        StructureError: an index wanted of gzipped files; a seed for what has an index.
        CorruptFileError: a file that is cut off or damaged, or has other features, mostly while it is read.

    >>> import struct, tempfile, phlox as px
    >>> from phlox.data.readers.shards._crc32c import masked_crc32c
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/two.tfrecord", "wb") as file:
    ...         for data in (b"first", b"second"):
    ...             head = struct.pack("<Q", len(data))
    ...             _ = file.write(head + struct.pack("<I", masked_crc32c(head)))
    ...             _ = file.write(data + struct.pack("<I", masked_crc32c(data)))
    ...     records = px.data.read_tfrecord(f"{folder}/*.tfrecord", bytes)
    ...     len(records), records[1]
    (2, b'second')

    Source: TensorFlow, tf.train.Example and the TFRecord format.
    """
    where = "read_tfrecord"
    form = TFRecord(where, parse_of(features, where))
    return sharded(form, shard_paths(paths, shard, where), stream, seed)


@dataclass(frozen=True)
class TFRecord:
    """The format, for what reads shards."""

    where: str
    parse: Parse

    def is_packed(self, path: Path) -> bool:
        return is_packed(path, self.where)

    def index(self, path: Path) -> Sequence[Any]:
        return places(path, self.where)  # type: ignore[return-value]

    def read(self, path: Path, places: Sequence[Any]) -> list[Any]:
        found = []
        with opened(path, False, self.where) as file:
            for at, length in places:
                file.seek(int(at) + HEAD)
                found.append((int(at), checked_data(file, int(at), int(length), path, self.where)))
        return found

    def walk(self, path: Path, offset: int) -> Iterator[tuple[int, Any]]:
        with opened(path, self.is_packed(path), self.where) as file:
            if file.seek(offset) != offset:  # a gzipped file ends before
                raise corrupt(f"a record at byte {offset}", "the end of the file", path, self.where)
            while (data := next_record(file, offset, path, self.where)) is not None:
                at, offset = offset, file.tell()
                yield offset, (at, data)

    def made(self, path: Path, raw: tuple[int, bytes]) -> Any:
        at, data = raw
        return self.parse(data, path, f"the record at byte {at}")
