"""T5, its version 1.1, and Flan-T5: from text to text.

Source: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020; gated
features: Shazeer, "GLU variants improve transformer", 2020; Flan: Chung et al., "Scaling instruction-finetuned language
models", 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models.language._config import NEUTRAL, TRUNK, TextConfig
from phlox.models.language._model import check_tokens, seen_keys
from phlox.models.language._seq2seq import SEQ2SEQ, CrossAttention, CrossBlock, CrossDecoder, Seq2Seq
from phlox.nn import (
    Chain,
    Dense,
    Dropout,
    Embedding,
    GatedMLP,
    KVCache,
    MultiHeadAttention,
    RelativePositionBias,
    RMSNorm,
    TransformerEncoderLayer,
)
from phlox.nn.functional import identity
from phlox.nn.init import normal
from phlox.weights import NameMap


@dataclass(frozen=True, kw_only=True)
class T5Config(TextConfig):
    """A T5.

    Arguments:
        d_model: features of a token.
        d_kv: features of a head.
        d_ff: features within a block.
        num_layers, num_decoder_layers: blocks that read, and that write; None for as many.
        num_heads: heads of attention.
        relative_attention_num_buckets, relative_attention_max_distance: kinds of distances that are told apart, and
            from where on all are one.
        dropout_rate: probability of a zero, in training: in embedded tokens, weights of attention, within and after
            each branch, and in the last features.
        layer_norm_epsilon: of the norms.
        initializer_factor: of the standard deviations of fresh weights.
        feed_forward_proj: the activation of a block, ``"relu"``; or of its gate, ``"gated-gelu"``.
        scale_decoder_outputs: whether the last features are divided by the root of ``d_model`` before they are scored,
            as in the first version; 1.1 and Flan have a head of its own in place of it.
        decoder_start_token_id: the token that begins what is written.

    Raises:
        RangeError: another form of ``feed_forward_proj``.
    """

    model_type: ClassVar[str] = "t5"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        SEQ2SEQ: ("T5ForConditionalGeneration", "T5WithLMHeadModel"),
        TRUNK: "T5EncoderModel",
    }
    neutral: ClassVar[frozenset[str]] = NEUTRAL | {
        "classifier_dropout", "dense_act_fn", "is_gated_act", "n_positions", "output_past",
    }  # fmt: skip

    task: str = SEQ2SEQ
    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    scale_decoder_outputs: bool = True
    decoder_start_token_id: int | None = 0
    pad_token_id: int | None = 0
    eos_token_id: int | tuple[int, ...] | None = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        gate, dash, _ = self.feed_forward_proj.partition("-")
        if dash and gate != "gated":
            got, fix = repr(self.feed_forward_proj)[:100], "look at config.json"
            raise RangeError("feed_forward_proj 'relu' or 'gated-gelu'", got=got, fix=fix, where="T5Config")

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """As every config; a head of its own and features that are not scaled go together where one is not named.

        transformers writes that all heads are tied, whatever they are: there, scaling tells them apart.
        """
        tied = entries.get("tie_word_embeddings") is not False
        scaled = entries.get("scale_decoder_outputs", tied)
        return super().from_dict(
            {**entries, "scale_decoder_outputs": scaled, "tie_word_embeddings": tied and scaled is not False}
        )

    def without_head(self) -> Self:
        """The same for a file without the head, which is then the embedding."""
        return replace(self, tie_word_embeddings=True) if self.task == SEQ2SEQ else self

    @property
    def decoder_depth(self) -> int:
        """Blocks that write."""
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers


class T5Encoder(Module):
    """What reads: embedded tokens (batch, keys) through blocks with one table of distances; (batch, keys, features).

    Arguments:
        config: a ``T5Config``.
        embed: the embedding, which the decoder has too.
    """

    def __init__(self, config: T5Config, embed: Embedding):
        self.embed: Embedding = embed
        self.positions: RelativePositionBias = _positions(config, bidirectional=True)
        self.blocks: list[TransformerEncoderLayer] = [_encoder_block(config) for _ in range(config.num_layers)]
        self.norm: RMSNorm = RMSNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.drop: Any = _dropout(config)

    def hidden_states(self, tokens: jax.Array, *, mask: Any = None, segments: Any = None) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, the last one normalised; (batch, keys, features) each.

        Arguments:
            tokens: (batch, keys).
            mask: (batch, keys), True where a token counts, on whichever side it was padded.
            segments: (batch, keys): tokens see those of their own segment only.

        Raises:
            ShapeError: tokens, a mask or segments of another shape.
        """
        tokens = check_tokens("T5", tokens)
        at = jnp.arange(tokens.shape[1])
        seen = _with_bias(seen_keys("T5", mask, segments, tokens), self.positions.bias(at, at))
        states = [self.drop(self.embed(tokens))]
        for block in self.blocks:
            states.append(block(states[-1], mask=seen))
        return (*states[:-1], self.drop(self.norm(states[-1])))

    def __call__(self, tokens: jax.Array, *, mask: Any = None, segments: Any = None) -> jax.Array:
        return self.hidden_states(tokens, mask=mask, segments=segments)[-1]


