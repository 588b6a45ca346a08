"""Whether two texts are the same, but for rounding where two tokens are equally likely."""

import numpy as np

import phlox as px

TIE = 1e-4  # of two scores


@px.jit
def scored(model, padded):
    return model(padded)


def next_scores(model, text, longest=160):
    """Scores (vocabulary,) of what follows a text, without a cache."""
    padded = np.pad(np.array(text, np.int32), (0, longest - len(text)))
    return np.array(scored(model, padded[None])[0, len(text) - 1], np.float32)


def same_but_for_ties(model, asked, found, expected):
    """Equal tokens, up to where the two best scores are closer than rounding tells; draws are equal throughout."""
    if found == expected:
        return True
    first = next(i for i, (a, b) in enumerate(zip([*found, None], [*expected, None], strict=False)) if a != b)
    best = np.sort(next_scores(model, [*asked.prompt, *expected[:first]]))[-2:]
    return asked.temperature == 0 and best[1] - best[0] < TIE
