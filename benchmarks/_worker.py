"""The process of one contender: it makes itself ready, then does what the driver's lines of JSON ask for.

The first line on its standard output says whether it is ready, or why not; then each line that comes in is answered
by one. What libraries print goes to the standard error.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _instructions import SIZE
from _operations import recorded
from frameworks import FORMS, Contender
from workloads import WORKLOADS, Workload

STATUS = Path("/proc/self/status")


def resident(kind: str) -> int | None:
    """Bytes of memory in use now (VmRSS), or at most so far (VmHWM); None where the system does not tell."""
    lines = STATUS.read_text("utf-8").splitlines() if STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(kind)), None)


def forget_peak() -> None:
    """Let the most memory so far be what is in use now."""
    if STATUS.exists():
        (STATUS.parent / "clear_refs").write_text("5", "ascii")


class Product:
    """A product of square matrices, to see how fast a library is with the instructions it is left."""

    def __init__(self, form_name: str):
        form = next(f for f in FORMS if f.name == form_name)
        framework = importlib.import_module(f"frameworks.on_{form.framework}")
        framework.start(form)
        self.take: Callable[[], Any] = framework.product(SIZE)

    def ready(self) -> dict[str, Any]:
        self.take()
        return {}

    def block(self, steps: int) -> dict[str, float]:
        self.take()
        begin = time.perf_counter()
        for _ in range(steps):
            self.take()
        return {"seconds": (time.perf_counter() - begin) / steps}


class Rates:
    """What a library reaches; that is all it answers."""

    def __init__(self, form_name: str):
        form = next(f for f in FORMS if f.name == form_name)
        self.framework = importlib.import_module(f"frameworks.on_{form.framework}")
        self.framework.start(form)

    def ready(self) -> dict[str, Any]:
        return self.framework.rates()


class Worker:
    """A contender, and what it used before it was built."""

    def __init__(self, workload: Workload, form_name: str, half: bool):
        form = next(f for f in FORMS if f.name == form_name)
        framework = importlib.import_module(f"frameworks.on_{form.framework}")
        framework.start(form)
        gc.collect()
        forget_peak()
        self.before = resident("VmRSS")
        self.contender: Contender = framework.contender(workload, form, half)
        self.workload, self.form = workload, form
        self.unit = workload.batches if form.many else 1  # the fewest steps it can take

    def ready(self) -> dict[str, Any]:
        """Take the first steps, and more until each batch was seen some times; tell how long and with what loss."""
        begin = time.perf_counter()
        losses = [self.contender.run(self.unit)]
        first = time.perf_counter() - begin
        if not self.workload.infers:
            rounds = max(2, 12 // self.workload.batches) if self.unit == 1 else 3
            losses.append(self.contender.run(rounds * self.workload.batches))  # ends with the same batch
        return {
            "first": first,
            "losses": losses,
            "parameters": self.contender.parameters - self.workload.surplus.get(self.form.framework, 0),
        }

    def block(self, steps: int) -> dict[str, float]:
        """Time a block, after an untimed step that fills the caches again."""
        self.contender.run(self.unit)
        begin = time.perf_counter()
        loss = self.contender.run(steps)
        return {"seconds": (time.perf_counter() - begin) / steps, "loss": loss}

    def trace(self, steps: int, rounds: int, folder: str) -> dict[str, Any]:
        """What each operation takes, and the least that a step took in some blocks before."""
        step = min(self.block(steps)["seconds"] for _ in range(rounds))
        return {"step": step, "times": recorded(self.contender.run, steps, folder)}

    def memory(self) -> dict[str, int | None]:
        """The most memory since it began to be built, above what its imports took."""
        peak = resident("VmHWM")
        return {"peak": None if peak is None or self.before is None else peak - self.before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=[*WORKLOADS, "product", "rates"])
    parser.add_argument("form", choices=[form.name for form in FORMS])
    parser.add_argument("--half", action="store_true", help="compute in bfloat16")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        others = {"product": Product, "rates": Rates}
        if options.workload in others:
            worker: Any = others[options.workload](options.form)
        else:
            worker = Worker(WORKLOADS[options.workload], options.form, options.half)
        answer(**worker.ready())
        for line in sys.stdin:
            asked = json.loads(line)
            if asked == "memory":
                answer(**worker.memory())
            elif isinstance(asked, dict):
                answer(**worker.trace(asked["trace"], asked["rounds"], asked["folder"]))
            else:
                answer(**worker.block(asked))
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main()
