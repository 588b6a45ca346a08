"""A density made of a simple one and maps that can be undone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, key_or_draw, shown
from phlox.probability.flows._bijection import Bijection, check_bijection


class Flow(Module):
    r"""A density of data, by maps to a simple one: $\log p(x) = \log p_0(f(x)) + \log |\det \partial f / \partial x|$.

    f is the bijections one after the other, from data to the base.

    Shapes:
        x: (..., features); context: (..., given), which all bijections get; log_prob: (...).

    Arguments:
        base: p₀, an object with ``log_prob(z)`` that gives one number for each example, and ``sample(key, shape)``:
            ``StandardNormal(features)``, or a distribution of NumPyro's whose events are (features,).
        bijections: Modules with an inverse, as ``Bijection`` says.

    Called with ``(x, context=None)`` it gives ``log_prob``, in nats. ``loss`` is what training makes small,
    ``sample(key, shape, context=None)`` draws, ``latent`` and ``from_latent`` are f and its inverse, ``initialise(x)``
    sets each ``ActNorm`` by the data.

    Raises:
        RangeError: a base without a density or samples, or no bijection.
        StructureError: bijections without an inverse.
        ShapeError: data of other features.

    Source: Rezende and Mohamed, "Variational inference with normalizing flows", 2015; Papamakarios et al.,
    "Normalizing flows for probabilistic modeling and inference", 2021.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> flow = px.probability.Flow(px.probability.StandardNormal(2), px.probability.Coupling(2, hidden=(16,)))
    >>> round(float(flow.log_prob(jnp.zeros(2))), 4), flow.sample(jax.random.key(0), (5,)).shape
    (-1.8379, (5, 2))
    """

    base: Any
    bijections: list[Bijection]
    _positional = "bijections"  # in the printed model

    def __init__(self, base: Any, *bijections: Bijection):
        if isinstance(base, type) or not all(callable(getattr(base, n, None)) for n in ("log_prob", "sample")):
            fix = "put it first: px.probability.StandardNormal(features)"
            raise RangeError("a base with log_prob(z) and sample(key, shape)", got=shown(base), fix=fix, where="Flow")
        if not bijections:
            fix = "give some behind the base, such as px.probability.Coupling(features)"
            raise RangeError("one bijection or more", got="none", fix=fix, where="Flow")
        self.base = base
        self.bijections = [check_bijection("Flow", b) for b in bijections]

    def __call__(self, x: Any, context: Any = None) -> jax.Array:
        z, stretch = self._down(x, context)
        return self.base.log_prob(z) + stretch

    def log_prob(self, x: Any, context: Any = None) -> jax.Array:
        """The logarithm of the density at x, in nats, (...)."""
        return self(x, context)

    def loss(self, x: Any, context: Any = None) -> jax.Array:
        """What training makes small, the mean of -log p(x) in nats: ``loss=lambda model, x: model.loss(x)``."""
        return -jnp.mean(self(x, context))

    def latent(self, x: Any, context: Any = None) -> jax.Array:
        """f(x), the point of the base that x stands for."""
        return self._down(x, context)[0]

    def from_latent(self, z: Any, context: Any = None) -> jax.Array:
        """The x that f takes to z."""
        for bijection in reversed(self.bijections):
            z, _ = bijection.inverse(z, context)
        return z

    def sample(self, key: Any, shape: tuple[int, ...] = (), context: Any = None) -> jax.Array:
        r"""Draw from the density, (\*shape, features); with a context (..., given), (\*shape, ..., features).

        Arguments:
            key: a typed key, or a whole number.
            shape: how many are drawn, along axes in front.
            context: what each is drawn for.
        """
        given = () if context is None else jnp.shape(context)[:-1]
        return self.from_latent(self.base.sample(key_or_draw(key), (*shape, *given)), context)

    def initialise(self, x: Any, context: Any = None) -> None:
        """Let each bijection set what starts best at values of the data, with what comes to it of x."""
        for bijection in self.bijections:
            start = getattr(bijection, "initialise", None)
            if start is not None:
                start(x, context)
            x, _ = bijection(x, context)

    def _down(self, x: Any, context: Any) -> tuple[jax.Array, jax.Array]:
        stretch: Any = 0.0
        for bijection in self.bijections:
            x, more = bijection(x, context)
            stretch = stretch + more
        return x, stretch

    def _brief(self) -> str:
        return f"Flow({len(self.bijections)} bijections)"
