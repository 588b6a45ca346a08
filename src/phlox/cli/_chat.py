"""``phlox chat``: lines for a language model, and its answers while they are written."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

import phlox as px
from phlox.cli._conversation import WHERE, Conversation
from phlox.cli._pieces import Pieces
from phlox.core import PhloxError, RangeError


@dataclass(frozen=True)
class Choosing:
    """How the tokens of an answer are chosen, and how many there are at most."""

    max_new: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int

    def check(self) -> None:
        """Refuse what goes not together.

        Raises:
            RangeError: cuts where nothing is drawn.
        """
        cuts = [name for name, cut in (("--top-k", self.top_k), ("--top-p", self.top_p)) if cut is not None]
        if cuts and self.temperature == 0:
            fix = f"give --temperature 1 or what you like, or leave {cuts[0]} out"
            raise RangeError(f"a --temperature above 0 beside {cuts[0]}", got="0", fix=fix, where=WHERE)

    def options(self, turn: int) -> dict[str, Any]:
        """What ``px.generate`` is given for an answer; each draws otherwise."""
        if self.temperature == 0:
            return {}
        key = jax.random.fold_in(jax.random.key(self.seed), turn)
        return {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "key": key}


def chat(folder: Path, choosing: Choosing, system: str | None, dtype: str | None) -> None:
    """Answer lines of standard input by the model of a folder: a person's, or those of a file or pipe to its end.

    Raises:
        PhloxError: a folder without such a model or its tokenizer, or options that it cannot be asked with.
    """
    choosing.check()
    tokenizer = px.data.text.Tokenizer.load(folder)
    model = px.models.load(folder, dtype=dtype)
    _check_writes(model)
    conversation = Conversation(tokenizer, _places(model), system)
    if not conversation.by_template:
        _note("the folder has no chat template: lines are gone on with, as one text")
    talk = Talk(model, conversation, choosing)
    if sys.stdin.isatty():
        talk.with_person()
    else:
        talk.with_pipe()


class Talk:
    """Lines in, answers out."""

    def __init__(self, model: Any, conversation: Conversation, choosing: Choosing):
        self.model, self.conversation, self.choosing = model, conversation, choosing
        self.ends = _ends(model.config, conversation)
        self.asked = 0

    def with_person(self) -> None:
        """Ask for lines until one is ``/quit`` or Ctrl-D; Ctrl-C and what cannot be answered end a turn alone."""
        _note(f"{type(self.model).__name__}; Ctrl-C stops an answer, /reset forgets what was said, /quit leaves")
        with suppress(ImportError):
            importlib.import_module("readline")  # lines can be edited then, and asked again
        going = True
        while going and (line := _line()) is not None:
            try:
                going = self.take(line)
            except KeyboardInterrupt:
                continue
            except PhloxError as error:
                _note(str(error))

    def with_pipe(self) -> None:
        """Answer each line; bytes that are no text are replaced."""
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        for line in sys.stdin:
            if not self.take(line.rstrip("\r\n")):
                return

    def take(self, line: str) -> bool:
        """Do what a line says; False where that is to leave."""
        if line.strip() == "/reset":
            self.conversation.reset()
        elif line.strip() not in ("", "/quit"):
            self.answer(line)
        return line.strip() != "/quit"

    def answer(self, line: str) -> None:
        """Write an answer as it comes, and remember it, as far as it came."""
        prompt = self.conversation.prompt(line, self.choosing.max_new)
        if prompt.forgotten:
            places = f"the model has places for {self.conversation.longest} tokens"
            _note(f"{prompt.forgotten} of the oldest turns forgotten: {places}")
        pieces = Pieces(self.conversation.tokenizer, self.ends)

        def stream(tokens: np.ndarray) -> None:
            _write(pieces.add(int(tokens[0])))

        self.asked += 1
        options = self.choosing.options(self.asked)
        try:
            px.generate(self.model, [prompt.tokens], max_new=prompt.room, stop=self.ends, stream=stream, **options)
        finally:
            if pieces.tokens:
                self.conversation.add(line, pieces.text)
                _write(pieces.rest() + "\n")


def _ends(config: Any, conversation: Conversation) -> list[list[int]]:
    """What ends an answer: what the config says, what the tokenizer says, and what the template writes there."""
    eos = config.eos_token_id
    single = [*(eos if isinstance(eos, list | tuple) else [eos]), conversation.tokenizer.eos_id]
    found = [[token] for token in single if token is not None] + [conversation.end]
    return [end for n, end in enumerate(found) if end and end not in found[:n]]


def _places(model: Any) -> int | None:
    """Tokens that a model has places for, or was trained with."""
    return getattr(model, "longest", None) or getattr(model.config, "max_position_embeddings", None)


def _check_writes(model: Any) -> None:
    """Refuse a model that goes on with no text.

    Raises:
        RangeError: it has a head for something else.
    """
    task = getattr(model.config, "task", None)
    if task != "text-generation":
        got = type(model).__name__ + ("" if task is None else f" for {task!r}")
        fix = "give the folder of a decoder, as those of GPT-2 and Llama are"
        raise RangeError("a model for 'text-generation'", got=got, fix=fix, where=WHERE)


def _line() -> str | None:
    """What a person types next; None where it is that nothing more comes."""
    while True:
        try:
            return input("> ")
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(text: str) -> None:
    """Say something that is no part of an answer."""
    print(f"phlox: {text}", file=sys.stderr, flush=True)
