"""px.data.validate.drift: whether two sets of data come from one distribution, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from phlox.core import RangeError, StructureError
from phlox.data.validate._chunks import chunks_of, names_of
from phlox.data.validate._column import printable
from phlox.data.validate._comparing import compared
from phlox.data.validate._html import BLUE, ORANGE, Cell, Row, about, bars, numbers, table
from phlox.data.validate._listed import listed
from phlox.data.validate._measures import mmd
from phlox.data.validate._running import RowSample

Correction = Literal["holm", "benjamini-hochberg", "none"]
_SHOWN = 16
_CORRECTIONS = ("holm", "benjamini-hochberg", "none")


@dataclass(frozen=True)
class Moved:
    """A column in both sets of data.

    Attributes:
        column: its name.
        kind: as in ``ColumnStatistics``; "vectors" of embeddings.
        test: "Kolmogorov–Smirnov", "χ²", "χ² of missing", "MMD", or "none" of a column that is there in one set alone.
        statistic: of the test.
        chance: how likely one so large is where nothing has moved, corrected for the number of columns.
        psi, js: population stability index and Jensen–Shannon distance; NaN of embeddings.
        drifted: the verdict.
        bins, shares: what psi and js compare: names, and shares in the reference and in the other.
        note: "new" or "gone" of a column that is there in one set alone.
    """

    column: str
    kind: str
    test: str
    statistic: float
    chance: float
    psi: float
    js: float
    drifted: bool
    bins: tuple[str, ...] = ()
    shares: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """What a table shows of it."""
        several = (self.statistic, self.chance, self.psi, self.js)
        told = ["" if self.note or np.isnan(x) else f"{x:.3g}" for x in several]
        verdict = self.note or ("drifted" if self.drifted else "")
        return printable(self.column), self.kind, "" if self.note else self.test, *told, verdict

    def picture(self) -> Cell:
        """The shares in both sets of data side by side; of many bins those that moved most."""
        before, after = self.shares
        moved = sorted(range(len(before)), key=lambda i: -abs(before[i] - after[i]))
        kept = sorted(moved[:_SHOWN])
        names = [f"{self.bins[i]}: {before[i]:.1%}, {after[i]:.1%}" for i in kept]
        return bars([[before[i] for i in kept], [after[i] for i in kept]], names) if kept else Cell("")


@dataclass(frozen=True)
class Drift:
    """Two sets of data beside each other; true where something has drifted.

    Attributes:
        columns: what became of each.
        rows: how many were compared, of the reference and of the other.
        level: below which a corrected chance is a drift.
        correction: for several columns.
    """

    heading: ClassVar[str] = "What has drifted"
    columns: tuple[Moved, ...]
    rows: tuple[int, int]
    level: float
    correction: str

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that have."""
        return tuple(one.column for one in self.columns if one.drifted)

    def __bool__(self) -> bool:
        return bool(self.drifted)

    def __getitem__(self, column: str) -> Moved:
        """What became of a column.

        Raises:
            StructureError: there is none of this name.
        """
        found = next((one for one in self.columns if one.column == column), None)
        if found is None:
            known = ", ".join(repr(one.column) for one in self.columns)
            raise StructureError(f"a column among {known}", got=repr(column), fix="choose one of them", where="Drift")
        return found

    def __str__(self) -> str:
        head = ("column", "kind", "test", "statistic", "p", "PSI", "JS", "")
        return f"{self._first_line()}\n{listed(head, [one.cells() for one in self.columns])}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for one in self.columns:
            name, kind, test, *told, verdict = one.cells()
            cells = [Cell(name), Cell(kind), one.picture(), Cell(test), *numbers(told), Cell(verdict)]
            rows.append(Row(cells, bad=one.drifted))
        keys = f'<b style="color: {BLUE}">reference</b>, <b style="color: {ORANGE}">current</b>'
        head = ("column", "kind", "", "test", "statistic", "p", "PSI", "JS", "")
        return f"{about(self._first_line())}<p>{keys}</p>{table(head, rows)}"

    def _first_line(self) -> str:
        how = "" if self.correction == "none" else f", p by {_NAMES[self.correction]}"
        count = f"{len(self.drifted)} of {len(self.columns)} columns drifted"
        return f"{count}, {self.rows[0]:,} and {self.rows[1]:,} rows{how}"


_NAMES = {"holm": "Holm", "benjamini-hochberg": "Benjamini and Hochberg"}


