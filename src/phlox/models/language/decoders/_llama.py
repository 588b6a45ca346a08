"""Llama, and what is built like it.

Source: Touvron et al., "LLaMA: open and efficient foundation language models", 2023; "The Llama 3 herd of models",
2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL
from phlox.models.language.decoders._decoder import Decoder, DecoderConfig, head_of
from phlox.models.language.decoders._gated import GatedConfig, gated_blocks, norm_of
from phlox.nn import Embedding
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(GatedConfig):
    """A Llama.

    Arguments:
        attention_bias: whether queries, keys, values and the end of attention have biases.
        mlp_bias: whether the three maps within a block have.

    The others are those of every decoder: sizes, norms, positions, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "llama"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "LlamaForCausalLM",
        "text-classification": "LlamaForSequenceClassification",
        "token-classification": "LlamaForTokenClassification",
        "feature-extraction": "LlamaModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL

    attention_bias: bool = False
    mlp_bias: bool = False


class Llama(Decoder):
    """A Llama for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Arguments:
        config: a ``LlamaConfig``.

    Source: "The Llama 3 herd of models", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> model = px.models.Llama(config)
    >>> model(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: LlamaConfig
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: LlamaConfig):
        self.config = config
        bias = config.attention_bias
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=normal(std=config.initializer_range))
        self.blocks = gated_blocks(config, bias=bias, out_bias=bias, mlp_bias=config.mlp_bias)
        self.norm = norm_of(config)()
        self.head = head_of(config)


def decoder_names(config: DecoderConfig) -> NameMap:
    """What transformers calls the arrays of a decoder that is built like a Llama."""
    layer = "model.layers.{i}"
    return NameMap(
        {
            "model.embed_tokens": "embed",
            f"{layer}.input_layernorm": "blocks.{i}.norm1",
            f"{layer}.self_attn.q_proj": "blocks.{i}.attention.q_proj",
            f"{layer}.self_attn.k_proj": "blocks.{i}.attention.k_proj",
            f"{layer}.self_attn.v_proj": "blocks.{i}.attention.v_proj",
            f"{layer}.self_attn.o_proj": "blocks.{i}.attention.out_proj",
            f"{layer}.post_attention_layernorm": "blocks.{i}.norm2",
            f"{layer}.mlp.gate_proj": "blocks.{i}.mlp.gate",
            f"{layer}.mlp.up_proj": "blocks.{i}.mlp.up",
            f"{layer}.mlp.down_proj": "blocks.{i}.mlp.down",
            "model.norm": "norm",
            head_name(config): "head",
        },
        ignore=("*rotary_emb.inv_freq", *(["lm_head.weight"] if config.tie_word_embeddings else [])),
    )


def head_name(config: DecoderConfig) -> str:
    """What transformers calls the head of a decoder."""
    return "lm_head" if config.task == "text-generation" else "score"


def _variant(**options: Any) -> LlamaConfig:
    return LlamaConfig(bos_token_id=128000, eos_token_id=128001, vocab_size=128256, rms_norm_eps=1e-5, **options)


_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
FAMILY = Family(
    config=LlamaConfig,
    model=Llama,
    names={"transformers": decoder_names},
    base="model.",
    variants={
        "llama_2_7b": LlamaConfig(rms_norm_eps=1e-5, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2),
        "llama_3.1_8b": _variant(
            intermediate_size=14336, num_key_value_heads=8, max_position_embeddings=131072, rope_theta=500000.0,
            rope_scaling=_LLAMA3,
        ),
        "llama_3.2_1b": _variant(
            hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_key_value_heads=8, head_dim=64,
            max_position_embeddings=131072, rope_theta=500000.0, rope_scaling=_LLAMA3 | {"factor": 32.0},
            tie_word_embeddings=True,
        ),
    },
)  # fmt: skip
