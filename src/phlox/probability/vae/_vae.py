"""The variational autoencoder, with a weight on the divergence and with a context."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from phlox.core import (
    Module,
    ShapeError,
    State,
    advance,
    check_function,
    check_size,
    describe,
    harmonise,
    key_or_draw,
    vmap,
)
from phlox.probability._arguments import choice, positive, refuse_values


class VAE(Module):
    r"""Data as seen through a hidden variable: $z \sim N(0, 1)$, $x \sim p(x \mid d(z))$, with $q(z \mid x)$ to find z.

    Training makes $-\mathrm{E}_q \log p(x \mid z) + \beta\, \mathrm{KL}(q(z \mid x) \,\|\, N(0, 1))$ small; at β 1 it
    is the negative evidence lower bound, at more the β-VAE, whose hidden variables tend to mean one thing each. With a
    context in all calls, which encoder and decoder get as a second argument, it is the conditional one.

    Shapes:
        x: (batch, ...); context: what the two networks take. The encoder gives (batch, 2 · latent), means and
        logarithms of variances of q; the decoder takes (batch, latent) and gives (batch, ...) like x.

    Arguments:
        encoder, decoder: the networks.
        latent: how many hidden variables there are.
        likelihood: ``"normal"``, around what the decoder gives, or ``"bernoulli"``, of x from 0 to 1, the decoder
            giving logits.
        noise: the standard deviation of ``"normal"``, in units of x.
        beta: β.
        key: where its randomness starts, State that moves on at each draw; by default the stream of ``px.seed``.

    Called with ``(x, context=None)``: x as the model sees it, the mean of ``p(x | z)`` for the mean z of q, in training
    for a z that is drawn. ``loss`` is what training makes small, ``bound`` the evidence lower bound of each example,
    ``log_prob`` a closer one by many draws, ``encode`` and ``decode`` the two halves, ``sample(key, shape)`` draws x.

    Raises:
        RangeError: parts that cannot be called, another likelihood, numbers out of range, or with ``"bernoulli"`` data
            outside [0, 1].
        ShapeError: an encoder or a decoder that gives something else.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014; Higgins et al., "β-VAE", 2017; Sohn, Lee and
    Yan, "Learning structured output representation using deep conditional generative models", 2015.

    >>> import jax.numpy as jnp, phlox as px
    >>> vae = px.probability.VAE(px.Dense(8, 2 * 3), px.Dense(3, 8), latent=3)
    >>> vae(jnp.ones((5, 8))).shape, vae.bound(jnp.ones((5, 8))).shape
    ((5, 8), (5,))
    """

    encoder: Callable[..., Any]
    decoder: Callable[..., Any]
    latent: int
    likelihood: str
    noise: float
    beta: float
    key: State  # () typed random key

    def __init__(
        self,
        encoder: Callable[..., Any],
        decoder: Callable[..., Any],
        latent: int,
        *,
        likelihood: Literal["normal", "bernoulli"] = "normal",
        noise: float = 1.0,
        beta: float = 1.0,
        key: Any = None,
    ):
        self.encoder = check_function("VAE", "encoder", encoder, "with data")
        self.decoder = check_function("VAE", "decoder", decoder, "with hidden variables")
        self.latent = check_size("VAE", "latent", latent)
        self.likelihood = choice("VAE", "likelihood", likelihood, ("normal", "bernoulli"))
        self.noise, self.beta = positive("VAE", "noise", noise), positive("VAE", "beta", beta)
        self.key = key_or_draw(key)

    def __call__(self, x: Any, context: Any = None) -> jax.Array:
        mean, log_variance = self.encode(x, context)
        seen = self.decode(self._drawn(mean, log_variance, ()) if self.training else mean, context)
        return jax.nn.sigmoid(seen) if self.likelihood == "bernoulli" else seen

    def encode(self, x: Any, context: Any = None) -> tuple[jax.Array, jax.Array]:
        """Means and logarithms of variances of the hidden variables, (batch, latent) each."""
        (x,) = harmonise(self, x)
        halves = self.encoder(x) if context is None else self.encoder(x, context)
        if jnp.shape(halves) != (*x.shape[:1], 2 * self.latent):
            fix = f"let its last layer have {2 * self.latent} outputs, and flatten before it"
            expected = f"an encoder that gives (batch, {2 * self.latent})"
            raise ShapeError(expected, got=describe(halves), fix=fix, where="VAE.encode")
        mean, log_variance = jnp.split(halves, 2, -1)
        return mean, log_variance

    def decode(self, z: Any, context: Any = None) -> jax.Array:
        """What the decoder gives for hidden variables (batch, latent): means, or logits."""
        return self.decoder(z) if context is None else self.decoder(z, context)

    def loss(self, x: Any, context: Any = None) -> jax.Array:
        """What training makes small, in nats, the mean over the batch: ``loss=lambda model, x: model.loss(x)``."""
        seen, divergence = self._halves(x, context)
        return jnp.mean(self.beta * divergence - seen)

    def bound(self, x: Any, context: Any = None) -> jax.Array:
        """The evidence lower bound of each example by one draw, at β 1, in nats, (batch,)."""
        seen, divergence = self._halves(x, context)
        return seen - divergence

    def log_prob(self, x: Any, context: Any = None, *, draws: int = 64) -> jax.Array:
        r"""The logarithm of the mean of $p(x, z) / q(z \mid x)$ over draws of z, in nats, (batch,).

        On the mean it is below the evidence log p(x), and comes up to it with more draws (Burda, Grosse and
        Salakhutdinov, "Importance weighted autoencoders", 2016). All draws are in memory together.
        """
        mean, log_variance = self.encode(x, context)
        z = self._drawn(mean, log_variance, (check_size("VAE.log_prob", "draws", draws),))
        seen = vmap(lambda z: self._seen(x, z, context))(z)
        prior, found = _log_normal(z, 0.0, 0.0), _log_normal(z, mean, log_variance)
        return jax.nn.logsumexp(seen + prior - found, 0) - math.log(draws)

    def sample(self, key: Any, count: int, context: Any = None) -> jax.Array:
        """Draw x, (count, ...), with a context for each of them; without the noise of the likelihood.

        Arguments:
            key: a typed key, or a whole number.
            count: how many.
            context: what the decoder gets besides.
        """
        z = jax.random.normal(key_or_draw(key), (check_size("VAE.sample", "count", count), self.latent))
        seen = self.decode(z, context)
        return jax.nn.sigmoid(seen) if self.likelihood == "bernoulli" else seen

    def _halves(self, x: Any, context: Any) -> tuple[jax.Array, jax.Array]:
        mean, log_variance = self.encode(x, context)
        z = self._drawn(mean, log_variance, ())
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return self._seen(x, z, context), divergence

    def _seen(self, x: Any, z: jax.Array, context: Any) -> jax.Array:
        """log p(x | z) of each example."""
        (x,) = harmonise(self, x)
        told = self.decode(z, context)
        if jnp.shape(told) != x.shape:
            fix = "let it give what the encoder takes"
            raise ShapeError(f"a decoder that gives {x.shape}", got=describe(told), fix=fix, where="VAE.decode")
        x = x.astype(told.dtype)
        if self.likelihood == "bernoulli":
            fix = "bring x to 0 … 1, or take likelihood='normal'"
            refuse_values("VAE", x, lambda v: (v >= 0) & (v <= 1), "data in [0, 1]", fix)
            each = x * told - jax.nn.softplus(told)
        else:
            each = -0.5 * jnp.square((x - told) / self.noise) - math.log(self.noise) - 0.5 * math.log(2 * math.pi)
        return each.sum(tuple(range(1, x.ndim)))

    def _drawn(self, mean: jax.Array, log_variance: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        normal = jax.random.normal(advance(self), (*shape, *mean.shape), mean.dtype)
        return mean + jnp.exp(0.5 * log_variance) * normal

    def _brief(self) -> str:
        beta = "" if self.beta == 1 else f", beta={self.beta}"
        return f"VAE(latent={self.latent}, likelihood={self.likelihood!r}{beta})"


def _log_normal(z: jax.Array, mean: Any, log_variance: Any) -> jax.Array:
    each = jnp.square(z - mean) * jnp.exp(-log_variance) + log_variance + math.log(2 * math.pi)
    return -0.5 * each.sum(-1)
