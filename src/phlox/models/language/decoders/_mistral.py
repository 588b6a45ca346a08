"""Mistral: a Llama whose tokens see a window of those before.

Source: Jiang et al., "Mistral 7B", 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phlox.models._family import Family
from phlox.models.language.decoders._decoder import Decoder, head_of
from phlox.models.language.decoders._gated import GatedConfig, gated_blocks, norm_of
from phlox.models.language.decoders._llama import decoder_names
from phlox.nn import Embedding
from phlox.nn.init import normal


@dataclass(frozen=True, kw_only=True)
class MistralConfig(GatedConfig):
    """A Mistral.

    Arguments:
        sliding_window: how many tokens a token sees, itself counted; None for all that came before.

    The others are those of every decoder: sizes, norms, positions, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "mistral"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "MistralForCausalLM",
        "text-classification": "MistralForSequenceClassification",
        "token-classification": "MistralForTokenClassification",
        "feature-extraction": "MistralModel",
    }

    intermediate_size: int = 14336
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    sliding_window: int | None = 4096


class Mistral(Decoder):
    """A Mistral for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Arguments:
        config: a ``MistralConfig``.

    Source: Jiang et al., "Mistral 7B", 2023.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.MistralConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    ...     num_key_value_heads=2, sliding_window=8,
    ... )
    >>> px.models.Mistral(config)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: MistralConfig
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: MistralConfig):
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=normal(std=config.initializer_range))
        self.blocks = gated_blocks(config, windows=[config.sliding_window] * config.num_hidden_layers)
        self.norm = norm_of(config)()
        self.head = head_of(config)


def _variant(**options: Any) -> MistralConfig:
    return MistralConfig(
        rms_norm_eps=1e-5, max_position_embeddings=32768, bos_token_id=1, eos_token_id=2, **options
    )  # fmt: skip


FAMILY = Family(
    config=MistralConfig,
    model=Mistral,
    names={"transformers": decoder_names},
    base="model.",
    variants={
        "mistral_7b_v0.1": _variant(),
        "mistral_7b_v0.3": _variant(vocab_size=32768, rope_theta=1000000.0, sliding_window=None),
    },
)
