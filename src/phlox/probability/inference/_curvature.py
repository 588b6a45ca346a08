r"""The curvature of a log-likelihood in some weights of a model, as one matrix: $H = \sum_n J_n^T Λ_n J_n$.

J is the Jacobian of the outputs, Λ the curvature of the log-likelihood in them (the generalised Gauss-Newton matrix:
exact where outputs are linear in the weights, and never negative). It is kept by eigenvalues and eigenvectors, so that
another precision of the prior costs nothing.
"""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, State, apply, split


class WholeCurvature(Module):
    """All chosen weights in one matrix.

    Shapes:
        values: (weights,); basis: (weights, weights), a column for each.
    """

    values: State  # (weights,)
    basis: State  # (weights, weights)
    paths: tuple[str, ...]

    @classmethod
    def empty(cls, model: Module, paths: tuple[str, ...]) -> Self:
        """The curvature before any data."""
        held = {**split(model)[0], **split(model)[1]}
        size = sum(held[path].size for path in paths)
        self = cls.__new__(cls)
        self.paths, self.values, self.basis = paths, jnp.zeros(size), jnp.eye(size)
        return self

    def prepared(self, model: Module) -> Module:
        """The model that ``slopes`` runs."""
        return model

    def slopes(self, model: Module, x: jax.Array) -> tuple[jax.Array, Any]:
        """Outputs (batch, out), and their Jacobian (batch, out, weights)."""
        params, state = split(model)
        held = {**params, **state}
        chosen = {path: held[path] for path in self.paths}

        def outputs(chosen: dict[str, Any], one: jax.Array) -> tuple[jax.Array, jax.Array]:
            own = {path: chosen.get(path, value) for path, value in params.items()}
            rest = {path: chosen.get(path, value) for path, value in state.items()}
            y = apply(model, own, rest, one[None])[0][0]
            return y, y

        slopes, y = jax.vmap(jax.jacrev(outputs, has_aux=True), (None, 0))(chosen, x)
        flat = [slopes[path].reshape(*y.shape, -1) for path in self.paths]
        return y, jnp.concatenate(flat, -1)

    def sums(self, slopes: jax.Array, bend: jax.Array) -> Any:
        """What a batch adds, from the curvature of its log-likelihood in the outputs, (batch, out, out)."""
        return jnp.einsum("nop,noq,nqr->pr", slopes, bend, slopes)

    def set(self, total: Any, examples: int) -> None:
        """Take the sum over all batches in."""
        del examples
        self.values, self.basis = eigen(total)

    def covariance(self, slopes: jax.Array, precision: Any) -> jax.Array:
        """The covariance of outputs under the posterior, (batch, out, out)."""
        turned = slopes @ self.basis
        return jnp.einsum("nop,nqp->noq", turned / (self.values + precision), turned)

    def log_det(self, precision: Any) -> jax.Array:
        """The logarithm of the determinant of the posterior's precision, ()."""
        return jnp.log(self.values + precision).sum()

    def deviations(self, key: Any, shape: tuple[int, ...], precision: Any) -> jax.Array:
        """Draws of the weights less their mean, (*shape, weights)."""
        drawn = jax.random.normal(key, (*shape, self.values.size), self.values.dtype)
        return (drawn / jnp.sqrt(self.values + precision)) @ self.basis.T

    @property
    def size(self) -> int:
        """How many weights."""
        return int(self.values.size)

    def _brief(self) -> str:
        return f"WholeCurvature({self.size} weights)"


def eigen(matrix: Any) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues of a symmetric matrix, none below 0, and eigenvectors; worked out in float64."""
    values, basis = np.linalg.eigh(np.asarray(matrix, np.float64))
    dtype = jnp.asarray(matrix).dtype
    return jnp.asarray(np.maximum(values, 0), dtype), jnp.asarray(basis, dtype)
