"""Decoders that are built like a Llama: rotary positions, RMS norms, a gate within each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from phlox.models._activations import activation
from phlox.models.language.decoders._decoder import DecoderBlock, DecoderConfig, causal_attention
from phlox.models.language.decoders._rotary import plain_entries, rotary
from phlox.nn import GatedMLP, RMSNorm
from phlox.nn.init import normal


@dataclass(frozen=True, kw_only=True)
class GatedConfig(DecoderConfig):
    """A decoder that is built like a Llama.

    Arguments:
        rope_theta: base of the rotary positions.
        rope_scaling: how they are stretched, as ``RotaryEmbedding`` takes it; None for not.
    """

    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with rotary positions in the older or the newer form."""
        return super().from_dict(plain_entries(entries))

    def to_dict(self) -> dict[str, Any]:
        """As every config; a size of heads that is not given is not written, for some of the hub's models take none."""
        return {k: v for k, v in super().to_dict().items() if k != "head_dim" or v is not None}


def gated_blocks(
    config: GatedConfig,
    *,
    windows: Sequence[int | None] | None = None,
    mlp_bias: bool = False,
    dropout: float = 0.0,
    **attention: Any,
) -> list[DecoderBlock]:
    """A config's blocks, with options of their attention.

    Arguments:
        windows: for each block, how many tokens see one another, the own one counted; None for all that came before.
    """
    draw = normal(std=config.initializer_range)
    act = activation(config.hidden_act, f"{type(config).__name__}.hidden_act")
    if "positions" not in attention:
        size, longest = config.size_of_head, config.max_position_embeddings
        attention["positions"] = rotary(size, config.rope_theta, config.rope_scaling, longest)
    return [
        DecoderBlock(
            norm_of(config),
            causal_attention(config, init=draw, window=None if seen is None else seen - 1, **attention),
            GatedMLP(config.hidden_size, config.intermediate_size, act, bias=mlp_bias, init=draw),
            dropout=dropout,
        )
        for seen in windows or [None] * config.num_hidden_layers
    ]


def norm_of(config: DecoderConfig) -> partial[RMSNorm]:
    """What makes a config's norms."""
    return partial(RMSNorm, config.hidden_size, eps=config.rms_norm_eps)
