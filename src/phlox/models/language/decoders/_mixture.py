"""Decoders whose features are computed by experts: a router chooses a few for each token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from phlox.models.language.decoders._decoder import Decoder, DecoderBlock, DecoderConfig
from phlox.models.language.decoders._llama import decoder_names
from phlox.nn import Cache, Dense, GatedMLP, MixtureOfExperts
from phlox.nn import functional as F
from phlox.weights import NameMap

Init = Callable[..., jax.Array]


@dataclass(frozen=True, kw_only=True)
class MixtureConfig(DecoderConfig):
    """A decoder with experts.

    Arguments:
        num_experts_per_tok: how many experts compute each token.
        router_aux_loss_coef: what the router's loss is multiplied by where it is added to another.
        rope_theta: base of the rotary positions.
        rope_scaling: how they are stretched, as ``RotaryEmbedding`` takes it; None for not.
        sliding_window: keys that a query sees, its own among them; None for all.
    """

    tie_word_embeddings: bool = False
    num_experts_per_tok: int = 2
    router_aux_loss_coef: float = 0.001
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    sliding_window: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entries of a ``config.json``: what ``from_dict`` reads, and what the hub's libraries ask for."""
        entries = super().to_dict()
        if self.head_dim is None:  # theirs would take the None for a size
            del entries["head_dim"]
        return entries


class MixtureBlock(DecoderBlock):
    """A block of a decoder whose features may be computed by experts, and which then tells what their router says.

    Options of a call, beside those of a decoder's block:
        routes: a list to which the router's logits (batch, time, experts) are added.
    """

    def __call__(
        self, x: jax.Array, *, mask: Any = None, lengths: Any = None, cache: Cache | None = None,
        routes: list[jax.Array] | None = None,
    ) -> jax.Array:  # fmt: skip
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=cache))
        features = self.norm2(x)
        if routes is not None and isinstance(self.mlp, MixtureOfExperts):
            routes.append(self.mlp.router(features))
        return x + self.drop(self.mlp(features))


class MixtureDecoder(Decoder):
    """A decoder with experts, which computes on request how evenly they are used."""

    def __call__(
        self, tokens: jax.Array, *, mask: Any = None, lengths: Any = None, return_loss: bool = False, **options: Any
    ) -> Any:
        """As every decoder; with ``return_loss``, (scores, loss) with the router's loss, which is () and unweighted.

        It measures over the tokens that count how unevenly all blocks together use their experts, and is
        ``num_experts_per_tok`` where they are used alike; in training it is added to the loss of the scores,
        ``config.router_aux_loss_coef`` times.
        """
        if not return_loss:
            return super().__call__(tokens, mask=mask, lengths=lengths, **options)
        routes: list[jax.Array] = []
        scores = super().__call__(tokens, mask=mask, lengths=lengths, routes=routes, **options)
        counts = _counts(jnp.shape(tokens), mask, lengths)
        return scores, balance_loss(routes, self.config.num_experts_per_tok, counts)


def balance_loss(routes: Sequence[jax.Array], top_k: int, counts: jax.Array) -> jax.Array:
    r"""How unevenly experts are used by all blocks together: $E \sum_e s_e \overline{p_e}$.

    Shapes:
        routes: logits (batch, time, experts) of each router; counts: (batch, time), 1 where a token counts; loss: ().

    Source: Fedus et al., "Switch transformers" (arXiv:2101.03961), equations 4 to 6.
    """
    if not routes:
        return jnp.zeros(())
    logits = jnp.stack(routes)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    weight = (counts / jnp.maximum(jnp.sum(counts), 1) / len(routes)).astype(logits.dtype)
    chosen = F.top_k_routing(logits, top_k) > 0
    share = jnp.einsum("lbte,bt->e", chosen.astype(logits.dtype), weight)
    probability = jnp.einsum("lbte,bt->e", jax.nn.softmax(logits, -1), weight)
    return logits.shape[-1] * jnp.sum(share * probability)


def _counts(shape: tuple[int, ...], mask: Any, lengths: Any) -> jax.Array:
    """1 (batch, time) where a token counts; a mask of another shape says nothing of single tokens."""
    if lengths is not None:
        return (jnp.arange(shape[1]) < jnp.asarray(lengths)[:, None]).astype(jnp.int32)
    if mask is None or jnp.shape(mask) != shape:
        return jnp.ones(shape, jnp.int32)
    return jnp.asarray(mask).astype(bool).astype(jnp.int32)


class Experts(MixtureOfExperts):
    """A mixture of experts, exact, with a fresh router as other weights are.

    Arguments:
        init: initialiser of the router's weights.
        options: those of ``MixtureOfExperts``.
    """

    def __init__(self, dim: int, num_experts: int, build: Callable[[], Any], *, init: Init, **options: Any):
        super().__init__(dim, num_experts, build, **options)
        self.router = Dense(dim, num_experts, bias=False, init=init)


class SharedExperts(Experts):
    r"""Experts, and beside them one that computes every token: $y = \sum_e w_e f_e(x) + σ(x w_s) f_s(x)$.

    Shapes:
        x, y: (..., dim).

    Arguments:
        shared: the expert of all tokens, (..., dim) → (..., dim).
        options: those of ``Experts``.
    """

    def __init__(self, dim: int, *args: Any, shared: GatedMLP, init: Init, **options: Any):
        super().__init__(dim, *args, init=init, **options)
        self.shared: GatedMLP = shared
        self.shared_gate: Dense = Dense(dim, 1, F.sigmoid, bias=False, init=init)

    def __call__(self, x: Any, *, return_loss: bool = False) -> Any:
        beside = self.shared_gate(x) * self.shared(x)
        y = super().__call__(x, return_loss=return_loss)
        return (y[0] + beside, y[1]) if return_loss else y + beside


def mixture_names(config: MixtureConfig, entries: Mapping[str, str]) -> NameMap:
    """What transformers calls the arrays of a decoder that is built like a Llama, but for some entries."""
    base = decoder_names(config)
    return NameMap({**base.entries, **entries}, ignore=base.ignore)
