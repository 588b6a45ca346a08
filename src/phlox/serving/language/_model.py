"""A language model as it is served: an engine that writes, a tokenizer, and what ends a text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from phlox.core import OptionError, RangeError, describe
from phlox.data.text import Tokenizer, end_of_turn, has_template
from phlox.serving.engine._servable import Arrays, Servable
from phlox.serving.language._asked import Asked
from phlox.serving.language._engine import LanguageEngine
from phlox.serving.language._running import Running

_USUAL = 256  # tokens that are written where nobody says how many


class LanguageModel(Servable):
    """A language model behind OpenAI's protocol; KServe's and the page have it as a function from text to text.

    Arguments:
        model: a decoder of ``px.models``.
        tokenizer: the model's.
        ends: tokens that end a text, beside those of the model's config and of the tokenizer.
        max_new: tokens that are written where a protocol cannot say how many.
        engine: options of ``px.serving.LanguageEngine``: ``slots``, ``room``, ``memory``, ``adapters`` and so on; each
            adapter is served as a model of its own.

    Raises:
        OptionError: no tokenizer.
        RangeError, NotEnoughMemoryError: as ``px.serving.LanguageEngine``.

    >>> import tokenizers, phlox as px
    >>> library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"to": 0, "be": 1, "or": 2, "not": 3}))
    >>> library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    >>> model = px.models.create(px.models.LlamaConfig(
    ...     vocab_size=4, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4
    ... ), key=0)
    >>> served = px.serving.LanguageModel(model, px.data.text.Tokenizer(library), slots=2, room=64)
    >>> served.longest, served.engine.slots
    (64, 2)
    """

    engine: LanguageEngine
    tokenizer: Tokenizer
    ends: tuple[int, ...]
    """Tokens that end a text; they are none of its own."""
    turn: str
    """A string that ends an answer in a chat, where no single token does."""
    longest: int
    """Tokens that a prompt and what follows may have."""
    vocabulary: int
    size: int
    """Of a vector of a text."""
    made: int
    """When it was made, in seconds since 1970."""
    runtime: str = "language engine"

    def __init__(
        self, model: Any, tokenizer: Tokenizer, *, ends: Sequence[int] = (), max_new: int = _USUAL, **engine: Any
    ):
        if not isinstance(tokenizer, Tokenizer):
            fix = "pass px.data.text.Tokenizer.load(folder)"
            raise OptionError("a tokenizer", got=describe(tokenizer), fix=fix, where="LanguageModel")
        super().__init__(inputs={"prompt": "str"}, outputs={"text": "str"})
        self.engine, self.tokenizer = LanguageEngine(model, **engine), tokenizer
        self._make = partial(LanguageEngine, self.engine.model, **engine)  # whose weights are laid out already
        self.longest, self.vocabulary = self.engine.room, model.config.vocab_size
        self.size = model.config.hidden_size
        self.made, self._max_new, self._closed = int(time.time()), max_new, False
        turn = end_of_turn(tokenizer) if has_template(tokenizer) else []
        self.turn = tokenizer.decode(turn, skip_special=False) if len(turn) > 1 else ""
        eos = model.config.eos_token_id
        known = [*(eos if isinstance(eos, list | tuple) else [eos]), tokenizer.eos_id, *ends]
        known += turn if len(turn) == 1 else []
        self.ends = tuple(dict.fromkeys(n for n in known if n is not None and 0 <= n < self.vocabulary))

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of adapters, each a model of its own."""
        return self.engine.adapters

    def open(self) -> None:
        if self._closed:
            self.engine, self._closed = self._make(), False
        self.engine.start()

    def close(self) -> None:
        self._closed = True
        self.engine.close()

    def prompt(self, text: str) -> list[int]:
        """The tokens of a text that is to go on: where the tokenizer says that it is over, that is left out."""
        tokens = self.tokenizer.encode(text)
        over = len(tokens) > 1 and tokens[-1] == self.tokenizer.eos_id
        return tokens[:-1] if over else tokens

    def encode(self, text: str) -> list[int]:
        """The tokens of a text that a vector is made of: those of a prompt."""
        return self.prompt(text)

    def cut(self, text: str, most: int) -> list[int]:
        """So many of these at most."""
        return self.prompt(text)[:most]

    @cached_property
    def has_template(self) -> bool:
        """Whether its tokenizer can write a chat."""
        return has_template(self.tokenizer)

    def predict(self, signature: str, inputs: Arrays) -> Arrays:
        """What the model goes on with by its likeliest tokens; equal prompts, as those that fill up, are asked once."""
        prompts = [x.decode() if isinstance(x, bytes) else str(x) for x in inputs["prompt"]]
        running: Mapping[str, Running] = {text: self._begun(text) for text in dict.fromkeys(prompts)}
        try:
            found = {text: self._read(one) for text, one in running.items()}
        finally:
            for one in running.values():
                one.cancel()
        return {"text": np.array([found[text] for text in prompts], object)}

    def _begun(self, text: str) -> Running:
        tokens = self.prompt(text)
        most = min(self.longest - len(tokens), self._max_new)
        if not tokens or most < 1:
            expected = f"a prompt of a token at least, and of fewer than {self.longest}"
            raise RangeError(expected, got=str(len(tokens)), fix="send another text", where="LanguageModel")
        return self.engine.submit(Asked(prompt=tuple(tokens), max_new=most, stop=tuple((end,) for end in self.ends)))

    def _read(self, running: Running) -> str:
        tokens = [piece.token for piece in running if piece.token >= 0]
        return self.tokenizer.decode(tokens[:-1] if tokens and tokens[-1] in self.ends else tokens)
