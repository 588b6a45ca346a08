"""Whisper: speech to text, translated or not, in many languages.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, State, describe, param_dtype
from phlox.models._activations import activation
from phlox.models._family import Family
from phlox.models._model import Model
from phlox.models.language._config import NEUTRAL, TRUNK
from phlox.models.language._model import check_tokens, seen_keys
from phlox.models.language._seq2seq import CrossAttention, Kept, Memory
from phlox.models.speech._blocks import DecoderBlock, EncoderBlock, LayerDrop, dropped, mlp
from phlox.models.speech._config import CLASSIFICATION, RECOGNITION, SpeechConfig
from phlox.models.speech._head import HEAD_NAMES, ClassHead
from phlox.models.speech._spans import SpecAugment
from phlox.nn import Cache, Chain, Conv, Dense, Embedding, LayerNorm, MultiHeadAttention, PositionEmbedding
from phlox.nn import functional as F
from phlox.nn.init import normal
from phlox.weights import NameMap

A = TypeVar("A", bound=MultiHeadAttention)


@dataclass(frozen=True, kw_only=True)
class WhisperConfig(SpeechConfig):
    """A Whisper.

    Arguments:
        num_mel_bins: bands of a frame.
        d_model: features of a frame and of a token.
        encoder_layers, decoder_layers: blocks.
        encoder_attention_heads, decoder_attention_heads: heads of attention.
        encoder_ffn_dim, decoder_ffn_dim: features within a block.
        encoder_layerdrop, decoder_layerdrop: probability that a block is skipped, in training.
        activation_function: the activation within a block.
        dropout, attention_dropout, activation_dropout: probabilities of zeroing features at the end of a branch,
            weights of attention, and features within a block, in training.
        init_std: standard deviation of fresh weights.
        max_source_positions: steps of the longest recording, of two frames each.
        max_target_positions: tokens of the longest text.
        decoder_start_token_id: what the decoder begins with.

    ``"audio-classification"`` is the encoder with a head. The others are those of models of speech.
    """

    model_type: ClassVar[str] = "whisper"
    architectures: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        RECOGNITION: "WhisperForConditionalGeneration",
        CLASSIFICATION: "WhisperForAudioClassification",
        TRUNK: "WhisperModel",
    }
    neutral: ClassVar[frozenset[str]] = (NEUTRAL - {"decoder_start_token_id"}) | {
        "alignment_heads", "forced_decoder_ids", "hidden_size", "median_filter_width", "num_hidden_layers",
        "scale_embedding",
    }  # fmt: skip

    vocab_size: int = 51865
    pad_token_id: int | None = 50257
    bos_token_id: int | None = 50257
    eos_token_id: int | tuple[int, ...] | None = 50257
    decoder_start_token_id: int = 50258
    num_mel_bins: int = 80
    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    decoder_layers: int = 4
    decoder_attention_heads: int = 6
    decoder_ffn_dim: int = 1536
    encoder_layerdrop: float = 0.0
    decoder_layerdrop: float = 0.0
    activation_function: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    init_std: float = 0.02
    max_source_positions: int = 1500
    max_target_positions: int = 448
    apply_spec_augment: bool = False

    def without_head(self) -> Self:
        """The same for the trunk alone, as a file may hold it; a head that is the embedding has nothing of its own."""
        return self if self.task == RECOGNITION and self.tie_word_embeddings else self.with_task(TRUNK)


class WhisperEncoder(Module):
    """Frames (batch, frames, mels) to a memory (batch, frames / 2, features) that a decoder reads.

    Two convolutions, waves that tell the places apart, blocks, a norm.
    """

    mels: int
    longest: int
    conv1: Conv
    conv2: Conv
    places: Places
    drop: Any
    blocks: list[EncoderBlock]
    layer_drop: LayerDrop
    norm: LayerNorm

    def __init__(self, config: WhisperConfig):
        dim, draw = config.d_model, normal(std=config.init_std)
        self.mels, self.longest = config.num_mel_bins, 2 * config.max_source_positions
        self.conv1 = Conv(3, config.num_mel_bins, dim, F.gelu, padding=1, init=draw)
        self.conv2 = Conv(3, dim, dim, F.gelu, stride=2, padding=1, init=draw)
        self.places = Places(config.max_source_positions, dim)
        self.drop = dropped(config.dropout)
        self.blocks = [_encoder_block(config) for _ in range(config.encoder_layers)]
        self.layer_drop = LayerDrop(config.encoder_layerdrop)
        self.norm = LayerNorm(dim)

    def hidden_states(self, features: jax.Array) -> tuple[jax.Array, ...]:
        """What stands before the first block and after each, the last one normalised."""
        features = jnp.asarray(features) if isinstance(features, list | tuple) else features
        if jnp.ndim(features) != 3 or features.shape[2] != self.mels or features.shape[1] > self.longest:
            expected = f"features (batch, at most {self.longest} frames, {self.mels} mels)"
            raise ShapeError(expected, got=describe(features), fix=self._cure(features))
        states = [self.drop(self.places(self.conv2(self.conv1(features))))]
        for block in self.blocks:
            states.append(self.layer_drop(states[-1], block(states[-1])))
        return (*states[:-1], self.norm(states[-1]))

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.hidden_states(features)[-1]

    def _cure(self, features: Any) -> str:
        if jnp.ndim(features) == 2:
            return "add a batch axis: features[None]"
        if jnp.ndim(features) == 3 and features.shape[1] == self.mels:
            return "move the mels to the last axis: jnp.moveaxis(features, 1, -1)"
        return "cut the recording, and take as many bands of mel as config.num_mel_bins"


class Places(Module):
    r"""Add waves of the place that stay as they are: $\sin(t / 10^{4 i / (d/2 - 1)})$, then the cosines."""

    weight: State  # (places, dim)

    def __init__(self, places: int, dim: int):
        angles = np.arange(places)[:, None] * 10000.0 ** -(np.arange(dim // 2) / max(dim // 2 - 1, 1))
        self.weight = jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), param_dtype())

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.weight[: x.shape[1]].astype(x.dtype)


class WhisperDecoder(Module):
    """Tokens (batch, time) and a memory to features (batch, time, features); learned positions, blocks, a norm."""

    embed: Embedding
    positions: PositionEmbedding
    drop: Any
    blocks: list[DecoderBlock]
    layer_drop: LayerDrop
    norm: LayerNorm

    def __init__(self, config: WhisperConfig):
        dim, draw = config.d_model, normal(std=config.init_std)
        self.embed = Embedding(config.vocab_size, dim, padding_idx=config.pad_token_id, init=draw)
        self.positions = PositionEmbedding(config.max_target_positions, dim, init=draw)
        self.drop = dropped(config.dropout)
        self.blocks = [_decoder_block(config) for _ in range(config.decoder_layers)]
        self.layer_drop = LayerDrop(config.decoder_layerdrop)
        self.norm = LayerNorm(dim)

    def remember(self, memory: jax.Array) -> tuple[Kept, ...]:
        """Keys and values of a memory (batch, places, features) for each block."""
        return tuple(block.cross.remember(memory) for block in self.blocks)

    def hidden_states(
        self,
        tokens: jax.Array,
        memory: Memory,
        *,
        mask: Any = None,
        lengths: Any = None,
        cache: Sequence[Cache] | None = None,
    ) -> tuple[jax.Array, ...]:
        """What stands before the first block and after each, the last one normalised; options are ``decode``'s."""
        where, tokens = "Whisper.decode", check_tokens("Whisper", tokens)
        if cache is not None and mask is not None:
            fix = "pad on the right, and pass lengths= in place of it"
            raise RangeError("no mask beside a cache", got="both", fix=fix, where=where)
        seen, start = seen_keys(where, mask, None, tokens), cache[0].position if cache else 0
        states = [self.drop(self.positions(self.embed(tokens), offset=start))]
        kept = memory if isinstance(memory, tuple) else self.remember(memory)
        if len(kept) != len(self.blocks):
            expected, fix = f"a memory for {len(self.blocks)} blocks", "make it by remember(memory) of this model"
            raise RangeError(expected, got=f"one for {len(kept)}", fix=fix, where=where)
        for block, own, held in zip(self.blocks, kept, cache or [None] * len(self.blocks), strict=True):
            after = block(states[-1], own, mask=seen, lengths=lengths, cache=held)
            states.append(self.layer_drop(states[-1], after))
        return (*states[:-1], self.norm(states[-1]))


