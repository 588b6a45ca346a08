"""BERT, and MiniLM, which is a small one.

Source: Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", 2019; small
ones: Turc et al., "Well-read students learn better", 2019; Wang et al., "MiniLM", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL, TRUNK
from phlox.models.language.encoders._encoder import (
    ANSWERING,
    FILLING,
    SENTENCES,
    TOKENS,
    Encoder,
    EncoderBlock,
    EncoderConfig,
    TextEmbedding,
    block_of,
)
from phlox.models.language.encoders._encoder_heads import LabelHead, token_head
from phlox.nn import Dense
from phlox.nn.functional import tanh
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class BERTConfig(EncoderConfig):
    """A BERT.

    Arguments:
        hidden_size: features of a token.
        num_hidden_layers: blocks.
        num_attention_heads: heads of each block's attention; a divisor of hidden_size.
        intermediate_size: features within a block.
        hidden_act: the activation within a block, and of the head that fills masks.
        hidden_dropout_prob: probability of a feature to be zeroed after the embedding and at the end of each branch.
        attention_probs_dropout_prob: probability of a weight of attention to be zeroed.
        classifier_dropout: probability of a feature to be zeroed before a head that tells classes apart; None for
            hidden_dropout_prob.
        max_position_embeddings: tokens of the longest text.
        type_vocab_size: kinds of tokens: of the first and of the second of two texts.
        initializer_range: standard deviation of fresh weights.
        layer_norm_eps: of the norms.
    """

    model_type: ClassVar[str] = "bert"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        FILLING: ("BertForMaskedLM", "BertForPreTraining"),
        SENTENCES: "BertForSequenceClassification",
        TOKENS: "BertForTokenClassification",
        ANSWERING: "BertForQuestionAnswering",
        TRUNK: "BertModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {
        "directionality", "output_past", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
        "pooler_size_per_head", "pooler_type",
    }  # fmt: skip
    fixed: ClassVar[Mapping[str, Any]] = {**EncoderConfig.fixed, "position_embedding_type": "absolute"}

    vocab_size: int = 30522
    pad_token_id: int | None = 0
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @property
    def head_dropout(self) -> float:
        """Of heads that tell classes apart."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


class BERT(Encoder):
    """A BERT for tokens (batch, time); what it gives is what the head of its task says.

    Behind the trunk stands a pooler, a map of the first token with tanh: the head for whole texts sees what it gives,
    ``model.pooled(features)``, and a trunk alone keeps it too. Of files without one it is drawn anew.

    Arguments:
        config: a ``BERTConfig``.

    Source: Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.BERTConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
    ...     task="fill-mask",
    ... )
    >>> model = px.models.BERT(config)
    >>> model(jnp.array([[1, 2, 3]]), types=jnp.array([[0, 0, 1]])).shape
    (1, 3, 50)
    """

    config: BERTConfig
    embed: TextEmbedding
    blocks: list[EncoderBlock]
    pooler: Dense | None
    head: Any

    def __init__(self, config: BERTConfig):
        self.config = config
        act = activation(config.hidden_act, "BERTConfig.hidden_act")
        draw = normal(std=config.initializer_range)
        self.embed = embedding_of(config)
        self.blocks = blocks_of(config, act)
        self.pooler = pooler_of(config) if config.task in (TRUNK, SENTENCES) else None
        if config.task == SENTENCES:
            self.head = LabelHead(config.hidden_size, config.classes, dropout=config.head_dropout, init=draw)
        else:
            self.head = token_head(
                config, config.hidden_size, act, eps=config.layer_norm_eps, dropout=config.head_dropout
            )


def embedding_of(config: BERTConfig, *, pad_places: int | None = None) -> TextEmbedding:
    """Words, places and types of a config's sizes."""
    return TextEmbedding(
        config.vocab_size, config.max_position_embeddings, config.type_vocab_size, config.hidden_size,
        eps=config.layer_norm_eps, dropout=config.hidden_dropout_prob, init=normal(std=config.initializer_range),
        padding=config.pad_token_id, pad_places=pad_places,
    )  # fmt: skip


