"""A model of text by counts: n-grams, each order interpolated with the one below by Witten and Bell's weights."""

from __future__ import annotations

import math

import numpy as np


def ngram_loss(learn: np.ndarray, held_out: np.ndarray, order: int, characters: int) -> float:
    """Mean negative log-probability, in nats, of each character of ``held_out``.

    With n(h) the count of a context and t(h) how many characters followed it, the probability of the next is
    ``p(c | h) = (n(hc) + t(h) p(c | h')) / (n(h) + t(h))``, where h' lacks the first character of h; below all
    orders it is uniform.
    """
    p = np.full(len(held_out), 1.0 / characters)
    for n in range(order):
        follows = _counts(learn, n + 1)
        context: dict[bytes, int] = {}
        kinds: dict[bytes, int] = {}
        for gram, count in follows.items():
            h = gram[:-1]
            context[h] = context.get(h, 0) + count
            kinds[h] = kinds.get(h, 0) + 1
        text = held_out.astype(np.uint8).tobytes()
        for i in range(n, len(text)):
            h = text[i - n : i]
            if h in context:
                p[i] = (follows.get(text[i - n : i + 1], 0) + kinds[h] * p[i]) / (context[h] + kinds[h])
    return -math.fsum(np.log(p)) / len(p)


def _counts(text: np.ndarray, n: int) -> dict[bytes, int]:
    raw, found = text.astype(np.uint8).tobytes(), {}
    for i in range(len(raw) - n + 1):
        gram = raw[i : i + n]
        found[gram] = found.get(gram, 0) + 1
    return found
