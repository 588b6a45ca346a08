"""Latent ordinary differential equations: time series as what a hidden state gives away."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, State, advance, check_function, describe, key_or_draw
from phlox.science._checks import check_positive
from phlox.science.equations._fields import named
from phlox.science.equations._ode import NeuralODE


class LatentODE(Module):
    r"""A time series as seen through a hidden state: $z_0 \sim q(z_0 \mid x)$, $\dot z = f(z)$, $x(t) \approx d(z(t))$.

    A variational autoencoder: in training z₀ is drawn by a key that the layer owns as State, otherwise it is the mean.

    Shapes:
        x: (batch, times, channels); ts: (times,) rising. The encoder takes (batch, times, 1 + channels), the series
        from its last observation to its first with the time since the one taken before in front, and gives
        (batch, 2 · latent), means and logarithms of variances. The decoder takes (..., latent).

    Arguments:
        encoder: from the reversed series to the two halves, such as a GRU and a Dense on its last output.
        ode: the ``NeuralODE`` of the hidden state.
        decoder: d.
        noise: the standard deviation of an observation around ``d(z)``, in units of x; ``loss`` asks for it.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Called with ``(x, ts, at=None)``: the series as the model sees it, at the times ``at``, of which the first is that
    of ``ts``; by default at ``ts``.

    Raises:
        RangeError: parts that cannot be called, no NeuralODE, or a noise that is not above 0.
        ShapeError: a series without batch or time, or an encoder that gives an odd number.

    Source: Chen et al., "Neural ordinary differential equations", 2018; Rubanova, Chen and Duvenaud, "Latent ODEs for
    irregularly-sampled time series", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> encoder = px.Chain(px.GRU(3, 16), px.nn.SelectDim(1, -1), px.Dense(16, 2 * 4))
    >>> model = px.science.LatentODE(encoder, px.science.NeuralODE(px.Dense(4, 4, px.tanh)), px.Dense(4, 2))
    >>> px.eval_shape(model, jnp.ones((5, 10, 2)), jnp.linspace(0.0, 1.0, 10), jnp.linspace(0.0, 2.0, 30)).shape
    (5, 30, 2)
    """

    encoder: Callable[..., Any]
    ode: NeuralODE
    decoder: Callable[..., Any]
    noise: float
    key: State  # () typed random key

    def __init__(
        self,
        encoder: Callable[..., Any],
        ode: NeuralODE,
        decoder: Callable[..., Any],
        *,
        noise: float = 0.1,
        key: Any = None,
    ):
        self.encoder = check_function("LatentODE", "encoder", encoder, "with the reversed series")
        self.decoder = check_function("LatentODE", "decoder", decoder, "with hidden states")
        if not isinstance(ode, NeuralODE):
            fix = "wrap the field: px.science.NeuralODE(field)"
            raise RangeError("ode as a NeuralODE", got=describe(ode), fix=fix, where="LatentODE")
        self.ode, self.noise = ode, check_positive("LatentODE", "noise", noise)
        self.key = key_or_draw(key)

    def __call__(self, x: Any, ts: Any, at: Any = None) -> jax.Array:
        mean, log_variance = self.encode(x, ts)
        return self.decode(self._hidden(mean, log_variance), ts if at is None else at)

    def encode(self, x: Any, ts: Any) -> tuple[jax.Array, jax.Array]:
        """Means and logarithms of variances of the first hidden state, (batch, latent) each."""
        x = jnp.asarray(x)
        ts = jnp.asarray(ts).astype(x.dtype)
        if x.ndim != 3 or ts.shape not in ((x.shape[1],), x.shape[:2]):
            fix = "give one time for each observation"
            raise ShapeError(
                "x as (batch, times, channels) and ts as (times,)", got=f"{describe(x)}, {describe(ts)}", fix=fix
            )
        gaps = jnp.diff(ts, axis=-1, append=ts[..., -1:])  # to the observation behind, which is read before
        gaps = jnp.broadcast_to(gaps, x.shape[:2])[..., None]
        halves = self.encoder(jnp.concatenate([gaps, x], -1)[:, ::-1])
        if jnp.ndim(halves) != 2 or halves.shape[-1] % 2:
            fix = "let its last layer have 2 * latent outputs, and take one output of a recurrent layer"
            raise ShapeError("an encoder that gives (batch, 2 · latent)", got=describe(halves), fix=fix)
        mean, log_variance = jnp.split(halves, 2, -1)
        return mean, log_variance

    def decode(self, z0: Any, ts: Any) -> jax.Array:
        """The series at the times ``ts``, (batch, times, channels), from hidden states at the first of them."""
        return self.decoder(self.ode(z0, ts))

    def loss(self, x: Any, ts: Any, *, beta: float = 1.0) -> jax.Array:
        r"""What training makes small, $-\log p(x \mid z_0) + \beta\, \mathrm{KL}(q(z_0 \mid x) \,\|\, N(0, 1))$.

        x at the observations is normal around what the model gives, with the standard deviation ``noise``; at
        ``beta`` 1 it is the negative evidence lower bound, in nats for each example. Scalar, the mean of the batch.
        """
        mean, log_variance = self.encode(x, ts)
        seen = self.decode(self._hidden(mean, log_variance), ts)
        errors = jnp.square((jnp.asarray(x) - seen) / self.noise) + 2 * math.log(self.noise) + math.log(2 * math.pi)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return jnp.mean(0.5 * errors.sum((1, 2)) + beta * divergence)

    def _hidden(self, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
        if not self.training:
            return mean
        return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(advance(self), mean.shape, mean.dtype)

    def _brief(self) -> str:
        return f"LatentODE({named(self.encoder)}, {named(self.ode)}, {named(self.decoder)})"
