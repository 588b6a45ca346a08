"""A Gaussian process as the last layer of a network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, Param, ShapeError, check_size, describe, harmonise, key_or_draw, param_dtype
from phlox.probability._arguments import check_one_of, positive
from phlox.probability.bayesian._variational import Variational
from phlox.probability.distributions._distribution import Distribution
from phlox.probability.distributions._real import Normal
from phlox.probability.gaussian_process._expected import ExpectedNormal
from phlox.probability.gaussian_process._kernels import KERNELS, squared_distance


class GaussianProcessHead(Variational):
    r"""Outputs that are draws of a Gaussian process of the features: $f \sim GP(0, a^2 k(x / l, x' / l))$, $y = f + ε$.

    It is known by its values at inducing points Z, $f(Z) = L v$ with $L L^T = k(Z, Z)$ and $v \sim N(m, R R^T)$, so a
    batch costs the same however much data there is. In training, ``nll`` and ``kl_to_prior`` of what it gives make the
    evidence lower bound, in closed form; in inference it gives the targets' normal distribution. Far from all data its
    mean goes to 0 and its spread to that of the prior.

    Shapes:
        x: (batch, in); a batch (batch, out) of ``Normal``, in training of ``ExpectedNormal``. points: (inducing, in);
        mean: (out, inducing); root: (out, inducing, inducing); raw_lengthscale: (in,); raw_amplitude: (out,);
        raw_noise: (out,).

    Arguments:
        in_size, out_size: features of the input, and numbers predicted; each output has a process of its own.
        inducing: how many points.
        kernel: ``"rbf"``, ``"matern52"`` or ``"matern32"``, from smooth to rough.
        lengthscale, amplitude, noise: l, a and σ at first, above 0; all are learned.
        points: (inducing, in) where the points are at first; by default normal draws.
        jitter: added to the diagonal of k(Z, Z), as a share of it.
        key: where points are drawn from; by default the stream of ``px.seed``.

    Raises:
        RangeError: a size, name or number out of range.
        ShapeError: an input without ``in_size`` features, points of another shape.
        DtypeError: features of 16 bits, in which the points' matrix can't be taken apart.

    Source: Hensman, Fusi and Lawrence, "Gaussian processes for big data", 2013; Wilson et al., "Deep kernel learning",
    2016.

    >>> import jax.numpy as jnp, phlox as px
    >>> head = px.probability.GaussianProcessHead(1, 1, 16)
    >>> y = head(jnp.zeros((8, 1)))
    >>> y.mean.shape, px.probability.kl_to_prior(head).shape
    ((8, 1), ())
    """

    points: Param  # (inducing, in)
    mean: Param  # (out, inducing)
    root: Param  # (out, inducing, inducing) lower triangular; what lies above its diagonal does not count
    raw_lengthscale: Param  # (in,)
    raw_amplitude: Param  # (out,)
    raw_noise: Param  # (out,)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        inducing: int = 64,
        *,
        kernel: str = "rbf",
        lengthscale: float = 1.0,
        amplitude: float = 1.0,
        noise: float = 0.1,
        points: Any = None,
        jitter: float = 1e-5,
        key: Any = None,
    ):
        where, dtype = "GaussianProcessHead", param_dtype()
        self.in_size: int = check_size(where, "in_size", in_size)
        self.out_size: int = check_size(where, "out_size", out_size)
        self.inducing: int = check_size(where, "inducing", inducing)
        self.kernel: str = check_one_of(where, "kernel", kernel, tuple(KERNELS))
        self.jitter: float = positive(where, "jitter", jitter)
        if points is None:
            points = jax.random.normal(key_or_draw(key), (inducing, in_size), dtype)
        self.points = jnp.asarray(points, dtype)
        if self.points.shape != (inducing, in_size):
            fix = f"give {inducing} inputs, for example some of the training data"
            raise ShapeError(f"points ({inducing}, {in_size})", got=describe(self.points), fix=fix, where=where)
        self.mean = jnp.zeros((out_size, inducing), dtype)
        self.root = jnp.broadcast_to(jnp.eye(inducing, dtype=dtype), (out_size, inducing, inducing))
        self.raw_lengthscale = jnp.full(in_size, _raw(where, "lengthscale", lengthscale), dtype)
        self.raw_amplitude = jnp.full(out_size, _raw(where, "amplitude", amplitude), dtype)
        self.raw_noise = jnp.full(out_size, _raw(where, "noise", noise), dtype)

    def __call__(self, x: Any) -> Distribution:
        x, points, mean, root, length, amplitude, noise = harmonise(
            self, x, self.points, self.mean, self.root, self.raw_lengthscale, self.raw_amplitude, self.raw_noise
        )
        if x.ndim != 2 or x.shape[-1] != self.in_size:
            fix = f"give the layer before {self.in_size} outputs, one vector an example"
            raise ShapeError(f"(batch, {self.in_size})", got=describe(x), fix=fix)
        if x.dtype.itemsize < 4:
            fix = "keep the head in float32: px.f32(head), and head(x.astype(jnp.float32))"
            raise DtypeError("features of float32 or wider", got=describe(x), fix=fix)
        length, amplitude, noise = (jax.nn.softplus(raw) for raw in (length, amplitude, noise))
        across = self._whitened(x / length, points / length)  # (inducing, batch)
        left = 1 - jnp.sum(jnp.square(across), 0)  # of the prior's variance, what the points leave
        seen = jnp.sum(jnp.square(jnp.swapaxes(jnp.tril(root), -1, -2) @ across), 1)  # (out, batch)
        loc = (mean @ across).T * amplitude
        spread = jnp.sqrt(jnp.maximum(left + seen, jnp.finfo(x.dtype).eps)).T * amplitude
        noise = jnp.broadcast_to(noise, loc.shape)
        return ExpectedNormal(loc, spread, noise) if self.training else Normal(loc, jnp.sqrt(spread**2 + noise**2))

    def _whitened(self, x: jax.Array, points: jax.Array) -> jax.Array:
        """$L^{-1} k(Z, x)$, (inducing, batch)."""
        kernel = KERNELS[self.kernel]
        own = kernel(squared_distance(points, points)) + self.jitter * jnp.eye(self.inducing, dtype=x.dtype)
        lower = jnp.linalg.cholesky(own)
        return jax.scipy.linalg.solve_triangular(lower, kernel(squared_distance(points, x)), lower=True)

    def kl_to_prior(self) -> jax.Array:
        r"""The divergence of the values at the points from the prior, $\mathrm{KL}(N(m, R R^T) ‖ N(0, I))$, ()."""
        root = jnp.tril(self.root)
        diagonal = jnp.abs(jnp.diagonal(root, axis1=-2, axis2=-1))
        trace, length = jnp.sum(jnp.square(root)), jnp.sum(jnp.square(self.mean))
        return 0.5 * (trace + length - self.mean.size) - jnp.sum(jnp.log(diagonal))

    def _brief(self) -> str:
        return f"GaussianProcessHead({self.in_size} → {self.out_size}, {self.inducing} points, kernel={self.kernel!r})"


def _raw(where: str, name: str, value: float) -> Any:
    """What softplus makes the value of."""
    return jnp.log(jnp.expm1(positive(where, name, value)))
