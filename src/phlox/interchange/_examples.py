"""Inputs that files are tried with: given, or drawn at several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import OptionError, ShapeError, describe, is_key
from phlox.interchange._sizes import Sizes, sizes_of
from phlox.interchange._spec import KEY, Spec

Inputs = dict[str, Any]


def drawn(specs: Mapping[str, Spec], sizes: Sizes) -> list[Inputs]:
    """Random inputs of a signature, once for each of the sizes that are tried.

    Real numbers are normal, whole ones from 0 to below ``below``, or 2; the same at every export.
    """
    return [
        {name: _draw(spec, chosen, np.random.default_rng([i, j])) for j, (name, spec) in enumerate(specs.items())}
        for i, chosen in enumerate(sizes.tried(list(specs.values())))
    ]


def given(examples: Any, specs: Mapping[str, Spec], where: str) -> list[Inputs]:
    """Inputs as they were given: a dict by name, or several.

    Raises:
        OptionError: no dict, or without one of the inputs.
        ShapeError: an array that does not fit.
    """
    several = [examples] if isinstance(examples, Mapping) else list(examples)
    return [_checked(one, specs, where) for one in several]


def _checked(one: Any, specs: Mapping[str, Spec], where: str) -> Inputs:
    if not isinstance(one, Mapping) or set(one) != set(specs):
        got = ", ".join(map(str, one)) if isinstance(one, Mapping) else describe(one)
        fix = "give each example as a dict of arrays by the names of the inputs"
        raise OptionError(f"examples of {', '.join(specs)}", got=got, fix=fix, where=where)
    sizes: dict[str, int] = {}
    found: Inputs = {}
    for name, spec in specs.items():
        x = jax.random.key_data(one[name]) if is_key(one[name]) else np.asarray(one[name])
        mine = {} if spec.dtype == KEY else sizes_of(spec, x.shape)
        if mine is None or any(sizes.setdefault(n, size) != size for n, size in mine.items()):
            fix = "give an array of these sizes; a symbol is the same size in all inputs"
            raise ShapeError(f"an example of {name} {spec.shape}", got=describe(x), fix=fix, where=where)
        found[name] = x if spec.dtype == KEY else np.asarray(x, jnp.dtype(spec.dtype))
    return found


def _draw(spec: Spec, sizes: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    if spec.dtype == KEY:
        return rng.integers(0, 1 << 32, 2, np.uint32)
    shape, dtype = spec.struct(sizes).shape, jnp.dtype(spec.dtype)
    if dtype == jnp.bool_:
        return rng.random(shape) < 0.5
    if jnp.issubdtype(dtype, jnp.integer):
        return rng.integers(0, spec.below or 2, shape).astype(dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def as_sequence(examples: Any, signatures: Sequence[str]) -> dict[str, Any]:
    """Examples by signature: as they are where they were so given, else those of the first."""
    if examples is None:
        return {}
    if isinstance(examples, Mapping) and examples and set(examples) <= set(signatures):
        return dict(examples)
    return {signatures[0]: examples}
