"""RoBERTa, and XLM-RoBERTa, which is one for a hundred languages.

Source: Liu et al., "RoBERTa: a robustly optimized BERT pretraining approach", 2019; Conneau et al., "Unsupervised
cross-lingual representation learning at scale", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import RangeError
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import TRUNK
from phlox.models.language.encoders._bert import BERTConfig, blocks_of, embedding_of, pooler_of, trunk_names, unused
from phlox.models.language.encoders._encoder import ANSWERING, FILLING, SENTENCES, TOKENS, Encoder, counted_before
from phlox.models.language.encoders._encoder_heads import SentenceHead, token_head
from phlox.nn.functional import gelu, tanh
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class RoBERTaConfig(BERTConfig):
    """A RoBERTa.

    Arguments:
        pad_token_id: the token that pads; places are counted over the others, and begin one behind it.
        max_position_embeddings: places that have a vector: ``pad_token_id + 1`` more than the longest text has tokens.

    The others are those of ``BERTConfig``.
    """

    model_type: ClassVar[str] = "roberta"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        FILLING: "RobertaForMaskedLM",
        SENTENCES: "RobertaForSequenceClassification",
        TOKENS: "RobertaForTokenClassification",
        ANSWERING: "RobertaForQuestionAnswering",
        TRUNK: "RobertaModel",
    }

    vocab_size: int = 50265
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | tuple[int, ...] | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pad_token_id is None:
            fix = "give the token that pads: places are counted from it"
            raise RangeError("pad_token_id as a number", got="None", fix=fix, where=type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class XLMRoBERTaConfig(RoBERTaConfig):
    """An XLM-RoBERTa: a RoBERTa by another name, for texts in a hundred languages."""

    model_type: ClassVar[str] = "xlm-roberta"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        task: f"XLM{name}" for task, name in RoBERTaConfig.architectures.items()
    }

    vocab_size: int = 30522


class RoBERTa(Encoder):
    """A RoBERTa for tokens (batch, time); what it gives is what the head of its task says.

    Places are counted over the tokens that do not pad. Behind a trunk alone stands a pooler as a BERT has one, which
    files may lack: then it is drawn anew.

    Arguments:
        config: a ``RoBERTaConfig`` or ``XLMRoBERTaConfig``.

    Source: Liu et al., "RoBERTa: a robustly optimized BERT pretraining approach", 2019.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.RoBERTaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, classes=3,
    ...     task="text-classification",
    ... )
    >>> model = px.models.RoBERTa(config)
    >>> model(jnp.array([[0, 5, 6, 2]])).shape
    (1, 3)
    """

    config: RoBERTaConfig
    embed: Any
    blocks: Any
    pooler: Any
    head: Any

    def __init__(self, config: RoBERTaConfig):
        self.config = config
        dim, p = config.hidden_size, config.head_dropout
        self.embed = embedding_of(config, pad_places=config.pad_token_id)
        self.blocks = blocks_of(config, activation(config.hidden_act, f"{type(config).__name__}.hidden_act"))
        self.pooler = pooler_of(config) if config.task == TRUNK else None
        if config.task == SENTENCES:
            draw = normal(std=config.initializer_range)
            self.head = SentenceHead(dim, config.classes, tanh, dropout=p, before=p, init=draw)
        else:
            self.head = token_head(config, dim, gelu, eps=config.layer_norm_eps, dropout=p)

    @property
    def padding(self) -> int:
        """The token that pads, and the place of those that do."""
        return self.config.pad_token_id or 0

    @property
    def longest(self) -> int:
        return self.config.max_position_embeddings - self.padding - 1

    def places(self, tokens: jax.Array, segments: jax.Array | None) -> jax.Array:
        counts = tokens != self.padding
        return self.padding + jnp.where(counts, 1 + counted_before(counts, segments), 0)


_HEADS = {
    FILLING: {"lm_head.dense": "head.dense", "lm_head.layer_norm": "head.norm", "lm_head.bias": "head.bias"},
    SENTENCES: {"classifier.dense": "head.dense", "classifier.out_proj": "head.out"},
    TOKENS: {"classifier": "head.out"},
    ANSWERING: {"qa_outputs": "head.out"},
    TRUNK: {},
}


def names(config: RoBERTaConfig) -> NameMap:
    """What transformers calls the arrays of a RoBERTa."""
    entries = {**trunk_names("roberta"), **_HEADS[config.task]}
    return NameMap(entries, ignore=(*unused("roberta"), "lm_head.decoder.*"))


_SIZES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
_PUBLISHED: dict[str, Any] = {
    "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "task": FILLING,
}  # fmt: skip
FAMILY = Family(
    config=RoBERTaConfig,
    model=RoBERTa,
    names={"transformers": names},
    base="roberta.",
    heads=("head.out",),
    optional=("pooler",),
    variants={
        **{f"roberta_{size}": RoBERTaConfig(**options, **_PUBLISHED) for size, options in _SIZES.items()},
        "distilroberta_base": RoBERTaConfig(num_hidden_layers=6, **_PUBLISHED),
    },
)
XLM = Family(
    config=XLMRoBERTaConfig,
    model=RoBERTa,
    names={"transformers": names},
    base="roberta.",
    heads=("head.out",),
    optional=("pooler",),
    variants={
        f"xlm_roberta_{size}": XLMRoBERTaConfig(vocab_size=250002, **options, **_PUBLISHED)
        for size, options in _SIZES.items()
    },
)
