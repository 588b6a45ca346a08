"""What is made of the features of an example."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.data.readers._files import corrupt
from phlox.data.readers._pixels import UndecodableError
from phlox.data.readers.shards._decoding import Decoder, decoder
from phlox.data.readers.shards._examples import Feature, MalformedError, parse_example

Shape = tuple[int, ...]
Wanted = Mapping[str, Shape | str | Decoder | None]  # by name: a shape, as it lies, or a decoder
Features = Wanted | Callable[[bytes], Any] | None


@dataclass(frozen=True)
class Parse:
    """A record as an observation.

    Arguments:
        wanted: shapes and decoders by name, or None for all features as they lie.
        whole: what makes an observation of the whole record instead.
    """

    where: str
    wanted: dict[str, Shape | Decoder | None] | None = None
    whole: Callable[[bytes], Any] | None = None

    def __call__(self, data: bytes, path: Path, at: str) -> Any:
        """The observation; the file and the record, ``at``, are for errors."""
        if self.whole is not None:
            return self.whole(data)
        try:
            found = parse_example(data)
        except (MalformedError, UnicodeDecodeError) as error:
            raise corrupt(f"a tf.train.Example as {at}", str(error), path, self.where) from None
        if self.wanted is None:
            return found
        missing = [name for name in self.wanted if name not in found]
        if missing:
            got, names = f"the features {sorted(found)}", ", ".join(map(repr, missing))
            raise corrupt(f"the feature {names} of {at}", got, path, self.where)
        return {name: self._made(found[name], want, f"{name!r} of {at}", path) for name, want in self.wanted.items()}

    def _made(self, feature: Feature, want: Shape | Decoder | None, at: str, path: Path) -> Any:
        if want is None:
            return feature
        if isinstance(want, tuple):
            return self._shaped(feature, want, at, path)
        if not isinstance(feature, list) or len(feature) != 1:
            raise corrupt(f"one byte string as feature {at}", _shown(feature), path, self.where)
        try:
            return want(feature[0])
        except UndecodableError as error:
            got = f"{len(feature[0])} bytes"
            raise corrupt(f"feature {at} to hold {error}"[:300], got, path, self.where, error.fix) from None

    def _shaped(self, feature: Feature, shape: Shape, at: str, path: Path) -> Any:
        if len(feature) != math.prod(shape):
            raise corrupt(f"{math.prod(shape)} values of feature {at}", _shown(feature), path, self.where)
        if isinstance(feature, np.ndarray):
            return feature.reshape(shape)[()]
        if shape == ():
            return feature[0]
        strings = np.empty(len(feature), object)
        strings[:] = feature
        return strings.reshape(shape)


def parse_of(features: Features, where: str) -> Parse:
    """What makes observations of records.

    Raises:
        RangeError: what is no shape, no decoder and no function.
    """
    if features is None:
        return Parse(where)
    if callable(features):
        return Parse(where, whole=features)
    if not isinstance(features, Mapping):
        fix = 'give a dict such as {"image": "jpg", "label": ()}, or a function of the record\'s bytes'
        raise RangeError("features by name, or a function", got=repr(features), fix=fix, where=where)
    return Parse(where, {name: _checked(want, where) for name, want in features.items()})


def _checked(want: Any, where: str) -> Shape | Decoder | None:
    if want is None or (isinstance(want, tuple) and all(isinstance(n, (int, np.integer)) and n >= 0 for n in want)):
        return want
    if isinstance(want, tuple):
        fix = "give whole numbers; None leaves a feature of any length as it lies"
        raise RangeError("a shape", got=repr(want), fix=fix, where=where)
    return decoder(want, where)


def _shown(feature: Feature) -> str:
    kind = "byte strings" if isinstance(feature, list) else str(feature.dtype)
    return f"{len(feature)} of {kind}"
