"""A model's arrays as one flat dict, out and in: checked by path before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._errors import StructureError, describe
from phlox.core.context._random import is_key
from phlox.core.module._module import Module
from phlox.core.module._plan import plan_of
from phlox.core.module._tree import paths
from phlox.core.transforms._functionalize import write_back


def state_dict(model: Module) -> dict[str, Any]:
    """All arrays of a model by path, State included; what is shared appears once, under its first path.

    >>> import phlox as px
    >>> list(px.state_dict(px.Chain(px.Dense(2, 3), px.relu)))
    ['layers.0.weight', 'layers.0.bias']
    """
    return paths(model)


@dataclass
class LoadReport:
    """What loading found, by path."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """In the model, and not in the source."""
    unexpected: list[str] = field(default_factory=list)
    """In the source, and not in the model."""
    mismatched: dict[str, str] = field(default_factory=dict)
    """Of another shape or dtype: what was expected and what came."""

    @property
    def complete(self) -> bool:
        """True where every array of both sides found its place."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} arrays"]
        lines += [f"  missing: {p}" for p in self.missing]
        lines += [f"  unexpected: {p}" for p in self.unexpected]
        lines += [f"  mismatched: {p} {why}" for p, why in self.mismatched.items()]
        return "\n".join(lines)


def load_state_dict(model: Module, arrays: Mapping[str, Any], *, strict: bool = True) -> LoadReport:
    """Write arrays into a model by path; all are checked before the first is written.

    Arguments:
        model: the model to fill, in place.
        arrays: JAX or NumPy arrays by path, as from ``px.state_dict``. Random keys may come as their raw words.
        strict: refuse anything missing, unexpected or mismatched; else load what fits and report the rest.

    Raises:
        StructureError: with ``strict``, something does not fit; the model stays as it was.

    >>> import phlox as px
    >>> a, b = px.Dense(2, 3), px.Dense(2, 3)
    >>> px.load_state_dict(b, px.state_dict(a)).complete
    True
    """
    plan = plan_of([model])
    names = plan.structure.names()
    report = LoadReport(unexpected=[n for n in arrays if n not in set(names)])
    ready: dict[int, Any] = {}
    for i, (name, old) in enumerate(zip(names, plan.gather(), strict=True)):
        if name not in arrays:
            report.missing.append(name)
            continue
        new = _as_key(arrays[name], old) if is_key(old) else arrays[name]
        if new.shape != old.shape or new.dtype != old.dtype:
            report.mismatched[name] = f"expects {describe(old)}, got {describe(new)}"
        else:
            ready[i] = new
            report.loaded.append(name)
    if strict and not report.complete:
        raise StructureError(
            f"the {len(names)} arrays of this {type(model).__name__}",
            got="others:\n" + "\n".join("  " + line for line in str(report).splitlines()[1:]),
            fix="build the model as the one that the arrays are from, or take what fits with strict=False",
            where="px.load_state_dict",
        )
    write_back(plan, list(ready), [jnp.asarray(v) for v in ready.values()])
    return report


def _as_key(new: Any, old: Any) -> Any:
    """Raw key words as a typed key of the kind the model has."""
    if is_key(new):
        return new
    words = jax.random.key_data(old)
    if np.shape(new) != words.shape or np.asarray(new).dtype != words.dtype:
        return new
    return jax.random.wrap_key_data(jnp.asarray(new), impl=jax.random.key_impl(old))
