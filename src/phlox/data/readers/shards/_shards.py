"""Files of records as a source for loaders: by index, and as a stream that tells its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from phlox.core import StructureError
from phlox.data.readers.shards._opening import opened, size_of


class Format(Protocol):
    """How observations lie in a file, and what becomes of them."""

    @property
    def where(self) -> str:
        """The function that speaks in errors."""
        ...

    def is_packed(self, path: Path) -> bool:
        """Whether a file is gzipped, and can only be read from its start."""
        ...

    def index(self, path: Path) -> Sequence[Any]:
        """Where each observation of a plain file lies, by one pass over it."""
        ...

    def read(self, path: Path, places: Sequence[Any]) -> list[Any]:
        """What lies at some places of a plain file."""
        ...

    def walk(self, path: Path, offset: int) -> Iterator[tuple[int, Any]]:
        """What lies from a byte on, one after the other, each with the byte behind it; unpacked if need be."""
        ...

    def made(self, path: Path, raw: Any) -> Any:
        """The observation, of what was read."""
        ...


class IndexedShards:
    """The observations of plain files by index, for ``px.DataLoader`` and whatever takes a length and an index."""

    paths: tuple[Path, ...]

    def __init__(self, form: Format, paths: tuple[Path, ...]):
        self._form, self.paths = form, paths
        self._index = [form.index(path) for path in paths]
        self._ends = np.cumsum([len(places) for places in self._index])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> Any:
        return self.__getitems__([i])[0]

    def __getitems__(self, index: Sequence[int]) -> list[Any]:
        """Several at once: each file is opened once, and read from front to back.

        Raises:
            IndexError: one that is not there, or no whole number; those below 0 count from the end.
        """
        rows = rows_of(index, len(self))
        shards = np.searchsorted(self._ends, rows, "right")
        found: list[Any] = [None] * len(rows)
        for shard in np.unique(shards).tolist():
            places = self._index[shard]
            mine = sorted(np.flatnonzero(shards == shard).tolist(), key=rows.__getitem__)
            first = int(self._ends[shard]) - len(places)
            read = self._form.read(self.paths[shard], [places[int(rows[at]) - first] for at in mine])
            for at, raw in zip(mine, read, strict=True):
                found[at] = self._form.made(self.paths[shard], raw)
        return found

    def __repr__(self) -> str:
        return f"{self._form.where}: {len(self)} observations in {len(self.paths)} files"


class StreamedShards:
    """The observations of files one after the other; each ``iter`` starts over.

    With a seed the files come in another order at each epoch; ``set_epoch`` says which one begins, as loaders do.
    """

    paths: tuple[Path, ...]

    def __init__(self, form: Format, paths: tuple[Path, ...], seed: int | None):
        self._form, self.paths, self._seed, self._epoch = form, paths, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return ShardIterator(self._form, self._order())

    def _order(self) -> tuple[Path, ...]:
        if self._seed is None:
            return self.paths
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self.paths))
        return tuple(self.paths[i] for i in order)

    def __repr__(self) -> str:
        return f"{self._form.where}: a stream of {len(self.paths)} files"


class ShardIterator:
    """One pass over files that tells its place, and goes to one at once."""

    def __init__(self, form: Format, paths: tuple[Path, ...]):
        self._form, self._paths = form, paths
        self._shard, self._offset = 0, 0
        self._walk: Any = None

    def __iter__(self) -> ShardIterator:
        return self

    def __next__(self) -> Any:
        while self._shard < len(self._paths):
            if self._walk is None:
                self._walk = self._form.walk(self._paths[self._shard], self._offset)
            try:
                offset, raw = next(self._walk, (0, None))
                item = None if raw is None else self._form.made(self._paths[self._shard], raw)
            except BaseException:
                self.close()  # whoever goes on gets the same error again, and not what comes next
                raise
            self._offset = offset
            if raw is not None:
                return item
            self._shard, self._walk = self._shard + 1, None
        raise StopIteration

    def get_state(self) -> dict[str, Any]:
        """Where the next observation begins; JSON-able."""
        names = [path.name for path in self._paths[self._shard : self._shard + 1]]
        return {"files": len(self._paths), "file": self._shard, "name": "".join(names), "offset": self._offset}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go to a place that ``get_state`` told.

        Raises:
            StructureError: a place in other files.
        """
        shard, offset = self._place(state)
        self.close()
        self._shard, self._offset = shard, offset

    def _place(self, state: dict[str, Any]) -> tuple[int, int]:
        """The file and the byte that a state tells, which must be there."""
        where, fix = self._form.where, "give the files that the state was taken with"
        if not isinstance(state, dict) or set(state) != {"files", "file", "name", "offset"}:
            raise StructureError("a state that get_state told", got=repr(state)[:100], fix=fix, where=where)
        shard, offset = state["file"], state["offset"]
        if not all(isinstance(n, int) and n >= 0 for n in (shard, offset)) or shard > len(self._paths):
            got = f"file {shard!r} and byte {offset!r} of {len(self._paths)} files"
            raise StructureError("a file and a byte of these", got=got, fix=fix, where=where)
        name = "".join(path.name for path in self._paths[shard : shard + 1])
        if (state["files"], state["name"]) != (len(self._paths), name):
            what = f"{state['name']!r} as file {shard} of {state['files']}"
            raise StructureError(what, got=f"{name!r}, one of {len(self._paths)}", fix=fix, where=where)
        if name and offset > (most := self._most(self._paths[shard])):
            raise StructureError(f"a file with a byte {offset}", got=f"{name!r} of {most}", fix=fix, where=where)
        return shard, offset

    def _most(self, path: Path) -> float:
        """How many bytes a file has; of a gzipped one nobody knows before it is read."""
        if self._form.is_packed(path):
            return math.inf
        with opened(path, False, self._form.where) as file:
            return size_of(file)

    def close(self) -> None:
        """Close the file."""
        if self._walk is not None:
            self._walk.close()
            self._walk = None


def rows_of(index: Sequence[int], count: int) -> np.ndarray:
    """(n,) int64, in 0 … count - 1."""
    rows = np.asarray(index)
    if rows.size and rows.dtype.kind not in "iu":
        raise IndexError(f"observations are counted in whole numbers, not in {rows.dtype}")
    wrong = rows[(rows < -count) | (rows >= count)]
    if wrong.size:
        raise IndexError(f"observation {wrong[0]} of {count}")
    return rows.astype(np.int64) % max(count, 1)


def sharded(
    form: Format, paths: tuple[Path, ...], stream: bool | None, seed: int | None
) -> IndexedShards | StreamedShards:
    """Files by index where they are plain, else as a stream; ``stream`` says which one is wanted.

    Raises:
        StructureError: an index of gzipped files; a seed for what has an index.
    """
    packed = None if stream else next((path for path in paths if form.is_packed(path)), None)
    if stream or (stream is None and packed is not None):
        return StreamedShards(form, paths, seed)
    if packed is not None:
        fix = "leave stream=False out, or unpack the files"
        raise StructureError("plain files to index", got=f"{packed.name}, gzipped", fix=fix, where=form.where)
    if seed is not None:
        fix = "give px.DataLoader(…, shuffle=True, seed=…), or stream=True"
        raise StructureError("seed=None of files with an index", got=f"seed={seed}", fix=fix, where=form.where)
    return IndexedShards(form, paths)