def drift(
    reference: Any,
    current: Any,
    *,
    level: float = 0.05,
    correction: Correction = "holm",
    psi: float = 0.0,
    names: Sequence[str] | None = None,
    embed: Callable[[Any], Any] | None = None,
    most: int = 100_000,
    seed: int = 0,
) -> Drift:
    """Whether two sets of data come from one distribution: new data and that of training, or training and serving.

    Each column gets the test that suits it: Kolmogorov and Smirnov's for numbers, dates and the lengths of texts, χ²
    for classes and for up to 20 different numbers. The share of what is missing is tested too. Over several columns, p
    is corrected by Holm's method: then the chance that anything at all is called drifted where nothing is stays below
    ``level``. ``"benjamini-hochberg"`` keeps the expected share of false alarms among the alarms below it, and finds
    more. Of very many rows every small difference is certain: ``psi=0.1`` asks for one that matters besides.

    Arguments:
        reference, current: data as for ``px.data.validate.statistics``.
        level: below which a corrected p is a drift.
        correction: "holm", "benjamini-hochberg" or "none".
        psi: the population stability index that a column must reach besides.
        names: as for ``statistics``.
        embed: gives vectors (rows, features) for data, such as a model's embeddings of images or texts; they are
            compared by maximum mean discrepancy, in a row named "embedding". It gets all data at once.
        most: rows that are compared; of more, a sample.
        seed: of the sample, and of the permutations of MMD.

    Raises:
        RangeError: a level or a correction that is none. Others as for ``statistics``.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979; Benjamini and Hochberg, "Controlling
    the false discovery rate", 1995.

    >>> import numpy as np, phlox as px
    >>> rng = np.random.default_rng(0)
    >>> before = {"age": rng.normal(40, 10, 500), "city": rng.choice(["Rome", "Oslo"], 500)}
    >>> after = {"age": rng.normal(45, 10, 500), "city": rng.choice(["Rome", "Oslo"], 500)}
    >>> found = px.data.validate.drift(before, after)
    >>> found.drifted, found["age"].test, found["city"].test
    (('age',), 'Kolmogorov–Smirnov', 'χ²')
    """
    where = "drift"
    if not 0 < level < 1:
        raise RangeError("level between 0 and 1", got=repr(level), fix="leave it out for 0.05", where=where)
    if correction not in _CORRECTIONS:
        got, fix = repr(correction), "choose one of them"
        raise RangeError(f"correction among {', '.join(_CORRECTIONS)}", got=got, fix=fix, where=where)
    before, after = (_sampled(data, names, most, seed + i, where) for i, data in enumerate((reference, current)))
    shared = [name for name in before.columns if name in after.columns]
    found = {name: compared(before.columns[name], after.columns[name]) for name in shared}
    tests = [(name, *one) for name, one in found.items()]
    if embed is not None:
        statistic, chance = mmd(embed(reference), embed(current), seed=seed)
        nothing: Any = ((), ((), ()))
        tests.append(("embedding", "vectors", "MMD", statistic, chance, np.nan, np.nan, *nothing))
    chances = corrected(np.array([test[4] for test in tests]), correction)
    moved = [_verdict(test, float(p), level, psi) for test, p in zip(tests, chances, strict=True)]
    moved += [_alone(name, "gone") for name in before.columns if name not in after.columns]
    moved += [_alone(name, "new") for name in after.columns if name not in before.columns]
    return Drift(tuple(moved), (len(before), len(after)), level, correction)


def corrected(chances: np.ndarray, correction: Correction) -> np.ndarray:
    """P-values of several tests, corrected for their number.

    >>> corrected(np.array([0.01, 0.04, 0.03]), "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if correction == "none" or not len(chances):
        return chances
    if correction == "benjamini-hochberg":
        from scipy.stats import false_discovery_control

        return false_discovery_control(chances)
    order = np.argsort(chances, kind="stable")
    steps = np.maximum.accumulate(chances[order] * np.arange(len(chances), 0, -1))
    found = np.empty_like(chances)
    found[order] = np.minimum(steps, 1.0)
    return found


def _sampled(data: Any, names: Any, most: int, seed: int, where: str) -> RowSample:
    sample = RowSample(most, seed)
    for chunk in chunks_of(data, names_of(names, where), where):
        sample.add(chunk.rows, chunk.columns)
    return sample


def _verdict(test: tuple[Any, ...], chance: float, level: float, least: float) -> Moved:
    name, kind, how, statistic, _, psi, js, bins, shares = test
    drifted = chance <= level and not psi < least
    return Moved(name, kind, how, statistic, chance, psi, js, drifted, bins, shares)


def _alone(name: str, note: str) -> Moved:
    return Moved(name, "", "none", 0.0, 0.0, np.nan, np.nan, True, note=note)
