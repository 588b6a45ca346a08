"""Straight lines from baselines to what is explained, and points on them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError
from phlox.interpret.asking._asked import Asked, layer_output
from phlox.interpret.asking._baselines import Baselines, baselines_of
from phlox.interpret.asking._trees import along, any_floating, on_floating


def ends_of(asked: Asked, baselines: Baselines) -> list[Any]:
    """The baselines of what is explained; of a layer they are what it gives for the input's."""
    check_tokens(asked, baselines)
    given = baselines_of(baselines, asked.x, asked.where)
    if asked.context.x is None:
        return given
    return [layer_output(asked.question, spread(one, asked.x)) for one in given]


def check_tokens(asked: Asked, baselines: Baselines) -> None:
    """Refuse tokens without baselines."""
    if baselines is None and asked.context.x is not None and not any_floating(asked.x):
        fix = "pass tokens that say nothing, baselines=jnp.full_like(tokens, pad)"
        raise RangeError("baselines= where the input is integers", got="None", fix=fix, where=asked.where)


def spread(end: Any, z: Any) -> Any:
    """A baseline for every row."""
    return jax.tree.map(lambda b, v: jnp.broadcast_to(b, v.shape), end, z)


def mean(trees: list[Any]) -> Any:
    """The mean of several trees."""
    return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]) / len(xs), *trees)


def quadrature(steps: int, rule: str, where: str) -> tuple[Any, Any]:
    r"""Points t in [0, 1] and weights w, so that $\int_0^1 f(t) dt \approx \sum w f(t)$.

    >>> [x.tolist() for x in quadrature(2, "trapezoid", "")]
    [[0.0, 1.0], [0.5, 0.5]]
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise RangeError("steps of 1 or more", got=repr(steps), fix="64 do for most", where=where)
    even = np.full(steps, 1 / steps)
    if rule == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (1 + points) / 2, weights / 2
    if rule == "trapezoid" and steps > 1:
        inner = np.full(steps, 1 / (steps - 1))
        inner[[0, -1]] /= 2
        return np.linspace(0, 1, steps), inner
    if rule in ("left", "middle", "right"):
        shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[rule]
        return (np.arange(steps) + shift) / steps, even
    got = repr(rule) if rule != "trapezoid" else "1 step"
    fix = 'choose among "gauss_legendre", "middle", "trapezoid" (2 steps or more), "left", "right"'
    raise RangeError("a rule of quadrature", got=got, fix=fix, where=where)


def points(z: Any, end: Any, places: Any) -> Any:
    """(copies, rows, …) points of the lines from a baseline to what is explained; integers stand still."""
    copies = places.shape[0]

    def line(v: Any, b: Any) -> Any:
        t = along(places.astype(v.dtype), v[None])
        return b + t * (v - b)

    moved = on_floating(lambda v, b: line(v, b), z, end)
    return jax.tree.map(lambda m, v: m if m.ndim > v.ndim else jnp.broadcast_to(m, (copies, *m.shape)), moved, z)
