"""Distributions of several numbers at once, and distributions made of others."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import Param, RangeError, ShapeError, check_size, describe, shown
from phlox.probability import _peers
from phlox.probability.distributions._arguments import POSITIVE, REAL, arranged, wide
from phlox.probability.distributions._discrete import with_last_axis
from phlox.probability.distributions._distribution import Distribution

_HALVINGS = 60  # of an interval in which a quantile lies: more digits than float64 has


class MultivariateNormal(Distribution):
    r"""The normal distribution of vectors: $v = μ + L ε$, of covariance $L L^T$.

    Shapes:
        loc: (..., size); scale_tril: (..., size, size).

    Arguments:
        loc: μ, the mean.
        scale_tril: L, lower triangular with a diagonal above 0; of a covariance ``jnp.linalg.cholesky(covariance)``.

    Raises:
        ShapeError: a matrix that is not square, or of another size than the mean.

    Source: Tong, "The multivariate normal distribution", 1990.

    >>> import jax.numpy as jnp, phlox as px
    >>> normal = px.probability.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.0], [1.0, 2.0]]))
    >>> normal.variance.tolist()
    [1.0, 5.0]
    """

    loc: Param  # (..., size)
    scale_tril: Param  # (..., size, size)
    _rules: ClassVar = {"loc": REAL, "scale_tril": REAL}

    def __init__(self, loc: Any, scale_tril: Any):
        self.loc = arranged("MultivariateNormal", self._rules, {"loc": loc})["loc"]
        self.scale_tril = arranged("MultivariateNormal", self._rules, {"scale_tril": scale_tril})["scale_tril"]
        size = jnp.shape(self.loc)[-1:]
        if not size or jnp.shape(self.scale_tril)[-2:] != size * 2:
            got = f"loc {describe(self.loc)}, scale_tril {describe(self.scale_tril)}"
            fix = "give a square matrix for each mean: jnp.linalg.cholesky(covariance)"
            expected = "loc (..., size) and scale_tril (..., size, size)"
            raise ShapeError(expected, got=got, fix=fix, where="MultivariateNormal")

    def _peer(self) -> Any:
        return _peers.distributions().MultivariateNormal(wide(self.loc), scale_tril=wide(self.scale_tril))


class Dirichlet(Distribution):
    r"""The distribution of shares that add up to 1: $p(v) \propto \prod_c v_c^{α_c - 1}$.

    Shapes:
        concentration: (..., classes).

    Arguments:
        concentration: α, above 0.

    Raises:
        RangeError: as ``Distribution``.
        ShapeError: a concentration without an axis of classes.

    Source: Kotz, Balakrishnan and Johnson, "Continuous multivariate distributions", 2000.

    >>> import jax.numpy as jnp, phlox as px
    >>> px.probability.Dirichlet(jnp.array([1.0, 3.0])).mean.tolist()
    [0.25, 0.75]
    """

    concentration: Param  # (..., classes)
    _peer_name: ClassVar[str] = "Dirichlet"
    _rules: ClassVar = {"concentration": POSITIVE}

    def __init__(self, concentration: Any):
        super().__init__(concentration=concentration)
        with_last_axis("Dirichlet", "concentration", self.concentration, "classes")


class Independent(Distribution):
    r"""The last axes of a batch as one event: $\log p(v) = \sum_i \log p_i(v_i)$.

    Shapes:
        a batch (*batch, *event) of ``base`` is a batch (*batch) of events.

    Arguments:
        base: a distribution.
        axes: how many of its last batch axes.

    Raises:
        RangeError: more axes than there are, or what is no distribution.

    Source: Dillon et al., "TensorFlow Distributions", 2017.

    >>> import jax.numpy as jnp, phlox as px
    >>> vector = px.probability.Independent(px.probability.Normal(jnp.zeros(3), 1.0))
    >>> vector.batch_shape, vector.event_shape
    ((), (3,))
    """

    base: Distribution
    axes: int

    def __init__(self, base: Distribution, axes: int = 1):
        self.base, self.axes = _distribution("Independent", "base", base), check_size("Independent", "axes", axes)
        if self.axes > len(base.batch_shape):
            expected = f"axes of at most {len(base.batch_shape)}, for a batch {base.batch_shape}"
            fix = "give arguments with as many axes"
            raise RangeError(expected, got=repr(axes), fix=fix, where="Independent")

    def _peer(self) -> Any:
        return self.base._peer().to_event(self.axes)

    def quantile(self, p: Any) -> jax.Array:
        """The value that a share ``p`` in (0, 1) is below, of each number by itself, (*batch, *event)."""
        return self.base.quantile(p)

    def _brief(self) -> str:
        return f"Independent({self.base._brief()}, {self.axes})"


class Mixture(Distribution):
    r"""One of several distributions, by logits: $p(v) = \sum_k \mathrm{softmax}(z)_k p_k(v)$.

    Shapes:
        logits: (*batch, components), or (components,) for all; ``components``: a batch (*batch, components).

    Arguments:
        logits: z.
        components: one distribution, whose last batch axis is of the components.

    Raises:
        RangeError: what is no distribution.
        ShapeError: as many logits as there are not components.

    Its ``quantile`` is searched for between those of its components, by halves.

    Source: Bishop, "Mixture density networks", 1994.

    >>> import jax.numpy as jnp, phlox as px
    >>> both = px.probability.Mixture(jnp.zeros(2), px.probability.Normal(jnp.array([-1.0, 1.0]), 1.0))
    >>> float(both.mean), float(both.variance)
    (0.0, 2.0)
    """

    logits: Param  # (*batch, components)
    components: Distribution

    def __init__(self, logits: Any, components: Distribution):
        self.logits = arranged("Mixture", {"logits": REAL}, {"logits": logits})["logits"]
        self.components = _distribution("Mixture", "components", components)
        with_last_axis("Mixture", "logits", self.logits, "components")
        batch = components.batch_shape
        if batch[-1:] != self.logits.shape[-1:]:
            got = f"logits {describe(self.logits)} and components of batch {batch}"
            fix = "put the components on the last axis of the batch"
            raise ShapeError("a logit for each component", got=got, fix=fix, where="Mixture")

    def _peer(self) -> Any:
        peer = _peers.distributions()
        return peer.MixtureSameFamily(peer.CategoricalLogits(wide(self.logits)), self.components._peer())

    def quantile(self, p: Any) -> jax.Array:
        """The value that a share ``p`` in (0, 1) is below, (*batch)."""
        parts = self.components.quantile(p)
        if self.components.event_shape:
            fix = "ask a mixture of one number, or estimate it from sample()"
            raise RangeError("components of one number", got=f"{self.components.event_shape}", fix=fix, where="Mixture")

        def halved(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            low, high = ends
            middle = low + (high - low) / 2
            below = peer.cdf(middle) < p
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        peer, found = self._peer(), jnp.broadcast_to(wide(parts), (*self.batch_shape, parts.shape[-1]))
        low, high = jax.lax.fori_loop(0, _HALVINGS, halved, (found.min(-1), found.max(-1)))
        return (low + (high - low) / 2).astype(self._dtype())

    def _brief(self) -> str:
        return f"Mixture({describe(self.logits)}, {self.components._brief()})"


def _distribution(where: str, name: str, value: Any) -> Distribution:
    if not isinstance(value, Distribution):
        fix = "give one of px.probability, such as px.probability.Normal(mean, scale)"
        raise RangeError(f"{name} to be a distribution", got=shown(value), fix=fix, where=where)
    return value