class WhisperStates(NamedTuple):
    """What stands in a Whisper between its blocks; the last of each is normalised."""

    encoder: tuple[jax.Array, ...]
    """(batch, places, features) before the first block and after each."""
    decoder: tuple[jax.Array, ...]
    """(batch, time, features) before the first block and after each; none for classes of recordings."""


class Whisper(Model):
    """A Whisper for log-mel frames (batch, frames, mels) and tokens (batch, time); scores of the next token.

    To write step by step, ``memory = model.remember(model.encoder(features))`` is computed once, and
    ``model.decode(tokens, memory, cache=cache)`` gives scores of the new tokens, with a cache by ``init_cache``.

    Arguments:
        config: a ``WhisperConfig``. Its task says what a call gives: scores of tokens, features of tokens, or scores
            (batch, classes) of recordings, for which it takes no tokens.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022.

    >>> import jax.numpy as jnp, phlox as px
    >>> heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    >>> model = px.models.Whisper(px.models.WhisperConfig(vocab_size=60, pad_token_id=0, d_model=16, **heads))
    >>> memory = model.remember(model.encoder(jnp.zeros((1, 100, 80))))
    >>> model.decode(jnp.array([[1, 2, 3]]), memory, cache=model.init_cache(1, 20)).shape
    (1, 3, 60)
    """

    config: WhisperConfig
    encoder: WhisperEncoder
    decoder: WhisperDecoder | None
    head: Any
    """What makes scores of the last features; None for nothing, or where the embedding does it."""

    def __init__(self, config: WhisperConfig):
        self.config = config
        whole = config.task != CLASSIFICATION
        self.augment: Any = SpecAugment(config) if whole else F.identity
        self.encoder = WhisperEncoder(config)
        self.decoder = WhisperDecoder(config) if whole else None
        self.head = _head(config)

    @property
    def longest(self) -> int:
        """Tokens that the decoder has places for."""
        return self.config.max_target_positions

    def hidden_states(self, features: jax.Array, tokens: Any = None, *, mask: Any = None) -> WhisperStates:
        """What stands between the blocks, for frames (batch, frames, mels) and tokens (batch, time).

        Arguments:
            mask: (batch, time), True where a token counts.

        Raises:
            RangeError: tokens for classes of recordings, or none elsewhere.
            ShapeError: frames, tokens or a mask of another shape.
        """
        encoded = self.encoder.hidden_states(self.augment(features))
        if self.config.task == CLASSIFICATION and tokens is None:
            return WhisperStates(encoded, ())
        decoder = self._decoder("hidden_states")
        if tokens is None:
            fix = "pass what is written so far too, from config.decoder_start_token_id; model.encoder(features) listens"
            raise RangeError("tokens (batch, time)", got="features alone", fix=fix, where="Whisper")
        return WhisperStates(encoded, decoder.hidden_states(tokens, encoded[-1], mask=mask))

    def __call__(self, features: jax.Array, tokens: Any = None, *, mask: Any = None) -> jax.Array:
        states = self.hidden_states(features, tokens, mask=mask)
        if self.config.task == CLASSIFICATION:
            return states.encoder[-1] if self.head is None else self.head(states.encoder[-1], states.encoder)
        return self.scores(states.decoder[-1])

    def remember(self, memory: jax.Array) -> tuple[Kept, ...]:
        """Keys and values of what the encoder gave, (batch, places, features), for each block: computed once."""
        return self._decoder("remember").remember(memory)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> list[Cache]:
        """An empty cache for each block of the decoder, of ``batch`` texts of at most ``length`` tokens."""
        blocks = self._decoder("init_cache").blocks
        return [block.attention.init_cache(batch, length, dtype=dtype) for block in blocks]

    def decode(
        self,
        tokens: jax.Array,
        memory: Memory,
        *,
        mask: Any = None,
        lengths: Any = None,
        cache: Sequence[Cache] | None = None,
    ) -> jax.Array:
        """Scores (batch, time, vocabulary) of the token after each, or features where the task is that.

        Arguments:
            tokens: (batch, time).
            memory: what ``encoder`` gave, (batch, places, features), or what ``remember`` made of it.
            mask: (batch, time), True where a token counts.
            lengths: (batch,), tokens that count, from the left: what a cache takes.
            cache: what ``init_cache`` made; tokens then stand behind what it holds, and are added to it.

        Raises:
            RangeError: a mask beside a cache; a memory of another model; a model for classes of recordings.
            ShapeError: tokens or a mask of another shape, or more tokens than there are positions.
        """
        options = {"mask": mask, "lengths": lengths, "cache": cache}
        return self.scores(self._decoder("decode").hidden_states(tokens, memory, **options)[-1])

    def scores(self, features: jax.Array) -> jax.Array:
        """What the head says of the decoder's last features (..., features)."""
        if self.head is None and self.decoder is not None and self.config.task == RECOGNITION:
            return self.decoder.embed.attend(features)
        return features if self.head is None else self.head(features)

    def parts(self) -> tuple[str, ...]:
        """The convolutions, places and blocks of the encoder, those of the decoder, and the head."""
        encoder = ("conv1", "conv2", "places", *(f"blocks.{i}" for i in range(len(self.encoder.blocks))), "norm")
        blocks = () if self.decoder is None else (f"blocks.{i}" for i in range(len(self.decoder.blocks)))
        decoder = () if self.decoder is None else ("embed", "positions", *blocks, "norm")
        head = () if self.head is None else ("head",)
        return (*(f"encoder.{part}" for part in encoder), *(f"decoder.{part}" for part in decoder), *head)

    def _decoder(self, method: str) -> WhisperDecoder:
        """The decoder.

        Raises:
            RangeError: a model without one.
        """
        if self.decoder is None:
            fix = f"call it with features alone, or build it with task={RECOGNITION!r}"
            raise RangeError("a Whisper with a decoder", got=self.config.task, fix=fix, where=f"Whisper.{method}")
        return self.decoder


