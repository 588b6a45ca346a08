"""The handwritten digits of scikit-learn, split once and for all, and the order in which a run sees them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from phlox.core import MissingExtraError

TEST, VALIDATION = 360, 90  # images held out, of 1797; the first is a multiple of the second


def extra(module: str, package: str) -> Any:
    """Import a module of an optional package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            package, got=str(error), fix="pip install 'phlox[quickstart]'", where="phlox quickstart"
        ) from error


@dataclass(frozen=True)
class Images:
    """Images (n, 8, 8, 1) in [0, 1] as float32, and which digit each shows, (n,) as int32."""

    images: np.ndarray
    digits: np.ndarray

    def __len__(self) -> int:
        return len(self.digits)

    def batches(self, size: int, order: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images once, shuffled, in batches of one size; the few that fill no batch wait for the next pass."""
        shuffled = order.permutation(len(self))
        for start in range(0, len(self) - size + 1, size):
            chosen = shuffled[start : start + size]
            yield self.images[chosen], self.digits[chosen]


def load() -> tuple[Images, Images, Images]:
    """Images to train on, to watch the training with, and to test the result on; always the same ones.

    Each part holds every digit in the same share.
    """
    source = extra("sklearn.datasets", "scikit-learn").load_digits()
    split = extra("sklearn.model_selection", "scikit-learn").train_test_split
    images = (source.images / 16).astype(np.float32)[..., None]
    digits = source.target.astype(np.int32)
    rest, test = split(np.arange(len(digits)), test_size=TEST, stratify=digits, random_state=0)
    train, validation = split(rest, test_size=VALIDATION, stratify=digits[rest], random_state=0)
    first, second, third = (Images(images[part], digits[part]) for part in (train, validation, test))
    return first, second, third
