"""Samplers along the steps of a noise schedule: each from noisy data to less noisy data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError, answering, scan
from phlox.models.diffusion._checks import check_floating
from phlox.models.diffusion._guidance import Denoiser, guide_of, predicted
from phlox.models.diffusion._predictions import Prediction, check_prediction, clean_and_noise
from phlox.models.diffusion._schedules import NoiseSchedule, Spacing

Plan = dict[str, np.ndarray]  # a number for each step, by name


@answering
def ddpm(
    model: Denoiser,
    noise: jax.Array,
    schedule: NoiseSchedule,
    *,
    key: jax.Array,
    steps: int | None = None,
    prediction: Prediction = "epsilon",
    variance: Literal["small", "large"] = "small",
    spacing: Spacing = "leading",
    clip: float | None = None,
    condition: Any = None,
    guidance: Any = 1.0,
    unconditional: Any = None,
) -> jax.Array:
    r"""Draw data by the reverse of a diffusion: at each step the mean of what came before, and new noise.

    $x_{s} = \frac{\sqrt{\bar α_s} β}{1 - \bar α_t} \hat x + \frac{\sqrt{α} (1 - \bar α_s)}{1 - \bar α_t} x_t + σ z$,
    with s before t, $α = \bar α_t / \bar α_s$, β = 1 - α, $\hat x$ the data that follows from what the model says,
    and $σ^2 = β (1 - \bar α_s) / (1 - \bar α_t)$ or β; the last step adds no noise.

    It is a pure function of a scan: line by line the steps can be looked at, and ``px.jit`` of a function that calls
    it compiles one step, however many there are; both draw the same numbers.

    Shapes:
        noise, y: (batch, ...), floating.

    Arguments:
        model: ``model(x, t)``, or ``model(x, t, condition)``; t (batch,) int32.
        noise: standard normal; where it starts.
        key: where the noise of each step is drawn from.
        steps: how many of the schedule's steps are taken; all by default.
        prediction: what the network was trained to say.
        variance: σ², ``"small"`` or ``"large"``.
        spacing: which steps: ``NoiseSchedule.timesteps``.
        clip: the largest size of $\hat x$, such as 1 for pictures in [-1, 1]; None does not clip.
        condition: labels (batch,), or any tree of arrays that the model takes.
        guidance: s in $m(x, ∅) + s (m(x, c) - m(x, ∅))$, one number or (batch,); 1 is none.
        unconditional: ∅, what stands for no condition, one for all or for each example.

    Raises:
        RangeError: an argument out of range, guidance without ``unconditional``. ShapeError: a model's output of
            another shape than noise; guidance of another than () and (batch,). DtypeError: noise of whole numbers.

    Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (arXiv:2006.11239), algorithm 2; Ho and
        Salimans (arXiv:2207.12598) for guidance.

    >>> import phlox as px
    >>> schedule = px.models.diffusion.NoiseSchedule(steps=100, beta_end=0.2)
    >>> noise = jax.random.normal(jax.random.key(0), (5, 2))
    >>> only_threes = lambda x, t: 0 * x + 3  # a model that knows the data
    >>> y = px.models.diffusion.ddpm(only_threes, noise, schedule, key=jax.random.key(1), steps=10, prediction="sample")
    >>> bool(abs(y - 3).max() < 1e-5)
    True
    """
    if variance not in ("small", "large"):
        expected, fix = "variance of 'small' or 'large'", "choose one of them"
        raise RangeError(expected, got=repr(variance), fix=fix, where="ddpm")
    check_floating("ddpm", "noise", noise)
    plan = _plan("ddpm", schedule, steps, spacing, prediction, clip)
    here, there = plan["here"], plan["there"]
    beta = 1 - here / there
    spread = beta if variance == "large" else beta * (1 - there) / (1 - here)
    plan["clean"] = np.sqrt(there) * beta / (1 - here)
    plan["x"] = np.sqrt(here / there) * (1 - there) / (1 - here)
    plan["spread"] = np.sqrt(np.where(there < 1, spread, 0))
    guide = guide_of("ddpm", condition, unconditional, guidance)

    def step(x: jax.Array, at: Any) -> jax.Array:
        said = predicted("ddpm", model, x.astype(noise.dtype), at["t"], guide).astype(x.dtype)
        clean, _ = clean_and_noise(prediction, said, x, (at["signal"], at["noise"]), clip)
        return at["clean"] * clean + at["x"] * x + at["spread"] * jax.random.normal(at["key"], x.shape, x.dtype)

    return _run(step, noise, plan, key)


@answering
def ddim(
    model: Denoiser,
    noise: jax.Array,
    schedule: NoiseSchedule,
    *,
    steps: int | None = 50,
    eta: float = 0.0,
    key: jax.Array | None = None,
    prediction: Prediction = "epsilon",
    spacing: Spacing = "leading",
    clip: float | None = None,
    condition: Any = None,
    guidance: Any = 1.0,
    unconditional: Any = None,
) -> jax.Array:
    r"""Draw data in few steps: to the data that is expected, and back by less noise, of the same direction.

    $x_s = \sqrt{\bar α_s}\, \hat x + \sqrt{1 - \bar α_s - σ^2}\, \hat ε + σ z$ with
    $σ^2 = η^2 \frac{1 - \bar α_s}{1 - \bar α_t} (1 - \frac{\bar α_t}{\bar α_s})$. With η = 0 it draws nothing: the same
    noise gives the same data, as a solver of an equation would. Where $\hat x$ is clipped, $\hat ε$ is what is left of
    x.

    Shapes, errors: as :func:`ddpm`, compiled likewise.

    Arguments:
        steps: how many of the schedule's steps are taken.
        eta: η, in [0, 1]; with 1 it draws as much noise as ``ddpm``.
        key: where that noise is drawn from; needed where eta is above 0.
        model, noise, prediction, spacing, clip, condition, guidance, unconditional: as in :func:`ddpm`.

    Source: Song, Meng and Ermon, "Denoising diffusion implicit models" (arXiv:2010.02502), equations 12 and 16.

    >>> import phlox as px
    >>> noise = jax.random.normal(jax.random.key(0), (5, 2))
    >>> only_threes = lambda x, t: 0 * x + 3
    >>> y = px.models.diffusion.ddim(
    ...     only_threes, noise, px.models.diffusion.NoiseSchedule(), steps=10, prediction="sample")
    >>> bool(abs(y - 3).max() < 1e-5)
    True
    """
    if not 0 <= eta <= 1:
        expected, fix = "0 <= eta <= 1", "0 draws no noise, 1 as much as ddpm"
        raise RangeError(expected, got=f"eta={eta}", fix=fix, where="ddim")
    if eta and key is None:
        expected, fix = "key= where eta is above 0", "pass key=jax.random.key(0)"
        raise RangeError(expected, got="none", fix=fix, where="ddim")
    check_floating("ddim", "noise", noise)
    plan = _plan("ddim", schedule, steps, spacing, prediction, clip)
    here, there = plan["here"], plan["there"]
    spread = eta**2 * (1 - there) / (1 - here) * (1 - here / there)
    plan["clean"], plan["back"] = np.sqrt(there), np.sqrt(np.maximum(1 - there - spread, 0))
    plan["spread"] = np.sqrt(spread)
    guide = guide_of("ddim", condition, unconditional, guidance)

    def step(x: jax.Array, at: Any) -> jax.Array:
        said = predicted("ddim", model, x.astype(noise.dtype), at["t"], guide).astype(x.dtype)
        clean, rest = clean_and_noise(prediction, said, x, (at["signal"], at["noise"]), clip)
        x = at["clean"] * clean + at["back"] * rest
        return x + at["spread"] * jax.random.normal(at["key"], x.shape, x.dtype) if eta else x

    return _run(step, noise, plan, key if eta else None)


def _plan(
    where: str, schedule: NoiseSchedule, steps: int | None, spacing: Spacing, prediction: Prediction, clip: float | None
) -> Plan:
    """What every sampler of a schedule needs: times, what is left of the data here and there, and the shares here."""
    check_prediction(where, prediction, schedule)
    if clip is not None and not clip > 0:
        expected, fix = "clip above 0, or None", "give the largest size of the data"
        raise RangeError(expected, got=repr(clip), fix=fix, where=where)
    t = schedule.timesteps(steps, spacing)
    here = schedule.alpha_bars[t]
    there = np.concatenate([here[1:], [1.0]])
    return {"t": t, "here": here, "there": there, "signal": np.sqrt(here), "noise": np.sqrt(1 - here)}


def _run(step: Callable[[jax.Array, Any], jax.Array], noise: jax.Array, plan: Plan, key: jax.Array | None) -> jax.Array:
    """All steps, in float32 at least; the model gets the dtype of the noise."""
    wide = jnp.promote_types(noise.dtype, jnp.float32)
    each: dict[str, Any] = {n: jnp.asarray(v, jnp.int32 if n == "t" else wide) for n, v in plan.items()}
    if key is not None:
        each["key"] = jax.random.split(key, len(plan["t"]))
    return scan(lambda x, at: (step(x, at), None), noise.astype(wide), each)[0].astype(noise.dtype)
