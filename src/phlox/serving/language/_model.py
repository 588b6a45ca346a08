"""A language model as it is served: an engine that writes, a tokenizer, and what ends a text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from phlox.core import OptionError, RangeError, describe
from phlox.data.text import Tokenizer, end_of_turn, has_template
from phlox.serving.engine._servable import Arrays, Servable
from phlox.serving.language._asked import Asked, Piece

_ADDRESSED = 256  # tokens that are written where nobody says how many


class Running(Protocol):
    """A text that is being written: its pieces, to be read from an event loop or a thread."""

    def __aiter__(self) -> Any: ...

    def __iter__(self) -> Iterator[Piece]: ...

    def cancel(self) -> None:
        """Write no more of it."""
        ...


class Engine(Protocol):
    """What writes texts, several at a time."""

    model: Any

    def submit(self, asked: Asked) -> Running:
        """Begin a text."""
        ...

    def close(self) -> None:
        """Write no more."""
        ...


class LanguageModel(Servable):
    """A language model behind OpenAI's protocol; KServe's and the page have it as a function from text to text.

    Arguments:
        engine: what writes, such as a ``px.serving.LanguageEngine``.
        tokenizer: the model's.
        ends: tokens that end a text, beside those of the model's config and of the tokenizer.
        adapters: the names of the engine's adapters, each served as a model of its own.
        max_new: tokens that are written where a protocol cannot say how many.

    Raises:
        OptionError: no tokenizer.
    """

    engine: Engine
    tokenizer: Tokenizer
    adapters: tuple[str, ...]
    ends: tuple[int, ...]
    """Tokens that end a text; they are none of its own."""
    turn: str
    """A string that ends an answer in a chat, where no single token does."""
    longest: int | None
    """Tokens that a prompt and what follows may have."""
    vocabulary: int
    made: int
    """When it was made, in seconds since 1970."""
    runtime: str = "language engine"

    def __init__(
        self,
        engine: Any,
        tokenizer: Tokenizer,
        *,
        ends: Sequence[int] = (),
        adapters: Sequence[str] = (),
        max_new: int = _ADDRESSED,
    ):
        if not isinstance(tokenizer, Tokenizer):
            fix = "pass px.data.text.Tokenizer.load(folder)"
            raise OptionError("a tokenizer", got=describe(tokenizer), fix=fix, where="LanguageModel")
        super().__init__(inputs={"prompt": "str"}, outputs={"text": "str"})
        config = engine.model.config
        self.engine, self.tokenizer, self.adapters = engine, tokenizer, tuple(adapters)
        self.vocabulary, self.longest = config.vocab_size, places(engine)
        self.made, self._max_new = int(time.time()), max_new
        turn = end_of_turn(tokenizer) if has_template(tokenizer) else []
        self.turn = tokenizer.decode(turn, skip_special=False) if len(turn) > 1 else ""
        eos = config.eos_token_id
        known = [*(eos if isinstance(eos, list | tuple) else [eos]), tokenizer.eos_id, *ends]
        known += turn if len(turn) == 1 else []
        self.ends = tuple(dict.fromkeys(n for n in known if n is not None and 0 <= n < self.vocabulary))

    def prompt(self, text: str) -> list[int]:
        """The tokens of a text that is to go on: where the tokenizer says that it is over, that is left out."""
        tokens = self.tokenizer.encode(text)
        over = len(tokens) > 1 and tokens[-1] == self.tokenizer.eos_id
        return tokens[:-1] if over else tokens

    def room(self, prompt: Sequence[int]) -> int | None:
        """How many tokens may follow a prompt, none where it is below 1; None for any number."""
        return None if self.longest is None else self.longest - len(prompt)

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
        room = self.room(tokens)
        most = self._max_new if room is None else min(room, self._max_new)
        if not tokens or most < 1:
            expected = f"a prompt of a token, and of fewer than {self.longest} where there is a bound"
            raise RangeError(expected, got=str(len(tokens)), fix="send another text", where="LanguageModel")
        return self.engine.submit(Asked(prompt=tuple(tokens), max_new=most, stop=tuple((end,) for end in self.ends)))

    def _read(self, running: Running) -> str:
        tokens = [piece.token for piece in running if piece.token >= 0]
        return self.tokenizer.decode(tokens[:-1] if tokens and tokens[-1] in self.ends else tokens)

    def close(self) -> None:
        self.engine.close()


def places(engine: Any) -> int | None:
    """Tokens that one text may have: as many as the engine keeps, and the model has places for."""
    model = engine.model
    told = [
        getattr(engine, "longest", None),
        getattr(model, "longest", None),
        getattr(model.config, "max_position_embeddings", None),
    ]
    return min((n for n in told if n is not None), default=None)
