r"""The curvature of a log-likelihood in the weights of Dense layers, in factors: $H_l \approx \frac{1}{N} A_l ⊗ G_l$.

$A = \sum_n a_n a_n^T$ of what comes into a layer (with a 1 for the bias), $G = \sum_n g_n^T Λ_n g_n$ of the outputs'
slopes in what leaves it, before its activation. One layer alone and one Λ for all examples: then nothing is lost.
"""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, ShapeError, State, apply, copy, describe, modules, replaced, split
from phlox.nn import Dense
from phlox.nn import functional as F
from phlox.probability.inference._curvature import eigen

Slopes = dict[str, tuple[jax.Array, jax.Array]]
"""By layer: what comes in, (batch, in + 1), and the outputs' slopes in what leaves it, (batch, out, width)."""


class _Watched(Module):
    """A Dense that notes what comes in, and whose outputs can be shifted before the activation."""

    layer: Dense
    shift: Param  # (out,)
    seen: State  # (batch, in)

    def __init__(self, layer: Dense):
        self.layer = layer
        self.shift, self.seen = jnp.zeros_like(layer.weight[0]), jnp.zeros_like(layer.weight[:, 0])[None]

    def __call__(self, x: Any) -> jax.Array:
        if x.ndim != 2:
            fix = 'choose layers that see one vector an example, or structure="full"'
            raise ShapeError("(batch, in), for a curvature in factors", got=describe(x), fix=fix)
        self.seen = jnp.asarray(x)
        return self.layer.act(F.dense(x, self.layer.weight, self.layer.bias) + self.shift)


class KroneckerCurvature(Module):
    """A block for each chosen Dense, by the eigenvalues and eigenvectors of two small matrices.

    Shapes:
        in_values: (in + 1,), in_basis: (in + 1, in + 1); out_values: (out,), out_basis: (out, out), by layer; without
        a bias in place of in + 1 in.
    """

    in_values: dict[str, Any]
    in_basis: dict[str, Any]
    out_values: dict[str, Any]
    out_basis: dict[str, Any]
    _default_role = "State"

    @classmethod
    def empty(cls, model: Module, layers: tuple[str, ...]) -> Self:
        """The curvature before any data."""
        held: dict[str, Any] = modules(model)
        ins = {path: held[path].in_size + (held[path].bias is not None) for path in layers}
        self = cls.__new__(cls)
        self.in_values = {path: jnp.zeros(size) for path, size in ins.items()}
        self.in_basis = {path: jnp.eye(size) for path, size in ins.items()}
        self.out_values = {path: jnp.zeros(held[path].out_size) for path in layers}
        self.out_basis = {path: jnp.eye(held[path].out_size) for path in layers}
        return self

    def prepared(self, model: Module) -> Module:
        """A copy of the model that notes what its layers see."""
        watched = copy(model)
        held: dict[str, Any] = modules(watched)
        return replaced(watched, {id(held[path]): _Watched(held[path]) for path in self.in_values}, "laplace")

    def slopes(self, model: Module, x: jax.Array) -> tuple[jax.Array, Slopes]:
        """Outputs (batch, out) of a prepared model, and the slopes of its layers."""
        params, state = split(model)
        ends = {path: _join(path, "shift") for path in self.in_values}
        shifts = {end: params[end] if end in params else state[end] for end in ends.values()}

        def outputs(shifts: dict[str, Any], one: jax.Array) -> tuple[jax.Array, Any]:
            own = {path: shifts.get(path, value) for path, value in params.items()}
            rest = {path: shifts.get(path, value) for path, value in state.items()}
            y, after = apply(model, own, rest, one[None])
            return y[0], (y[0], {path: after[_join(path, "seen")][0] for path in ends})

        slopes, (y, seen) = jax.vmap(jax.jacrev(outputs, has_aux=True), (None, 0))(shifts, x)
        return y, {path: (self._with_bias(path, seen[path]), slopes[end]) for path, end in ends.items()}

    def _with_bias(self, path: str, seen: jax.Array) -> jax.Array:
        ones = jnp.ones((len(seen), self.in_values[path].size - seen.shape[-1]), seen.dtype)
        return jnp.concatenate([seen, ones], -1)

    def sums(self, slopes: Slopes, bend: jax.Array) -> Any:
        """What a batch adds, from the curvature of its log-likelihood in the outputs, (batch, out, out)."""
        return {path: (a.T @ a, jnp.einsum("nop,noq,nqr->pr", g, bend, g)) for path, (a, g) in slopes.items()}

    def set(self, total: Any, examples: int) -> None:
        """Take the sum over all batches in."""
        ins = {path: eigen(of_in) for path, (of_in, _) in total.items()}
        outs = {path: eigen(of_out / examples) for path, (_, of_out) in total.items()}
        self.in_values, self.in_basis = ({path: e[i] for path, e in ins.items()} for i in (0, 1))
        self.out_values, self.out_basis = ({path: e[i] for path, e in outs.items()} for i in (0, 1))

    def _precisions(self, path: str, precision: Any) -> jax.Array:
        """The posterior's precision along each pair of eigenvectors, (in + 1, out)."""
        return self.in_values[path][:, None] * self.out_values[path] + precision

    def covariance(self, slopes: Slopes, precision: Any) -> jax.Array:
        """The covariance of outputs under the posterior, (batch, out, out)."""
        terms = []
        for path, (a, g) in slopes.items():
            along, across = jnp.square(a @ self.in_basis[path]), g @ self.out_basis[path]
            inner = along @ (1 / self._precisions(path, precision))
            terms.append(jnp.einsum("noj,nj,nqj->noq", across, inner, across))
        return sum(terms[1:], terms[0])

    def log_det(self, precision: Any) -> jax.Array:
        """The logarithm of the determinant of the posterior's precision, ()."""
        terms = [jnp.log(self._precisions(path, precision)).sum() for path in self.in_values]
        return sum(terms[1:], terms[0])

    def deviations(self, key: Any, shape: tuple[int, ...], precision: Any) -> jax.Array:
        """Draws of the weights less their mean, (*shape, weights): of each layer weight, then bias."""
        parts = []
        for path, own in zip(self.in_values, jax.random.split(key, len(self.in_values)), strict=True):
            precisions = self._precisions(path, precision)
            drawn = jax.random.normal(own, (*shape, *precisions.shape), precisions.dtype) / jnp.sqrt(precisions)
            turned = self.in_basis[path] @ drawn @ self.out_basis[path].T
            parts.append(turned.reshape(*shape, -1))
        return jnp.concatenate(parts, -1)

    @property
    def size(self) -> int:
        """How many weights."""
        return sum(int(self.in_values[path].size * self.out_values[path].size) for path in self.in_values)

    def _brief(self) -> str:
        return f"KroneckerCurvature({self.size} weights)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
