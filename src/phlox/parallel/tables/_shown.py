"""The table of tensor parallelism as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from phlox.parallel._strategy import Cut
from phlox.parallel.tables._parts import classes, parts_of


class TensorRule(NamedTuple):
    """How one part of a layer is cut."""

    layer: str
    part: str
    """Attributes of the layer, joined by dots; it holds for all that stands below."""
    how: str | Cut
    """``"column"``, by outputs; ``"row"``, by inputs; ``"in turn"``; ``"whole"``; or an array's last axes."""
    of: str | None
    """What no cut may go through: the heads."""


@dataclass(frozen=True)
class TensorRules:
    """The rules of tensor parallelism, printed as a table.

    Attributes:
        rows: a rule each.
    """

    rows: tuple[TensorRule, ...]

    def __repr__(self) -> str:
        table = [("layer", "part", "cut by"), *map(_cells, self.rows), *_ALONE]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        return "\n".join(line.rstrip() for line in lines)


_ALONE = (
    ("any other", "Dense", "column"),
    ("any other", "Conv, ConvTranspose", "column, each channel by itself whole"),
    ("any other", "Embedding", "row, by words"),
    ("any other", "array", "whole"),
)


def tensor_rules() -> TensorRules:
    """Which parts of layers ``tensor_parallel`` cuts by columns, their outputs, and which by rows, their inputs.

    Of attention whose heads the devices do not share evenly nothing is cut, nor of keys and values where their heads
    are the fewer ones; and no axis that they do not share evenly. A class of your own says it in its body, by
    attributes: ``tensor_rules = {"fc1": "column", "fc2": "row"}``, with ``("column", "heads")`` where heads are
    counted by ``self.heads``; a part that is listed so is cut with all that stands below it.

    Returns:
        A table that prints itself: the layers of ``px.nn``, then the classes of all rooms that were loaded.

    >>> from phlox.parallel import tensor_rules
    >>> print(*str(tensor_rules()).splitlines()[:5], sep="\\n")
    layer               part                 cut by
    MultiHeadAttention  q_proj               column, by heads
    MultiHeadAttention  k_proj               column, by kv_heads
    MultiHeadAttention  v_proj               column, by kv_heads
    MultiHeadAttention  out_proj             row, by heads

    Source: Shoeybi et al., "Megatron-LM: training multi-billion parameter language models using model parallelism",
    2019.
    """
    said = ((cls.__name__, name, part) for cls in classes() for name, part in parts_of(cls).items())
    return TensorRules(tuple(TensorRule(layer, name, part.how, part.of) for layer, name, part in said))


def _cells(rule: TensorRule) -> tuple[str, str, str]:
    cut = rule.how if isinstance(rule.how, str) else f"({', '.join(map(str, rule.how))})"
    return rule.layer, rule.part, cut + (f", by {rule.of}" if rule.of else "")
