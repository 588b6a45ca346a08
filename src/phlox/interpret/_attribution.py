"""What a method found: a number for each number of an input, that says what it did for a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from phlox.core import RangeError, describe
from phlox.interpret.asking._trees import row_sums

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each number of an input did for a score; ``plot``, ``text`` and ``table`` show it.

    Attributes:
        values: a tree like what was explained, rows first: the input, or a layer's output. Leaves of integers that
            no gradient reaches have zeros. Grad-CAM's have one channel, and superpixels' methods one number for each
            number of the input.
        x: what was explained.
        method: the function's name.
        scores: (rows,) what was asked, at the input.
        baseline_scores: (rows,) the same at the baselines, in the mean over several; None where there are none.
        delta: (rows,) the sum of values less what they should sum to, the difference of scores; None where a method
            promises no sum.
        target: as it was given.
        layer: whose output was explained, or whose neuron; None is the input.
        errors: a tree like ``values``, standard errors of what was sampled; None where nothing was.
        features: (rows, features) where features are groups of numbers: the value of each; else None.
    """

    values: Any
    x: Any
    method: str
    scores: Any
    baseline_scores: Any = None
    delta: Any = None
    target: Any = None
    layer: str | None = None
    errors: Any = None
    features: Any = None

    @property
    def sums(self) -> Any:
        """(rows,) the sum of each row's values."""
        return row_sums(self.values)

    def plot(
        self,
        image: Any = None,
        *,
        row: int = 0,
        sign: str = "all",
        percentile: float = 99.0,
        alpha: float = 0.6,
        path: str | Path | None = None,
    ) -> Figure:
        """Draw one row: over its image, or without axes of space as bars.

        Arguments:
            image: (height, width, channels) what is shown beneath; None is the input, where that is an image.
            row: which.
            sign: ``"all"`` in two colours, ``"positive"``, ``"negative"`` or ``"absolute"`` in one.
            percentile: which size has the full colour; larger ones, too.
            alpha: how far colours cover the image.
            path: a file to write; its ending says the format.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
            RangeError: a row that is none, an option outside its range.
            ShapeError: several arrays, or of a shape that is neither an image nor a list of features.
        """
        from phlox.interpret.picturing._images import plot_attribution  # matplotlib is an extra

        return plot_attribution(self, image, row, sign, percentile, alpha, path)

    def text(self, tokens: Sequence[str], *, row: int = 0) -> Any:
        """One row as text whose tokens have colours: HTML in notebooks, ``.save(path)`` writes a page.

        Arguments:
            tokens: as many as the row has; features of a token, such as an embedding's, are summed.
            row: which.

        Raises:
            RangeError: another number of tokens; a row that is none.
        """
        from phlox.interpret.picturing._tokens import ColouredText

        return ColouredText.of(self, tokens, self.row(row))

    def table(self, names: Sequence[str] | None = None, *, row: int | None = None, most: int | None = None) -> Any:
        """Features by how much they did, the most first: printed, as HTML, ``.to_frame()`` and ``.save(path)``.

        Arguments:
            names: of the features, in their order.
            row: which; None is the mean of sizes over all rows.
            most: how many are shown; None is all.

        Raises:
            RangeError: another number of names; a row that is none.
        """
        from phlox.interpret.picturing._tables import FeatureTable

        return FeatureTable.of(self, names, None if row is None else self.row(row), most)

    def to_frame(self, names: Sequence[str] | None = None) -> DataFrame:
        """(rows, features) a DataFrame of pandas.

        Raises:
            MissingExtraError: pandas is not installed.
            RangeError: another number of names.
        """
        from phlox.interpret.picturing._tables import frame_of

        return frame_of(self, names)

    def row(self, row: int) -> int:
        """A number of a row, counted from 0."""
        rows = len(self.scores)
        if isinstance(row, bool) or not isinstance(row, int) or not -rows <= row < rows:
            raise RangeError(
                f"a row below {rows}", got=repr(row), fix="count from 0", where=f"Attribution of {self.method}"
            )
        return row % rows

    def __str__(self) -> str:
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.values)
        shapes = ", ".join(f"{jax.tree_util.keystr(path)} {describe(v)}".strip() for path, v in leaves)
        at = f" at {self.layer}" if self.layer is not None else ""
        lines = [f"{self.method}{at}: {shapes}"]
        columns: Mapping[str, Any] = {
            "score": self.scores,
            "at the baseline": self.baseline_scores,
            "delta": self.delta,
        }
        kept = {name: np.asarray(v) for name, v in columns.items() if v is not None}
        widths = [max(len(name), 12) for name in kept]
        lines.append("row  " + "  ".join(f"{name:>{w}}" for name, w in zip(kept, widths, strict=True)))
        for i in range(min(len(self.scores), 8)):
            lines.append(f"{i:>3}  " + "  ".join(f"{v[i]:>{w}.6g}" for v, w in zip(kept.values(), widths, strict=True)))
        if len(self.scores) > 8:
            lines.append(f"… {len(self.scores) - 8} more")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from phlox.interpret.picturing._page import html_of

        return html_of(self)
