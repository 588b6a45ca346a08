"""What a network predicts: the noise, the data or the velocity; each gives the others."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.models.diffusion._schedules import NoiseSchedule

Prediction = Literal["epsilon", "sample", "v"]
_ALL = ("epsilon", "sample", "v")


def check_prediction(where: str, prediction: str, schedule: NoiseSchedule) -> None:
    """Refuse what is no prediction, and noise where a step has nothing but noise: data does not follow from it."""
    if prediction not in _ALL:
        fix = "write 'v'" if prediction in ("v_prediction", "velocity") else "choose one of them"
        if prediction in ("noise", "eps"):
            fix = "write 'epsilon'"
        raise RangeError(f"prediction of {', '.join(map(repr, _ALL))}", got=repr(prediction), fix=fix, where=where)
    if prediction == "epsilon" and schedule.zero_terminal_snr:
        got, fix = "'epsilon' and zero_terminal_snr=True", "train the network to predict 'v'"
        raise RangeError("a prediction from which data follows at the last step", got=got, fix=fix, where=where)


def target_of(
    prediction: Prediction, schedule: NoiseSchedule, x: jax.Array, noise: jax.Array, t: jax.Array
) -> jax.Array:
    """What the network should have said of data x with this noise at times t."""
    if prediction == "epsilon":
        return noise
    return x if prediction == "sample" else schedule.velocity(x, noise, t)


def clean_and_noise(
    prediction: Prediction, said: jax.Array, x: jax.Array, shares: tuple[jax.Array, jax.Array], clip: float | None
) -> tuple[jax.Array, jax.Array]:
    """The data and the noise in x that follow from what the network said; noise from the data where that is clipped."""
    signal, spread = shares
    if prediction == "epsilon":
        clean, noise = (x - spread * said) / signal, said
    elif prediction == "v":
        clean, noise = signal * x - spread * said, signal * said + spread * x
    else:
        clean, noise = said, (x - signal * said) / spread
    if clip is None:
        return clean, noise
    clean = jnp.clip(clean, -clip, clip)
    return clean, (x - signal * clean) / spread
