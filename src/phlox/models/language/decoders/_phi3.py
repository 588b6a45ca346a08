"""Phi-3: queries, keys and values in one array, gate and features in another, and positions for long texts.

Source: Abdin et al., "Phi-3 technical report", 2024; of its longer texts Ding et al., "LongRoPE", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL
from phlox.models.language.decoders._decoder import Decoder, head_of
from phlox.models.language.decoders._gated import GatedConfig, gated_blocks, norm_of
from phlox.models.language.decoders._llama import decoder_names
from phlox.models.language.decoders._rotary import plain_entries, rotary
from phlox.nn import Embedding, RotaryEmbedding
from phlox.nn.init import normal
from phlox.weights import NameMap

_LENGTH = "original_max_position_embeddings"


@dataclass(frozen=True, kw_only=True)
class Phi3Config(GatedConfig):
    """A Phi-3, or what is built like it: Phi-3.5 mini, Phi-4 and Phi-4 mini.

    Arguments:
        partial_rotary_factor: which part of a head's features positions turn.
        original_max_position_embeddings: tokens of the longest text before positions were stretched.
        sliding_window: how many tokens a token sees, itself counted; None for all that came before.
        resid_pdrop: probability of a feature to be zeroed at the end of each branch, in training.

    The others are those of every decoder: sizes, norms, positions, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "phi3"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Phi3ForCausalLM",
        "text-classification": "Phi3ForSequenceClassification",
        "token-classification": "Phi3ForTokenClassification",
        "feature-extraction": "Phi3Model",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"attention_bias", "embd_pdrop"}  # no code reads them

    vocab_size: int = 32064
    hidden_size: int = 3072
    intermediate_size: int = 8192
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    partial_rotary_factor: float = 1.0
    original_max_position_embeddings: int = 4096
    sliding_window: int | None = None
    resid_pdrop: float = 0.0

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with positions in the older or the newer form: ``"su"`` and ``"yarn"`` were longrope."""
        found = plain_entries(entries)
        if isinstance(stretch := found.get("rope_scaling"), dict):
            kept = {k: v for k, v in stretch.items() if k not in ("type", "rope_type", _LENGTH)}
            found[_LENGTH] = entries.get(_LENGTH, stretch.get(_LENGTH, cls.original_max_position_embeddings))
            kind = stretch.get("rope_type", stretch.get("type"))
            found["rope_scaling"] = {"rope_type": "longrope" if kind in ("su", "yarn") else kind, **kept}
        return super().from_dict(found)

    def positions(self) -> RotaryEmbedding:
        """Positions that turn a part of each head, stretched as far as texts are longer than they were."""
        size, scaling = int(self.size_of_head * self.partial_rotary_factor), self.rope_scaling
        if scaling is not None:
            longer = self.max_position_embeddings / max(self.original_max_position_embeddings, 1)
            scaling = {"factor": longer, **scaling, _LENGTH: self.original_max_position_embeddings}
        return rotary(size, self.rope_theta, scaling, self.max_position_embeddings)


class Phi3(Decoder):
    """A Phi-3 for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Arguments:
        config: a ``Phi3Config``.

    Source: Abdin et al., "Phi-3 technical report", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.Phi3Config(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> px.models.Phi3(config)(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: Phi3Config
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: Phi3Config):
        self.config = config
        windows = [config.sliding_window] * config.num_hidden_layers
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=normal(std=config.initializer_range))
        self.blocks = gated_blocks(config, windows=windows, positions=config.positions(), dropout=config.resid_pdrop)
        self.norm = norm_of(config)()
        self.head = head_of(config)


def _names(config: Phi3Config) -> NameMap:
    """What transformers calls the arrays."""
    names, layer, block = decoder_names(config), "model.layers.{i}", "blocks.{i}"
    apart = [f"{layer}.self_attn.{n}_proj" for n in "qkv"] + [f"{layer}.mlp.{n}_proj" for n in ("gate", "up")]
    fused = {
        f"{layer}.self_attn.qkv_proj": tuple(f"{block}.attention.{n}_proj" for n in "qkv"),
        f"{layer}.mlp.gate_up_proj": (f"{block}.mlp.gate", f"{block}.mlp.up"),
    }
    return NameMap({k: v for k, v in names.entries.items() if k not in apart} | fused, ignore=names.ignore)


def _variant(**options: Any) -> Phi3Config:
    return Phi3Config(sliding_window=2047, bos_token_id=1, eos_token_id=32000, pad_token_id=32000, **options)


FAMILY = Family(
    config=Phi3Config,
    model=Phi3,
    names={"transformers": _names},
    base="model.",
    variants={
        "phi_3_mini_4k": _variant(),
        "phi_3_medium_4k": _variant(
            hidden_size=5120, intermediate_size=17920, num_hidden_layers=40, num_attention_heads=40,
            num_key_value_heads=10,
        ),
    },
)  # fmt: skip
