"""What runs on the device: tokens into slots, scores out of them, slots copied. Each is one program for a few sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import Module, jit
from phlox.models import at_token
from phlox.nn import SlotCache
from phlox.serving.language._memory import Sizes
from phlox.serving.language._sampling import NOTHING, Rules, Sampled, sample
from phlox.serving.language._writing import NO_KEY, Writing


class Slots(Module):
    """Keys and values of all blocks, for all slots."""

    blocks: list[SlotCache]

    def __init__(self, sizes: Sizes):
        heads = zip(sizes.heads, sizes.dtypes, strict=True)
        self.blocks = [SlotCache(sizes.slots, sizes.room, *one, dtype=dtype) for one, dtype in heads]


@jit
def advance(model: Any, slots: Slots, tokens: Any, at: Any, position: Any, lengths: Any) -> jax.Array:
    """Put tokens into slots; scores (batch, vocabulary) of what follows the last that counts.

    Shapes:
        tokens: (batch, time); at: (batch,), which slots; position: (batch,), how many tokens each holds; lengths:
        (batch,), how many of the new ones count.
    """
    rows = [block.rows(at, position) for block in slots.blocks]
    features = model.features(tokens, lengths=lengths, cache=rows)
    return model.scores(at_token(features, jnp.maximum(lengths - 1, 0)))


@jit
def copy(slots: Slots, source: Any, target: Any, count: Any) -> None:
    """Let a slot begin as another one does."""
    for block in slots.blocks:
        block.copy(source, target, count)


@jit
def embed(model: Any, tokens: Any, mask: Any) -> jax.Array:
    """The mean of a text's features, of length 1."""
    return model.encode(tokens, mask=mask)


class Row(NamedTuple):
    """One more token of a text: its slot, the token, and how many the slot holds."""

    slot: int
    token: int
    filled: int


class Programs:
    """A model's slots, and the programs on them.

    Arguments:
        models: by the adapters that they have in use; None is the model itself.
        sizes: of the slots.
        widths: how many texts are computed at once, rising.
        chunk: tokens of a prompt that are computed at once, at most.
    """

    def __init__(self, models: Mapping[str | None, Any], sizes: Sizes, widths: Sequence[int], chunk: int):
        self.models, self.sizes, self.widths = models, sizes, tuple(widths)
        self.chunks = chunk_sizes(chunk)
        self.vocabulary: int = models[None].config.vocab_size
        self.slots = Slots(sizes)
        self._nothing = {width: jax.device_put(self._adjustments(width)) for width in {1, *self.widths}}

    def reset(self) -> None:
        """Empty slots, after a call that failed has taken them."""
        self.slots = Slots(self.sizes)

    def warm(self) -> None:
        """Compile everything, before the first text waits for it."""
        for model in self.models.values():
            for width, time in [*((1, size) for size in self.chunks), *((width, 1) for width in self.widths)]:
                none = np.zeros(width, np.int32)
                scores = advance(model, self.slots, np.zeros((width, time), np.int32), none, none, none)
                self.sample(scores, [None] * width)
        self.copy(0, 0, 0)

    def feed(self, adapter: str | None, slot: int, tokens: Sequence[int], position: int) -> jax.Array:
        """Put some tokens of a text into its slot; scores (1, vocabulary) of what follows."""
        size = next(size for size in self.chunks if size >= len(tokens))
        row = np.zeros((1, size), np.int32)
        row[0, : len(tokens)] = tokens
        at, filled, count = (np.array([n], np.int32) for n in (slot, position, len(tokens)))
        return advance(self.models[adapter], self.slots, row, at, filled, count)

    def step(self, adapter: str | None, width: int, rows: Sequence[Row]) -> jax.Array:
        """Put one more token into some slots; scores (width, vocabulary), in the order of the rows."""
        at, tokens, filled = np.zeros((3, width), np.int32)
        at[: len(rows)], tokens[: len(rows)], filled[: len(rows)] = np.array(rows, np.int32).T
        counts = (np.arange(width) < len(rows)).astype(np.int32)
        return advance(self.models[adapter], self.slots, tokens[:, None], at, filled, counts)

    def copy(self, source: int, target: int, count: int) -> None:
        """Let a slot begin as another one does."""
        copy(self.slots, np.int32(source), np.int32(target), np.int32(count))

    def sample(self, scores: jax.Array, writings: Sequence[Writing | None]) -> Sampled:
        """The next token of each row of scores; rows of None give any."""
        rules = Rules(*map(np.stack, zip(*(NOTHING if w is None else w.rules for w in writings), strict=True)))
        keys = np.stack([NO_KEY if w is None else w.key for w in writings])
        adjustments: Any = self._nothing[len(writings)]  # there already: a vocabulary for each text takes time to move
        if rules.adjusts.any():
            adjustments = added, seen = self._adjustments(len(writings))
            for row, writing in enumerate(writings):
                if writing is not None and writing.rules.adjusts:
                    writing.put(added[row], seen[row])
        return Sampled(*jax.device_get(tuple(sample(scores, rules, keys, *adjustments))))

    def embed(self, adapter: str | None, tokens: Sequence[int]) -> np.ndarray:
        """A vector (features,) of a text."""
        size = 1 << max(4, (len(tokens) - 1).bit_length())
        size = min(size, max(len(tokens), self.sizes.room))
        row, mask = np.zeros((1, size), np.int32), np.arange(size)[None] < len(tokens)
        row[0, : len(tokens)] = tokens
        return np.asarray(embed(self.models[adapter], row, mask)[0])

    def _adjustments(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        shape = width, self.vocabulary
        return np.zeros(shape, np.float32), np.zeros(shape, bool)


def chunk_sizes(most: int) -> tuple[int, ...]:
    """The sizes that parts of prompts are padded to: powers of two from 16, and the largest.

    >>> chunk_sizes(100)
    (16, 32, 64, 100)
    """
    sizes = [16]
    while sizes[-1] < most:
        sizes.append(2 * sizes[-1])
    return (*(size for size in sizes if size < most), most)
