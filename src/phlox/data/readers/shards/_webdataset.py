"""WebDataset: tar files in which members of one name are one observation."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from phlox.core import PhloxError
from phlox.data.readers._files import corrupt
from phlox.data.readers._pixels import UndecodableError
from phlox.data.readers.shards._decoding import Decoder, decoders
from phlox.data.readers.shards._opening import is_gzip, opened, size_of
from phlox.data.readers.shards._paths import Shards, shard_paths
from phlox.data.readers.shards._shards import IndexedShards, StreamedShards, sharded
from phlox.data.readers.shards._tar import Member, content, members

Decode = bool | Mapping[str, Decoder | str]
KEY = "__key__"
_BLOCK = 1 << 20


@overload
def read_webdataset(
    paths: Shards,
    parts: Sequence[str] | None = None,
    *,
    decode: Decode = True,
    stream: Literal[True],
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> StreamedShards: ...


@overload
def read_webdataset(
    paths: Shards,
    parts: Sequence[str] | None = None,
    *,
    decode: Decode = True,
    stream: Literal[False],
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards: ...


@overload
def read_webdataset(
    paths: Shards,
    parts: Sequence[str] | None = None,
    *,
    decode: Decode = True,
    stream: bool | None = None,
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards | StreamedShards: ...


def read_webdataset(
    paths: Shards,
    parts: Sequence[str] | None = None,
    *,
    decode: Decode = True,
    stream: bool | None = None,
    seed: int | None = None,
    shard: tuple[int, int] | None = None,
) -> IndexedShards | StreamedShards:
    """The observations of WebDataset's tar files: data for ``px.DataLoader``.

    Members that follow each other and have one name up to the first dot are one observation: ``0007.jpg`` and
    ``0007.cls`` give ``{"__key__": "0007", "jpg": …, "cls": …}``, or ``(image, label)`` with ``parts=("jpg", "cls")``.
    Plain files get an index by one pass over their headers: a length, any order, worker processes. Gzipped files are a
    stream.

    Arguments:
        paths: a file, a pattern such as ``"train-{000..127}.tar"``, or several.
        parts: the endings that are wanted, for tuples in this order; "jpg;png" takes the first that is there.
        decode: by ending: jpg, jpeg, png, webp, bmp, ppm, pgm as images (height, width, 3) uint8 by Pillow; npy as
            arrays; json; txt and text; cls and index as whole numbers; others stay bytes. A dict adds functions of
            bytes, or names of these, by ending. False leaves everything bytes.
        stream: True reads one after the other, False insists on an index; None looks at the files.
        seed: of a stream, the order of its files, another one for each epoch; None keeps theirs.
        shard: (index, count): every count-th file from the index on. A loader gives each process its rows by itself;
            where each has files of its own, give it ``shard=(0, 1)``.

    Raises:
        MissingFileError: no such file. RangeError: an unknown decoder; a shard out of range.
        StructureError: an index wanted of gzipped files; a seed for what has an index.
        MissingExtraError: images without Pillow.
        CorruptFileError: a file that is cut off or damaged; a member that cannot be decoded or has no ending; a part
            that is missing or comes twice. Pickled objects in arrays are refused so too, images of more than 8 bits a
            channel, and members that leave their holes out, as ``tar --sparse`` packs them.

    >>> import io, tarfile, tempfile, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with tarfile.open(f"{folder}/a.tar", "w") as tar:
    ...         for name, data in (("1.txt", b"one"), ("1.cls", b"7"), ("2.txt", b"two"), ("2.cls", b"8")):
    ...             info = tarfile.TarInfo(name)
    ...             info.size = len(data)
    ...             tar.addfile(info, io.BytesIO(data))
    ...     samples = px.data.read_webdataset(f"{folder}/a.tar")
    ...     len(samples), samples[1]
    (2, {'__key__': '2', 'txt': 'two', 'cls': 8})

    Source: A. Aizman, G. Maltby, T. Breuel, High Performance I/O For Large Scale Deep Learning, 2019.
    """
    where = "read_webdataset"
    wanted = None if parts is None else tuple(tuple(part.lower().split(";")) for part in parts)
    form = WebDataset(where, decoders(decode, where), wanted)
    return sharded(form, shard_paths(paths, shard, where), stream, seed)


@dataclass(frozen=True)
class WebDataset:
    """The format, for what reads shards."""

    where: str
    decoders: dict[str, Decoder]
    parts: tuple[tuple[str, ...], ...] | None

    def is_packed(self, path: Path) -> bool:
        return is_gzip(path, self.where)

    def index(self, path: Path) -> Sequence[Any]:
        found = TarIndex()
        with opened(path, False, self.where) as file:
            whole = size_of(file)
            for member in members(file, 0, path, self.where):
                if member.at + member.size > whole:
                    raise corrupt(f"the whole of {member.name!r}", "the end of the file", path, self.where)
                found.add(*self._split(member, path), member)
        return found

    def read(self, path: Path, places: Sequence[Any]) -> list[Any]:
        found = []
        with opened(path, False, self.where) as file:
            for key, places_of in places:
                raw: dict[str, bytes] = {}
                for ending, at, size in places_of:
                    if self._is_wanted(ending):
                        file.seek(at)
                        self._put(raw, key, ending, content(file, Member(at, "", at, size), path, self.where), path)
                found.append((key, raw))
        return found

    def walk(self, path: Path, offset: int) -> Iterator[tuple[int, Any]]:
        with opened(path, self.is_packed(path), self.where) as file:
            file.seek(offset)
            now: str | None = None
            raw: dict[str, bytes] = {}
            for member in members(file, offset, path, self.where):
                key, ending = self._split(member, path)
                if now is not None and key != now:
                    yield member.start, (now, raw)
                    raw = {}
                now = key
                if self._is_wanted(ending):
                    self._put(raw, key, ending, content(file, member, path, self.where), path)
                offset = member.at + -(-member.size // 512) * 512
            while file.read(_BLOCK):  # what a gzipped file says of itself stands at its end
                pass
            if now is not None:
                yield offset, (now, raw)

    def _split(self, member: Member, path: Path) -> tuple[str, str]:
        """The key and the ending of a member: ``a.b/0007.seg.png`` is ``seg.png`` of ``a.b/0007``."""
        folder, slash, name = member.name.rpartition("/")
        key, dot, ending = name.partition(".")
        if not key or not dot:
            raise corrupt("members named KEY.ENDING", repr(member.name), path, self.where)
        return folder + slash + key, ending.lower()

    def _is_wanted(self, ending: str) -> bool:
        return self.parts is None or any(ending in part for part in self.parts)

    def _put(self, raw: dict[str, bytes], key: str, ending: str, data: bytes, path: Path) -> None:
        if ending in raw:
            raise corrupt(f"one member {key}.{ending}", "two, one after the other", path, self.where)
        raw[ending] = data

    def made(self, path: Path, raw: tuple[str, dict[str, bytes]]) -> Any:
        key, data = raw
        if self.parts is None:
            return {KEY: key} | {ending: self._decoded(key, ending, data[ending], path) for ending in data}
        found = []
        for part in self.parts:
            ending = next((each for each in part if each in data), None)
            if ending is None:
                got = f"it with {', '.join(sorted(data)) or 'none of the parts'}"
                raise corrupt(f"{key!r} with a member .{' or .'.join(part)}", got, path, self.where)
            found.append(self._decoded(key, ending, data[ending], path))
        return tuple(found)

    def _decoded(self, key: str, ending: str, data: bytes, path: Path) -> Any:
        decode = self.decoders.get(ending) or self.decoders.get(ending.rpartition(".")[2])
        if decode is None:
            return data
        try:
            return decode(data)
        except UndecodableError as error:
            raise self._undecodable(f"{key}.{ending}", data, error, path) from None

    def _undecodable(self, name: str, data: bytes, error: UndecodableError, path: Path) -> PhloxError:
        kind, _, why = str(error).partition(": ")
        return corrupt(f"{kind} as {name}", f"{len(data)} bytes, {why}", path, self.where, error.fix)


class TarIndex(Sequence[Any]):
    """Where the members of each observation of a file lie, a few bytes for each."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._starts, self._at, self._sizes, self._endings = array("q"), array("q"), array("q"), array("q")
        self._numbers: dict[str, int] = {}

    def add(self, key: str, ending: str, member: Member) -> None:
        if not self._keys or self._keys[-1] != key:
            self._keys.append(key)
            self._starts.append(len(self._at))
        self._at.append(member.at)
        self._sizes.append(member.size)
        self._endings.append(self._numbers.setdefault(ending, len(self._numbers)))

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, i: Any) -> Any:
        first = self._starts[i]
        last = self._starts[i + 1] if i + 1 < len(self._starts) else len(self._at)
        names = list(self._numbers)
        endings = [names[number] for number in self._endings[first:last]]
        return self._keys[i], list(zip(endings, self._at[first:last], self._sizes[first:last], strict=True))
