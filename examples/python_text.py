"""English text that every Python carries: the pages of its ``help()``, as characters."""

from __future__ import annotations

from pydoc_data.topics import topics

import numpy as np

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))


def encode(text: str) -> np.ndarray:
    """Each character's number; what is not ASCII is left out."""
    known = {c: i for i, c in enumerate(CHARACTERS)}
    return np.array([known[c] for c in text if c in known], np.int32)


def decode(numbers: np.ndarray) -> str:
    """The text of such numbers."""
    return "".join(CHARACTERS[i] for i in np.asarray(numbers).tolist())


def pages(size: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """Text to learn from, ``size`` characters, and text that is held out, other pages of a tenth of that."""
    seen: set[str] = set()
    paragraphs: list[list[str]] = [[], []]
    for n, name in enumerate(sorted(topics)):
        for paragraph in topics[name].split("\n\n"):  # some pages repeat others
            if paragraph not in seen:
                seen.add(paragraph)
                paragraphs[n % 5 == 0].append(paragraph)
    learn, held_out = (encode("\n\n".join(some)) for some in paragraphs)
    return learn[:size], held_out[: size // 10]
