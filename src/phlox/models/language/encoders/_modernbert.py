"""ModernBERT: an encoder with rotary positions and, in most of its blocks, attention to near tokens alone.

Source: Warner et al., "Smarter, better, faster, longer: a modern bidirectional encoder", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, Param, RangeError, param_dtype
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import LABELLING, NEUTRAL, TRUNK, TextConfig
from phlox.models.language._model import TextModel, check_tokens, counted, pool, seen_keys
from phlox.nn import Dense, Dropout, Embedding, GatedMLP, LayerNorm, MultiHeadAttention, RotaryEmbedding
from phlox.nn.functional import identity
from phlox.nn.init import truncated_normal
from phlox.weights import NameMap

_FULL, _NEAR = "full_attention", "sliding_attention"
_POOLINGS = {"cls": "first", "mean": "mean"}


@dataclass(frozen=True, kw_only=True)
class ModernBertConfig(TextConfig):
    """A ModernBERT.

    Arguments:
        hidden_size: features of a token.
        intermediate_size: features within a block.
        num_hidden_layers, num_attention_heads: blocks, and heads of each one's attention.
        hidden_activation: the activation of a block's gate.
        max_position_embeddings: tokens of the longest text in training.
        initializer_range: standard deviation of the normal that fresh weights are drawn from; those that end a branch,
            and those of the head, have it divided by the root of twice the number of blocks.
        initializer_cutoff_factor: at how many of these the normal is cut off.
        norm_eps, norm_bias: of the norms.
        attention_bias, mlp_bias: whether the maps of attention, and of features, have biases.
        global_attn_every_n_layers: of so many blocks the first sees all tokens, the others near ones alone.
        layer_types: the same said of each block, ``"full_attention"`` or ``"sliding_attention"``.
        local_attention: tokens that the others see, half of them on either side.
        global_rope_theta, local_rope_theta: base of the rotary positions in blocks of either kind.
        embedding_dropout: probability of a feature of an embedded token to be zeroed, in training.
        attention_dropout: of a weight of attention, and of a feature at its end.
        mlp_dropout: of a feature within a block.
        classifier_dropout: of a feature before the last map of a head.
        classifier_pooling: what a text's class is told from: ``"cls"``, its first token, or ``"mean"``.
        classifier_bias, classifier_activation: of the first map of a head.
        decoder_bias: whether the scores of tokens have a bias.

    Raises:
        RangeError: another pooling, or kinds that are not one of the two for each block.
    """

    model_type: ClassVar[str] = "modernbert"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "fill-mask": "ModernBertForMaskedLM",
        "text-classification": "ModernBertForSequenceClassification",
        "token-classification": "ModernBertForTokenClassification",
        "question-answering": "ModernBertForQuestionAnswering",
        TRUNK: "ModernBertModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {
        "cls_token_id", "deterministic_flash_attn", "layer_norm_eps", "position_embedding_type", "reference_compile",
        "repad_logits_with_grad", "rope_parameters", "sparse_pred_ignore_index", "sparse_prediction",
    }  # fmt: skip

    task: str = "fill-mask"
    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: int = 8192
    initializer_range: float = 0.02
    initializer_cutoff_factor: float = 2.0
    norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    global_attn_every_n_layers: int = 3
    layer_types: tuple[str, ...] | None = None
    local_attention: int = 128
    global_rope_theta: float = 160000.0
    local_rope_theta: float = 10000.0
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    classifier_dropout: float = 0.0
    classifier_pooling: str = "cls"
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    decoder_bias: bool = True
    pad_token_id: int | None = 50283
    bos_token_id: int | None = 50281
    eos_token_id: int | tuple[int, ...] | None = 50282

    def __post_init__(self) -> None:
        super().__post_init__()
        known, fix = " or ".join(_POOLINGS), "look at config.json"
        if self.classifier_pooling not in _POOLINGS:
            got = repr(self.classifier_pooling)[:100]
            raise RangeError(f"classifier_pooling {known}", got=got, fix=fix, where="ModernBertConfig")
        kinds = self.kinds
        if len(kinds) != self.num_hidden_layers or not {*kinds} <= {_FULL, _NEAR}:
            expected = f"{_FULL!r} or {_NEAR!r} for each of {self.num_hidden_layers} blocks"
            raise RangeError(expected, got=repr(kinds)[:200], fix=fix, where="ModernBertConfig")

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config; newer files have the bases of positions by the kind of attention.

        Raises:
            RangeError: positions that are stretched, which no ModernBERT has.
        """
        found = dict(entries)
        given = found.get("rope_parameters")
        given = given if isinstance(given, dict) else {}
        for kind, name in ((_FULL, "global_rope_theta"), (_NEAR, "local_rope_theta")):
            rope = given.get(kind)
            rope = rope if isinstance(rope, dict) else {}
            if rope.get("rope_type", "default") != "default":
                fix, where = "no other value is supported", f"{cls.__name__}.from_dict"
                raise RangeError("rope_type 'default'", got=repr(rope["rope_type"])[:100], fix=fix, where=where)
            found |= {name: rope["rope_theta"]} if "rope_theta" in rope else {}
        return super().from_dict(found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each block's attention is: to all tokens, or to near ones."""
        if self.layer_types is not None:
            return self.layer_types
        every = max(self.global_attn_every_n_layers, 1)
        return tuple(_NEAR if i % every else _FULL for i in range(self.num_hidden_layers))


class ModernBertBlock(Module):
    r"""Attention, then features, each after its norm: $h = x + D(A(N_1(x))),\; y = h + M(N_2(h))$.

    Shapes:
        x, y: (batch, time, dim).

    Arguments:
        config: a ``ModernBertConfig``.
        index: which block it is: the first has no $N_1$, for the embedding ends with a norm.
    """

    def __init__(self, config: ModernBertConfig, index: int):
        norm, act = _norm_of(config), activation(config.hidden_activation, "ModernBertConfig.hidden_activation")
        size, hidden, draw, last = config.hidden_size, config.intermediate_size, _draw(config), _draw(config, last=True)
        near, bias = config.kinds[index] == _NEAR, config.attention_bias
        self.norm1: Any = norm() if index else identity
        self.attention: MultiHeadAttention = MultiHeadAttention(
            size, config.num_attention_heads, bias=bias, dropout=config.attention_dropout, init=draw,
            window=config.local_attention // 2 if near else None,
            positions=RotaryEmbedding(
                size // max(config.num_attention_heads, 1),
                base=config.local_rope_theta if near else config.global_rope_theta,
            ),
        )  # fmt: skip
        self.attention.out_proj = Dense(size, size, bias=bias, init=last)
        self.drop: Any = Dropout(config.attention_dropout) if config.attention_dropout else identity
        self.norm2: LayerNorm = norm()
        self.mlp: Any = GatedMLP(size, hidden, act, bias=config.mlp_bias, dropout=config.mlp_dropout, init=draw)
        self.mlp.down = Dense(hidden, size, bias=config.mlp_bias, init=last)

    def __call__(self, x: jax.Array, *, mask: Any = None) -> jax.Array:
        x = x + self.drop(self.attention(self.norm1(x), mask=mask))
        return x + self.mlp(self.norm2(x))


class ModernBertHead(Module):
    """A map, an activation and a norm (..., features), before what scores tokens or tells classes apart.

    Arguments:
        config: a ``ModernBertConfig``.
    """

    bias: Param | None
    """(vocabulary,), of scores that the embedding gives."""

    def __init__(self, config: ModernBertConfig):
        size, words = config.hidden_size, config.task == "fill-mask"
        act = activation(config.classifier_activation, "ModernBertConfig.classifier_activation")
        last, tied = _draw(config, last=True), words and config.tie_word_embeddings
        self.dense: Dense = Dense(size, size, act, bias=config.classifier_bias, init=last)
        self.norm: LayerNorm = _norm_of(config)()
        self.drop: Any = Dropout(config.classifier_dropout) if config.classifier_dropout and not words else identity
        self.bias = jnp.zeros(config.vocab_size, param_dtype()) if tied and config.decoder_bias else None
        self.out: Dense | None = None
        if words and not tied:
            self.out = Dense(size, config.vocab_size, bias=config.decoder_bias, init=last)
        elif not words:
            classes = config.classes if config.task in LABELLING else 2
            self.out = Dense(size, classes, init=_cut(size**-0.5, config.initializer_cutoff_factor))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.drop(self.norm(self.dense(x)))
        return x if self.out is None else self.out(x)


class ModernBert(TextModel):
    """A ModernBERT for tokens (batch, time); scores (batch, time, vocabulary) of what stands at each place.

    For ``"text-classification"`` scores are (batch, classes), for ``"token-classification"`` (batch, time, classes),
    for ``"question-answering"`` (batch, time, 2): of a token to begin the answer, and to end it.

    Arguments:
        config: a ``ModernBertConfig``.

    Source: Warner et al., "Smarter, better, faster, longer: a modern bidirectional encoder", 2024.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.ModernBertConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> model = px.models.ModernBert(config)
    >>> model(jnp.array([[1, 2, 3]])).shape
    (1, 3, 50)
    """

    config: ModernBertConfig
    head: Any

    def __init__(self, config: ModernBertConfig):
        self.config = config
        norm = _norm_of(config)
        self.embed: Embedding = Embedding(config.vocab_size, config.hidden_size, init=_draw(config))
        self.embed_norm: LayerNorm = norm()
        self.drop: Any = Dropout(config.embedding_dropout) if config.embedding_dropout else identity
        self.blocks: list[ModernBertBlock] = [ModernBertBlock(config, i) for i in range(config.num_hidden_layers)]
        self.norm: LayerNorm = norm()
        self.head = None if config.task == TRUNK else ModernBertHead(config)

    def parts(self) -> tuple[str, ...]:
        """The embedding and its norm, each block, the norm and the head."""
        head = ("head",) if self.head is not None else ()
        return ("embed", "embed_norm", *(f"blocks.{i}" for i in range(len(self.blocks))), "norm", *head)

    def hidden_states(self, tokens: jax.Array, *, mask: Any = None, segments: Any = None) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, the last one normalised; (batch, time, features) each.

        Arguments:
            tokens: (batch, time).
            mask: (batch, time), True where a token counts, on whichever side it was padded.
            segments: (batch, time): tokens see those of their own segment only, as texts packed in a row do.

        Raises:
            ShapeError: tokens, a mask or segments of another shape.
        """
        tokens = check_tokens("ModernBert", tokens)
        seen = seen_keys("ModernBert", mask, segments, tokens)
        states = [self.drop(self.embed_norm(self.embed(tokens)))]
        for block in self.blocks:
            states.append(block(states[-1], mask=seen))
        return (*states[:-1], self.norm(states[-1]))

    def __call__(self, tokens: jax.Array, *, mask: Any = None, **options: Any) -> jax.Array:
        """What the head of the config's task gives; the features (batch, time, features) without one."""
        x = self.features(tokens, mask=mask, **options)
        if self.config.task == "text-classification":
            x = pool(x, counted(x, mask), _POOLINGS[self.config.classifier_pooling])
        return self.scores(x)

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the last features (..., features), with the embedding where its weights are tied."""
        x = features if self.head is None else self.head(features)
        if self.config.task != "fill-mask" or not self.config.tie_word_embeddings:
            return x
        scores, bias = self.embed.attend(x), getattr(self.head, "bias", None)
        return scores if bias is None else scores + bias.astype(scores.dtype)


def _norm_of(config: ModernBertConfig) -> Any:
    return partial(LayerNorm, config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)


def _draw(config: ModernBertConfig, *, last: bool = False) -> Any:
    """How fresh weights are drawn; ``last`` for those that end a branch."""
    depth = math.sqrt(2 * max(config.num_hidden_layers, 1)) if last else 1.0
    return _cut(config.initializer_range / depth, config.initializer_cutoff_factor)


def _cut(std: float, at: float) -> Any:
    """A normal that is cut off at so many standard deviations and keeps what this leaves of them."""
    inside = math.erf(at / math.sqrt(2))
    left = 1 - math.sqrt(2 / math.pi) * at * math.exp(-at * at / 2) / inside if inside else 1.0
    return truncated_normal(std=std * math.sqrt(left), lower=-at, upper=at)


def names_of(config: ModernBertConfig) -> NameMap:
    """What transformers calls the arrays of a ModernBERT."""
    layer = "model.layers.{i}"
    last = "decoder" if config.task == "fill-mask" else "classifier"
    tied = config.task == "fill-mask" and config.tie_word_embeddings
    return NameMap(
        {
            "model.embeddings.tok_embeddings": "embed",
            "model.embeddings.norm": "embed_norm",
            f"{layer}.attn_norm": "blocks.{i}.norm1",
            f"{layer}.attn.Wqkv": tuple(f"blocks.{{i}}.attention.{name}_proj" for name in "qkv"),
            f"{layer}.attn.Wo": "blocks.{i}.attention.out_proj",
            f"{layer}.mlp_norm": "blocks.{i}.norm2",
            f"{layer}.mlp.Wi": ("blocks.{i}.mlp.gate", "blocks.{i}.mlp.up"),
            f"{layer}.mlp.Wo": "blocks.{i}.mlp.down",
            "model.final_norm": "norm",
            "head.dense": "head.dense",
            "head.norm": "head.norm",
            "decoder.bias": "head.bias",
            last: "head.out",
        },
        ignore=("decoder.weight",) if tied else (),
    )


FAMILY = Family(
    config=ModernBertConfig,
    model=ModernBert,
    names={"transformers": names_of},
    base="model.",
    heads=("head.out",),
    variants={
        "modernbert_base": ModernBertConfig(classifier_pooling="mean"),
        "modernbert_large": ModernBertConfig(
            hidden_size=1024, intermediate_size=2624, num_hidden_layers=28, num_attention_heads=16,
            classifier_pooling="mean",
        ),
    },
)  # fmt: skip
