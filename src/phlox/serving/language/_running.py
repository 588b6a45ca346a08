"""A text that is being written, as the one who asked sees it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from phlox.serving.language._asked import Piece


class Running(Iterator[Piece], AsyncIterator[Piece]):
    """Pieces of a text, in order, each once: ``for piece in running``, or ``async for``.

    The last one has a ``finish``. What the model's code fails with is raised in its place.

    Arguments:
        cancel: called with this text by ``cancel()``.
    """

    def __init__(self, cancel: Callable[[Running], None]):
        self._cancel = cancel
        self._pieces: deque[Piece | Exception] = deque()
        self._changed = threading.Condition()
        self._waker: Callable[[], None] | None = None
        self._over = False

    def cancel(self) -> None:
        """End the text where it is; its last piece then says ``"cancelled"``. One that has ended stays as it is."""
        self._cancel(self)

    def put(self, piece: Piece | Exception) -> None:
        """Add a piece, or the error that ends the text."""
        with self._changed:
            self._pieces.append(piece)
            self._changed.notify_all()
            wake, self._waker = self._waker, None
        if wake is not None:
            wake()

    def __iter__(self) -> Running:
        return self

    def __next__(self) -> Piece:
        with self._changed:
            while not self._over and not self._pieces:
                self._changed.wait()
            if self._over:
                raise StopIteration
            return self._taken()

    def __aiter__(self) -> Running:
        return self

    async def __anext__(self) -> Piece:
        while True:
            with self._changed:
                if self._over:
                    raise StopAsyncIteration
                if self._pieces:
                    return self._taken()
                there = asyncio.Event()
                self._waker = partial(_wake, asyncio.get_running_loop(), there)
            await there.wait()

    def _taken(self) -> Piece:
        piece = self._pieces.popleft()
        if isinstance(piece, Exception):
            self._over = True
            raise piece
        self._over = piece.finish is not None
        return piece


def _wake(loop: asyncio.AbstractEventLoop, there: asyncio.Event) -> None:
    if not loop.is_closed():  # whoever waited has gone with it
        loop.call_soon_threadsafe(there.set)
