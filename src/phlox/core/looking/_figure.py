"""A figure of matplotlib, which is an extra."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from phlox.core._errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, where: str) -> Figure:
    """A figure that belongs to no window and no notebook state, so nothing has to be closed.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", got="none", fix='pip install "phlox[plots]"', where=where) from None

    class Shown(Figure):
        """A figure that notebooks show by itself, where it is the value of a cell."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown(figsize=(width, height), dpi=150, layout="constrained")
