"""What a network is trained by: noise that it has not seen, added to data, and the error of what it says."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import RangeError, answering
from phlox.losses import mse
from phlox.models.diffusion._checks import check_floating
from phlox.models.diffusion._guidance import Denoiser, Guide, predicted
from phlox.models.diffusion._predictions import Prediction, check_prediction, target_of
from phlox.models.diffusion._schedules import NoiseSchedule


@answering
def ddpm_loss(
    model: Denoiser,
    x: jax.Array,
    key: jax.Array,
    schedule: NoiseSchedule,
    *,
    prediction: Prediction = "epsilon",
    condition: Any = None,
) -> jax.Array:
    r"""The squared error of a network's prediction, at a random step of each example.

    $E_{t, ε}\, \| m(\sqrt{\bar α_t}\, x + \sqrt{1 - \bar α_t}\, ε,\, t) - y \|^2 / n$, with y the noise ε, the data x
    or the velocity $v = \sqrt{\bar α_t}\, ε - \sqrt{1 - \bar α_t}\, x$; a mean over all n elements.

    Shapes:
        x: (batch, ...), floating, of variance about 1; t: (batch,) int32; the loss: ().

    Arguments:
        model: ``model(x, t)``, or ``model(x, t, condition)`` where there is one.
        key: where steps and noise are drawn from; a new one for each batch.
        prediction: what the network says: ``"epsilon"``, ``"sample"`` or ``"v"``.
        condition: labels (batch,), or any tree of arrays that the model takes.

    Raises:
        RangeError: another prediction, "epsilon" with zero terminal SNR. ShapeError: a model's output of another shape.
        DtypeError: data of whole numbers.

    Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (arXiv:2006.11239), algorithm 1; Salimans
        and Ho (arXiv:2202.00512) for v.

    >>> import jax.numpy as jnp, phlox as px
    >>> schedule, x = px.models.diffusion.NoiseSchedule(), jnp.ones((4, 100_000))
    >>> loss = px.models.diffusion.ddpm_loss(lambda x, t: 0 * x, x, jax.random.key(0), schedule)
    >>> round(float(loss), 1)  # the noise's variance
    1.0
    """
    check_prediction("ddpm_loss", prediction, schedule)
    check_floating("ddpm_loss", "data", x)
    of_steps, of_noise = jax.random.split(key)
    t = jax.random.randint(of_steps, x.shape[:1], 0, schedule.steps)
    noise = jax.random.normal(of_noise, x.shape, x.dtype)
    said = predicted("ddpm_loss", model, schedule.add_noise(x, noise, t), t, Guide(condition, None, 1))
    return mse(said, target_of(prediction, schedule, x, noise, t))


@answering
def flow_matching_loss(
    model: Denoiser,
    x: jax.Array,
    key: jax.Array,
    *,
    times: Literal["uniform", "logit_normal"] = "uniform",
    logit_mean: float = 0.0,
    logit_std: float = 1.0,
    time_scale: float = 1000.0,
    condition: Any = None,
) -> jax.Array:
    r"""The squared error of a network's velocity along straight lines from data to noise.

    $E_{t, ε}\, \| m((1 - t)\, x + t\, ε,\, s t) - (ε - x) \|^2 / n$: at t = 0 there is data, at 1 noise; a mean over
    all n elements.

    Shapes:
        x: (batch, ...), floating, of variance about 1; t: (batch,), float32 or float64; the loss: ().

    Arguments:
        model: ``model(x, t)``, or ``model(x, t, condition)`` where there is one.
        key: where times and noise are drawn from; a new one for each batch.
        times: ``"uniform"`` on [0, 1], or ``"logit_normal"``: the sigmoid of a normal variable, more in the middle.
        logit_mean, logit_std: that variable's mean and standard deviation, above 0.
        time_scale: s, what t is multiplied by for the network, whose embedding of times expects hundreds.
        condition: labels (batch,), or any tree of arrays that the model takes.

    Raises:
        RangeError: other times, a standard deviation not above 0. ShapeError: a model's output of another shape.
        DtypeError: data of whole numbers.

    Source: Lipman et al. (arXiv:2210.02747); Liu, Gong and Liu (arXiv:2209.03003); Esser et al. (arXiv:2403.03206),
        section 3.1, for the times.

    >>> import jax.numpy as jnp, phlox as px
    >>> x = jnp.ones((4, 100_000))
    >>> loss = px.models.diffusion.flow_matching_loss(lambda x, t: 0 * x, x, jax.random.key(0))
    >>> round(float(loss), 1)  # noise less one: 1 + 1
    2.0
    """
    check_floating("flow_matching_loss", "data", x)
    of_times, of_noise = jax.random.split(key)
    t = _times(of_times, x, times, logit_mean, logit_std)
    noise = jax.random.normal(of_noise, x.shape, x.dtype)
    share = t.reshape(t.shape + (1,) * (x.ndim - 1))
    given = ((1 - share) * x + share * noise).astype(x.dtype)
    said = predicted("flow_matching_loss", model, given, t * time_scale, Guide(condition, None, 1))
    return mse(said, noise - x)


def _times(key: jax.Array, x: jax.Array, times: str, mean: float, std: float) -> jax.Array:
    if times not in ("uniform", "logit_normal"):
        expected, fix = "times of 'uniform' or 'logit_normal'", "choose one of them"
        raise RangeError(expected, got=repr(times), fix=fix, where="flow_matching_loss")
    if not std > 0:
        expected, fix = "logit_std above 0", "leave it out, for 1"
        raise RangeError(expected, got=repr(std), fix=fix, where="flow_matching_loss")
    wide = jnp.promote_types(x.dtype, jnp.float32)  # 16 bits have some hundred times, and 0 and 1 among them
    if times == "uniform":
        return jax.random.uniform(key, x.shape[:1], wide)
    return jax.nn.sigmoid(mean + std * jax.random.normal(key, x.shape[:1], wide))