def blocks_of(config: BERTConfig, act: Callable[..., Any]) -> list[EncoderBlock]:
    """As many blocks as a config says."""
    p = config.hidden_dropout_prob
    return [
        block_of(
            config.hidden_size, config.num_attention_heads, config.intermediate_size, act, eps=config.layer_norm_eps,
            attention_dropout=config.attention_probs_dropout_prob, dropout=(p, p),
            init=normal(std=config.initializer_range),
        )
        for _ in range(config.num_hidden_layers)
    ]  # fmt: skip


def pooler_of(config: BERTConfig) -> Dense:
    """A map of the first token, with tanh."""
    return Dense(config.hidden_size, config.hidden_size, tanh, init=normal(std=config.initializer_range))


def trunk_names(base: str) -> dict[str, str]:
    """What transformers calls the arrays of a BERT's trunk."""
    layer = f"{base}.encoder.layer.{{i}}"
    return {
        f"{base}.embeddings.word_embeddings": "embed.words",
        f"{base}.embeddings.position_embeddings": "embed.positions",
        f"{base}.embeddings.token_type_embeddings": "embed.types",
        f"{base}.embeddings.LayerNorm": "embed.norm",
        f"{layer}.attention.self.query": "blocks.{i}.attention.q_proj",
        f"{layer}.attention.self.key": "blocks.{i}.attention.k_proj",
        f"{layer}.attention.self.value": "blocks.{i}.attention.v_proj",
        f"{layer}.attention.output.dense": "blocks.{i}.attention.out_proj",
        f"{layer}.attention.output.LayerNorm": "blocks.{i}.norm1",
        f"{layer}.intermediate.dense": "blocks.{i}.mlp.layers.0",
        f"{layer}.output.dense": "blocks.{i}.mlp.layers.1",
        f"{layer}.output.LayerNorm": "blocks.{i}.norm2",
        f"{base}.pooler.dense": "pooler",
    }


def unused(base: str) -> tuple[str, ...]:
    """Names that files of a BERT have and that mean nothing here: places as numbers, a pooler that no head sees."""
    return (f"{base}.embeddings.position_ids", f"{base}.pooler.*")


_HEADS = {
    FILLING: {
        "cls.predictions.transform.dense": "head.dense",
        "cls.predictions.transform.LayerNorm": "head.norm",
        "cls.predictions.bias": "head.bias",
    },
    SENTENCES: {"classifier": "head.out"},
    TOKENS: {"classifier": "head.out"},
    ANSWERING: {"qa_outputs": "head.out"},
    TRUNK: {},
}


def names(config: BERTConfig) -> NameMap:
    """What transformers calls the arrays of a BERT; the head for the next sentence is left out."""
    tied = ("cls.predictions.decoder.*", "cls.seq_relationship.*")
    return NameMap({**trunk_names("bert"), **_HEADS[config.task]}, ignore=(*unused("bert"), *tied))


def _sized(layers: int, width: int, **options: Any) -> BERTConfig:
    """A size of the published ones, whose heads have 64 features each."""
    heads = {"num_attention_heads": width // 64, "intermediate_size": 4 * width, "task": FILLING}
    return BERTConfig(**{"hidden_size": width, "num_hidden_layers": layers, **heads, **options})


def _minilm(layers: int) -> BERTConfig:
    """A small one for sentences, by whose embeddings they are compared."""
    return _sized(layers, 384, num_attention_heads=12, task=TRUNK)


FAMILY = Family(
    config=BERTConfig,
    model=BERT,
    names={"transformers": names},
    base="bert.",
    heads=("head.out",),
    optional=("pooler",),
    variants={
        "bert_tiny": _sized(2, 128),
        "bert_mini": _sized(4, 256),
        "bert_small": _sized(4, 512),
        "bert_medium": _sized(8, 512),
        "bert_base_uncased": _sized(12, 768),
        "bert_base_cased": _sized(12, 768, vocab_size=28996),
        "bert_base_multilingual_cased": _sized(12, 768, vocab_size=119547),
        "bert_large_uncased": _sized(24, 1024),
        "bert_large_cased": _sized(24, 1024, vocab_size=28996),
        "all_minilm_l6_v2": _minilm(6),
        "all_minilm_l12_v2": _minilm(12),
    },
)
