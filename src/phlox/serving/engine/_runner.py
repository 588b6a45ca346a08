"""A servable called for several requests at once: in rows where these are independent, else one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phlox.serving.engine._rows import Rows, apart, check_outputs, together
from phlox.serving.engine._servable import Arrays, Servable

Outcome = Mapping[str, np.ndarray] | BaseException


class Runner:
    """Calls of one servable.

    Arguments:
        servable: what runs.
        most: rows that run at once.
    """

    rows: dict[str, Rows | None]
    """By signature; None where requests run one by one."""

    steady: set[str]
    """Signatures that take as long each time, for the same sizes."""

    def __init__(self, servable: Servable, most: int):
        self.servable = servable
        self.rows = {name: Rows.of(told, most) for name, told in servable.signatures.items()}
        self.steady = set()
        self._names = {name: [y.name for y in told.outputs] for name, told in servable.signatures.items()}

    def __call__(self, signature: str, several: Sequence[Arrays], counts: Sequence[int]) -> list[Outcome]:
        """What each of several requests gives; an error of one is not another's."""
        rows = self.rows[signature]
        if rows is not None:
            try:
                return list(self._in_rows(signature, several, counts, rows))
            except Exception as error:
                if len(several) == 1:
                    return [error]
                return [self(signature, [x], [n])[0] for x, n in zip(several, counts, strict=True)]
        return [self._alone(signature, x) for x in several]

    def _in_rows(
        self, signature: str, several: Sequence[Arrays], counts: Sequence[int], rows: Rows
    ) -> list[dict[str, np.ndarray]]:
        total = sum(counts)
        if total <= rows.most:
            return apart(self._call(signature, together(several, total, rows.padded(total)), total), counts)
        whole = together(several, total, total)
        parts = []
        for start, end in rows.parts(total):
            part = {name: x[start:end] for name, x in whole.items()}
            parts.append(self._call(signature, together([part], end - start, rows.padded(end - start)), end - start))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return apart(joined, counts)

    def _call(self, signature: str, inputs: Arrays, rows: int) -> dict[str, np.ndarray]:
        """The outputs of the first rows."""
        size = len(next(iter(inputs.values())))
        outputs = self.servable.predict(signature, inputs)
        found = check_outputs(outputs, self._names[signature], size, f"{type(self.servable).__name__}.predict")
        return found if size == rows else {name: y[:rows] for name, y in found.items()}

    def _alone(self, signature: str, inputs: Arrays) -> Outcome:
        try:
            outputs: Mapping[str, Any] = self.servable.predict(signature, inputs)
            return {name: np.asarray(outputs[name]) for name in self._names[signature]}
        except Exception as error:
            return error
