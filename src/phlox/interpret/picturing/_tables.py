"""Features by how much they did: printed, as HTML, as a DataFrame."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phlox.core import MissingExtraError, RangeError

if TYPE_CHECKING:
    from pandas import DataFrame


_CELL = "padding: 2px 10px; text-align: right; font-variant-numeric: tabular-nums"
_BAR = (
    '<div style="width: 160px; background: #7a808a22">'
    '<div style="width: {:.1f}%; height: 10px; background: {}"></div></div>'
)


@dataclass(frozen=True)
class FeatureTable:
    """Features and what they did, the most first.

    Attributes:
        names: of features.
        values: of one row, or mean sizes over all.
        inputs: what each feature was, where one row is meant and features are numbers; else None.
        title: what is said above.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    inputs: tuple[float, ...] | None
    title: str

    @classmethod
    def of(cls, found: Any, names: Sequence[str] | None, row: int | None, most: int | None) -> FeatureTable:
        """The features of a row, or of all, the largest first."""
        values, x = _flat(found.values), _flat(found.x)
        known = _names(names, values.shape[1], found)
        shown = np.abs(values).mean(0) if row is None else values[row]
        order = np.argsort(-np.abs(shown), kind="stable")[:most]
        inputs = None if row is None or x.shape != values.shape else tuple(x[row][order].tolist())
        what = f"mean size over {len(values)} rows" if row is None else f"score {float(found.scores[row]):.4g}"
        title = f"{found.method.replace('_', ' ')}, {what}"
        return cls(tuple(known[i] for i in order), tuple(shown[order].tolist()), inputs, title)

    def to_frame(self) -> DataFrame:
        """The same as a DataFrame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        columns: dict[str, Any] = {"value": self.values}
        if self.inputs is not None:
            columns = {"input": self.inputs} | columns
        return _pandas("FeatureTable.to_frame").DataFrame(columns, index=list(self.names))

    def _repr_html_(self) -> str:
        most = max((abs(v) for v in self.values), default=0.0) or 1.0
        rows = []
        for i, (name, value) in enumerate(zip(self.names, self.values, strict=True)):
            given = "" if self.inputs is None else f'<td style="{_CELL}">{self.inputs[i]:.4g}</td>'
            bar = _BAR.format(100 * abs(value) / most, "#3b7dd8" if value >= 0 else "#c97316")
            rows.append(f'<tr><td style="padding: 2px 10px">{html.escape(name)}</td>{given}'
                        f'<td style="{_CELL}">{value:+.4g}</td><td>{bar}</td></tr>')  # fmt: skip
        caption = f'<caption style="text-align: left; color: #7a808a">{html.escape(self.title)}</caption>'
        return f'<table style="font-family: system-ui, sans-serif">{caption}{"".join(rows)}</table>'

    def save(self, path: str | Path) -> None:
        """Write a page of HTML."""
        head = '<!doctype html><meta charset="utf-8"><title>Attribution</title>'
        Path(path).write_text(f"{head}{self._repr_html_()}\n", "utf-8")

    def __str__(self) -> str:
        width = max(map(len, ["feature", *self.names]))
        given = "" if self.inputs is None else f"{'input':>10}  "
        lines = [self.title, f"{'feature':<{width}}  {given}{'value':>10}"]
        for i, (name, value) in enumerate(zip(self.names, self.values, strict=True)):
            given = "" if self.inputs is None else f"{self.inputs[i]:>10.4g}  "
            lines.append(f"{name:<{width}}  {given}{value:>10.4g}")
        return "\n".join(lines)

    __repr__ = __str__


def frame_of(found: Any, names: Sequence[str] | None) -> DataFrame:
    """(rows, features) as a DataFrame."""
    values = _flat(found.values)
    return _pandas("Attribution.to_frame").DataFrame(values, columns=_names(names, values.shape[1], found))


def _flat(tree: Any) -> Any:
    """(rows, features)."""
    leaves = [np.asarray(v, np.float64) for v in jax.tree.leaves(tree)]
    return np.concatenate([v.reshape(len(v), -1) for v in leaves], 1)


def _names(names: Sequence[str] | None, count: int, found: Any) -> list[str]:
    if names is None:
        return [name for name, leaf in _leaves(found.values) for name in _indices(name, leaf.shape[1:])]
    if isinstance(names, str) or len(names) != count:
        got = "one text" if isinstance(names, str) else str(len(names))
        fix = "name every number of a row, in their order"
        raise RangeError(f"{count} names", got=got, fix=fix, where=f"Attribution of {found.method}")
    return [str(name) for name in names]


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]


def _indices(name: str, row: tuple[int, ...]) -> list[str]:
    return [".".join(filter(None, (name, ",".join(map(str, at))))) or "0" for at in np.ndindex(*row)]


def _pandas(where: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("pandas", got="none", fix='pip install "phlox[tables]"', where=where) from None
    return pandas
