"""Samplers along a flow: an equation solved from noise to data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, scan
from phlox.models.diffusion._checks import check_floating
from phlox.models.diffusion._guidance import Denoiser, guide_of, predicted

Velocity = Callable[[jax.Array, jax.Array], jax.Array]


@answering
def flow_matching(
    model: Denoiser,
    noise: jax.Array,
    *,
    steps: int = 50,
    method: Literal["euler", "heun", "midpoint"] = "euler",
    shift: float = 1.0,
    time_scale: float = 1000.0,
    condition: Any = None,
    guidance: Any = 1.0,
    unconditional: Any = None,
) -> jax.Array:
    r"""Draw data along the flow that a network was trained for: $dx/dt = m(x, s t)$ from t = 1 to 0.

    Times are $t_i = k u / (1 + (k - 1) u)$ with u from 1 to 0 in equal steps and k the shift. Euler's method evaluates
    the model once a step; Heun's and the midpoint method twice, with an error that falls with the square of the step.

    Shapes, errors: as ``ddpm``, compiled likewise; t (batch,), floating.

    Arguments:
        model, noise, condition, guidance, unconditional: as in ``ddpm``.
        steps: how many, at least 1.
        method: ``"euler"``, ``"heun"`` or ``"midpoint"``.
        shift: k, above 0; more than 1 takes smaller steps where there is much noise, for large pictures.
        time_scale: s, as in ``flow_matching_loss``.

    Source: Lipman et al., "Flow matching for generative modeling" (arXiv:2210.02747); Esser et al.
        (arXiv:2403.03206), section 5.3, for the shift.

    >>> import phlox as px
    >>> noise = jax.random.normal(jax.random.key(0), (5, 2))
    >>> to_threes = lambda x, t: (x - 3) / (t[:, None] / 1000)  # straight from every point
    >>> y = px.models.diffusion.flow_matching(to_threes, noise, steps=4)
    >>> bool(abs(y - 3).max() < 1e-5)
    True
    """
    for name, ok, value in (("steps of at least 1", steps >= 1, steps), ("shift above 0", shift > 0, shift)):
        if not ok:
            fix = "leave it out for the usual one"
            raise RangeError(name, got=repr(value), fix=fix, where="flow_matching")
    if method not in _METHODS:
        methods = ", ".join(map(repr, _METHODS))
        raise RangeError(f"method of {methods}", got=repr(method), fix="choose one of them", where="flow_matching")
    check_floating("flow_matching", "noise", noise)
    guide = guide_of("flow_matching", condition, unconditional, guidance)
    wide = jnp.promote_types(noise.dtype, jnp.float32)
    even = np.linspace(1, 0, steps + 1)
    times = jnp.asarray(shift * even / (1 + (shift - 1) * even), wide)

    def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
        return predicted("flow_matching", model, x.astype(noise.dtype), t * time_scale, guide).astype(wide)

    def step(x: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return _METHODS[method](velocity, x, *at), None

    return scan(step, noise.astype(wide), (times[:-1], times[1:]))[0].astype(noise.dtype)


def _euler(velocity: Velocity, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
    return x + (then - now) * velocity(x, now)


def _heun(velocity: Velocity, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
    first = velocity(x, now)
    return x + (then - now) * (first + velocity(x + (then - now) * first, then)) / 2


def _midpoint(velocity: Velocity, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
    return x + (then - now) * velocity(x + (then - now) / 2 * velocity(x, now), (now + then) / 2)


_METHODS: dict[str, Callable[..., jax.Array]] = {"euler": _euler, "heun": _heun, "midpoint": _midpoint}
