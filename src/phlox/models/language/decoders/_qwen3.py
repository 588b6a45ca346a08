"""Qwen3: no biases, and norms of queries and keys in their place.

Source: Yang et al., "Qwen3 technical report", 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from phlox.models._family import Family
from phlox.models.language.decoders._decoder import Decoder, head_of
from phlox.models.language.decoders._gated import gated_blocks, norm_of
from phlox.models.language.decoders._llama import decoder_names
from phlox.models.language.decoders._qwen2 import QwenConfig
from phlox.nn import Embedding, RMSNorm
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class Qwen3Config(QwenConfig):
    """A Qwen3.

    Arguments:
        attention_bias: whether queries, keys, values and the end of attention have biases.

    The others are those of every decoder, and which blocks see a window only.
    """

    model_type: ClassVar[str] = "qwen3"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Qwen3ForCausalLM",
        "text-classification": "Qwen3ForSequenceClassification",
        "token-classification": "Qwen3ForTokenClassification",
        "feature-extraction": "Qwen3Model",
    }

    head_dim: int = 128
    attention_bias: bool = False


class Qwen3(Decoder):
    """A Qwen3 for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Arguments:
        config: a ``Qwen3Config``.

    Source: Yang et al., "Qwen3 technical report", 2025.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.Qwen3Config(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, head_dim=8
    ... )
    >>> px.models.Qwen3(config)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: Qwen3Config
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: Qwen3Config):
        self.config = config
        bias, norm = config.attention_bias, partial(RMSNorm, eps=config.rms_norm_eps)
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=normal(std=config.initializer_range))
        self.blocks = gated_blocks(config, windows=config.windows, bias=bias, out_bias=bias, qk_norm=norm)
        self.norm = norm_of(config)()
        self.head = head_of(config)


def _names(config: Qwen3Config) -> NameMap:
    """What transformers calls the arrays."""
    names = decoder_names(config)
    norms = {f"model.layers.{{i}}.self_attn.{n}_norm": f"blocks.{{i}}.attention.{n}_norm" for n in "qk"}
    return NameMap(names.entries | norms, ignore=names.ignore)


def _variant(hidden: int, between: int, layers: int, heads: int, **options: Any) -> Qwen3Config:
    return Qwen3Config(
        hidden_size=hidden, intermediate_size=between, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=8, rope_theta=1000000.0, max_position_embeddings=40960, bos_token_id=151643,
        eos_token_id=151645, **options,
    )  # fmt: skip


FAMILY = Family(
    config=Qwen3Config,
    model=Qwen3,
    names={"transformers": _names},
    base="model.",
    variants={
        "qwen3_0.6b": _variant(1024, 3072, 28, 16, tie_word_embeddings=True),
        "qwen3_1.7b": _variant(2048, 6144, 28, 16, tie_word_embeddings=True),
        "qwen3_8b": _variant(4096, 12288, 36, 32),
    },
)