class T5Decoder(CrossDecoder):
    """What writes: embedded tokens (batch, time) through blocks that look at a memory; (batch, time, features).

    Arguments:
        config: a ``T5Config``.
        embed: the embedding, which the encoder has too.
    """

    def __init__(self, config: T5Config, embed: Embedding):
        self.embed = embed
        self.positions: RelativePositionBias = _positions(config, bidirectional=False)
        self.blocks = [_decoder_block(config) for _ in range(config.decoder_depth)]
        self.norm = RMSNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.drop: Any = _dropout(config)

    def start(self, tokens: jax.Array, cache: KVCache | None) -> jax.Array:
        return self.drop(self.embed(tokens))

    def seen(self, tokens: jax.Array, mask: Any, segments: Any, cache: KVCache | None) -> jax.Array:
        at = jnp.arange(tokens.shape[1])
        if cache is None:
            return _with_bias(super().seen(tokens, mask, segments, cache), self.positions.bias(at, at))
        return self.positions.bias(cache.position[:, None] + at, jnp.arange(cache.length))

    def end(self, x: jax.Array) -> jax.Array:
        return self.drop(self.norm(x))


class T5(Seq2Seq):
    """A T5 for tokens (batch, keys) and decoder tokens (batch, time); scores (batch, time, vocabulary) of the next one.

    For ``"feature-extraction"`` it is the encoder alone: features (batch, keys, features).

    Arguments:
        config: a ``T5Config``.

    Source: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020.

    >>> import jax.numpy as jnp, phlox as px
    >>> config = px.models.T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    >>> model = px.models.T5(config)
    >>> model(jnp.array([[1, 2, 3, 4]]), model.shift_right(jnp.array([[5, 6, 7]]))).shape
    (1, 3, 50)
    """

    config: T5Config
    encoder: Any
    decoder: Any
    head: Any

    def __init__(self, config: T5Config):
        self.config = config
        factor = config.initializer_factor
        self.embed: Embedding = Embedding(config.vocab_size, config.d_model, init=normal(std=factor))
        self.encoder = T5Encoder(config, self.embed)
        self.decoder = T5Decoder(config, self.embed) if config.task == SEQ2SEQ else None
        own = config.task == SEQ2SEQ and not config.tie_word_embeddings
        self.head = Dense(config.d_model, config.vocab_size, bias=False, init=normal(std=factor)) if own else None

    def parts(self) -> tuple[str, ...]:
        """The embedding; of the encoder and the decoder the table of distances, each block, and the norm; the head."""
        sides = {"encoder": self.encoder} | ({} if self.decoder is None else {"decoder": self.decoder})
        found = [
            f"{name}.{part}"
            for name, side in sides.items()
            for part in ("positions", *(f"blocks.{i}" for i in range(len(side.blocks))), "norm")
        ]
        return ("embed", *found, *(("head",) if self.head is not None else ()))

    def scores(self, features: jax.Array) -> jax.Array:
        """Scores (..., vocabulary) of the next token, from the decoder's last features (..., features)."""
        if self.config.scale_decoder_outputs:
            features = features * self.config.d_model**-0.5
        return self.embed.attend(features) if self.head is None else self.head(features)


def _with_bias(seen: jax.Array | None, bias: jax.Array) -> jax.Array:
    """Biases (heads, time, keys), with what is not seen at -inf: attention adds them to its scores."""
    if seen is None:
        return bias[None]
    return bias + seen if jnp.issubdtype(seen.dtype, jnp.floating) else jnp.where(seen, bias, -jnp.inf)


def _positions(config: T5Config, *, bidirectional: bool) -> RelativePositionBias:
    return RelativePositionBias(
        config.num_heads, buckets=config.relative_attention_num_buckets, bidirectional=bidirectional,
        max_distance=config.relative_attention_max_distance, init=_draw(config, config.d_model),
    )  # fmt: skip


def _encoder_block(config: T5Config) -> TransformerEncoderLayer:
    block = TransformerEncoderLayer(
        config.d_model, config.num_heads, norm_first=True, norm=RMSNorm, eps=config.layer_norm_epsilon,
        mlp=_mlp(config), **_options(config),
    )  # fmt: skip
    _draw_ends(block.attention, config)
    return block


