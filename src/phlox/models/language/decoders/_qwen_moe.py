"""Qwen2 and Qwen3 with experts.

Source: "Qwen2 technical report", 2024; "Qwen3 technical report", 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import jax

from phlox.core import Module, RangeError
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL
from phlox.models.language.decoders._decoder import causal_attention, head_of
from phlox.models.language.decoders._mixture import (
    Experts,
    MixtureBlock,
    MixtureConfig,
    MixtureDecoder,
    SharedExperts,
    mixture_names,
)
from phlox.models.language.decoders._rotary import plain_entries, rotary
from phlox.models.language.decoders._windows import FULL, SLIDING, check_kinds
from phlox.nn import Embedding, GatedMLP, MultiHeadAttention, RMSNorm
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class Qwen3MoeConfig(MixtureConfig):
    """A Qwen3 with experts: queries and keys are normalised.

    Arguments:
        num_experts: experts of a block that has some.
        moe_intermediate_size: features within an expert; ``intermediate_size`` is of blocks without.
        norm_topk_prob: whether the weights of the chosen experts are made to sum to 1.
        decoder_sparse_step: every how manieth block has experts.
        mlp_only_layers: numbers of blocks, from 0, that have none in any case.
        use_sliding_window: whether a query sees only ``sliding_window`` keys.
        attention_bias: whether queries, keys, values and the end of attention have biases.

    The others are those of every decoder with experts: ``num_experts_per_tok``, ``router_aux_loss_coef``,
    ``rope_theta``, ``rope_scaling``, ``sliding_window``; sizes, norms, the task, the vocabulary.
    """

    model_type: ClassVar[str] = "qwen3_moe"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Qwen3MoeForCausalLM",
        "text-classification": "Qwen3MoeForSequenceClassification",
        "token-classification": "Qwen3MoeForTokenClassification",
        "feature-extraction": "Qwen3MoeModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"output_router_logits", "max_window_layers"}

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_hidden_layers: int = 24
    num_key_value_heads: int | None = 4
    max_position_embeddings: int = 32768
    sliding_window: int | None = 4096
    num_experts: int = 128
    num_experts_per_tok: int = 8
    moe_intermediate_size: int = 768
    norm_topk_prob: bool = False
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] | None = None
    use_sliding_window: bool = False
    attention_bias: bool = False

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config, with the number of experts under either name, and positions in the older or newer form."""
        found = plain_entries(entries, cls.rope_theta)
        if "num_local_experts" in found:
            found["num_experts"] = found.pop("num_local_experts")
        return super().from_dict(found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of each block, whether its attention is full or has a window."""
        kinds = (SLIDING if self.use_sliding_window else FULL,) * self.num_hidden_layers
        return check_kinds(type(self).__name__, kinds, self.num_hidden_layers, self.sliding_window)

    @property
    def sparse(self) -> tuple[bool, ...]:
        """Of each block, whether it has experts.

        Raises:
            RangeError: a ``decoder_sparse_step`` of 0.
        """
        step, without = self.decoder_sparse_step, self.mlp_only_layers or ()
        if step < 1:
            where = type(self).__name__
            raise RangeError("decoder_sparse_step of 1 or more", got=str(step), fix="1 is every block", where=where)
        return tuple(
            self.num_experts > 0 and (i + 1) % step == 0 and i not in without for i in range(self.num_hidden_layers)
        )


@dataclass(frozen=True, kw_only=True)
class Qwen2MoeConfig(Qwen3MoeConfig):
    """A Qwen2, or 1.5, with experts: one beside the chosen ones computes every token.

    Arguments:
        shared_expert_intermediate_size: features within the expert of all tokens.
        qkv_bias: whether queries, keys and values have biases.
        max_window_layers: how many blocks may have a window, where ``layer_types`` does not say.
        layer_types: of each block, ``"sliding_attention"`` or ``"full_attention"``; None for a window in every second.

    The others are those of ``Qwen3MoeConfig``, but for ``attention_bias``.
    """

    model_type: ClassVar[str] = "qwen2_moe"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "text-generation": "Qwen2MoeForCausalLM",
        "text-classification": "Qwen2MoeForSequenceClassification",
        "token-classification": "Qwen2MoeForTokenClassification",
        "feature-extraction": "Qwen2MoeModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"output_router_logits"}

    intermediate_size: int = 5632
    num_attention_heads: int = 16
    num_key_value_heads: int | None = 16
    num_experts: int = 60
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 1408
    shared_expert_intermediate_size: int = 5632
    qkv_bias: bool = True
    max_window_layers: int = 28
    layer_types: tuple[str, ...] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of each block, whether its attention is full or has a window."""
        count, most = self.num_hidden_layers, self.max_window_layers if self.use_sliding_window else 0
        usual = tuple(SLIDING if (i + 1) % 2 and i < most else FULL for i in range(count))
        return check_kinds(type(self).__name__, self.layer_types or usual, count, self.sliding_window)


class QwenMoe(MixtureDecoder):
    """A Qwen with experts for tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    Every expert computes every token, which is exact and costs as much as all of them.

    Arguments:
        config: a ``Qwen2MoeConfig`` or a ``Qwen3MoeConfig``.

    Source: "Qwen2 technical report", 2024; "Qwen3 technical report", 2025.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.Qwen3MoeConfig(
    ...     vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    ...     num_experts=6, num_experts_per_tok=2, moe_intermediate_size=8,
    ... )
    >>> run = lambda tokens: px.models.QwenMoe(config)(tokens, return_loss=True)
    >>> scores, loss = px.eval_shape(run, jnp.array([[1, 2, 3]]))
    >>> scores.shape, loss.shape
    ((1, 3, 50), ())
    """

    config: Qwen3MoeConfig
    embed: Embedding
    blocks: list[Any]
    norm: Any
    head: Any

    def __init__(self, config: Qwen3MoeConfig):
        kinds = tuple(zip(config.kinds, config.sparse, strict=True))  # refuses what does not fit before drawing
        self.config = config
        draw = normal(std=config.initializer_range)
        norm = partial(RMSNorm, config.hidden_size, eps=config.rms_norm_eps)
        self.embed = Embedding(config.vocab_size, config.hidden_size, init=draw)
        self.blocks = [
            MixtureBlock(norm, _attention(config, kind, draw), _features(config, sparse, draw))
            for kind, sparse in kinds
        ]
        self.norm = norm()
        self.head = head_of(config)


def _attention(config: Qwen3MoeConfig, kind: str, draw: Callable[..., jax.Array]) -> MultiHeadAttention:
    """The attention of a block of a kind."""
    positions = rotary(config.size_of_head, config.rope_theta, config.rope_scaling, config.max_position_embeddings)
    window = config.sliding_window - 1 if kind == SLIDING and config.sliding_window else None
    if isinstance(config, Qwen2MoeConfig):
        return causal_attention(config, init=draw, bias=config.qkv_bias, positions=positions, window=window)
    bias, norm = config.attention_bias, partial(RMSNorm, eps=config.rms_norm_eps)
    return causal_attention(
        config, init=draw, bias=bias, out_bias=bias, positions=positions, window=window, qk_norm=norm
    )


def _features(config: Qwen3MoeConfig, sparse: bool, draw: Callable[..., jax.Array]) -> Module:
    """What computes the features of a block: experts, or one map of all tokens."""
    act = activation(config.hidden_act, f"{type(config).__name__}.hidden_act")
    gated = partial(GatedMLP, config.hidden_size, act=act, init=draw)
    if not sparse:
        return gated(config.intermediate_size)
    expert = partial(gated, config.moe_intermediate_size)
    options = {"top_k": config.num_experts_per_tok, "normalise": config.norm_topk_prob, "init": draw}
    if isinstance(config, Qwen2MoeConfig):
        shared = gated(config.shared_expert_intermediate_size)
        return SharedExperts(config.hidden_size, config.num_experts, expert, shared=shared, **options)
    return Experts(config.hidden_size, config.num_experts, expert, **options)


def _names(config: Qwen3MoeConfig) -> NameMap:
    layer, there, here = "model.layers.{block}", "model.layers.{block}.mlp", "blocks.{block}.mlp"
    parts = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
    return mixture_names(
        config,
        {
            f"{layer}.self_attn.q_norm": "blocks.{block}.attention.q_norm",
            f"{layer}.self_attn.k_norm": "blocks.{block}.attention.k_norm",
            f"{there}.gate": f"{here}.router",
            **{f"{there}.experts.{{i}}.{theirs}": f"{here}.experts.{ours}" for ours, theirs in parts.items()},
            **{f"{there}.shared_expert.{theirs}": f"{here}.shared.{ours}" for ours, theirs in parts.items()},
            f"{there}.shared_expert_gate": f"{here}.shared_gate",
        },
    )


def _variant_3(layers: int, width: int, heads: int, hidden: int, expert: int) -> Qwen3MoeConfig:
    return Qwen3MoeConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, head_dim=128, intermediate_size=hidden,
        moe_intermediate_size=expert, norm_topk_prob=True, max_position_embeddings=40960, rope_theta=1000000.0,
        bos_token_id=151643, eos_token_id=151645,
    )  # fmt: skip


FAMILY_2 = Family(
    config=Qwen2MoeConfig,
    model=QwenMoe,
    names={"transformers": _names},
    base="model.",
    variants={
        "qwen1.5_moe_a2.7b": Qwen2MoeConfig(
            max_position_embeddings=8192, rope_theta=1000000.0, sliding_window=32768, max_window_layers=21,
            bos_token_id=151643, eos_token_id=151643,
        ),
        "qwen2_57b_a14b": Qwen2MoeConfig(
            hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
            num_key_value_heads=4, num_experts=64, num_experts_per_tok=8, moe_intermediate_size=2560,
            shared_expert_intermediate_size=20480, max_position_embeddings=131072, rope_theta=1000000.0,
            sliding_window=65536, bos_token_id=151643, eos_token_id=151643,
        ),
    },
)  # fmt: skip
FAMILY_3 = Family(
    config=Qwen3MoeConfig,
    model=QwenMoe,
    names={"transformers": _names},
    base="model.",
    variants={
        "qwen3_30b_a3b": _variant_3(48, 2048, 32, 6144, 768),
        "qwen3_235b_a22b": _variant_3(94, 4096, 64, 12288, 1536),
    },
)
