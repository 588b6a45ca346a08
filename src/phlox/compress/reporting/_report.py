"""What a report found: two models beside each other, as numbers, as JSON, and printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phlox.compress.reporting._latency import Timing
from phlox.core import bytes_text, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 110
_LAYERS = 10  # in the printed table, those that moved most


@dataclass(frozen=True)
class Side:
    """One of the two models.

    Attributes:
        parameters: numbers that it computes with: its parameters, frozen ones too, and what integers stand for.
        nonzero: how many of them are not zero.
        memory: bytes of its arrays.
        disk: bytes of its file.
        flops: floating-point operations on one example; products of integers are none.
        latency: seconds of a call by its number of examples, ``latency[1].median``.
        scores: loss and metrics by name, as ``px.evaluate`` gives them.
    """

    parameters: int
    nonzero: int
    memory: int
    disk: int
    flops: int
    latency: Mapping[int, Timing] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """One example, by its place in the order in which the data came.

    Attributes:
        index: its place.
        change: of the answer, relative to its size.
        flipped: the share of its places whose class changed; None where the data has no classes.
        before, after, target: the classes, where it has one place.
    """

    index: int
    change: float
    flipped: float | None = None
    before: int | None = None
    after: int | None = None
    target: int | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """What a smaller model saves and what it lost; printing it gives tables, ``plot`` a picture.

    Attributes:
        name: the model's class.
        before, after: each of the two measured.
        faster: how many times as fast the smaller one is, by the number of examples in a call, from single rounds.
        layers: the relative change of what each part of the model gives, by path in the order of the calls; ``""`` is
            what it says in the end.
        changes: (examples,) the relative change of each answer.
        flips: (examples,) the share of an example's classes that changed; None where the data has none.
        flipped: the share of all classes that changed.
        worst: the examples that changed most.
        notes: what else is to be known.
    """

    name: str
    before: Side
    after: Side
    faster: Mapping[int, Timing]
    layers: Mapping[str, float]
    changes: np.ndarray[Any, Any]
    flips: np.ndarray[Any, Any] | None
    flipped: float | None
    worst: tuple[Example, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All its numbers, as JSON has them; None stands for what is not finite."""
        plain = ("name", "flipped", "notes", "layers", "faster")
        found = {name: getattr(self, name) for name in plain}
        sides = {name: vars(getattr(self, name)) for name in ("before", "after")}
        arrays = {"changes": self.changes, "flips": self.flips}
        whole = found | sides | arrays | {"worst": [asdict(one) for one in self.worst]}
        return {name: _jsonable(value) for name, value in whole.items()}

    def save(self, path: str | Path) -> None:
        """Write its numbers as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=2) + "\n", "utf-8")

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw what is left of the model's size and time, what layers lost, and how far answers moved.

        Arguments:
            path: a file to write; its ending says the format.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from phlox.compress.reporting._plot import plot_report  # matplotlib is an extra

        return plot_report(self.shares(), self.layers, self.changes, self.flips, path)

    def shares(self) -> dict[str, float]:
        """What the smaller model takes of what the model does, by what it is of."""
        names = {"numbers not zero": "nonzero", "memory": "memory", "disk": "disk", "FLOPs": "flops"}
        pairs = {label: (getattr(self.before, name), getattr(self.after, name)) for label, name in names.items()}
        found = {label: now / was for label, (was, now) in pairs.items() if was}
        return found | {_call(n): 1 / timing.median for n, timing in self.faster.items()}

    def __rich__(self) -> Any:
        """The tables, for rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        def table(names: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Table:
            made = Table(show_edge=False, pad_edge=False)
            for i, name in enumerate(names):
                made.add_column(name, justify="right" if i else "left", overflow="fold")
            for row in rows:
                made.add_row(*row)
            return made

        parts: list[Any] = [Text(self._verdict()), table((self.name, "before", "after", "ratio"), self._sizes())]
        layers = sorted(((path, e) for path, e in self.layers.items() if path), key=lambda one: -_rank(one[1]))
        if layers:
            head = "layer" if len(layers) <= _LAYERS else f"layer, {_LAYERS} of {len(layers)}"
            rows = ((path, f"{error:.3g}") for path, error in layers[:_LAYERS])
            parts += [Text(), table((head, "relative error"), rows)]
        parts += [Text(), table(*self._examples())]
        return Group(*parts, *(Text(f"note: {note}") for note in self.notes))

    def _verdict(self) -> str:
        told = [
            f"{self.after.disk / self.before.disk:.3g} of the bytes on disk",
            f"answers moved by {self.layers['']:.3g}",
        ]
        if self.flipped is not None:
            told.append(f"{100 * self.flipped:.3g} % of classes changed")
        return f"{self.name}: " + ", ".join(told)

    def _sizes(self) -> Iterator[tuple[str, ...]]:
        count = "{:,}".format
        for label, name, text in (
            ("parameters", "parameters", count), ("not zero", "nonzero", count), ("memory", "memory", bytes_text),
            ("disk", "disk", bytes_text), ("FLOPs, one example", "flops", count),
        ):  # fmt: skip
            was, now = getattr(self.before, name), getattr(self.after, name)
            yield label, text(was), text(now), f"{now / was:.3g}" if was else ""
        for n, faster in self.faster.items():
            was, now = (_milliseconds(side.latency[n]) for side in (self.before, self.after))
            yield _call(n), was, now, f"{1 / faster.median:.3g}"
        for name, was in self.before.scores.items():
            yield name, _score(was), _score(self.after.scores[name]), ""

    def _examples(self) -> tuple[tuple[str, ...], Iterator[tuple[str, ...]]]:
        """The header and the rows of the examples that changed most; columns that say nothing are left out."""
        one = any(example.before is not None for example in self.worst)
        several = self.flipped is not None and not one
        names = ("example", "relative change", *(("before", "after", "right") if one else ()))
        rows = (
            (
                str(e.index),
                f"{e.change:.3g}",
                *((str(e.before), str(e.after), _right(e)) if one else ()),
                *((f"{100 * (e.flipped or 0):.3g} %",) if several else ()),
            )
            for e in self.worst
        )
        return (*names, *(("classes changed",) if several else ())), rows

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def _right(example: Example) -> str:
    return "" if example.target is None or example.target < 0 else str(example.target)


def _rank(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _call(n: int) -> str:
    return f"a call of {n}"


def _milliseconds(timing: Timing) -> str:
    return f"{1e3 * timing.median:.3g} ms ({1e3 * timing.low:.3g} – {1e3 * timing.high:.3g})"


def _score(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"array {' × '.join(map(str, np.shape(value)))}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, tuple | list):
        return [_jsonable(one) for one in value]
    if isinstance(value, Timing):
        return asdict(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
