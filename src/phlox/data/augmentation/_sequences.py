"""Augmentations of sequences: spectrograms masked in time and frequency, and tokens masked for a model to guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from phlox.core import DtypeError, Module, RangeError, ShapeError, State, advance, describe, harmonise, key_or_draw
from phlox.data.augmentation._augment import Augmentation, share_of, whole_of

_IGNORED = -100  # what px.losses.cross_entropy leaves out


class _BandMask(Augmentation):
    """Bands across an axis covered, each of a width of 0 to the largest and at any place where it fits."""

    _axes: ClassVar[str] = "(batch, time, frequency) or (batch, time, frequency, channels)"
    _ranks: ClassVar[tuple[int, ...]] = (3, 4)
    _axis: ClassVar[int]
    width: int
    count: int
    share: float
    fill: float

    def __init__(self, width: int, count: int, share: float, fill: float, p: float, key: Any):
        where = type(self).__name__
        self.width, self.count = whole_of(where, "width", width), whole_of(where, "count", count)
        self.share, self.fill = share_of(where, "share", share), float(fill)
        super().__init__(p, key=key)

    def example(self, key: Any, x: jax.Array) -> jax.Array:
        size = x.shape[self._axis]
        widest = min(self.width, int(self.share * size))
        place = jnp.arange(size).reshape([-1 if a == self._axis else 1 for a in range(x.ndim)])
        for drawn in jax.random.split(key, self.count):
            wide, start = jax.random.split(drawn)
            width = jax.random.randint(wide, (), 0, widest + 1)
            first = jax.random.randint(start, (), 0, size - width + 1)
            x = jnp.where((place >= first) & (place < first + width), jnp.asarray(self.fill, x.dtype), x)
        return x

    def _brief(self) -> str:
        return f"{type(self).__name__}({self.width}, count={self.count})"


class TimeMask(_BandMask):
    """Stretches of time covered: t of τ steps from t₀ on, t uniform in 0 … T and t₀ in 0 … τ - t.

    Shapes:
        x, y: (batch, time, frequency) or (batch, time, frequency, channels), of any dtype.

    Arguments:
        width: T, the most steps of a stretch.
        count: how many stretches; they may overlap.
        share: the most that a stretch takes of all steps, in [0, 1].
        fill: what covers it; 0 is the mean of a standardised spectrogram.
        p: probability that an example is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a width or count below 1, a share or p outside [0, 1]. ShapeError: other axes.

    Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> y = px.data.TimeMask(3, key=0)(jnp.ones((99, 6, 2)), key=jax.random.key(0))
    >>> sorted(set(y.sum(1)[:, 0].tolist()))
    [3.0, 4.0, 5.0, 6.0]
    """

    _axis: ClassVar[int] = 0

    def __init__(
        self, width: int, *, count: int = 1, share: float = 1.0, fill: float = 0.0, p: float = 1.0, key: Any = None
    ):
        super().__init__(width, count, share, fill, p, key)


class FrequencyMask(_BandMask):
    """Bands of frequency covered: f of ν channels from f₀ on, f uniform in 0 … F and f₀ in 0 … ν - f.

    Shapes:
        x, y: (batch, time, frequency) or (batch, time, frequency, channels), of any dtype.

    Arguments:
        width: F, the most channels of a band.
        count: how many bands; they may overlap.
        fill: what covers it; 0 is the mean of a standardised spectrogram.
        p: probability that an example is changed, in [0, 1].
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: a width or count below 1, p outside [0, 1]. ShapeError: other axes.

    Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> y = px.data.FrequencyMask(3, key=0)(jnp.ones((99, 2, 6)), key=jax.random.key(0))
    >>> sorted(set(y.sum(2)[:, 0].tolist()))
    [3.0, 4.0, 5.0, 6.0]
    """

    _axis: ClassVar[int] = 1

    def __init__(self, width: int, *, count: int = 1, fill: float = 0.0, p: float = 1.0, key: Any = None):
        super().__init__(width, count, 1.0, fill, p, key)


class TokenMask(Module):
    """Tokens to guess: each is chosen with probability p, and 80 % of the chosen become the mask, 10 % another token.

    The targets are the tokens where they are chosen and -100 elsewhere, which ``px.losses.cross_entropy`` leaves out.
    As it makes the task, it acts in training and inference alike; it owns a random key as State and advances it, and
    with ``key=`` it is a pure function. With ``words=``, as ``px.data.text`` gives them, whole words are chosen.

    Shapes:
        tokens: (batch, time) of whole numbers; the result: inputs and targets of the same shape.
        words: (batch, time), equal for tokens of one word, which lie side by side; -1 where there is none.

    Arguments:
        mask_token: the number that stands for a masked token.
        vocabulary: how many tokens there are; a random one is uniform among them, the mask and special ones included.
        p: probability that a token is chosen, in [0, 1].
        masked, random: shares of the chosen that become the mask and a random token; the rest stay as they are.
        special: numbers that are never chosen, such as those of padding and separators.
        key: where its randomness starts; by default the stream of ``px.seed``.

    Raises:
        RangeError: shares that are no fractions or above 1 together, a token outside the vocabulary.
        DtypeError: tokens that are not whole numbers. ShapeError: words of another shape.

    Source: Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2019, with independent choices.

    >>> import jax, jax.numpy as jnp, phlox as px
    >>> mask = px.data.TokenMask(99, 100, p=1.0, masked=1.0, random=0.0, special=[0], key=0)
    >>> inputs, targets = mask(jnp.array([[5, 6, 7, 8, 0, 0]]), key=jax.random.key(0))
    >>> inputs.tolist(), targets.tolist()
    ([[99, 99, 99, 99, 0, 0]], [[5, 6, 7, 8, -100, -100]])
    """

    key: State  # () typed random key
    vocabulary: int
    p: float
    mask_token: int
    special: tuple[int, ...]
    masked: float
    random: float

    def __init__(
        self,
        mask_token: int,
        vocabulary: int,
        *,
        p: float = 0.15,
        masked: float = 0.8,
        random: float = 0.1,
        special: Sequence[int] = (),
        key: Any = None,
    ):
        where = "TokenMask"
        self.vocabulary, self.p = whole_of(where, "vocabulary", vocabulary, least=2), share_of(where, "p", p)
        self.mask_token, self.special = mask_token, tuple(special)
        self.masked, self.random = share_of(where, "masked", masked), share_of(where, "random", random)
        for token in (mask_token, *self.special):
            if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocabulary:
                fix = "count tokens from 0, the mask among them"
                raise RangeError(f"tokens in 0 … {vocabulary - 1}", got=repr(token), fix=fix, where=where)
        if masked + random > 1 + 1e-9:
            got, fix = f"{masked} and {random}", "give shares such as 0.8 and 0.1"
            raise RangeError("masked and random of at most 1 together", got=got, fix=fix, where=where)
        self.key = key_or_draw(key)

    def __call__(self, tokens: Any, *, words: Any = None, key: Any = None) -> tuple[jax.Array, jax.Array]:
        (tokens,) = harmonise(self, tokens)
        if words is not None and jnp.shape(words) != tokens.shape:
            got, fix = f"{describe(tokens)} and {describe(words)}", "give both of one batch"
            raise ShapeError("tokens and words of one shape", got=got, fix=fix)
        if not jnp.issubdtype(tokens.dtype, jnp.signedinteger):
            fix = "give numbers of tokens with a sign, such as int32: the targets hold -100"
            raise DtypeError("tokens as whole numbers", got=describe(tokens), fix=fix)
        return _token_mask(self, advance(self) if key is None else key_or_draw(key), tokens, words)

    def _brief(self) -> str:
        return f"TokenMask({self.mask_token}, {self.vocabulary}, p={self.p:g})"


@jax.jit
def _token_mask(mask: TokenMask, key: Any, tokens: jax.Array, words: Any) -> tuple[jax.Array, jax.Array]:
    choice, kind, draw = jax.random.split(key, 3)
    chosen = jax.random.bernoulli(choice, mask.p, tokens.shape)
    if words is not None:  # all tokens of a word by the draw at the place of its number in the row
        words = jnp.asarray(words)
        begins = jnp.diff(words, axis=-1, prepend=words[..., :1]) != 0
        chosen = jnp.take_along_axis(chosen, jnp.cumsum(begins, -1), -1) & (words >= 0)
    chosen &= ~jnp.isin(tokens, jnp.array(mask.special, tokens.dtype))
    what = jax.random.uniform(kind, tokens.shape, jnp.float32)
    other = jax.random.randint(draw, tokens.shape, 0, mask.vocabulary, tokens.dtype)
    other = jnp.where(what < mask.masked + mask.random, other, tokens)
    inputs = jnp.where(what < mask.masked, jnp.asarray(mask.mask_token, tokens.dtype), other)
    return jnp.where(chosen, inputs, tokens), jnp.where(chosen, tokens, jnp.asarray(_IGNORED, tokens.dtype))
