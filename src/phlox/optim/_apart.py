"""An optimiser's arrays as files have them: each under the path of its weight, however small ones are kept here.

Which small arrays share a vector depends on where a model lies; what is in a file is to be read wherever it will.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from phlox.core import paths
from phlox.optim._optimizer import Optimizer

_HELD = "slots."  # before the names of all arrays of a state


def apart(opt: Optimizer) -> dict[str, Any]:
    """All arrays by path, those that share a vector each by itself, on the host.

    >>> import jax.numpy as jnp, phlox as px
    >>> opt = px.Optimizer(px.optim.Momentum(0.1), px.Dense.of(jnp.ones((2, 1)), jnp.ones(1)))
    >>> sorted(path.rpartition("/")[2] for path in apart(opt) if path.endswith(("weight", "bias")))
    ['bias', 'weight']
    """
    found: dict[str, Any] = {}
    for path, value in paths(opt).items():
        parts = dict(_parts(opt, path))
        if not parts:
            found[path] = value
            continue
        host = np.asarray(value)
        starts = np.cumsum([0, *map(prod, parts.values())])
        for (part, shape), (start, end) in zip(parts.items(), pairwise(starts), strict=True):
            found[part] = host[..., start:end].reshape(*host.shape[:-1], *shape)
    return found


def joined(opt: Optimizer, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What ``apart`` gave of an optimiser like this one, as this one keeps it; arrays that are so already stay."""
    found = dict(arrays)
    for path, value in paths(opt).items():
        parts = dict(_parts(opt, path))
        if parts and all(part in found for part in parts):
            front = value.shape[:-1]
            found[path] = np.concatenate([np.reshape(found.pop(part), (*front, -1)) for part in parts], axis=-1)
    return found


def _parts(opt: Optimizer, path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The paths and shapes of what shares a vector; nothing for an array of its own."""
    before, mark, last = path.removeprefix(_HELD).rpartition("/")
    for name, parts in opt.form.packing.groups:
        if name == last and path.startswith(_HELD):
            yield from ((f"{_HELD}{before}{mark}{at}", shape) for at, shape in parts)
