"""Qwen2 and Qwen2.5: a Llama whose queries, keys and values have biases.

Source: Yang et al., "Qwen2 technical report", 2024; "Qwen2.5 technical report", 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phlox.core import RangeError
from phlox.models._family import Family
from phlox.models.language.decoders._decoder import Decoder, head_of
from phlox.models.language.decoders._gated import GatedConfig, gated_blocks, norm_of
from phlox.models.language.decoders._llama import decoder_names
from phlox.nn import Embedding
from phlox.nn.init import normal

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, kw_only=True)
class QwenConfig(GatedConfig):
    """A Qwen, whichever.

    Arguments:
        use_sliding_window: whether any block sees a window only.
        sliding_window: how many tokens a token sees there, itself counted.
        max_window_layers: the first block that does, where ``layer_types`` does not say.
        layer_types: for each block ``"full_attention"`` or ``"sliding_attention"``.
    """

    vocab_size: int = 151936
    intermediate_size: int = 22016
    max_position_embeddings: int = 32768
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    layer_types: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = self.layer_types
        if kinds is not None and (len(kinds) != self.num_hidden_layers or {*kinds} - {FULL, SLIDING}):
            raise RangeError(
                f"{self.num_hidden_layers} layer_types, each {FULL!r} or {SLIDING!r}", got=repr(kinds)[:200],
                fix="give one for each block, or None", where=type(self).__name__,
            )  # fmt: skip

    @property
    def windows(self) -> list[int | None]:
        """For each block, how many tokens see one another; None for all that came before."""
        count, size = self.num_hidden_layers, self.sliding_window if self.use_sliding_window else None
        kinds = self.layer_types or [SLIDING if i >= self.max_window_layers else FULL for i in range(count)]
        return [size if kind == SLIDING else None for kind in kinds]


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(QwenConfig):
    """A Qwen2 or Qwen2.5; the arguments are those of every decoder, and which blocks see a window only."""

    model_type: ClassVar[str] = "qwen2"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Qwen2ForCausalLM",
        "text-classification": "Qwen2ForSequenceClassification",
        "token-classification": "Qwen2ForTokenClassification",
        "feature-extraction": "Qwen2Model",
    }


class Qwen2(Decoder):
    """A Qwen2 or Qwen2.5 for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Arguments:
        config: a ``Qwen2Config``.

    Source: Yang et al., "Qwen2 technical report", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.Qwen2Config(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> px.models.Qwen2(config)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: Qwen2Config
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: Qwen2Config):
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=normal(std=config.initializer_range))
        self.blocks = gated_blocks(config, windows=config.windows, bias=True, out_bias=False)
        self.norm = norm_of(config)()
        self.head = head_of(config)


def _variant(hidden: int, between: int, layers: int, heads: int, kv_heads: int, **options: Any) -> Qwen2Config:
    return Qwen2Config(
        hidden_size=hidden, intermediate_size=between, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, rope_theta=1000000.0, bos_token_id=151643, eos_token_id=151643, **options,
    )  # fmt: skip


FAMILY = Family(
    config=Qwen2Config,
    model=Qwen2,
    names={"transformers": decoder_names},
    base="model.",
    variants={
        "qwen2.5_0.5b": _variant(896, 4864, 24, 14, 2, tie_word_embeddings=True),
        "qwen2.5_1.5b": _variant(1536, 8960, 28, 12, 2, tie_word_embeddings=True, max_position_embeddings=131072),
        "qwen2.5_7b": _variant(3584, 18944, 28, 28, 4, vocab_size=152064, max_position_embeddings=131072),
    },
)
