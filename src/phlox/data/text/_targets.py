"""What a language model is to say next, and which tokens see which."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import ShapeError, describe

IGNORED = -100  # what px.losses.cross_entropy leaves out


def next_tokens(tokens: Any, *, mask: Any = None, segments: Any = None) -> Any:
    """The token behind each one, for ``px.losses.cross_entropy``; -100 where there is none of the same text.

    ``targets[b, t] = tokens[b, t + 1]``, and -100 at the end, in padding, before it, and where a document ends.

    Shapes:
        tokens, segments, the result: (batch, time) of whole numbers; mask: (batch, time) booleans.

    Arguments:
        tokens: NumPy's or JAX's; of unsigned ones the result is int32.
        mask: true for tokens, false for padding, as ``Tokens.mask``.
        segments: which document of its row a token is of, 0 for none, as ``Packed.segments``.

    Raises:
        ShapeError: shapes that differ.

    >>> import numpy as np, phlox as px
    >>> px.data.text.next_tokens(np.array([[5, 6, 7, 8, 0]]), segments=np.array([[1, 1, 2, 2, 0]])).tolist()
    [[6, -100, 8, -100, -100]]
    """
    for name, given in (("mask", mask), ("segments", segments)):
        if given is not None and np.shape(given) != np.shape(tokens):
            got, fix = f"{describe(tokens)} and {name} {describe(given)}", "give both of one batch"
            raise ShapeError(f"tokens and {name} of one shape", got=got, fix=fix, where="next_tokens")
    numpy = jnp if any(isinstance(given, jax.Array) for given in (tokens, mask, segments)) else np
    tokens = numpy.asarray(tokens)
    if tokens.dtype.kind == "u":  # as files of tokens are: it holds no -100
        tokens = tokens.astype(np.int32)
    counts = numpy.ones(tokens[..., 1:].shape, bool)
    if mask is not None:
        counts = counts & (mask[..., :-1] != 0) & (mask[..., 1:] != 0)
    if segments is not None:
        counts = counts & (segments[..., :-1] == segments[..., 1:]) & (segments[..., 1:] > 0)
    following = numpy.where(counts, tokens[..., 1:], IGNORED)
    last = numpy.full((*following.shape[:-1], 1), IGNORED, following.dtype)
    return numpy.concatenate([following, last], -1)[..., : tokens.shape[-1]]


def segment_mask(segments: Any) -> Any:
    """Which tokens of packed rows see which: those of their own document; padding sees padding, so none sees nothing.

    Together with ``causal=True`` of ``px.MultiHeadAttention`` each document is read as if it stood alone.

    Shapes:
        segments: (batch, time) of whole numbers; the result: (batch, 1, time, time) booleans, of queries and keys.

    Raises:
        ShapeError: segments of other axes.

    >>> import numpy as np, phlox as px
    >>> px.data.text.segment_mask(np.array([[1, 1, 2, 0]]))[0, 0].astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    """
    if np.ndim(segments) != 2:
        fix = "give Packed.segments"
        raise ShapeError("segments (batch, time)", got=describe(segments), fix=fix, where="segment_mask")
    return segments[:, None, :, None] == segments[:, None, None, :]