def _encoder_block(config: WhisperConfig) -> EncoderBlock:
    attention = _attention(MultiHeadAttention, config, config.encoder_attention_heads)
    features = _features(config, config.encoder_ffn_dim)
    return EncoderBlock(config.d_model, attention, features, eps=1e-5, dropout=config.dropout, norm_first=True)


def _decoder_block(config: WhisperConfig) -> DecoderBlock:
    own = _attention(MultiHeadAttention, config, config.decoder_attention_heads, causal=True)
    cross = _attention(CrossAttention, config, config.decoder_attention_heads)
    return DecoderBlock(
        config.d_model, own, cross, _features(config, config.decoder_ffn_dim), dropout=config.dropout
    )  # fmt: skip


def _attention(cls: type[A], config: WhisperConfig, heads: int, **options: Any) -> A:
    """Attention whose keys have no bias: every query's scores would move alike."""
    dim, draw = config.d_model, normal(std=config.init_std)
    made = cls(dim, heads, dropout=config.attention_dropout, init=draw, **options)
    made.k_proj = Dense(dim, dim, bias=False, init=draw)
    return made


def _features(config: WhisperConfig, hidden: int) -> Chain:
    act = activation(config.activation_function, "WhisperConfig.activation_function")
    return mlp(config.d_model, hidden, act, normal(std=config.init_std), dropout=config.activation_dropout)


