"""Small real data sets that come with scikit-learn: nothing is fetched."""

from __future__ import annotations

import numpy as np

from phlox.data.readers._files import extra

Pair = tuple[np.ndarray, np.ndarray]


def _loaded(name: str) -> Pair:
    found = extra("sklearn.datasets", "scikit-learn", "quickstart", f"px.data.{name}")
    return getattr(found, f"load_{name}")(return_X_y=True)


def digits() -> Pair:
    """1797 handwritten digits: images (n, 8, 8, 1) in [0, 1], float32, and which digit each is, (n,) int32.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    >>> import phlox as px
    >>> images, labels = px.data.digits()
    >>> images.shape, labels[:4].tolist()
    ((1797, 8, 8, 1), [0, 1, 2, 3])
    """
    x, y = _loaded("digits")
    return (x / 16).astype(np.float32).reshape(-1, 8, 8, 1), y.astype(np.int32)


def iris() -> Pair:
    """150 irises of three kinds: lengths and widths of sepals and petals in cm (n, 4), and the kind (n,) int32.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _classes("iris")


def wine() -> Pair:
    """178 wines of three growers: 13 measurements (n, 13), and the grower (n,) int32.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _classes("wine")


def breast_cancer() -> Pair:
    """569 tumours: 30 measurements (n, 30), and 0 for malignant or 1 for benign (n,) int32.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    return _classes("breast_cancer")


def diabetes() -> Pair:
    """442 patients: 10 scaled measurements (n, 10), and the progress of the disease after a year (n,) float32.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    x, y = _loaded("diabetes")
    return x.astype(np.float32), y.astype(np.float32)


def _classes(name: str) -> Pair:
    x, y = _loaded(name)
    return x.astype(np.float32), y.astype(np.int32)
