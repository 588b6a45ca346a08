"""Signs of life, given and looked for by threads: who is gone, who does not go on, and who keeps the others waiting.

JAX looks for losses too, and ends a process without an exception; of its coordinator's loss it hears first.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from phlox.parallel.processes._group import _GRACE, _LOOK, GONE, OVER, STUCK, Group, Loss
from phlox.parallel.processes._judging import hanging, slow, told_of_slow
from phlox.parallel.processes._pulse import Told


class Signs:
    """Those of one process; ``start`` and ``end`` stand around its threads.

    Each process tells the coordinator, again and again, that it is there and where it stands. Process 0 looks at what
    all tell, and lets all know of a loss; of the loss of process 0 each knows by its own clock.

    Arguments:
        group: the processes.
        hang: seconds without a step after which a process hangs; None where it may take its time.
        clock: seconds that never go back.
    """

    group: Group
    hang: float | None

    def __init__(self, group: Group, hang: float | None, clock: Callable[[], float] = time.monotonic):
        self.group, self.hang, self.clock = group, hang, clock
        self.pause = min(group.heartbeat, hang or group.heartbeat) / 4
        self._count = 0  # signs given
        self._seen: dict[int, tuple[int, float]] = {}  # the last count of each process, and when it came
        self._answered = clock()  # when the coordinator last took a sign
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, in threads."""
        looks = (self.look,) if self.group.process == 0 else (self.mind,)
        rounds = [lambda act=act: self._again(act) for act in (self.give, *looks)]
        self._threads = [threading.Thread(target=run, daemon=True) for run in (*rounds, self.hear)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Give no more signs; the others know that this process left by itself."""
        self._over.set()
        with contextlib.suppress(Exception):  # a thread that is inside the coordinator's client then would not survive
            self.group.tell(f"lost/{self.group.process}", OVER)
            for thread in self._threads:
                thread.join(_GRACE)
            self.group.tell(f"beat/{self.group.process}", OVER)

    def _again(self, act: Callable[[], Any]) -> None:
        """Until the end, or until nothing is left to be looked for."""
        with contextlib.suppress(Exception):  # the coordinator has left
            while not self._over.is_set() and not act():
                self._over.wait(self.pause)

    # --- rounds: each ends its thread by a true value ----------------------------------------------

    def give(self) -> None:
        """Say that this process is there, and where it stands."""
        self._count += 1
        self.group.tell(f"beat/{self.group.process}", json.dumps([self._count, *self.group.pulse.told()]))
        self._answered = self.clock()

    def look(self) -> bool:
        """In process 0: let all know of those that are gone, or hang."""
        beats = dict(self.group.client.key_value_dir_get("phlox/beat/"))
        loss = self.loss({int(name.rpartition("/")[2]): beat for name, beat in beats.items()})
        if loss is not None:
            self.group.tell_all("lost", json.dumps(loss))
        return loss is not None

    def loss(self, beats: dict[int, str]) -> Loss | None:
        """What to let all know, from what each process told last."""
        group, now = self.group, self.clock()
        for n, beat in beats.items():
            if beat == OVER:
                self._seen.pop(n, None)
                group.others.pop(n, None)
                continue
            count, *told = json.loads(beat)
            if n not in self._seen or self._seen[n][0] != count:
                self._seen[n], group.others[n] = (count, now), Told(*told)
        late = sorted(n for n, (_, at) in self._seen.items() if now - at > group.heartbeat)
        if late:
            return Loss(late, f"no sign of life from {self._standing(late)}", GONE)
        stuck = [] if self.hang is None else sorted(hanging(group.others, self.hang))
        if stuck:
            seconds = min(group.others[n].idle for n in stuck)
            return Loss(stuck, f"{self._standing(stuck)}, for {seconds:.0f} s without going on", STUCK)
        found = {
            n: told_of_slow(group.named(n), group.others[n], times)
            for n, times in slow(group.others).items()
            if n not in group.slow
        }
        group.slow = {**group.slow, **found}
        return None

    def _standing(self, processes: list[int]) -> str:
        """Processes in words, and where they stand."""
        places = {n: self.group.others[n] for n in processes if n in self.group.others}
        told = [f", {places[n].place}" if n in places and places[n].training else "" for n in processes]
        return "; ".join(f"{self.group.named(n)}{where}" for n, where in zip(processes, told, strict=True))

    def mind(self) -> bool:
        """In the others: know of process 0, which cannot tell of its own loss."""
        silent = self.clock() - self._answered
        if silent <= self.group.heartbeat or self._over.is_set():
            return False
        got = f"no answer from process 0, where all meet, for {silent:.0f} s"
        self.group.deaf = True
        self.group.lose(Loss([0], got, GONE))
        return True

    def hear(self) -> None:
        """Wait for what process 0 lets all know."""
        with contextlib.suppress(Exception):
            while True:
                text = self.group.heard(f"lost/{self.group.process}", _LOOK)
                if text == OVER:
                    return
                if text is not None:
                    return self.group.lose(Loss(*json.loads(text)))