def _head(config: WhisperConfig) -> Any:
    """The head for a config's task: None for features, and where the embedding scores tokens."""
    if config.task == CLASSIFICATION:
        states = config.encoder_layers + 1 if config.use_weighted_layer_sum else None
        return ClassHead(
            config.d_model, config.classifier_proj_size, config.classes, states=states, std=config.init_std
        )  # fmt: skip
    if config.task == TRUNK or config.tie_word_embeddings:
        return None
    return Dense(config.d_model, config.vocab_size, bias=False, init=normal(std=config.init_std))


def whisper_names(config: WhisperConfig, *, whole: bool = False) -> NameMap:
    """What transformers calls the arrays; a model for classes of recordings is an encoder without a prefix there.

    With ``whole``, its encoder is called as in a file that holds the decoder too.
    """
    alone = config.task == CLASSIFICATION
    base = "" if alone and not whole else "model."
    there, here = f"{base}encoder.layers.{{i}}", "encoder.blocks.{i}"
    layer, block = f"{base}decoder.layers.{{i}}", "decoder.blocks.{i}"
    return NameMap(
        {
            f"{base}encoder.conv1": "encoder.conv1",
            f"{base}encoder.conv2": "encoder.conv2",
            f"{base}encoder.embed_positions": "encoder.places",
            **_maps(f"{there}.self_attn", f"{here}.attention"),
            f"{there}.self_attn_layer_norm": f"{here}.norm1",
            f"{there}.fc1": f"{here}.mlp.layers.fc1",
            f"{there}.fc2": f"{here}.mlp.layers.fc2",
            f"{there}.final_layer_norm": f"{here}.norm2",
            f"{base}encoder.layer_norm": "encoder.norm",
            f"{base}decoder.embed_tokens": "decoder.embed",
            f"{base}decoder.embed_positions": "decoder.positions",
            **_maps(f"{layer}.self_attn", f"{block}.attention"),
            f"{layer}.self_attn_layer_norm": f"{block}.norm1",
            **_maps(f"{layer}.encoder_attn", f"{block}.cross"),
            f"{layer}.encoder_attn_layer_norm": f"{block}.norm2",
            f"{layer}.fc1": f"{block}.mlp.layers.fc1",
            f"{layer}.fc2": f"{block}.mlp.layers.fc2",
            f"{layer}.final_layer_norm": f"{block}.norm3",
            f"{base}decoder.layer_norm": "decoder.norm",
            **HEAD_NAMES,
            "proj_out": "head",
        },
        ignore=(
            *(("proj_out.weight",) if alone or config.tie_word_embeddings else ()),
            *((f"{base}decoder.*",) if alone else ()),
        ),
    )


