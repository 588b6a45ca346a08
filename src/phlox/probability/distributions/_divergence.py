"""The Kullback-Leibler divergence of two distributions, where it is closed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import RangeError, ShapeError
from phlox.probability import _peers
from phlox.probability.distributions._arguments import wide
from phlox.probability.distributions._discrete import Bernoulli, Categorical, Ordinal
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._positive import Exponential, Gamma, InverseGamma, LogNormal
from phlox.probability.distributions._real import Normal
from phlox.probability.distributions._several import Independent


def kl_divergence(p: Distribution, q: Distribution) -> jax.Array:
    r"""The divergence of q from p in closed form: $\mathrm{KL}(p ‖ q) = E_{v \sim p}[\log p(v) - \log q(v)]$ in nats.

    Shapes:
        batches that broadcast, and the result is (*batch).

    Arguments:
        p, q: both normal, log-normal, gamma, inverse gamma, exponential, beta, Dirichlet, multivariate normal, of
            yes or no, of classes or levels; or ``Independent`` of these.

    Raises:
        RangeError: a pair without a closed form.
        ShapeError: batches that do not broadcast, or events of unlike shapes.

    Source: Kullback and Leibler, "On information and sufficiency", 1951.

    >>> import phlox as px
    >>> normal = px.probability.Normal
    >>> float(px.probability.kl_divergence(normal(1.0, 1.0), normal(0.0, 1.0)))
    0.5
    """
    if not isinstance(p, Distribution) or not isinstance(q, Distribution):
        got = f"{type(p).__name__} and {type(q).__name__}"
        fix = "of arrays of probabilities it is px.losses.kl_divergence"
        raise RangeError("two distributions", got=got, fix=fix, where="kl_divergence")
    if p.event_shape != q.event_shape or not _broadcasts(p.batch_shape, q.batch_shape):
        got = f"batch {p.batch_shape}, event {p.event_shape} and batch {q.batch_shape}, event {q.event_shape}"
        fix = "give both one event, and batches that broadcast"
        raise ShapeError("distributions side by side", got=got, fix=fix, where="kl_divergence")
    found: jax.Array = _closed(p, q).astype(p._dtype())
    return found


def _closed(p: Any, q: Any) -> jax.Array:
    if isinstance(p, Independent) and isinstance(q, Independent) and p.axes == q.axes:
        return _sum_last(_closed(p.base, q.base), p.axes, p, q)
    if isinstance(p, LogNormal) and isinstance(q, LogNormal):
        p, q = Normal(p.loc, p.scale), Normal(q.loc, q.scale)
    if isinstance(p, InverseGamma) and isinstance(q, InverseGamma):
        p, q = Gamma(p.concentration, p.rate), Gamma(q.concentration, q.rate)
    if isinstance(p, Exponential) and isinstance(q, Exponential):
        p, q = Gamma(1.0, p.rate), Gamma(1.0, q.rate)
    if isinstance(p, Bernoulli) and isinstance(q, Bernoulli):
        return _of_classes(*(jnp.stack([jax.nn.log_sigmoid(-z), jax.nn.log_sigmoid(z)], -1) for z in _logits(p, q)))
    if isinstance(p, (Categorical, Ordinal)) and isinstance(q, (Categorical, Ordinal)):
        return _of_classes(*(jax.nn.log_softmax(d._peer().logits) for d in (p, q)))
    try:
        return jnp.asarray(_peers.distributions().kl_divergence(p._peer(), q._peer()))
    except NotImplementedError:
        fix = "estimate it: (p.log_prob(v) - q.log_prob(v)).mean() of v = p.sample(key, (1000,))"
        got = f"{type(p).__name__} and {type(q).__name__}"
        raise RangeError("a pair with a closed divergence", got=got, fix=fix, where="kl_divergence") from None


def _logits(*of: Bernoulli) -> list[jax.Array]:
    return [jnp.asarray(wide(d.logits)) for d in of]


def _of_classes(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    share = jnp.exp(log_p)
    return jnp.where(share == 0, 0, share * (log_p - log_q)).sum(-1)


def _sum_last(values: jax.Array, axes: int, p: Independent, q: Independent) -> jax.Array:
    full = jnp.broadcast_shapes(p.base.batch_shape, q.base.batch_shape)
    return jnp.broadcast_to(values, full).sum(tuple(range(-axes, 0)))


def _broadcasts(*shapes: tuple[int, ...]) -> bool:
    try:
        jnp.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True
