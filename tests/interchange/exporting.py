"""Rows of the registry exported, and what the files give beside the models themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import phlox as px
from interchange.registry import Row


def spec(x: Any) -> px.Spec:
    """An input of a row as ``px.export`` takes it."""
    return px.Spec(*x.shape, dtype=x.dtype, below=x.below)


def exported(row: Row, model: Any, folder: Path, to: str = "stablehlo") -> Any:
    """A row's model in a bundle, tried at all of the row's sizes."""
    inputs = {name: spec(x) for name, x in row.inputs.items()}
    several = {"signatures": {"row": (row.call, inputs)}} if row.call else {"inputs": inputs}
    bounds = {n: pair for n, pair in row.ranges.items() if n in row.symbols()}
    return px.export(model, folder, to=to, sizes=bounds, examples=row.drawn(), **several)


def leaves(result: Any) -> list[np.ndarray]:
    """The arrays of a result in order, whatever holds them; dicts in the order of their keys."""
    return [np.asarray(x) for x in jax.tree.leaves(result)]


def other_sizes(row: Row) -> Mapping[str, int]:
    """Sizes at which a row was not tried when it was exported."""
    return {n: min(size + 1, row.ranges.get(n, (1, 99))[1]) for n, size in row.sizes[0].items()}


def assert_same(found: Any, wanted: Any, tolerance: float) -> None:
    """Equal shapes and dtypes, and values to a share of the largest number."""
    found, wanted = leaves(found), leaves(wanted)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert np.abs(a - b).max(initial=0.0) <= tolerance * max(1.0, np.abs(b).max(initial=0.0))
