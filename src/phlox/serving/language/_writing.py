"""What one text brings to the choice of its tokens: rules, draws, what is added to its scores, what it may say."""

from __future__ import annotations

import secrets
from typing import Any

import jax
import numpy as np

from phlox.core import ShapeError, describe
from phlox.serving.language._asked import Asked
from phlox.serving.language._sampling import BEST, Rules

NO_KEY = np.zeros(2, np.uint32)


def _key(seed: int) -> np.ndarray:
    """The key of ``px.generate`` for the first of its texts."""
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed, impl="threefry2x32"), 1)[0]))


class Writing:
    """How one text's tokens are chosen, from its first to its last.

    Arguments:
        asked: what was asked.
        vocabulary: tokens that there are.
    """

    def __init__(self, asked: Asked, vocabulary: int):
        self.asked, self.vocabulary = asked, vocabulary
        self.key = _key(secrets.randbits(31) if asked.seed is None else asked.seed) if asked.temperature > 0 else NO_KEY
        self.adjusts = bool(
            asked.repetition_penalty != 1 or asked.presence_penalty or asked.frequency_penalty or asked.bias
        )
        self.rules = Rules(
            np.float32(asked.temperature), np.int32(asked.top_k or 0),
            np.float32(1 if asked.top_p is None else asked.top_p), np.float32(asked.min_p or 0),
            np.float32(asked.repetition_penalty), np.int32(self.adjusts or asked.constraint is not None),
            np.int32(asked.logprobs is not None),
        )  # fmt: skip
        self._added, self._seen = self._first() if self.adjusts else (None, None)
        self._new: set[int] = set()
        self._allowed: np.ndarray | None = None

    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        added, seen = np.zeros(self.vocabulary, np.float32), np.zeros(self.vocabulary, bool)
        for token, value in self.asked.bias.items():
            added[token] += value
        seen[list(self.asked.prompt)] = True
        return added, seen

    def prepare(self) -> None:
        """Ask what may come next."""
        if self.asked.constraint is not None:
            self._allowed = self._whole(self.asked.constraint.mask())

    def put(self, added: np.ndarray, seen: np.ndarray) -> None:
        """Write what is added to the scores of this text, and what it has, into rows (vocabulary,)."""
        added[:] = 0 if self._added is None else self._added
        seen[:] = False if self._seen is None else self._seen
        if self._allowed is not None:
            added[~self._allowed] = -np.inf

    def took(self, token: int) -> bool:
        """Take note of a token; whether the text is complete with it."""
        if self._added is not None and self._seen is not None:
            if token not in self._new:
                self._new.add(token)
                self._added[token] -= self.asked.presence_penalty
            self._added[token] -= self.asked.frequency_penalty
            self._seen[token] = True
        if self.asked.constraint is None:
            return False
        self.asked.constraint.take(token)
        return bool(self.asked.constraint.done)

    def told(self, logprob: Any, best: np.ndarray, logprobs: np.ndarray) -> tuple[float | None, Any]:
        """The log-probability of a token and the likeliest ones, as many as were asked for."""
        if self.asked.logprobs is None:
            return None, ()
        count = min(self.asked.logprobs, BEST, self.vocabulary)
        pairs = zip(best[:count].tolist(), logprobs[:count].tolist(), strict=True)
        return float(logprob), tuple(pairs)

    def _whole(self, mask: Any) -> np.ndarray:
        """A mask for all tokens; a model may have more than its tokenizer has."""
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim != 1 or len(mask) > self.vocabulary or not mask.any():
            fix = "tell which tokens may come next; the end is one of them"
            expected = f"a mask bool[{self.vocabulary}] of a constraint, True somewhere"
            raise ShapeError(expected, got=describe(mask), fix=fix, where="LanguageEngine")
        return np.pad(mask, (0, self.vocabulary - len(mask)))
