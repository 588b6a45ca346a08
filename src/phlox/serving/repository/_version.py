"""One version of a model: loaded, asked, put away."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np

from phlox.core import PhloxError
from phlox.serving._errors import TooLargeError, UnavailableError, UnknownModelError
from phlox.serving._limits import Limits
from phlox.serving.engine._asking import Usual, taken
from phlox.serving.engine._batcher import Batcher, Trace
from phlox.serving.engine._guarding import Guards
from phlox.serving.engine._rows import count_rows
from phlox.serving.engine._runner import Runner
from phlox.serving.engine._servable import DEFAULT, Servable
from phlox.serving.engine._warming import warm_up

Load = Callable[[], tuple[Servable, list[str]]]


class State(StrEnum):
    """Where a version stands, in the words of TensorFlow Serving."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class Version:
    """One version.

    Arguments:
        name: of the model.
        number: of the version.
        load: opens what it serves, in a thread.
        limits: what it takes on.
        pool: threads for code of its own before and after the model.
        mark: of the content that it is loaded from.
        kept: bytes of its weights.
        watch: called with rows and seconds after each batch.
        trace: follows requests.
    """

    servable: Servable
    batcher: Batcher

    def __init__(
        self,
        name: str,
        number: int,
        load: Load,
        limits: Limits,
        pool: Executor,
        mark: Any = None,
        kept: int = 0,
        watch: Callable[[int, float], None] | None = None,
        trace: Trace | None = None,
    ):
        self.name, self.number, self.limits, self.mark, self.kept = name, number, limits, mark, kept
        self.state, self.error, self.notes = State.LOADING, "", list[str]()
        self.failure: Exception | None = None
        self._load, self._pool, self._users, self._watch, self._trace = load, pool, 0, watch, trace

    def __str__(self) -> str:
        return f"{self.name}/{self.number}"

    @property
    def runtime(self) -> str:
        """What runs it."""
        return getattr(self.servable, "runtime", type(self.servable).__name__)

    async def load(self, loader: Executor) -> bool:
        """Load it and warm it up; whether it can be asked now. What went wrong is kept as ``error``."""
        loop = asyncio.get_running_loop()
        try:
            self.servable, runner, self.notes = await loop.run_in_executor(loader, self._opened)
        except Exception as error:
            self.state, self.error, self.failure = State.END, _told(error), error
            return False
        self.batcher = Batcher(
            runner, most=self.limits.batch, limit=self.limits.queue, name=str(self), watch=self._watch,
            trace=self._trace,
        )  # fmt: skip
        self._guards = Guards(self.servable)
        self._usual = {name: Usual(told) for name, told in self.servable.signatures.items()}
        self.state = State.AVAILABLE
        return True

    def _opened(self) -> tuple[Servable, Runner, list[str]]:
        servable, notes = self._load()
        servable.open()
        runner = Runner(servable, self.limits.batch)
        return servable, runner, notes + warm_up(runner)

    def used(self) -> _Use:
        """Keep it from being put away while a block runs.

        Raises:
            UnavailableError: it is not loaded.
        """
        if self.state is not State.AVAILABLE:
            got = f"{self.state.value.lower()}{': ' + self.error if self.error else ''}"
            raise UnavailableError("a version that is loaded", got=got, fix="ask again later", where=str(self))
        return _Use(self)

    def signature(self, name: str | None) -> str:
        """The name of a signature, as TensorFlow's clients may call it.

        Raises:
            UnknownModelError: there is none.
        """
        known = self.servable.signatures
        if name in known:
            return name  # type: ignore[return-value]
        if name in (None, "", "serving_default"):
            return DEFAULT if DEFAULT in known else next(iter(known))
        fix = "name one of these"
        raise UnknownModelError(f"a signature among {', '.join(known)}", got=repr(name)[:100], fix=fix, where=str(self))

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what takes a while beside the event loop, in the request's context."""
        here = partial(contextvars.copy_context().run, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._pool, here)

    async def answer(
        self, signature: str, inputs: Mapping[str, Any], seconds: float | None = None
    ) -> Mapping[str, np.ndarray]:
        """The outputs of a request by name.

        Raises:
            OptionError, DtypeError, ShapeError, RangeError: inputs that the signature does not take.
            UnprocessableError: values that are against the model's schema.
            ServingError: it is too large, came too many, or took too long.
        """
        where = f"{self} {signature}"
        usual = self._usual[signature](inputs)
        arrays: Mapping[str, np.ndarray] = usual or taken(self.servable, signature, inputs, where)
        self._check_size(arrays, where)
        self._guards.check(signature, arrays, inputs, where)
        servable = self.servable
        if type(servable).preprocess is not Servable.preprocess:
            arrays = await self.in_thread(servable.preprocess, signature, arrays)
        one_by_one = self.batcher.runner.rows[signature] is None
        rows = self.limits.batch if one_by_one else count_rows(arrays, where)
        found = await self.batcher.submit(signature, arrays, rows, seconds or self.limits.seconds)
        if type(servable).postprocess is not Servable.postprocess:
            found = await self.in_thread(servable.postprocess, signature, found)
        return found

    def _check_size(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        for name, x in arrays.items():
            if x.size > self.limits.elements or x.ndim > self.limits.rank:
                most = f"{name} of at most {self.limits.elements} elements and {self.limits.rank} axes"
                raise TooLargeError(most, got=f"{x.dtype}{list(x.shape)}", fix="send fewer rows at once", where=where)

    async def put_away(self) -> None:
        """Answer what has been asked, and let go of the model."""
        if self.state is State.AVAILABLE:
            self.state = State.UNLOADING
            while self._users:
                await asyncio.sleep(0.01)
            await self.batcher.drain()
            self.servable.close()
        self.state = State.END


class _Use:
    """A block that asks a version; it is written out, as it is entered at every request."""

    __slots__ = ("version",)

    def __init__(self, version: Version):
        self.version = version

    def __enter__(self) -> Version:
        self.version._users += 1
        return self.version

    def __exit__(self, *error: object) -> None:
        self.version._users -= 1


def _told(error: BaseException) -> str:
    """An error for whoever runs the server."""
    return str(error) if isinstance(error, PhloxError) else f"{type(error).__name__}: {str(error)[:500]}"
