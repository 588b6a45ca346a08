"""What is learned as a distribution, and how far it has gone from its prior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, modules


class Variational(Module):
    """A layer that learns a distribution q and has a prior p: ``kl_to_prior()`` is KL(q ‖ p) in nats, ()."""

    def kl_to_prior(self) -> jax.Array:
        """The divergence of what is learned from the prior."""
        raise NotImplementedError


def kl_to_prior(model: Module) -> jax.Array:
    r"""The divergence of all that a model learns as distributions from their priors: $\sum_l \mathrm{KL}(q_l ‖ p_l)$.

    With the likelihood of all n examples it makes the evidence lower bound,
    $\mathrm{ELBO} = E_q[\log p(y \mid x, w)] - \mathrm{KL}(q ‖ p)$; a loss that is a mean over examples takes this sum
    divided by n.

    Shapes:
        the result is a scalar, float32 at least.

    Arguments:
        model: holds a ``BayesianLayer``, a ``GaussianProcessHead`` or another ``Variational``.

    Raises:
        RangeError: a model without one.

    Source: Blundell et al., "Weight uncertainty in neural networks", 2015.

    >>> import phlox as px
    >>> model = px.Chain(px.probability.BayesianLayer(px.Dense(1, 8, px.tanh)), px.probability.NormalHead(8, 1))
    >>> def negative_elbo(model, x, y, examples=500):
    ...     return px.probability.nll(model(x), y) + px.probability.kl_to_prior(model) / examples
    >>> px.probability.kl_to_prior(model).shape
    ()
    """
    terms: list[Any] = [part.kl_to_prior() for part in modules(model).values() if isinstance(part, Variational)]
    if not terms:
        fix = "put one in: model = px.probability.bayesian(model)"
        raise RangeError("a model with Bayesian layers", got=model._brief(), fix=fix, where="kl_to_prior")
    wide = [summed(term) for term in terms]
    return sum(wide[1:], wide[0])


def summed(values: jax.Array) -> jax.Array:
    """A sum in float32 at least."""
    return jnp.sum(values, dtype=jnp.promote_types(values.dtype, jnp.float32))
