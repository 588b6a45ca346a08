"""DistilBERT: half of BERT's blocks, which learned what BERT says.

Source: Sanh et al., "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    EncoderConfig,
    TextEmbedding,
    block_of,
)
from phlox.models.language.encoders._encoder_heads import SentenceHead, token_head
from phlox.nn.functional import relu
from phlox.nn.init import normal
from phlox.weights import NameMap

_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class DistilBERTConfig(EncoderConfig):
    """A DistilBERT.

    Arguments:
        dim: features of a token.
        n_layers: blocks.
        n_heads: heads of each block's attention; a divisor of dim.
        hidden_dim: features within a block.
        activation: the activation within a block, and of the head that fills masks.
        dropout: probability of a feature to be zeroed after the embedding, at the end of a block's second branch, and
            before the head that tells classes of tokens apart.
        attention_dropout: probability of a weight of attention to be zeroed.
        seq_classif_dropout, qa_dropout: before the heads that tell classes of texts apart, and find answers.
        max_position_embeddings: tokens of the longest text.
        initializer_range: standard deviation of fresh weights.
    """

    model_type: ClassVar[str] = "distilbert"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        FILLING: "DistilBertForMaskedLM",
        SENTENCES: "DistilBertForSequenceClassification",
        TOKENS: "DistilBertForTokenClassification",
        ANSWERING: "DistilBertForQuestionAnswering",
        TRUNK: "DistilBertModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {"sinusoidal_pos_embds", "tie_weights_", "output_past"}

    vocab_size: int = 30522
    pad_token_id: int | None = 0
    dim: int = 768
    n_layers: int = 6
    n_heads: int = 12
    hidden_dim: int = 3072
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    qa_dropout: float = 0.1


class DistilBERT(Encoder):
    """A DistilBERT for tokens (batch, time); what it gives is what the head of its task says.

    Arguments:
        config: a ``DistilBERTConfig``.

    Source: Sanh et al., "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.DistilBERTConfig(
    ...     vocab_size=50, dim=16, hidden_dim=24, n_layers=2, n_heads=2, task="question-answering"
    ... )
    >>> model = px.models.DistilBERT(config)
    >>> model(jnp.array([[1, 2, 3]])).shape
    (1, 3, 2)
    """

    config: DistilBERTConfig
    embed: TextEmbedding
    blocks: Any
    pooler: Any
    head: Any

    def __init__(self, config: DistilBERTConfig):
        self.config = config
        dim, draw = config.dim, normal(std=config.initializer_range)
        act = activation(config.activation, "DistilBERTConfig.activation")
        self.embed = TextEmbedding(
            config.vocab_size, config.max_position_embeddings, 0, dim, eps=_EPS, dropout=config.dropout, init=draw,
            padding=config.pad_token_id,
        )  # fmt: skip
        self.blocks = [
            block_of(
                dim, config.n_heads, config.hidden_dim, act, init=draw, eps=_EPS, dropout=(0.0, config.dropout),
                attention_dropout=config.attention_dropout,
            )
            for _ in range(config.n_layers)
        ]  # fmt: skip
        self.pooler = None
        if config.task == SENTENCES:
            self.head = SentenceHead(dim, config.classes, relu, dropout=config.seq_classif_dropout, init=draw)
        else:
            self.head = token_head(config, dim, act, eps=_EPS, dropout=config.dropout, answers=config.qa_dropout)


_LAYER = "distilbert.transformer.layer.{i}"
_TRUNK = {
    "distilbert.embeddings.word_embeddings": "embed.words",
    "distilbert.embeddings.position_embeddings": "embed.positions",
    "distilbert.embeddings.LayerNorm": "embed.norm",
    f"{_LAYER}.attention.q_lin": "blocks.{i}.attention.q_proj",
    f"{_LAYER}.attention.k_lin": "blocks.{i}.attention.k_proj",
    f"{_LAYER}.attention.v_lin": "blocks.{i}.attention.v_proj",
    f"{_LAYER}.attention.out_lin": "blocks.{i}.attention.out_proj",
    f"{_LAYER}.sa_layer_norm": "blocks.{i}.norm1",
    f"{_LAYER}.ffn.lin1": "blocks.{i}.mlp.layers.0",
    f"{_LAYER}.ffn.lin2": "blocks.{i}.mlp.layers.1",
    f"{_LAYER}.output_layer_norm": "blocks.{i}.norm2",
}
_HEADS = {
    FILLING: {
        "vocab_transform": "head.dense",
        "vocab_layer_norm": "head.norm",
        "vocab_projector.bias": "head.bias",
    },
    SENTENCES: {"pre_classifier": "head.dense", "classifier": "head.out"},
    TOKENS: {"classifier": "head.out"},
    ANSWERING: {"qa_outputs": "head.out"},
    TRUNK: {},
}


def names(config: DistilBERTConfig) -> NameMap:
    """What transformers calls the arrays of a DistilBERT."""
    ignored = ("distilbert.embeddings.position_ids", "vocab_projector.weight")
    return NameMap({**_TRUNK, **_HEADS[config.task]}, ignore=ignored)


def _published(**options: Any) -> DistilBERTConfig:
    return DistilBERTConfig(task=FILLING, **options)


FAMILY = Family(
    config=DistilBERTConfig,
    model=DistilBERT,
    names={"transformers": names},
    base="distilbert.",
    heads=("head.out",),
    variants={
        "distilbert_base_uncased": _published(),
        "distilbert_base_cased": _published(vocab_size=28996),
        "distilbert_base_multilingual_cased": _published(vocab_size=119547),
    },
)
