"""What a model is asked about: rows of a table, pictures, or texts. Each can be shown, changed and compared."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from phlox.core import RangeError
from phlox.interpret.probing._columns import names_of

_WHERE = "px.interpret.explore"
Prepare = Callable[[Any], Any] | None
Columns = dict[str, np.ndarray]


class Observations:
    """Observations of one kind, with what is known about each.

    Arguments:
        known: columns (rows,) that can be drawn and sliced by; numbers or texts.
        target: what is right, (rows,) as it was given; None where nobody knows.
        prepare: makes what the model takes of what there is.
    """

    kind: ClassVar[str]
    known: Columns
    target: np.ndarray | None
    prepare: Prepare

    def __init__(self, known: Columns, target: Any, prepare: Prepare):
        self.known, self.prepare = known, prepare
        self.target = None if target is None else np.asarray(target)

    @property
    def count(self) -> int:
        """How many there are."""
        raise NotImplementedError

    @property
    def binary(self) -> bool:
        """Whether the target is one of two."""
        if self.target is None or self.target.dtype.kind == "f":
            return False
        return len(np.unique(self.target.astype(str))) == 2

    def whole(self) -> Any:
        """All of them."""
        raise NotImplementedError

    def one(self, row: int) -> Any:
        """One of them, by itself, to be changed."""
        raise NotImplementedError

    def some(self, ones: list[Any]) -> Any:
        """Several of them together, as ``inputs`` takes them."""
        raise NotImplementedError

    def inputs(self, some: Any) -> Any:
        """What the model takes."""
        return some if self.prepare is None else self.prepare(some)

    def features(self) -> Any:
        """Numbers and texts by which two of them are compared: a dict of columns, or (rows, features)."""
        raise NotImplementedError


class Rows(Observations):
    """Rows of a table, a dict of columns.

    Arguments:
        columns: those that the model takes, in its order.
        frame: whether ``prepare`` wants a pandas frame.
    """

    kind: ClassVar[str] = "rows"
    columns: Columns
    frame: bool

    def __init__(self, columns: Columns, known: Columns, target: Any, prepare: Prepare, frame: bool):
        self.columns, self.frame = columns, frame
        super().__init__(known, target, prepare)

    @property
    def count(self) -> int:
        return len(next(iter(self.columns.values())))

    def whole(self) -> Columns:
        return self.columns

    def one(self, row: int) -> dict[str, Any]:
        return {name: column[row].item() if isinstance(column[row], np.generic) else column[row]
                for name, column in self.columns.items()}  # fmt: skip

    def some(self, ones: list[dict[str, Any]]) -> Columns:
        return {name: np.array([one[name] for one in ones]) for name in self.columns}

    def inputs(self, some: Columns) -> Any:
        if self.prepare is None:
            return np.stack([np.asarray(column, np.float32) for column in some.values()], 1)
        if not self.frame:
            return self.prepare(some)
        import pandas

        return self.prepare(pandas.DataFrame(some))

    def features(self) -> Columns:
        return self.columns

    def read(self, name: str, text: Any) -> Any:
        """A value of a feature as a person types it.

        Raises:
            RangeError: no number where numbers are.
        """
        if self.columns[name].dtype.kind not in "fiub":
            return str(text)
        try:
            return float(text)
        except (TypeError, ValueError):
            fix = "type one, such as 12.5"
            raise RangeError("a number", got=repr(text)[:40], fix=fix, where=name) from None


class Pictures(Observations):
    """Pictures, (rows, height, width, channels), whole numbers to 255 or floats."""

    kind: ClassVar[str] = "pictures"
    pixels: np.ndarray

    def __init__(self, pixels: np.ndarray, known: Columns, target: Any, prepare: Prepare):
        self.pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        axes = (1, 2, 3)
        drawn = {"brightness": self.pixels.mean(axes), "contrast": self.pixels.std(axes)}
        super().__init__(drawn | known, target, prepare)

    @property
    def count(self) -> int:
        return len(self.pixels)

    def whole(self) -> np.ndarray:
        return self.pixels

    def one(self, row: int) -> np.ndarray:
        return self.pixels[row].copy()

    def some(self, ones: list[np.ndarray]) -> np.ndarray:
        return np.stack(ones)

    def inputs(self, some: np.ndarray) -> Any:
        return super().inputs(some if self.prepare is not None or some.dtype.kind == "f" else some.astype(np.float32))

    def features(self) -> np.ndarray:
        """Means of at most 16 × 16 squares."""
        height, width = self.pixels.shape[1:3]
        rows, columns = (np.linspace(0, n, min(n, 16) + 1).astype(int)[:-1] for n in (height, width))
        sums = np.add.reduceat(np.add.reduceat(self.pixels.astype(np.float32), rows, axis=1), columns, axis=2)
        return sums.reshape(self.count, -1)

    def covered(self, picture: np.ndarray, x: float, y: float, share: float = 0.2) -> np.ndarray:
        """A picture with a square around a place, in shares of width and height from above, in its mean colour."""
        height, width = picture.shape[:2]
        half = max(1, round(share * min(height, width) / 2))
        row, column = int(y * height), int(x * width)
        changed = picture.copy()
        changed[max(0, row - half) : row + half, max(0, column - half) : column + half] = picture.mean((0, 1))
        return changed

    def shown(self, picture: np.ndarray) -> np.ndarray:
        """Bytes (height, width, 4) of a picture, for the screen; the range of floats is that of all pictures."""
        low, high = (0, 255) if self.pixels.dtype == np.uint8 else self._range()
        scaled = np.clip((picture.astype(np.float64) - low) / (high - low or 1) * 255, 0, 255).astype(np.uint8)
        colours = scaled[..., :3] if scaled.shape[-1] >= 3 else np.repeat(scaled[..., :1], 3, -1)
        return np.concatenate([colours, np.full((*colours.shape[:2], 1), 255, np.uint8)], -1)

    def _range(self) -> tuple[float, float]:
        if not hasattr(self, "_low_high"):
            self._low_high = float(self.pixels.min()), float(self.pixels.max())
        return self._low_high


class Texts(Observations):
    """Texts; ``prepare`` makes a model's tokens of a list of them."""

    kind: ClassVar[str] = "texts"
    texts: list[str]

    def __init__(self, texts: list[str], known: Columns, target: Any, prepare: Prepare):
        if prepare is None:
            fix = "give prepare=, which makes what the model takes of a list of texts"
            raise RangeError("prepare= for texts", got="none", fix=fix, where=_WHERE)
        self.texts = texts
        drawn = {
            "characters": np.array([len(text) for text in texts]),
            "words": np.array([len(text.split()) for text in texts]),
        }
        super().__init__(drawn | known, target, prepare)

    @property
    def count(self) -> int:
        return len(self.texts)

    def whole(self) -> list[str]:
        return self.texts

    def one(self, row: int) -> str:
        return self.texts[row]

    def some(self, ones: list[str]) -> list[str]:
        return list(ones)

    def features(self) -> np.ndarray:
        """Words counted in 256 buckets."""
        counts = np.zeros((self.count, 256), np.float32)
        for row, text in enumerate(self.texts):
            for word in text.lower().split():
                counts[row, zlib.crc32(word.encode()) % 256] += 1
        return counts


def as_columns(given: Any) -> Columns:
    """Columns by name, from a dict or a frame."""
    return {str(name): _plain(np.asarray(given[name])) for name in names_of(given)}


def _plain(column: np.ndarray) -> np.ndarray:
    return column.astype(str) if column.dtype.kind not in "fiub" else column
