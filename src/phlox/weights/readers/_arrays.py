"""Names and arrays of one or more files: a mapping that reads an array when it is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.weights._errors import FileError

_ROWS = 20  # of arrays that are printed


@dataclass(frozen=True)
class Spec:
    """What an array in a file is, short of its values.

    Arguments:
        shape: its sizes.
        dtype: its NumPy dtype; of bfloat16 and the float8 kinds ml_dtypes'.

    >>> import numpy as np, phlox as px
    >>> px.weights.Spec((3, 2), np.dtype("float32"))
    float32[3, 2]
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """The bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, array: np.ndarray) -> Spec:
        """That of an array."""
        return cls(array.shape, array.dtype)

    def __repr__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


class Part:
    """One file: opened when the first of its arrays is asked for, and let go on request.

    Arguments:
        file: its name, for messages.
        load: opens it; gives arrays by name, perhaps read as they are asked for.
        specs: what its arrays are, where that is known before it is opened.
        names: their names, where no more is known.
        opened: the arrays, where it had to be opened already.
    """

    def __init__(
        self,
        file: str,
        load: Callable[[], Mapping[str, np.ndarray]],
        specs: Mapping[str, Spec] | None = None,
        names: Sequence[str] = (),
        opened: Mapping[str, np.ndarray] | None = None,
    ):
        self.file, self._load = file, load
        self.known = None if specs is None else dict(specs)
        self.names = tuple(names if specs is None else specs)
        self._opened = opened

    @property
    def opened(self) -> Mapping[str, np.ndarray]:
        """Its arrays; the file is opened where it is not."""
        if self._opened is None:
            self._opened = self._load()
        return self._opened

    def specs(self) -> dict[str, Spec]:
        """What its arrays are."""
        if self.known is None:
            self.known = {name: Spec.of(self.opened[name]) for name in self.names}
        return self.known

    def release(self) -> None:
        """Let the file go."""
        self._opened = None


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of a file of weights by name, read when they are asked for; ``px.weights.read`` makes it.

    An array is read-only. One of a safetensors or PyTorch file is a view of the file until it is copied: while it is
    used, the file must stay as it is. Also a context manager, which closes it. Equal to itself alone: compare arrays.

    Arguments:
        path: what was read.
        format: ``"safetensors"``, ``"pytorch"``, ``"keras"``, ``"hdf5"``, ``"flax"``, ``"orbax"`` or ``"npz"``.
        parts: the files, in order.
        metadata: text that the file holds beside its arrays.
        left_out: what in the file is no array, in words.

    Raises:
        KeyError: from ``arrays[name]``, a name that is not there. FileError: it was closed, or a file cannot be read.
        CorruptFileError: a file is not what it was, or not what its index says.

    >>> import tempfile, numpy as np, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/a.npz", weight=np.ones((2, 3), "float32"), bias=np.zeros(3, "float32"))
    ...     with px.weights.read(folder + "/a.npz") as arrays:
    ...         print(list(arrays), arrays["weight"].sum(), arrays.spec("bias"), arrays.nbytes)
    ['weight', 'bias'] 6.0 float32[3] 36
    """

    path: str
    format: str
    metadata: dict[str, str]
    left_out: tuple[str, ...]

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: str,
        parts: Sequence[Part],
        metadata: Mapping[str, str] | None = None,
        left_out: Sequence[str] = (),
    ):
        self.path, self.format = os.fspath(path), format
        self.metadata, self.left_out = dict(metadata or {}), tuple(left_out)
        self._parts = list(parts)
        self._part = {name: part for part in parts for name in part.names}
        self._closed = False

    def __getitem__(self, name: str) -> np.ndarray:
        return self._of(name).opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._part)

    def __len__(self) -> int:
        return len(self._part)

    def __contains__(self, name: object) -> bool:  # the mapping's own would read the array
        return name in self._part

    def __eq__(self, other: object) -> bool:  # the mapping's own would read all and compare them
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def spec(self, name: str) -> Spec:
        """The shape and the dtype of an array, whose values are not read."""
        return self._of(name).specs()[name]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all arrays."""
        return {name: self.spec(name).shape for name in self}

    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """The dtypes of all arrays."""
        return {name: self.spec(name).dtype for name in self}

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return sum(self.spec(name).nbytes for name in self)

    def stream(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and arrays file by file, in the order of each; a file is let go when its last array was given.

        With several files, so many bytes are held as the largest of them has, where no array is kept.
        """
        for part in self._parts:
            for name in part.names:
                yield name, self[name]
            part.release()

    def release(self, name: str) -> None:
        """Let go of the file that holds an array, until one of its arrays is asked for again."""
        self._of(name).release()

    def close(self) -> None:
        """Let go of all files, for good."""
        self._closed = True
        for part in self._parts:
            part.release()

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _of(self, name: str) -> Part:
        part = self._part[name]
        if self._closed:
            fix = "read it again, or use it inside the with block"
            raise FileError("arrays that are open", got="closed ones", fix=fix, where=f"read({self.path!r})")
        return part

    def __repr__(self) -> str:
        files = f" in {len(self._parts)} files" if len(self._parts) > 1 else ""
        known = [spec.nbytes for part in self._parts for spec in (part.known or {}).values()]
        size = f", {sum(known):,} bytes" if len(known) == len(self) else ""
        lines = [f"Arrays({self.path!r}): {self.format}, {len(self)} array{'s' * (len(self) != 1)}{files}{size}"]
        lines += [f"  {name}: {self._shown(name)}" for name in list(self)[:_ROWS]]
        lines += [f"  … and {len(self) - _ROWS} more"] * (len(self) > _ROWS)
        lines += [f"  left out: {', '.join(self.left_out[:_ROWS])}"] * bool(self.left_out)
        return "\n".join(lines)

    def _shown(self, name: str) -> str:
        known = self._part[name].known
        return f"in {self._part[name].file}, not opened yet" if known is None else repr(known[name])
