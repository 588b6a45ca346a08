"""Encoder-decoder models: a decoder that looks back at a memory, whose keys and values are computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core import Module, RangeError, ShapeError, describe
from phlox.models.language._model import TextModel, check_tokens, seen_keys
from phlox.nn import Dropout, Embedding, KVCache, MultiHeadAttention
from phlox.nn.functional import identity

SEQ2SEQ = "text2text-generation"

Kept = tuple[jax.Array, jax.Array]
"""Keys and values of a memory for one block, (batch, keys, heads, size) each."""
Memory = jax.Array | tuple[Kept, ...]
"""What an encoder gives, (batch, keys, features), or what ``remember`` makes of it for each block."""


class CrossAttention(MultiHeadAttention):
    """Attention to a memory in two steps: what depends on the memory alone, once, and what each query needs."""

    def remember(self, memory: jax.Array) -> Kept:
        """Keys and values (batch, keys, heads, size) of a memory (batch, keys, features)."""
        keys, values = self.k_proj(memory), self.v_proj(memory)
        rows = (*keys.shape[:2], self.kv_heads, self.head_dim)
        return keys.reshape(rows), values.reshape(rows)

    def recall(self, x: jax.Array, kept: Kept, *, mask: Any = None) -> jax.Array:
        """What x (batch, time, dim) draws from the memory: (batch, time, dim)."""
        queries = self.q_proj(x).reshape(*x.shape[:2], self.heads, self.head_dim)
        y, _ = self._attend(queries, *kept, mask, None, None, None, False)
        return self.out_proj(y.reshape(*x.shape[:2], self.heads * self.head_dim).astype(queries.dtype))


class CrossBlock(Module):
    r"""Attention to what was written, attention to a memory, then features, each after its norm.

    $g = x + D(A(N_1(x))),\; h = g + D(C(N_2(g), m)),\; y = h + D(M(N_3(h)))$

    Shapes:
        x, y: (batch, time, dim).

    Arguments:
        norm: a function without arguments that makes a norm.
        attention: causal, (batch, time, dim) → (batch, time, dim).
        cross: attention to the memory.
        mlp: (..., dim) → (..., dim).
        dropout: probability of a feature to be zeroed at the end of each branch, in training.
    """

    def __init__(
        self,
        norm: Callable[[], Module],
        attention: MultiHeadAttention,
        cross: CrossAttention,
        mlp: Module,
        *,
        dropout: float = 0.0,
    ):
        self.norm1: Any = norm()
        self.attention: MultiHeadAttention = attention
        self.norm2: Any = norm()
        self.cross: CrossAttention = cross
        self.norm3: Any = norm()
        self.mlp: Any = mlp
        self.drop: Any = Dropout(dropout) if dropout else identity

    def __call__(
        self,
        x: jax.Array,
        kept: Kept,
        *,
        mask: Any = None,
        memory_mask: Any = None,
        lengths: Any = None,
        cache: KVCache | None = None,
    ) -> jax.Array:
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, lengths=lengths, cache=cache))
        x = x + self.drop(self.cross.recall(self.norm2(x), kept, mask=memory_mask))
        return x + self.drop(self.mlp(self.norm3(x)))


class CrossDecoder(Module):
    """Blocks that look at a memory, over embedded tokens, and a norm; families build the parts, and all run alike."""

    embed: Embedding
    blocks: list[Any]
    norm: Any

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> list[KVCache]:
        """An empty cache for each block, of ``batch`` texts of at most ``length`` tokens."""
        return [block.attention.init_cache(batch, length, dtype=dtype) for block in self.blocks]

    def remember(self, memory: jax.Array) -> tuple[Kept, ...]:
        """Keys and values of a memory (batch, keys, features) for each block."""
        return tuple(block.cross.remember(memory) for block in self.blocks)

    def start(self, tokens: jax.Array, cache: KVCache | None) -> jax.Array:
        """Tokens as the first block takes them, behind what a cache holds."""
        return self.embed(tokens)

    def seen(self, tokens: jax.Array, mask: Any, segments: Any, cache: KVCache | None) -> jax.Array | None:
        """What attention to the tokens takes as its mask, beside that it is causal."""
        return seen_keys(type(self).__name__, mask, segments, tokens)

    def end(self, x: jax.Array) -> jax.Array:
        """The features of the last block as the head takes them."""
        return self.norm(x)

    def hidden_states(
        self,
        tokens: jax.Array,
        memory: Memory,
        memory_mask: Any = None,
        *,
        mask: Any = None,
        segments: Any = None,
        lengths: Any = None,
        cache: Sequence[KVCache] | None = None,
    ) -> tuple[jax.Array, ...]:
        """What stands after the embedding and after each block, the last one normalised; (batch, time, features) each.

        Arguments:
            tokens: (batch, time).
            memory: what the encoder gave, (batch, keys, features), or what ``remember`` made of it.
            memory_mask: (batch, keys), True where the memory counts; or (batch, 1, time, keys), by token.
            mask: (batch, time), True where a token counts.
            segments: (batch, time): tokens see those of their own segment only.
            lengths: (batch,), tokens that count, from the left: what a cache takes.
            cache: what ``init_cache`` made; tokens then stand behind what it holds, and are added to it.

        Raises:
            RangeError: a mask or segments beside a cache, or a memory or a cache of another number of blocks.
            ShapeError: tokens or a mask of another shape.
        """
        where = type(self).__name__
        tokens = check_tokens(where, tokens)
        if cache is not None and (mask is not None or segments is not None):
            fix = "pad on the right, and pass lengths= in place of it"
            raise RangeError("no mask of the tokens beside a cache", got="both", fix=fix, where=where)
        if cache is not None and len(cache) != len(self.blocks):
            got, fix = f"one for {len(cache)}", "make it by this model's init_cache(batch, length)"
            raise RangeError(f"a cache for {len(self.blocks)} blocks", got=got, fix=fix, where=where)
        kept = self._kept(memory)
        recalled = _memory_mask(where, memory_mask, tokens, kept)
        caches = cache or [None] * len(self.blocks)
        seen = self.seen(tokens, mask, segments, caches[0] if caches else None)
        states = [self.start(tokens, caches[0] if caches else None)]
        for block, own, held in zip(self.blocks, kept, caches, strict=True):
            states.append(block(states[-1], own, mask=seen, memory_mask=recalled, lengths=lengths, cache=held))
        return (*states[:-1], self.end(states[-1]))

    def _kept(self, memory: Memory) -> tuple[Kept, ...]:
        kept = memory if isinstance(memory, tuple) else self.remember(memory)
        if len(kept) != len(self.blocks):
            fix = "make it by remember(memory) of this model"
            expected = f"a memory for {len(self.blocks)} blocks"
            raise RangeError(expected, got=f"one for {len(kept)}", fix=fix, where=type(self).__name__)
        return kept


def _memory_mask(where: str, mask: Any, tokens: jax.Array, kept: tuple[Kept, ...]) -> jax.Array | None:
    """Which keys of the memory each token sees, for attention: (batch, 1, 1 or time, keys); None for all."""
    if mask is None or not kept:
        return None
    batch, keys = kept[0][0].shape[:2]
    found = jnp.asarray(mask).astype(bool)
    if found.shape == (batch, keys):
        return found[:, None, None, :]
    if found.shape != (batch, 1, tokens.shape[1], keys):
        fix = "pass True where the memory counts: the mask that the encoder had"
        raise ShapeError(f"a mask of the memory, ({batch}, {keys})", got=describe(mask), fix=fix, where=where)
    return found


class Seq2Seq(TextModel):
    """An encoder reads, a decoder writes; families build both, and all of them run alike.

    One step of writing is a call of ``decode``:

    - ``memory = model.encoder(tokens, mask=mask)``, and ``memory = model.remember(memory)`` to have its keys and values
      computed but once;
    - ``cache = model.init_cache(batch, length)``;
    - ``scores = model.decode(new_tokens, memory, mask, cache=cache)``, again and again.
    """

    encoder: Any
    decoder: Any
    """What writes; None for the encoder alone."""

    def hidden_states(
        self,
        tokens: jax.Array,
        decoder_tokens: Any = None,
        *,
        mask: Any = None,
        decoder_mask: Any = None,
        segments: Any = None,
        decoder_segments: Any = None,
    ) -> tuple[jax.Array, ...]:
        """What stands in the decoder after its embedding and each block, the last one normalised.

        They are (batch, time, features) each. Without ``decoder_tokens`` it is the same of the encoder.

        Arguments:
            tokens: (batch, keys), what is read.
            decoder_tokens: (batch, time), what is written, from the token that begins it.
            mask: (batch, keys), True where a token counts, on whichever side it was padded.
            decoder_mask: (batch, time), the same of what is written.
            segments: (batch, keys): tokens see those of their own segment only, as texts packed in a row do.
            decoder_segments: (batch, time), the same of what is written.

        Raises:
            RangeError: decoder tokens for an encoder alone; segments of one side only.
            ShapeError: tokens, a mask or segments of another shape.
        """
        where = type(self).__name__
        tokens = check_tokens(where, tokens)
        states = self.encoder.hidden_states(tokens, mask=mask, segments=segments)
        if decoder_tokens is None:
            return states
        self._check_decoder()
        decoder_tokens = check_tokens(where, decoder_tokens)
        seen = _across(where, decoder_tokens, mask, segments, decoder_segments)
        options = {"mask": decoder_mask, "segments": decoder_segments}
        return self.decoder.hidden_states(decoder_tokens, states[-1], seen, **options)

    def __call__(self, tokens: jax.Array, decoder_tokens: Any = None, **options: Any) -> jax.Array:
        """Scores (batch, time, vocabulary) of the next token; of an encoder alone its features (batch, keys, …).

        Options are those of ``hidden_states``.

        Raises:
            RangeError: no decoder tokens, where there is a decoder.
        """
        if self.decoder is not None and decoder_tokens is None:
            fix = "pass them too: model(tokens, model.shift_right(targets)); model.encoder(tokens) reads alone"
            raise RangeError("decoder_tokens (batch, time)", got="tokens alone", fix=fix, where=type(self).__name__)
        x = self.features(tokens, decoder_tokens=decoder_tokens, **options)
        return x if self.decoder is None else self.scores(x)

    def decode(
        self,
        decoder_tokens: jax.Array,
        memory: Memory,
        memory_mask: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        cache: Sequence[KVCache] | None = None,
    ) -> jax.Array:
        """Scores (batch, time, vocabulary) of the next token, from a memory; the arguments are the decoder's."""
        self._check_decoder()
        options = {"mask": mask, "lengths": lengths, "cache": cache}
        return self.scores(self.decoder.hidden_states(decoder_tokens, memory, memory_mask, **options)[-1])

    def remember(self, memory: jax.Array) -> tuple[Kept, ...]:
        """Keys and values of what the encoder gave, (batch, keys, features), for each block: a memory of ``decode``."""
        self._check_decoder()
        return self.decoder.remember(memory)

    def init_cache(self, batch: int, length: int, *, dtype: Any = None) -> list[KVCache]:
        """An empty cache for each block of the decoder, of ``batch`` texts of at most ``length`` tokens."""
        self._check_decoder()
        return self.decoder.init_cache(batch, length, dtype=dtype)

    def shift_right(self, targets: Any) -> jax.Array:
        """What the decoder reads to write targets (batch, time): the token that begins, and all but the last of them.

        Negative targets, which a loss leaves out, become padding.
        """
        targets, config = check_tokens(type(self).__name__, targets), self.config
        pad = 0 if config.pad_token_id is None else config.pad_token_id
        first = pad if config.decoder_start_token_id is None else config.decoder_start_token_id
        begin = jnp.full_like(targets[:, :1], first)
        return jnp.concatenate([begin, jnp.where(targets < 0, pad, targets)[:, :-1]], axis=1)

    def scores(self, features: jax.Array) -> jax.Array:
        """Scores (..., vocabulary) of the next token, from the decoder's last features (..., features)."""
        raise NotImplementedError

    def _check_decoder(self) -> None:
        if self.decoder is None:
            fix = f"build or load it with task={SEQ2SEQ!r}"
            got, where = f"the encoder alone, of task {self.config.task!r}", type(self).__name__
            raise RangeError("a model with a decoder", got=got, fix=fix, where=where)


def _across(where: str, decoder_tokens: jax.Array, mask: Any, segments: Any, decoder_segments: Any) -> Any:
    """Which tokens that were read each one that is written sees: the mask, or (batch, 1, time, keys) by segments."""
    if segments is None and decoder_segments is None:
        return mask
    if segments is None or decoder_segments is None:
        fix = "number the texts on both sides alike"
        raise RangeError("segments and decoder_segments", got="one of them", fix=fix, where=where)
    if jnp.shape(decoder_segments) != decoder_tokens.shape:
        fix = "pass the number of its text for each token that is written"
        expected = f"decoder_segments {decoder_tokens.shape}"
        raise ShapeError(expected, got=describe(decoder_segments), fix=fix, where=where)
    found = (jnp.asarray(decoder_segments)[:, :, None] == jnp.asarray(segments)[:, None, :])[:, None]
    return found if mask is None else found & jnp.asarray(mask).astype(bool)[:, None, None, :]
