"""Who is written next: texts that wait, slots, prefixes, turns. Nothing here knows of arrays."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from phlox.serving.language._asked import Finish
from phlox.serving.language._prefixes import Held, best
from phlox.serving.language._text import Text
from phlox.serving.language._turns import Turns

_WORTH = 16  # tokens of a prefix, below which computing them again costs no more


@dataclass(frozen=True)
class Copy:
    """The first tokens of one slot, put into another one."""

    source: int
    target: int
    count: int


@dataclass(frozen=True)
class Feed:
    """Tokens of a prompt that are computed at once: those from ``start`` to ``stop``."""

    text: Text
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether the next token follows from it."""
        return self.stop == len(self.text.tokens)


class Left(NamedTuple):
    """What a slot held before a text came into it: how many tokens of it are lost, and when it was last of use."""

    slot: int
    held: Held
    lost: int
    used: int


@dataclass
class Round:
    """What happens next: copies, then tokens of prompts; then one token of each text that is ready."""

    copies: list[Copy] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    late: list[Text] = field(default_factory=list)


@dataclass
class Counts:
    """What happened so far, in tokens and texts."""

    read: int = 0
    reused: int = 0
    written: int = 0
    finished: int = 0
    cancelled: int = 0
    preempted: int = 0


class Scheduler:
    """Texts that wait, and texts in slots.

    A text keeps its slot until it ends, but for one case: a client for whom nothing is written takes a slot of the
    client who has most of them, if that are two at least. The text that loses its slot waits at the head of its queue,
    and is computed again.

    Arguments:
        widths: how many texts can be computed at once, rising; the last is the number of slots.
        chunk: tokens of prompts that are computed between two steps of all texts.
    """

    def __init__(self, widths: Sequence[int], chunk: int):
        self.widths, self.chunk = tuple(widths), chunk
        self.slots: list[Text | None] = [None] * self.widths[-1]
        self.counts = Counts()
        self._held = [Held(None, ()) for _ in self.slots]
        self._used = [0] * len(self.slots)  # when each was last of use, in steps of a clock
        self._clock = 0
        self._queues: dict[str, deque[Text]] = {}
        self._turns, self._round = Turns(), 0

    # --- from outside ---

    @property
    def waiting(self) -> int:
        """Texts without a slot."""
        return sum(map(len, self._queues.values()))

    @property
    def running(self) -> list[Text]:
        """Texts in slots."""
        return [text for text in self.slots if text is not None]

    def texts_of(self, client: str) -> int:
        """How many texts of a client wait and are written."""
        return len(self._queues.get(client, ())) + sum(text.asked.client == client for text in self.running)

    def submit(self, text: Text) -> None:
        """Take a text into the queue of its client."""
        client = text.asked.client
        self._turns.join(client, self._here())
        self._queues.setdefault(client, deque()).append(text)

    def end(self, text: Text, finish: Finish) -> None:
        """End a text, wherever it is; one that has ended stays as it is."""
        if text.finish is not None:
            return
        text.finish = finish
        self.counts.finished += finish != "cancelled"
        self.counts.cancelled += finish == "cancelled"
        if text.slot is not None:
            self._leave(text)
        else:
            self._queues[text.asked.client].remove(text)
            self._tidy(text.asked.client)

    def forget(self) -> None:
        """What slots hold is lost."""
        self._held = [Held(None, ()) for _ in self.slots]
        for text in self.running:
            text.filled = 0

    # --- the rounds ---

    def plan(self, now: float) -> Round:
        """What happens next."""
        self._round += 1
        plan = Round()
        for text in [*self.running, *(text for queue in self._queues.values() for text in queue)]:
            if text.asked.deadline is not None and text.asked.deadline <= now:
                self.end(text, "cancelled")
                plan.late.append(text)
        left: list[Left] = []
        for _ in range(self.waiting):  # who loses its slot is not among those who get one
            if not self._admit(plan, left):
                break
        plan.copies = [*self._keep(left), *plan.copies]
        plan.feeds = list(self._feeds())
        return plan

    def fed(self, feed: Feed) -> None:
        """Tokens of a prompt are in its slot."""
        self._computed(feed.text, feed.stop - feed.start)
        self.counts.read += feed.stop - feed.start

    def ready(self) -> list[Text]:
        """Texts whose next token follows from the one that was last, by slot."""
        return [text for text in self.running if text.behind == 1]

    def stepped(self, text: Text) -> None:
        """A text's last token is in its slot."""
        self._computed(text, 1)

    def wrote(self, text: Text, token: int, *, complete: bool = False) -> Finish | None:
        """A text has its next token; how it ends with it, if it does."""
        if text.finish is not None:
            return text.finish
        self.counts.written += 1
        finish = text.add(token, complete=complete)
        if finish is not None:
            self.end(text, finish)
        return finish

    def width(self, texts: int) -> int:
        """The fewest rows that there is a program for, and room for so many texts."""
        return next(width for width in self.widths if width >= texts)

    # --- within ---

    def _here(self) -> set[str]:
        return {*self._queues, *(text.asked.client for text in self.running)}

    def _computed(self, text: Text, count: int) -> None:
        self._turns.charge(text.asked.client, count)
        if text.finish is None:
            text.filled += count
            text.fed_at = self._round

    def _feeds(self) -> Iterator[Feed]:
        """As much of prompts as fits; the first may take all that there is room for, the others fit as a whole."""
        room = self.chunk
        behind = sorted((t for t in self.running if t.behind > 1), key=lambda t: (t.fed_at, t.began))
        for i, text in enumerate(behind):
            count = min(text.behind, room)
            if i and count < text.behind:
                continue
            yield Feed(text, text.filled, text.filled + count)
            room -= count
            if not room:
                return

    def _admit(self, plan: Round, left: list[Left]) -> bool:
        """Give a slot to the next text; whether there was one. What the slot held goes to those that are ``left``."""
        running = Counter(text.asked.client for text in self.running)
        client = self._turns.next(self._queues, running)
        if None not in self.slots and not self._preempt(client, running):
            return False
        text = self._queues[client].popleft()
        self._tidy(client)
        slot, count = best([self._holds(i) for i in range(len(self.slots))], text.asked.adapter, text.tokens)
        count = min(count, len(text.tokens) - 1)  # the next token follows from the last, which is computed anew
        count = count if count >= _WORTH else 0
        free = [i for i, other in enumerate(self.slots) if other is None]
        target = slot if count and slot in free else min(free, key=self._used.__getitem__)
        held = self._held[target]
        lost = len(held.tokens) - (count if slot == target else 0)
        if lost >= _WORTH:
            left.append(Left(target, held, lost, self._used[target]))
        if count and slot != target:
            plan.copies.append(Copy(slot, target, count))
            self._touch(slot)
        self.counts.reused += count
        self._enter(text, target, count)
        self._clock += 1
        text.began = self._clock
        return True

    def _enter(self, text: Text, slot: int, filled: int) -> None:
        self.slots[slot], text.slot, text.filled = text, slot, filled

    def _keep(self, left: Iterable[Left]) -> Iterator[Copy]:
        """What slots held goes into free ones that were of use before it, and that hold less than is lost."""
        free = [slot for slot, text in enumerate(self.slots) if text is None]
        for one in left:
            worse = [i for i in free if self._used[i] < one.used and len(self._held[i].tokens) < one.lost]
            if worse:
                oldest = min(worse, key=self._used.__getitem__)
                yield Copy(one.slot, oldest, len(one.held.tokens))
                self._held[oldest], self._used[oldest] = one.held, one.used

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._used[slot] = self._clock

    def _preempt(self, client: str, running: Counter[str]) -> bool:
        """Take a slot from who has most, for one who has none."""
        most = max(running, key=running.__getitem__)
        if running[client] or running[most] < 2:
            return False
        text = max((t for t in self.running if t.asked.client == most), key=lambda t: t.began)
        self._leave(text)
        self._queues.setdefault(most, deque()).appendleft(text)
        self.counts.preempted += 1
        return True

    def _leave(self, text: Text) -> None:
        """Free the slot of a text; what is in it stays, for others that begin alike."""
        slot = text.slot
        assert slot is not None
        self._held[slot] = self._holds(slot)
        self._touch(slot)
        self.slots[slot], text.slot, text.filled = None, None, 0

    def _holds(self, slot: int) -> Held:
        text = self.slots[slot]
        return self._held[slot] if text is None else Held(text.asked.adapter, text.tokens[: text.filled])

    def _tidy(self, client: str) -> None:
        if not self._queues[client]:
            del self._queues[client]
