"""The engine: one thread that owns a model and its slots, and writes the texts of all who ask."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from phlox.core import PhloxError, RangeError
from phlox.models import stops_of
from phlox.serving._errors import ModelFailedError, QueueFullError, UnavailableError
from phlox.serving.language._asked import Asked, Piece
from phlox.serving.language._checking import check_asked
from phlox.serving.language._memory import WHERE, sizes_of
from phlox.serving.language._preparing import models_of
from phlox.serving.language._programs import Programs, Row
from phlox.serving.language._running import Running
from phlox.serving.language._scheduler import Feed, Round, Scheduler
from phlox.serving.language._text import Text
from phlox.serving.language._writing import Writing

_CHUNK = 128


@dataclass(frozen=True)
class Statistics:
    """What an engine did, and does now.

    Arguments:
        read, reused, written: tokens of prompts that were computed, that a slot had already, and new tokens.
        finished, cancelled, preempted, refused: texts.
        waiting, running, slots: texts without a slot, with one, and slots.
    """

    read: int
    reused: int
    written: int
    finished: int
    cancelled: int
    preempted: int
    refused: int
    waiting: int
    running: int
    slots: int


class LanguageEngine:
    """Texts of many clients, written side by side by one model, a token of each at a time.

    Each text has a slot of the model's cache. Texts join and leave between two steps; prompts are read in parts, and
    between these the others go on. A prompt that begins as another text did takes from its slot what is equal. A text's
    tokens are those of ``px.generate``, whatever else is written. Without adapters weights are laid out once more, as
    ``px.optimize_for_inference`` does it: let go of the model then, and they are in memory once.

    Arguments:
        model: a decoder of ``px.models``.
        slots: texts that are written at once; 8 by default.
        room: tokens of the longest text, prompt and all; what the model is made for by default, at most 2048.
        memory: bytes that the slots may take; then it chooses how many there are, at most ``slots`` or 64.
        chunk: tokens of prompts that are computed between two steps of all texts.
        adapters: by name: a folder of PEFT's format, or a model that has one in use and shares this one's weights.
        waiting: texts that may wait; one more is refused.
        per_client: texts of one client that may wait or be written; as many as there is room for by default.

    Raises:
        RangeError: a model or a size that does not suit. NotEnoughMemoryError: slots that do not fit.

    >>> import phlox as px
    >>> config = px.models.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4
    ... )
    >>> with px.seed(0):
    ...     model = px.models.create(config)
    >>> engine = px.serving.LanguageEngine(model, slots=2, room=64)
    >>> engine.memory
    16384
    >>> with engine:
    ...     pieces = list(engine.submit(px.serving.Asked(prompt=(1, 2, 3), max_new=5)))
    >>> [piece.token for piece in pieces] == px.generate(model, [[1, 2, 3]], max_new=5).texts()[0]
    True
    >>> pieces[-1].finish
    'length'
    """

    def __init__(
        self,
        model: Any,
        *,
        slots: int | None = None,
        room: int | None = None,
        memory: int | None = None,
        chunk: int = _CHUNK,
        adapters: Mapping[str, Any] | None = None,
        waiting: int = 1024,
        per_client: int | None = None,
    ):
        for name, value, least in (("chunk", chunk, 16), ("waiting", waiting, 1), ("per_client", per_client or 1, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                fix = "leave it out for the usual one"
                raise RangeError(f"{name} of at least {least}", got=repr(value)[:60], fix=fix, where=WHERE)
        self._sizes = sizes_of(model, slots, room, memory)
        self._models = models_of(model, adapters or {})  # its own: one thread changes a model at a time
        self._ends = stops_of(None, model.config)
        self._chunk, self._most, self._each = chunk, waiting, per_client
        self._scheduler = Scheduler(widths_of(self._sizes.slots), chunk)
        self._programs: Programs | None = None
        self._changed, self._starting = threading.Condition(), threading.Lock()
        self._embeddings: deque[tuple[Asked, Future[np.ndarray]]] = deque()
        self._texts: dict[Running, Text] = {}
        self._said: list[tuple[Running, Piece | Exception]] = []  # and not told yet
        self._refused, self._closing = 0, False
        self._thread: threading.Thread | None = None

    # --- sizes ---

    @property
    def slots(self) -> int:
        """Texts that are written at once."""
        return self._sizes.slots

    @property
    def room(self) -> int:
        """Tokens of the longest text, prompt and all."""
        return self._sizes.room

    @property
    def memory(self) -> int:
        """Bytes of the slots, which are made by ``start``; weights are not among them."""
        return self._sizes.bytes

    @property
    def model(self) -> Any:
        """The copy of the model that it writes with."""
        return self._models[None]

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of adapters."""
        return tuple(name for name in self._models if name is not None)

    def statistics(self) -> Statistics:
        """What it did so far, and does now."""
        with self._changed:
            counts, running = asdict(self._scheduler.counts), len(self._scheduler.running)
            waiting = self._scheduler.waiting
        return Statistics(**counts, refused=self._refused, waiting=waiting, running=running, slots=self.slots)

    # --- from its beginning to its end ---

    def start(self) -> LanguageEngine:
        """Make the slots, compile all programs, and begin to write.

        Raises:
            UnavailableError: it was closed.
        """
        with self._starting:
            if self._closing:
                raise UnavailableError("an engine that was not closed", got="one that was", where=WHERE)
            if self._thread is None:
                self._programs = Programs(self._models, self._sizes, self._scheduler.widths, self._chunk)
                self._programs.warm()
                thread = threading.Thread(target=self._work, name=WHERE, daemon=True)
                thread.start()
                self._thread = thread
        return self

    def close(self, *, finish: bool = False) -> None:
        """Take no more, end what is written, or ``finish`` it first, and let go of the slots."""
        with self._starting, self._changed:
            self._closing = True
            if not finish or self._thread is None:
                for running in list(self._texts):
                    self._end(running)
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._programs = None

    def __enter__(self) -> LanguageEngine:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- who asks ---

    def submit(self, asked: Asked) -> Running:
        """Ask for a text; its pieces come as they are written.

        Raises:
            RangeError, OptionError: what can't be written. QueueFullError: too many wait, or too many of this client.
            UnavailableError: the engine is closed.
        """
        check_asked(asked, self.model.config.vocab_size, self.room, self.adapters)
        running = Running(self._cancel)
        writing = Writing(asked, self.model.config.vocab_size)
        text = Text(asked, (*asked.stop, *self._ends), (running, writing))
        with self._changed:
            self._check_open()
            if self._each is not None and self._scheduler.texts_of(asked.client) >= self._each:
                self._refuse(f"at most {self._each} texts of a client at a time", asked.client)
            if self._scheduler.waiting >= self._most:
                self._refuse(f"at most {self._most} texts that wait", "one more")
            self._texts[running] = text
            self._scheduler.submit(text)
            self._changed.notify_all()
        return running

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Future[np.ndarray]:
        """The mean of a text's last features (features,), of length 1, as the model's ``encode`` gives it.

        Raises:
            RangeError: no tokens, others than the vocabulary has, or more than a slot has room for.
            OptionError: an adapter that is not there.
        """
        asked = Asked(prompt=tuple(tokens), max_new=1, adapter=adapter)
        check_asked(asked, self.model.config.vocab_size, self.room + 1, self.adapters)
        future: Future[np.ndarray] = Future()
        with self._changed:
            self._check_open()
            self._embeddings.append((asked, future))
            self._changed.notify_all()
        return future

    def _check_open(self) -> None:
        if self._closing or self._thread is None:
            got = "one that is closed" if self._closing else "one that was not started"
            raise UnavailableError("an engine that writes", got=got, fix="call start()", where=WHERE)

    def _refuse(self, expected: str, got: str) -> None:
        self._refused += 1
        raise QueueFullError(expected, got=got, fix="ask again later", where=WHERE)

    def _cancel(self, running: Running) -> None:
        with self._changed:
            self._end(running)

    def _end(self, running: Running) -> None:
        text = self._texts.pop(running, None)
        if text is not None:
            self._scheduler.end(text, "cancelled")
            self._said.append((running, Piece(-1, finish="cancelled")))
            self._tell()

    # --- the thread ---

    def _work(self) -> None:
        """Turn after turn, while there is something to do."""
        while self._waited():
            self._turn()

    def _tell(self) -> None:
        """Hand out what was said: while the device computes, so that who listens takes no time from it."""
        with self._changed:
            said, self._said = self._said, []
            for running, piece in said:
                running.put(piece)

    def _waited(self) -> bool:
        """Wait for something to do; False where nothing is left and nothing comes."""
        with self._changed:
            if not self._busy():
                self._tell()  # nothing more is computed meanwhile
            while not self._closing and not self._busy():
                self._changed.wait()
            return self._busy()

    def _turn(self) -> None:
        """One round of the scheduler: plan it, compute it, hand its tokens out."""
        with self._changed:
            plan = self._scheduler.plan(time.monotonic())
            for text in plan.late:
                self._end_late(text)
            embedding = self._embeddings.popleft() if self._embeddings else None
        try:
            self._round(plan)
        except Exception as error:  # whatever a model's code fails with ends texts, not the engine
            self._failed(error)
        if embedding is not None:
            self._embed(*embedding)

    def _busy(self) -> bool:
        return bool(self._texts or self._embeddings)

    def _end_late(self, text: Text) -> None:
        running, _ = text.owner
        self._texts.pop(running, None)
        self._said.append((running, Piece(-1, finish="cancelled")))

    def _round(self, plan: Round) -> None:
        programs = self._programs
        assert programs is not None
        for one in plan.copies:
            programs.copy(one.source, one.target, one.count)
        for feed in plan.feeds:
            self._feed(programs, feed)
        with self._changed:
            ready = self._scheduler.ready()
        for adapter in dict.fromkeys(text.asked.adapter for text in ready):
            self._step(programs, adapter, [text for text in ready if text.asked.adapter == adapter])

    def _feed(self, programs: Programs, feed: Feed) -> None:
        with self._changed:
            text, slot = feed.text, feed.text.slot
        if slot is None:  # it was cancelled
            return
        scores = programs.feed(text.asked.adapter, slot, text.tokens[feed.start : feed.stop], feed.start)
        self._tell()
        with self._changed:
            self._scheduler.fed(feed)
        if feed.last:
            self._write(programs, scores, [text])

    def _step(self, programs: Programs, adapter: str | None, texts: Sequence[Text]) -> None:
        with self._changed:
            rows = [(text, text.slot, text.filled) for text in texts if text.slot is not None]
        if not rows:
            return
        width = self._scheduler.width(len(rows))
        scores = programs.step(adapter, width, [Row(slot, text.tokens[-1], filled) for text, slot, filled in rows])
        self._tell()
        with self._changed:
            for text, _, _ in rows:
                self._scheduler.stepped(text)
        self._write(programs, scores, [text for text, _, _ in rows])

    def _write(self, programs: Programs, scores: Any, texts: Sequence[Text]) -> None:
        """Choose the next token of each text by its row of scores."""
        writings: list[Writing | None] = [None] * len(scores)
        for row, text in enumerate(texts):
            try:
                text.owner[1].prepare()
                writings[row] = text.owner[1]
            except Exception as error:  # of a constraint's code: that of one text
                self._fail(text, error)
        found = programs.sample(scores, writings)
        for row, text in enumerate(texts):
            writing = writings[row]
            if writing is None:
                continue
            token, writing.key = int(found.tokens[row]), found.keys[row]
            said = writing.told(found.logprobs[row], found.best[row], found.best_logprobs[row])
            try:
                complete = writing.took(token)
            except Exception as error:
                self._fail(text, error)
            else:
                self._wrote(text, token, said, complete)

    def _wrote(self, text: Text, token: int, said: tuple[float | None, Any], complete: bool) -> None:
        with self._changed:
            if text.finish is None:
                finish = self._scheduler.wrote(text, token, complete=complete)
                if finish is not None:
                    self._texts.pop(text.owner[0], None)
                self._said.append((text.owner[0], Piece(token, *said, finish)))

    def _fail(self, text: Text, error: Exception) -> None:
        with self._changed:
            if text.finish is None:
                self._texts.pop(text.owner[0], None)
                self._scheduler.end(text, "cancelled")
                self._said.append((text.owner[0], _told(error)))

    def _embed(self, asked: Asked, future: Future[np.ndarray]) -> None:
        assert self._programs is not None
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(self._programs.embed(asked.adapter, asked.prompt))
            except Exception as error:
                future.set_exception(_told(error))

    def _failed(self, error: Exception) -> None:
        """End all texts that have slots by an error; slots may be lost with the call that failed."""
        assert self._programs is not None
        self._programs.reset()
        with self._changed:
            running = self._scheduler.running
            self._scheduler.forget()
        for text in running:
            self._fail(text, error)


def widths_of(slots: int) -> tuple[int, ...]:
    """How many of the first slots are computed at once: powers of two, and all.

    >>> widths_of(6)
    (1, 2, 4, 6)
    """
    return (*(1 << i for i in range((slots - 1).bit_length())), slots)


def _told(error: Exception) -> Exception:
    """An error of ours as it is; of all else, that the model's code failed."""
    if isinstance(error, PhloxError):
        return error
    made = ModelFailedError(
        "a model that runs", got=f"{type(error).__name__}: {str(error)[:500]}", fix="look at its code", where=WHERE
    )
    made.__cause__ = error
    return made
