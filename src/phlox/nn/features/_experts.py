"""A mixture of experts: blocks of one form, of which each token uses a few."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe, key_or_draw, seed, vmap, way
from phlox.nn import functional as F
from phlox.nn._autosize import sized
from phlox.nn._checks import check_positive, check_size
from phlox.nn.features._dense import Dense


@sized(dim=-1)
class MixtureOfExperts(Module):
    r"""Each token goes through the k experts that a router finds best: $y = \sum_{e ∈ \mathrm{top}\,k} w_e f_e(x)$.

    $w = \mathrm{softmax}(x W_r)$ over the chosen. Without ``capacity`` every expert computes every token, exact and
    at the cost of all; with it, each computes at most ``capacity · tokens · top_k / experts``, the first ones that
    chose it, and a token that finds no room gets nothing from that expert.

    Shapes:
        x, y: (..., dim); parameters of the experts: (experts, ...); balance, with ``return_loss``: ().

    Arguments:
        dim: features of a token.
        num_experts: how many experts.
        build: a function without arguments that makes one expert, (..., dim) → (..., dim).
        top_k: experts for each token.
        normalise: whether the chosen weights are made to sum to 1.
        capacity: tokens for which each expert has room, relative to a fair share; None is all.
        balance: factor of the load-balancing loss whose gradient is added in training, whatever the loss that is
            differentiated; the result stays as it is. With 0 add it yourself, from ``return_loss``.
        key: where the weights are drawn from; by default the stream of ``px.seed``.

    Options of a call:
        return_loss: whether to return (y, load-balancing loss), which is ``top_k`` where all are used alike.

    Raises:
        RangeError: a number out of its range, or a ``build`` that makes no Module.
        ShapeError: an input without ``dim`` features.

    Source: Shazeer et al., "Outrageously large neural networks", 2017; Fedus et al., "Switch transformers", 2021.

    >>> import jax.numpy as jnp, phlox as px
    >>> layer = px.nn.MixtureOfExperts(8, 4, lambda: px.nn.GatedMLP(8, 16), top_k=2)
    >>> layer(jnp.ones((2, 5, 8))).shape, layer.experts.up.weight.shape
    ((2, 5, 8), (4, 8, 16))
    """

    dim: int
    num_experts: int

    def __init__(
        self,
        dim: int,
        num_experts: int,
        build: Callable[[], Module],
        *,
        top_k: int = 2,
        normalise: bool = True,
        capacity: float | None = None,
        balance: float = 0.0,
        key: Any = None,
    ):
        name = "MixtureOfExperts"
        self.dim, self.num_experts = check_size(name, "dim", dim), check_size(name, "num_experts", num_experts)
        self.top_k: int = check_size(name, "top_k", top_k)
        if self.top_k > self.num_experts:
            raise RangeError(f"top_k of at most {num_experts}", got=str(top_k), fix="choose fewer experts", where=name)
        self.normalise = normalise
        self.capacity: float | None = None if capacity is None else check_positive(name, "capacity", capacity)
        self.balance: float = 0.0 if balance == 0 else check_positive(name, "balance", balance)
        routes, draws = jax.random.split(key_or_draw(key))
        self.router: Dense = Dense(dim, num_experts, bias=False, key=routes)
        self.experts: Any = vmap(lambda k: _built(build, k))(jax.random.split(draws, num_experts))

    def __call__(self, x: Any, *, return_loss: bool = False) -> Any:
        if jnp.ndim(x) < 1 or jnp.shape(x)[-1] != self.dim:
            fix = f"give the layer before {self.dim} outputs"
            raise ShapeError(f"(..., {self.dim})", got=describe(x), fix=fix)
        x = jnp.asarray(x)
        tokens = x.reshape(math.prod(x.shape[:-1]), self.dim)
        logits = self.router(tokens)
        weights = F.top_k_routing(logits, self.top_k, normalise=self.normalise)
        room = self._room(tokens.shape[0])
        spread = way("experts")
        y = None if spread is None else spread(self._computed, tokens, weights, room)
        if y is None:
            y = self._all(tokens, weights) if room is None else self._some(tokens, weights, room)
        y = y.reshape(*x.shape[:-1], self.dim)
        if not (return_loss or (self.balance and self.training)):
            return y
        loss = F.load_balancing_loss(logits, weights)
        if self.balance and self.training:
            y = _pull(y, self.balance * loss)
        return (y, loss) if return_loss else y

    def _room(self, tokens: int) -> int | None:
        """For how many tokens each expert has room; None is all."""
        if self.capacity is None:
            return None
        return max(1, min(math.ceil(self.capacity * tokens * self.top_k / self.num_experts), tokens))

    def _all(self, tokens: jax.Array, weights: jax.Array) -> jax.Array:
        """Every expert computes every token."""
        ys = self._computed(tokens)
        return jnp.einsum("ne,end->nd", weights.astype(ys.dtype), ys)

    def _some(self, tokens: jax.Array, weights: jax.Array, room: int) -> jax.Array:
        """Every expert computes the first tokens that chose it, as many as it has room for."""
        chosen = weights > 0
        place = jnp.where(chosen, jnp.cumsum(chosen, 0) - 1, room)  # beyond its room one_hot is zero
        sent = jax.nn.one_hot(place, room, dtype=tokens.dtype)  # (tokens, experts, room)
        ys = self._computed(jnp.einsum("nec,nd->ecd", sent, tokens))
        return jnp.einsum("nec,ne,ecd->nd", sent.astype(ys.dtype), weights.astype(ys.dtype), ys)

    def _computed(self, x: jax.Array) -> jax.Array:
        """What each expert makes of tokens, (tokens, dim) for all or (experts, tokens, dim): (experts, tokens, dim)."""
        if x.ndim == 2:
            return vmap(lambda expert: expert(x))(self.experts)
        return vmap(lambda expert, x: expert(x))(self.experts, x)

    def _brief(self) -> str:
        return f"MixtureOfExperts({self.dim}, {self.num_experts})"


def _built(build: Callable[[], Module], key: Any) -> Module:
    with seed(key):
        expert = build() if callable(build) and not isinstance(build, Module) else None
    if not isinstance(expert, Module):
        fix = "write lambda: before the expert"
        raise RangeError("a function that makes an expert", got=describe(build), fix=fix, where="MixtureOfExperts")
    return expert


@jax.custom_vjp
def _pull(y: jax.Array, loss: jax.Array) -> jax.Array:
    """y as it is; its gradient also pulls the loss down, with factor 1."""
    del loss
    return y


_pull.defvjp(lambda y, loss: (y, loss), lambda loss, g: (g, jnp.ones_like(loss)))
