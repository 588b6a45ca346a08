"""phlox plan: which strategy a model takes on which chips, before one of them is rented."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from phlox.core import RangeError, bytes_text
from phlox.parallel import Plan, PlanRow, plan
from phlox.weights import FileError

WHERE = "phlox plan"
_NEEDED = ("model", "optimizer", "batch", "loss")
_MORE = ("precision", "tokens")


def run_plan(
    source: str,
    topology: str,
    *,
    price: float | None = None,
    strategies: Sequence[str] | None = None,
    remat: bool = True,
    memory: int | None = None,
    out: Path | None = None,
) -> Plan:
    """Plan what a function of a file makes, and print the plan; what is tried is told on the way.

    Arguments:
        source: ``FILE.py:NAME``, a function of nothing that returns the arguments of ``px.parallel.plan`` in a dict.
        out: a file for the numbers, as JSON.

    Raises:
        RangeError: a source, or a dict, that is none.
        FileError: there is no such file.
    """
    made = _made(source)
    found = plan(**made, topology=topology, price=price, strategies=strategies, remat=remat, memory=memory, told=_tell)
    Console(highlight=False).print(found)
    if out is not None:
        found.save(out)
    return found


def _made(source: str) -> dict[str, Any]:
    name, _, function = source.rpartition(":")
    file = Path(name)
    if not name or not function.isidentifier():
        raise RangeError(
            "FILE.py:NAME", got=repr(source), fix="name a function of the file: train.py:make", where=WHERE
        )
    if not file.is_file():
        raise FileError("a Python file", got=f"{name}, which is none", fix="give its path", where=WHERE)
    sys.path.insert(0, str(file.resolve().parent))  # it may import its neighbours, as a script does
    try:
        make = runpy.run_path(str(file)).get(function)
    finally:
        sys.path.pop(0)
    if not callable(make):
        fix = f"write def {function}(): … in it"
        raise RangeError(f"a function {function} in {name}", got=repr(make), fix=fix, where=WHERE)
    made: Any = make()
    known = isinstance(made, dict) and set(_NEEDED) <= set(made) <= {*_NEEDED, *_MORE}
    if not known:
        got = f"a dict of {', '.join(map(str, made))}" if isinstance(made, dict) else type(made).__name__
        fix = 'end it with return {"model": …, "optimizer": …, "batch": …, "loss": …}'
        raise RangeError(f"a dict of {', '.join(_NEEDED)}, and {' or '.join(_MORE)} where wanted", got=got, fix=fix,
                         where=source)  # fmt: skip
    return made


def _tell(row: PlanRow) -> None:
    what = row.reason or (f"{bytes_text(row.total)}, {'fits' if row.fits else 'too much'}")
    remat = "" if row.remat is None else f", remat={row.remat!r}"
    print(f"{row.strategy!r}{remat}: {what}", file=sys.stderr, flush=True)