def _maps(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{name}_proj": f"{ours}.{name}_proj" for name in ("q", "k", "v", "out")}


def _variant(dim: int, heads: int, layers: int, **options: Any) -> WhisperConfig:
    same = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * dim}.items()
    }
    return WhisperConfig(**{**same, "d_model": dim, **options})


_SIZES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12), "medium": (1024, 16, 24)}
_ENGLISH = {"vocab_size": 51864, "pad_token_id": 50256, "eos_token_id": 50256, "decoder_start_token_id": 50257}
_V3 = {"vocab_size": 51866, "num_mel_bins": 128, "pad_token_id": 50256}
FAMILY = Family(
    config=WhisperConfig,
    model=Whisper,
    names={"transformers": whisper_names, "transformers_whole": partial(whisper_names, whole=True)},
    base="model.",
    heads=("head.classifier",),
    variants={
        **{f"whisper_{name}": _variant(*sizes) for name, sizes in _SIZES.items()},
        **{f"whisper_{name}.en": _variant(*sizes, **_ENGLISH) for name, sizes in _SIZES.items()},
        "whisper_large_v2": _variant(1280, 20, 32),
        "whisper_large_v3": _variant(1280, 20, 32, **_V3),
        "whisper_large_v3_turbo": _variant(1280, 20, 32, **_V3, decoder_layers=4),
    },
)
