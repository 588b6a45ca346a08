"""The batches of an epoch in order, with the last one known as such, from where a resumed run stood."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax

from phlox.core import ShapeError
from phlox.loop.batches._batch import Masked, Slot, Stack
from phlox.loop.batches._loading import plain_batches


class Fed(NamedTuple):
    """A batch, and what the loader says about its position once it was taken."""

    batch: Any
    position: Any  # of the loader, to go on behind this batch; None where it has none
    last: bool  # of the epoch


class Feed:
    """Goes through a loader once an epoch.

    Arguments:
        loader: iterated anew for each epoch.
        limit: at most so many batches an epoch, or None.
        same: keep the first ``limit`` batches and give these in every epoch.
        masked: whether a last batch that is not full may be filled up, with a mask that tells.
        where: who speaks in errors.
    """

    loader: Any
    limit: int | None
    same: bool
    where: str
    begun: bool

    def __init__(
        self,
        loader: Any,
        limit: int | None = None,
        *,
        same: bool = False,
        masked: bool = False,
        where: str = "px.fit",
    ):
        self.loader, self.limit, self.same, self.where = loader, limit, same, where
        self.masked = hasattr(loader, "masked") and (loader.pad_last or (masked and loader.partial))
        self.kept: list[Any] | None = None
        self.begun = False

    def count(self) -> int | None:
        """Batches in an epoch, None where the loader does not know."""
        try:
            count = len(self.loader)
        except TypeError:
            return None
        return count if self.limit is None else min(count, self.limit)

    @property
    def is_ours(self) -> bool:
        """Whether a ``px.DataLoader`` gives the batches: it is soon back, and has threads to be ended well."""
        return hasattr(self.loader, "stackable")

    @property
    def stackable(self) -> bool:
        """Whether the loader gathers many batches at once."""
        return getattr(self.loader, "stackable", False) and not self.same and len(self.loader) > 0

    @cached_property
    def example(self) -> Any:
        """A batch like those to come, where they are stackable: the first of them, gathered once."""
        batch, mask = self.loader.example(padded=self.masked)
        return Masked(batch, mask) if self.masked else batch

    def unpadded(self) -> Any:
        """The example without what fills it up."""
        if not isinstance(self.example, Masked):
            return self.example
        batch, mask = self.example
        return batch if mask.all() else jax.tree.map(lambda array: array[mask], batch)

    def first(self) -> Any:
        """The first batch where it is at hand, so that nothing is read twice; else None."""
        if getattr(self.loader, "stackable", False):
            return self.example if len(self.loader) else None
        if isinstance(self.loader, list) and self.loader:
            return next(plain_batches(self.loader[:1], self.where))
        return None

    def check(self) -> None:
        """Refuse a loader that knows that it gives no batch.

        Raises:
            ShapeError: see above.
        """
        if self.count() == 0:
            self._refuse()

    def epoch(self, skip: int = 0, slots: int = 1) -> Iterator[Fed]:
        """The batches of one epoch behind the first ``skip``; with more ``slots`` than one, each in a ``Stack``.

        Raises:
            ShapeError: the loader gives no batch.
        """
        vars(self).pop("example", None)  # it was to be looked at, and takes room
        source = self._source(skip) if slots == 1 else self._stacked(slots)
        limit = None if self.limit is None else max(self.limit - skip, 0)
        waiting = None
        for batch in itertools.islice(source, limit):
            if waiting is not None:
                yield Fed(*waiting, False)
            waiting = batch, self.loader.state() if self._positioned else None
        if waiting is not None:
            yield Fed(*waiting, True)
        elif not skip:
            self._refuse()
        self.begun = True

    def restore(self, position: Any, *, over: bool) -> None:
        """Go behind a batch of an earlier run; where its epoch is over, to the next one."""
        if self._positioned:
            self.loader.restore(position)
            if over:
                next(self._batches(), None)  # begins what is left of that epoch, so that the next one follows

    @property
    def _positioned(self) -> bool:
        return hasattr(self.loader, "restore") and not self.same

    def _source(self, skip: int) -> Iterator[Any]:
        if self.same:
            if self.kept is None:
                self.kept = list(itertools.islice(self._batches(), self.limit))
            return iter(self.kept[skip:])
        return self._batches() if self._positioned else itertools.islice(self._batches(), skip, None)

    def _batches(self) -> Iterator[Any]:
        if self.masked:
            return itertools.starmap(Masked, self.loader.masked())
        return iter(self.loader) if hasattr(self.loader, "masked") else plain_batches(self.loader, self.where)

    def _stacked(self, slots: int) -> Iterator[Slot]:
        slots, stack = min(slots, len(self.loader)), None
        for batches, masks, count, place in self.loader.stacked(slots, padded=self.masked):
            if stack is None or place == 0:
                stack = Stack(Masked(batches, masks) if self.masked else batches, count)
            yield Slot(stack, place)

    def _refuse(self) -> None:
        again = self.begun and iter(self.loader) is self.loader
        raise ShapeError(
            "data that can be gone through once an epoch" if again else "at least one batch",
            got="an iterator that is used up" if again else "none",
            fix="pass a list, a px.DataLoader, or an object whose __iter__ starts anew"
            if again
            else "look at the data; with drop_last it must hold one whole batch",
            where=self.where,
        )