def _decoder_block(config: T5Config) -> CrossBlock:
    own = MultiHeadAttention(config.d_model, config.num_heads, causal=True, **_options(config))
    cross = CrossAttention(config.d_model, config.num_heads, **_options(config))
    for attention in (own, cross):
        _draw_ends(attention, config)
    norm = partial(RMSNorm, config.d_model, eps=config.layer_norm_epsilon)
    return CrossBlock(norm, own, cross, _mlp(config), dropout=config.dropout_rate)


def _options(config: T5Config) -> dict[str, Any]:
    """Of attention: no biases, and no scaling of the scores, for which fresh queries are smaller."""
    draw = _draw(config, config.d_model)
    return {"head_dim": config.d_kv, "scale": 1.0, "bias": False, "dropout": config.dropout_rate, "init": draw}


def _draw_ends(attention: MultiHeadAttention, config: T5Config) -> None:
    """Draw the maps of attention whose standard deviation is another than that of keys and values."""
    width, inner = config.d_model, config.num_heads * config.d_kv
    attention.q_proj = Dense(width, inner, bias=False, init=_draw(config, width * config.d_kv))
    attention.out_proj = Dense(inner, width, bias=False, init=_draw(config, inner))


def _mlp(config: T5Config) -> Any:
    """Features of a block: two maps, or three of which one is a gate."""
    gated, _, name = config.feed_forward_proj.rpartition("-")
    act = activation("gelu_new" if gated and name == "gelu" else name, "T5Config.feed_forward_proj")
    draw, last = _draw(config, config.d_model), _draw(config, config.d_ff)
    back = Dense(config.d_ff, config.d_model, bias=False, init=last)
    if not gated:
        return Chain(Dense(config.d_model, config.d_ff, act, bias=False, init=draw), _dropout(config), back)
    made = GatedMLP(config.d_model, config.d_ff, act, dropout=config.dropout_rate, init=draw)
    made.down = back
    return made


def _draw(config: T5Config, inputs: int) -> Any:
    return normal(std=config.initializer_factor * inputs**-0.5)


def _dropout(config: T5Config) -> Any:
    return Dropout(config.dropout_rate) if config.dropout_rate else identity


def names_of(config: T5Config) -> NameMap:
    """What transformers calls the arrays of a T5."""
    whole, tied = config.task == SEQ2SEQ, config.tie_word_embeddings
    return NameMap(
        {
            "shared": "embed",
            **_side("encoder", config, cross=False),
            **(_side("decoder", config, cross=True) if whole else {}),
            "lm_head": "head",
        },
        ignore=(
            "encoder.embed_tokens.weight",
            "decoder.embed_tokens.weight",
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
            *(["lm_head.weight"] if tied or not whole else []),
            *([] if whole else ["decoder.*"]),
        ),
    )


def _side(side: str, config: T5Config, *, cross: bool) -> dict[str, Any]:
    """The names of an encoder, or of a decoder, whose blocks look at a memory in between."""
    theirs, ours = f"{side}.block.{{i}}.layer", f"{side}.blocks.{{i}}"
    maps = {"wi_0": "gate", "wi_1": "up", "wo": "down"}
    if not config.feed_forward_proj.startswith("gated-"):
        maps = {"wi": "layers.0", "wo": "layers.2"}
    last = 2 if cross else 1
    attentions = {"0.SelfAttention": "attention"} | ({"1.EncDecAttention": "cross"} if cross else {})
    ends = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
    return {
        f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias": f"{side}.positions",
        **{f"{theirs}.{i}.layer_norm": f"{ours}.norm{i + 1}" for i in range(last + 1)},
        **{f"{theirs}.{a}.{x}": f"{ours}.{b}.{y}" for a, b in attentions.items() for x, y in ends.items()},
        **{f"{theirs}.{last}.DenseReluDense.{x}": f"{ours}.mlp.{y}" for x, y in maps.items()},
        f"{side}.final_layer_norm": f"{side}.norm",
    }


_SIZES = {
    "small": {},
    "base": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
    "3b": {"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_layers": 24, "num_heads": 32},
    "11b": {"d_model": 1024, "d_kv": 128, "d_ff": 65536, "num_layers": 24, "num_heads": 128},
}
_SIZES_1_1 = {
    "small": {"d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "base": {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_ff": 2816, "num_layers": 24, "num_heads": 16},
    "xl": {"d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    "xxl": {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
}
_UNTIED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "scale_decoder_outputs": False}
FAMILY = Family(
    config=T5Config,
    model=T5,
    names={"transformers": names_of},
    variants={
        **{f"t5_{name}": T5Config(**sizes) for name, sizes in _SIZES.items()},
        **{
            f"{prefix}_{name}": T5Config(**sizes, **_UNTIED)
            for prefix in ("t5_v1_1", "flan_t5")
            for name, sizes in _SIZES_1_1.items()
        },
    },
)
