"""A few inputs and outputs of each signature, in ``examples.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from phlox.weights.bundle._bundle import EXAMPLES, Bundle, BundleArray, Signature

_NARROW = {"bfloat16": np.float32, "float8_e4m3fn": np.float32, "float8_e5m2": np.float32}  # the format has no such


class Example(NamedTuple):
    """Inputs of one call, and what came out, by name."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


def write_examples(folder: Path, examples: Mapping[str, Sequence[Example]]) -> None:
    """Write examples by signature into a bundle's folder."""
    arrays: dict[str, np.ndarray] = {}
    for signature, several in examples.items():
        for i, example in enumerate(several):
            for which, values in zip(("inputs", "outputs"), example, strict=True):
                for name, value in values.items():
                    value = np.asarray(value)
                    arrays[f"{signature}/{i}/{which}/{name}"] = value.astype(_NARROW.get(value.dtype.name, value.dtype))
    with open(folder / EXAMPLES, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_examples(bundle: Bundle) -> dict[str, list[Example]]:
    """The examples of a bundle by signature, in the dtypes that these say."""
    found: dict[str, list[Example]] = {name: [] for name in bundle.signatures}
    if EXAMPLES not in bundle.files:
        return found
    with np.load(bundle.folder / EXAMPLES, allow_pickle=False) as arrays:
        for key in arrays.files:
            signature, i, which, name = key.split("/", 3)
            several = found[signature]
            while len(several) <= int(i):
                several.append(Example({}, {}))
            kinds = _kinds(bundle.signatures[signature], which)
            getattr(several[int(i)], which)[name] = arrays[key].astype(kinds[name])
    return found


def _kinds(signature: Signature, which: str) -> dict[str, Any]:
    entries: tuple[BundleArray, ...] = getattr(signature, which)
    return {x.name: np.uint32 if x.dtype == "key" else jnp.dtype(x.dtype) for x in entries}
