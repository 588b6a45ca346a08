"""A schema as one of pandera, for frames of pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from phlox.data.readers._files import extra
from phlox.data.validate._arrays import whole_of
from phlox.data.validate._rules import Column
from phlox.data.validate._values import Values


def to_pandera(told: Iterable[Column], more: bool) -> Any:
    """The schema of pandera: the same rules, each a check of its own, so that its errors name column, row and rule."""
    pandera = extra("pandera.pandas", "pandera", "validate", "Schema.to_pandera")
    columns = {column.name: _column(pandera, column) for column in told}
    return pandera.DataFrameSchema(columns, strict=not more, name="phlox")


def _column(pandera: Any, column: Column) -> Any:
    rules = ("kind", "finite", "values", "length" if column.kind == "text" else "range")
    checks = [pandera.Check(_rule(column, rule), name=rule, ignore_na=True) for rule in rules]
    return pandera.Column(
        None, checks, nullable=column.missing > 0, unique=column.unique, required=column.required, name=column.name
    )


def _rule(column: Column, rule: str) -> Callable[[Any], Any]:
    def holds(series: Any) -> Any:
        values = Values.of(np.asarray(whole_of(series, column.name, "Schema.to_pandera")))
        broken = np.zeros(len(series), bool)
        for name, _, rows in column.faults(values):
            broken |= rows if name == rule else False
        return type(series)(~broken, index=series.index)

    return holds
