"""Encoder-decoder models as what generates: the encoder reads once, the decoder writes from what it remembers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, RangeError, ShapeError, State, describe, jit
from phlox.models.generation._prompts import Prompts, prompts_of
from phlox.models.generation._settings import WHERE


class Recalled(Module):
    """The cache of a decoder: of what it wrote, and what its attention to the memory takes, by text."""

    own: list[Any]
    memory: State
    mask: State | None

    def __init__(self, own: list[Any], memory: Any, mask: Any):
        self.own, self.memory, self.mask = own, memory, mask


class Writer(Module):
    """A decoder with its memory, as a language model: ``features`` are its scores already."""

    def __init__(self, model: Any, memory: Any, mask: Any):
        self.model: Any = model
        self.memory: Any = memory
        self.mask: Any = mask

    @property
    def config(self) -> Any:
        """The model's."""
        return self.model.config

    @property
    def longest(self) -> int | None:
        """Tokens that the decoder has places for."""
        return getattr(self.model, "longest", None)

    def init_cache(self, batch: int, length: int, **options: Any) -> Recalled:
        """An empty cache of what is written, with the memory."""
        return Recalled(self.model.init_cache(batch, length), self.memory, self.mask)

    def features(self, tokens: jax.Array, *, lengths: Any = None, cache: Recalled) -> jax.Array:
        """Scores (batch, time, vocabulary) of the next token."""
        masked = {} if cache.mask is None else {"memory_mask": cache.mask}
        return self.model.decode(tokens, cache.memory, **masked, lengths=lengths, cache=cache.own)

    def scores(self, features: jax.Array) -> jax.Array:
        """Themselves."""
        return features


def writes_from_memory(model: Any) -> bool:
    """Whether a model reads with an encoder and writes with a decoder."""
    return all(callable(getattr(model, name, None)) for name in ("encoder", "decode", "remember"))


def read(model: Any, given: Any, lengths: Any, mask: Any, begin: Any) -> tuple[Writer, Prompts]:
    """A decoder that remembers what it shall write of, and what its texts begin with.

    Raises:
        RangeError: lengths or a mask beside frames of sound, or no token to begin with.
        ShapeError, DtypeError: as prompts.
    """
    if np.ndim(given) == 3:  # frames of sound
        if lengths is not None or mask is not None:
            fix = "leave it out: recordings are padded before their spectra"
            raise RangeError("frames alone", got="lengths or a mask", fix=fix, where=WHERE)
        kept, counts, batch = _remember(model, jnp.asarray(given), None), None, len(given)
    else:
        sources = prompts_of(given, lengths, mask, model.config.vocab_size)
        counts = jnp.arange(sources.tokens.shape[1])[None] < jnp.asarray(sources.lengths)[:, None]
        kept, batch = _remember(model, jnp.asarray(sources.tokens), counts), len(sources.lengths)
    return Writer(model, kept, counts), _begun(model.config, begin, batch)


@jit
def _remember(model: Any, given: jax.Array, mask: Any) -> Any:
    return model.remember(model.encoder(given) if mask is None else model.encoder(given, mask=mask))


def _begun(config: Any, begin: Any, batch: int) -> Prompts:
    """What texts begin with: what is given for all or for each, else the config's token."""
    begin = getattr(config, "decoder_start_token_id", None) if begin is None else begin
    if begin is None:
        fix = "pass begin=, the token or tokens that a text of the decoder begins with"
        raise RangeError("a token to begin with", got="none in the config", fix=fix, where=WHERE)
    tokens = np.atleast_1d(np.asarray(begin))
    tokens = np.broadcast_to(tokens, (batch, *tokens.shape)) if tokens.ndim == 1 else tokens
    if len(tokens) != batch:
        fix = "pass one row for each"
        raise ShapeError(f"begin for {batch} texts", got=describe(tokens), fix=fix, where=WHERE)
    return prompts_of(tokens, None, None, config.vocab_size)
