"""Clipping the gradients of a step, by their global norm or by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, global_norm, tree_map
from phlox.optim import share_of


@dataclass(frozen=True)
class Clip:
    r"""$g \leftarrow g \min(1, c / \|g\|)$ for the norm of all gradients, or every component into $[-c, c]$.

    Arguments:
        norm: c of the norm, or None.
        value: c of the components, or None; applied first.

    One NaN makes the norm NaN, and with it all gradients, as in PyTorch: what is not known bounds no step.
    """

    norm: float | None = None
    value: float | None = None

    @classmethod
    def of(cls, given: Any, where: str) -> Clip:
        """From ``fit``'s argument: None, a norm, or a dict with ``norm`` or ``value``.

        Raises:
            RangeError: anything else, or a bound that is not above 0.
        """
        chosen = given if isinstance(given, Mapping) else {} if given is None else {"norm": given}
        good = all(isinstance(v, (int, float)) and not isinstance(v, bool) and v > 0 for v in chosen.values())
        if not good or not set(chosen) <= {"norm", "value"}:
            raise RangeError(
                'clip to be a norm above 0, or {"norm": …} or {"value": …}',
                got=repr(given),
                fix="pass for example clip=1.0",
                where=where,
            )
        return cls(**chosen)

    def __call__(self, grads: Any) -> Any:
        """The gradients clipped, in the form they came in."""
        if self.value is not None:
            most = self.value
            grads = tree_map(lambda g: _cut(g, most), grads)
        if self.norm is not None:
            share = share_of(self.norm, global_norm(grads))
            grads = tree_map(lambda g: (g * share).astype(g.dtype), grads)
        return grads


def _cut(g: Any, most: float) -> Any:
    """Every component into [-c, c]; of complex numbers, the real and the imaginary part."""
    if jnp.iscomplexobj(g):
        return jax.lax.complex(_cut(jnp.real(g), most), _cut(jnp.imag(g), most))
    return jnp.clip(g, -most, most)


NO_CLIP = Clip()
