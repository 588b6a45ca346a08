"""A version before its first request: compared with its examples, its rows proved independent, its sizes compiled."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from phlox.core import ExportError
from phlox.interchange import largest
from phlox.serving.engine._rows import Rows, together
from phlox.serving.engine._runner import Outcome, Runner
from phlox.serving.engine._servable import Arrays, Servable

_SAME = 1e-5  # between a row alone and the same row in a batch, as a share of the largest number, or of 1
_SAME_NARROW = 2e-2  # of 16 bits
_MAY_BE_QUICK = 0.01  # seconds; the machine may be busy while a version is loaded


def check_examples(servable: Servable, tolerance: dict[str, float], where: str) -> None:
    """Compare what comes out with what the examples say, to a tolerance by signature.

    Raises:
        ExportError: it is something else.
    """
    for signature in servable.signatures:
        most = tolerance.get(signature, _SAME)
        for example in servable.examples(signature):
            if not example.outputs:
                continue
            inputs = servable.preprocess(signature, example.inputs)
            found = servable.postprocess(signature, servable.predict(signature, inputs))
            if not (off := largest(found, example.outputs)) <= most:
                raise ExportError(
                    f"{signature} to give what its examples say, to {most:.0e}", got=f"a difference of {off:.1e}",
                    fix="export the model anew, where its code is", where=where,
                )  # fmt: skip


def warm_up(runner: Runner) -> list[str]:
    """Compile every size that is to be run, and give up batches where a row depends on the others.

    Returns:
        What is to be told of it.
    """
    notes = []
    for signature in runner.rows:
        try:
            examples = [runner.servable.preprocess(signature, e.inputs) for e in runner.servable.examples(signature)]
            notes += _warm(runner, signature, examples)
        except Exception as error:
            runner.rows[signature] = None
            notes.append(f"{signature} runs request by request: its examples fail ({str(error).splitlines()[0][:200]})")
    return notes


def _warm(runner: Runner, signature: str, examples: Sequence[Arrays]) -> list[str]:
    rows = runner.rows[signature]
    if rows is None:
        for x in examples[-1:]:
            _result(runner(signature, [x], [1])[0])
        return [f"{signature} runs request by request: no size is the batch of all its inputs and outputs"]
    several = next((x for x in examples if _count(x) > 1), None)
    if several is not None and not _independent(runner, signature, several):
        runner.rows[signature] = None
        return [f"{signature} runs request by request: a row's result depends on the rows beside it"]
    for x in examples[-1:]:
        _compile(runner, signature, x, rows)
    quick = all(_seconds(runner, signature, x, rows) < _MAY_BE_QUICK for x in examples[-1:])
    if quick and runner.servable.is_steady(signature):  # what a long program is made of is not looked at
        runner.steady.add(signature)
    return []


def _independent(runner: Runner, signature: str, inputs: Arrays) -> bool:
    """Whether rows give alone what they give beside others."""
    n = _count(inputs)
    alone = [{name: x[i : i + 1] for name, x in inputs.items()} for i in range(n)]
    whole = _result(runner(signature, [inputs], [n])[0])
    for i, one in enumerate(alone):
        found = _result(runner(signature, [one], [1])[0])
        for name, y in found.items():
            most = _SAME_NARROW if y.dtype.itemsize == 2 else _SAME
            if not largest({name: y}, {name: whole[name][i : i + 1]}) <= most:
                return False
    return True


def _compile(runner: Runner, signature: str, inputs: Arrays, rows: Rows) -> None:
    first = {name: x[:1] for name, x in inputs.items()}
    for size in rows.sizes():
        _result(runner(signature, [together([first], 1, size)], [size])[0])


def _seconds(runner: Runner, signature: str, inputs: Arrays, rows: Rows) -> float:
    """How long the smallest size takes that is compiled."""
    least = together([{name: x[:1] for name, x in inputs.items()}], 1, rows.least)
    start = time.perf_counter()
    _result(runner(signature, [least], [rows.least])[0])
    return time.perf_counter() - start


def _count(inputs: Arrays) -> int:
    return min((x.shape[0] if np.ndim(x) else 0) for x in inputs.values())


def _result(outcome: Outcome) -> Arrays:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
