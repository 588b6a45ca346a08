"""Mixtral: a Llama with experts.

Source: Jiang et al., "Mixtral of experts", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL
from phlox.models.language.decoders._decoder import causal_attention, head_of
from phlox.models.language.decoders._mixture import Experts, MixtureBlock, MixtureConfig, MixtureDecoder, mixture_names
from phlox.models.language.decoders._rotary import plain_entries, rotary
from phlox.nn import Embedding, GatedMLP, RMSNorm
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class MixtralConfig(MixtureConfig):
    """A Mixtral.

    Arguments:
        num_local_experts: experts of a block.
        intermediate_size: features within an expert.
        num_experts_per_tok: how many experts compute each token.
        router_aux_loss_coef: what the router's loss is multiplied by where it is added to another.
        rope_theta: base of the rotary positions.
        rope_scaling: how they are stretched, as ``RotaryEmbedding`` takes it; None for not.
        sliding_window: keys that a query sees, its own among them; None for all.

    The others are those of every decoder: sizes, norms, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "mixtral"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "MixtralForCausalLM",
        "text-classification": "MixtralForSequenceClassification",
        "token-classification": "MixtralForTokenClassification",
        "feature-extraction": "MixtralModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"output_router_logits"}
    fixed: ClassVar[Mapping[str, Any]] = {"router_jitter_noise": 0.0}

    bos_token_id: int | None = 1
    eos_token_id: int | tuple[int, ...] | None = 2
    intermediate_size: int = 14336
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    rope_theta: float = 1000000.0
    num_local_experts: int = 8

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with rotary positions in the older or the newer form."""
        return super().from_dict(plain_entries(entries, cls.rope_theta))


class Mixtral(MixtureDecoder):
    """A Mixtral for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Every expert computes every token, which is exact and costs as much as all of them.

    Arguments:
        config: a ``MixtralConfig``.

    Source: Jiang et al., "Mixtral of experts", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.MixtralConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    ...     num_key_value_heads=2, num_local_experts=4,
    ... )
    >>> run = lambda tokens: px.models.Mixtral(config)(tokens, return_loss=True)
    >>> scores, loss = px.eval_shape(run, jnp.array([[1, 2, 3]]))
    >>> scores.shape, loss.shape
    ((1, 3, 50), ())
    """

    config: MixtralConfig
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: MixtralConfig):
        self.config = config
        draw = normal(std=config.initializer_range)
        norm = partial(RMSNorm, config.hidden_size, eps=config.rms_norm_eps)
        act = activation(config.hidden_act, "MixtralConfig.hidden_act")
        expert = partial(GatedMLP, config.hidden_size, config.intermediate_size, act, init=draw)
        positions = rotary(config.size_of_head, config.rope_theta, config.rope_scaling, config.max_position_embeddings)
        window = config.sliding_window - 1 if config.sliding_window else None
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=draw)
        self.blocks = [
            MixtureBlock(
                norm,
                causal_attention(config, init=draw, positions=positions, window=window),
                Experts(
                    config.hidden_size,
                    config.num_local_experts,
                    expert,
                    top_k=config.num_experts_per_tok,
                    init=draw,
                ),
            )
            for _ in range(config.num_hidden_layers)
        ]
        self.norm = norm()
        self.head = head_of(config)


def _names(config: MixtralConfig) -> NameMap:
    there, here = "model.layers.{block}.block_sparse_moe", "blocks.{block}.mlp"
    return mixture_names(
        config,
        {
            f"{there}.gate": f"{here}.router",
            f"{there}.experts.{{i}}.w1": f"{here}.experts.gate",
            f"{there}.experts.{{i}}.w2": f"{here}.experts.down",
            f"{there}.experts.{{i}}.w3": f"{here}.experts.up",
        },
    )


FAMILY = Family(
    config=MixtralConfig,
    model=Mixtral,
    names={"transformers": _names},
    base="model.",
    variants={
        "mixtral_8x7b": MixtralConfig(max_position_embeddings=32768),
        "mixtral_8x22b": MixtralConfig(
            hidden_size=6144, intermediate_size=16384, num_hidden_layers=56, num_attention_heads=48,
            max_position_embeddings=65536,
        ),
    },
)  # fmt: skip
