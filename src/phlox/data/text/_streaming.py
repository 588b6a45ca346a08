"""The text of tokens while they come: what may still be the half of a character waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\ufffd"  # what bytes that are no whole character are decoded to
_BEFORE = 8  # tokens of a prompt that a text goes on from
_LONGEST_WAIT = 64  # tokens without one whole character, after which they are no text


class TextStream:
    """The text of tokens, one by one, in pieces that are never taken back.

    Put together the pieces are what ``tokenizer.decode`` makes of all tokens at once. Each token costs the decoding of
    a few, however long the text is.

    Arguments:
        tokenizer: what decodes them.
        before: tokens that the text goes on from, such as those of a prompt: where a tokenizer leaves out the blank
            that a text begins with, it is kept then.

    >>> import tokenizers, phlox as px
    >>> library = tokenizers.Tokenizer(tokenizers.models.BPE(
    ...     {c: n for n, c in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}, []
    ... ))
    >>> library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> library.decoder = tokenizers.decoders.ByteLevel()
    >>> tok = px.data.text.Tokenizer(library)
    >>> stream = px.data.text.TextStream(tok)
    >>> [stream.add(token) for token in tok.encode("a€")]
    ['a', '', '', '€']
    """

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()):
        self._tokenizer = tokenizer
        self._context, self._held = list(before)[-_BEFORE:], list[int]()
        self._shown: str = tokenizer.decode(self._context).rstrip(_UNFINISHED)

    def add(self, token: int) -> str:
        """What is known of the text now that there is one more token, and was not before."""
        self._held.append(token)
        text: str = self._tokenizer.decode([*self._context, *self._held])
        whole = text if len(self._held) > _LONGEST_WAIT else text.rstrip(_UNFINISHED)
        if not whole.startswith(self._shown):
            return "" if whole != text or len(self._held) <= _LONGEST_WAIT else self.rest()
        piece, self._shown = whole[len(self._shown) :], whole
        if whole == text:
            self._move()
        return piece

    def rest(self) -> str:
        """What is left of a text that is over, halves of characters included."""
        text: str = self._tokenizer.decode([*self._context, *self._held])
        if not text.startswith(self._shown):  # halves beside whole ones, where a decoder gives up both
            text = self._shown + self._tokenizer.decode(self._held)
        piece, self._shown = text[len(self._shown) :], text
        self._move()
        return piece

    def _move(self) -> None:
        """Go on from the last tokens alone, where they have a text."""
        text: str = self._tokenizer.decode(self._held)
        if text:
            self._context, self._shown = self._held, text
        else:
            self._context = [*self._context, *self._held]
        self._held = []
