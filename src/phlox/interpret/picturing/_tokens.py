"""Text whose tokens have the colours of what they did: blue for the score, orange against it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phlox.core import RangeError

_WHERE = "Attribution.text"
_FOR, _AGAINST = "59, 125, 216", "201, 115, 22"
_STYLE = "font-family: system-ui, sans-serif; line-height: 2; max-width: 60em"


@dataclass(frozen=True)
class ColouredText:
    """Tokens and what each did; a notebook shows it by itself, ``print`` gives numbers.

    Attributes:
        tokens: as they were given.
        values: one for each.
        title: what is said above.
    """

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    title: str

    @classmethod
    def of(cls, found: Any, tokens: Sequence[str], row: int) -> ColouredText:
        """One row of an attribution, features of a token summed."""
        leaves = jax.tree.leaves(found.values)
        values = np.asarray(leaves[0][row], np.float64)
        sums = values.reshape(len(values), -1).sum(1) if values.ndim else values.reshape(1)
        if isinstance(tokens, str) or len(tokens) != len(sums):
            got = "one text" if isinstance(tokens, str) else str(len(tokens))
            fix = "pass the pieces that the tokenizer cut the text into, padding too"
            raise RangeError(f"{len(sums)} tokens", got=got, fix=fix, where=_WHERE)
        title = f"{found.method.replace('_', ' ')}, score {float(found.scores[row]):.4g}"
        return cls(tuple(tokens), tuple(sums.tolist()), title)

    def _repr_html_(self) -> str:
        most = max((abs(v) for v in self.values), default=0.0) or 1.0
        pieces = "".join(_piece(t, v, most) for t, v in zip(self.tokens, self.values, strict=True))
        return f'<div style="{_STYLE}"><div style="color: #7a808a">{html.escape(self.title)}</div>{pieces}</div>'

    def save(self, path: str | Path) -> None:
        """Write a page of HTML."""
        head = '<!doctype html><meta charset="utf-8"><title>Attribution</title>'
        Path(path).write_text(f"{head}{self._repr_html_()}\n", "utf-8")

    def __str__(self) -> str:
        width = max(map(len, self.tokens), default=0)
        return "\n".join(f"{t:<{width}}  {v:>10.4g}" for t, v in zip(self.tokens, self.values, strict=True))

    __repr__ = __str__


def _piece(token: str, value: float, most: float) -> str:
    color = _FOR if value >= 0 else _AGAINST
    style = f"background: rgba({color}, {abs(value) / most:.3f}); border-radius: 3px; padding: 1px 3px; margin: 1px"
    return f'<span style="{style}" title="{value:.4g}">{html.escape(token)}</span> '
