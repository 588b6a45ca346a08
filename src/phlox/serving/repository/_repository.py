"""All models, kept as the folder says while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from phlox.core import PhloxError
from phlox.loop import NotEnoughMemoryError
from phlox.serving._errors import UnknownModelError
from phlox.serving._limits import Limits
from phlox.serving.engine._batcher import Trace
from phlox.serving.engine._opening import Opening, opened
from phlox.serving.engine._servable import Servable
from phlox.serving.repository._layout import Found, find_models
from phlox.serving.repository._memory import bytes_of, check_room
from phlox.serving.repository._model import Model
from phlox.serving.repository._policy import Policy, read_policy
from phlox.serving.repository._version import State, Version

_GONE = 499  # the status of a request whose client did not wait

Tell = Callable[[str, Mapping[str, Any]], None]
"""An event by its name, and what is told of it."""
Watch = Callable[[str, int, int, float], None]
"""Model, version, rows and seconds of a batch."""


class Repository:
    """The models that are served. All methods are called from one event loop; loading happens in a thread beside it.

    Arguments:
        source: a folder of models, one bundle or file, or servables by name.
        limits: what each version takes on.
        how: how files are opened.
        memory: bytes that all versions may keep.
        tell: called with what happens.
        watch: called after each batch.
        trace: follows requests.
    """

    models: dict[str, Model]
    configured: dict[str, Policy] | None
    """What a client has said to serve, and nothing else; None where the folder alone says it."""
    leaving: bool
    """Whether the server takes no more requests soon."""

    def __init__(
        self,
        source: Path | Mapping[str, Servable],
        limits: Limits,
        how: Opening | None = None,
        memory: int | None = None,
        tell: Tell = lambda event, told: None,
        watch: Watch | None = None,
        trace: Trace | None = None,
    ):
        self.source, self.limits, self.how, self.memory = source, limits, how or Opening(), memory
        self.models, self.stopped = {}, set[str]()
        self.configured, self.leaving = None, False
        self._tell, self._watch, self._trace = tell, watch, trace
        self._loader = ThreadPoolExecutor(1, "loader")
        self._pool = ThreadPoolExecutor(4, "hooks")
        self._lock = asyncio.Lock()
        self._missed: set[tuple[str, int]] = set()
        self._failed: dict[tuple[str, int], Any] = {}
        self._outside: set[tuple[str, int]] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def find(self, name: str) -> Model:
        """A model by its name.

        Raises:
            UnknownModelError: there is none.
        """
        found = self.models.get(name)
        if found is None:
            there = ", ".join(sorted(self.models)[:10]) or "none"
            raise UnknownModelError(f"a model among {there}", got=repr(name)[:100], fix="check it", where="server")
        return found

    @property
    def ready(self) -> bool:
        """Whether every model has a version that can be asked."""
        asked = [m for name, m in self.models.items() if self._wants(name)]
        return bool(asked) and all(m.available() for m in asked)

    def kept(self) -> int:
        """Bytes of the weights that are loaded."""
        return sum(v.kept for m in self.models.values() for v in m.available().values())

    async def refresh(self, *, again: bool = False) -> None:
        """Look at the folder, load what is new and put away what is gone.

        Arguments:
            again: try anew what failed before.

        Raises:
            MissingFileError: the source is gone.
        """
        async with self._lock:
            if again:
                self._failed.clear()
            found = await self._found()
            for name in sorted({*found, *self.models}):
                await self._one(name, found.get(name, {}))

    async def load(self, name: str) -> None:
        """Load a model that was stopped, or try it anew.

        Raises:
            UnknownModelError: it is not in the folder.
            UnavailableError: it cannot be loaded; says why.
        """
        self.stopped.discard(name)
        if self.configured is not None:
            self.configured.setdefault(name, Policy())
        await self.refresh(again=True)
        self.find(name).choose()

    async def configure(self, policies: Mapping[str, Policy]) -> None:
        """Serve these models alone, by these policies in place of those in the folder.

        Raises:
            UnknownModelError: one is not in the folder; all stays as it is.
            UnavailableError: one cannot be loaded; says why.
        """
        found = await self._found()
        if missing := [name for name in policies if not found.get(name)]:
            there = ", ".join(sorted(found)[:10]) or "none"
            fix = "put it into the folder first"
            raise UnknownModelError(f"models among {there}", got=repr(missing[0])[:100], fix=fix, where="server")
        for name, policy in policies.items():
            if absent := [n for n in policy.pinned if n not in found[name]]:
                expected = f"versions of {name} among {', '.join(map(str, found[name]))}"
                fix = "put it into the folder first"
                raise UnknownModelError(expected, got=str(absent[0]), fix=fix, where="server")
        self.configured, self.stopped = dict(policies), set()
        async with self._lock:
            for name, model in self.models.items():
                for version in model.available().values() if name not in policies else ():
                    self._leave(version)
        await self.refresh(again=True)
        await self._left()
        for name in policies:
            self.find(name).choose()

    async def renew(self) -> None:
        """Look at the folder now, and try anew what failed before."""
        await self.refresh(again=True)

    def answered(self, version: Version, *, status: int, seconds: float) -> None:
        """Count an answer for who judges versions; what a client does wrong says nothing of them."""
        model = self.models.get(version.name)
        if model is not None and (status < 400 or status >= _GONE):
            model.answered(version.number, failed=status >= 500, seconds=seconds)

    def tell(self, event: str, told: Mapping[str, Any]) -> None:
        """Tell of an event."""
        self._tell(event, told)

    def _wants(self, name: str) -> bool:
        """Whether a model of the folder is served."""
        return name not in self.stopped and (self.configured is None or name in self.configured)

    async def unload(self, name: str) -> None:
        """Put away all versions of a model, until it is loaded again."""
        model = self.find(name)
        self.stopped.add(name)
        async with self._lock:
            for version in model.available().values():
                self._leave(version)
        await self._left()

    async def close(self) -> None:
        """Answer what has been asked, and put away all."""
        async with self._lock:
            for model in self.models.values():
                for version in model.available().values():
                    self._leave(version)
        await self._left()
        self._loader.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _found(self) -> dict[str, dict[int, Any]]:
        if not isinstance(self.source, Path):
            return {name: {1: servable} for name, servable in self.source.items()}
        return await asyncio.get_running_loop().run_in_executor(
            self._loader, find_models, self.source, f"serving {self.source}"
        )

    async def _one(self, name: str, found: Mapping[int, Any]) -> None:
        """Bring one model to what the folder says."""
        if not found and name not in self.models:
            return
        model = self.models.setdefault(name, Model(name))
        self._read_policy(model)
        self._drop_gone(model, found)
        if self._wants(name):
            for number in model.policy.pinned if found else ():
                if number in found:
                    await self._ensure(model, number, found[number])
            await self._newest(model, found)
            if model.policy.versions == "all":
                for number in found:
                    await self._ensure(model, number, found[number])
            self._drop_unwanted(model, found)
        if not found and not model.available() and all(v.state is State.END for v in model.versions.values()):
            del self.models[name]

    async def _newest(self, model: Model, found: Mapping[int, Any]) -> None:
        """Load the newest version, or the newest of those that can be loaded."""
        for number in model.policy.newest(list(found)):
            if await self._ensure(model, number, found[number]):
                return

    async def _ensure(self, model: Model, number: int, found: Any) -> bool:
        """Whether a version is served as the folder has it, or as it had it; loads it where it is new."""
        key, mark = (model.name, number), found.mark if isinstance(found, Found) else id(found)
        old = model.versions.get(number)
        serves = old is not None and old.state is State.AVAILABLE
        if serves and old is not None and old.mark == mark:
            return True
        if self._failed.get(key) == mark:
            return serves
        fresh = self._fresh(model.name, number, found, mark)
        if not serves:
            model.versions[number] = fresh
        if key not in self._outside:
            self._tell("loading", {"model": model.name, "version": number, "bytes": fresh.kept})
        if not await fresh.load(self._loader):
            self._note_failure(key, mark, fresh)
            if serves and old is not None:
                old.error = fresh.error
            return serves
        self._outside.discard(key)
        model.versions[number] = fresh
        told = {"model": model.name, "version": number, "runtime": fresh.runtime, "notes": fresh.notes}
        self._tell("available", told)
        if serves and old is not None:
            self._leave(old)
        return True

    def _note_failure(self, key: tuple[str, int], mark: Any, version: Version) -> None:
        """Leave alone what failed until it changes; what did not fit may fit later, and is told of once."""
        if isinstance(version.failure, NotEnoughMemoryError):
            if key in self._outside:
                return
            self._outside.add(key)
        else:
            self._failed[key] = mark
        self._tell("failed", {"model": version.name, "version": version.number, "error": version.error})

    def _fresh(self, name: str, number: int, found: Any, mark: Any) -> Version:
        where = f"{name}/{number}"
        watch = None if self._watch is None else partial(self._watch, name, number)
        if not isinstance(found, Found):
            return Version(
                name, number, lambda: (found, []), self.limits, self._pool, mark, watch=watch, trace=self._trace
            )
        try:
            kept = bytes_of(found.path)
        except OSError:
            kept = 0  # it goes away just now: opening it says so

        def load() -> tuple[Servable, list[str]]:
            check_room(kept, used=self.kept(), limit=self.memory, where=where)
            return opened(found.path, self.how, where)

        return Version(name, number, load, self.limits, self._pool, mark, kept, watch, self._trace)

    def _read_policy(self, model: Model) -> None:
        if not isinstance(self.source, Path):
            return
        if self.configured is not None and model.name in self.configured:
            model.follow(self.configured[model.name])
            return
        error = ""
        try:
            policy = read_policy(self.source / model.name)
        except PhloxError as fault:
            error = str(fault)
        else:
            model.follow(policy)
        if error != model.error and error:
            self._tell("policy", {"model": model.name, "error": error})
        model.error = error

    def _drop_gone(self, model: Model, found: Mapping[int, Any]) -> None:
        """Put away what was gone twice: a folder that is replaced is gone for a moment."""
        for number, version in list(model.versions.items()):
            key = (model.name, number)
            if number in found:
                self._missed.discard(key)
            elif key not in self._missed:
                self._missed.add(key)
            else:
                self._missed.discard(key)
                self._failed.pop(key, None)
                self._outside.discard(key)
                self._leave(version)
                if version.state is State.END:
                    del model.versions[number]

    def _drop_unwanted(self, model: Model, found: Mapping[int, Any]) -> None:
        """Put away what is no longer wanted, once what is wanted in its place can be asked."""
        there = model.available()
        wanted = {n for n in model.policy.pinned if n in there}
        if model.policy.versions == "all":
            wanted |= set(there)
        elif model.policy.versions == "latest" and there:
            wanted.add(max(there))
        if wanted:
            for number in set(there) - wanted:
                if number in found:
                    self._leave(there[number])

    def _leave(self, version: Version) -> None:
        """Put a version away beside what else happens."""
        if version.state is not State.AVAILABLE:
            return
        task = asyncio.ensure_future(version.put_away())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self._tell("unloading", {"model": version.name, "version": version.number})

    async def _left(self) -> None:
        while self._leaving:
            with suppress(Exception):
                await asyncio.gather(*self._leaving)
