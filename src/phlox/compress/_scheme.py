"""What a weight becomes: how many bits, and which of its numbers share a scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phlox.core import RangeError

BITS = (8, 4)


@dataclass(frozen=True)
class Scheme:
    """How numbers become integers.

    Arguments:
        bits: of an integer, 8 or 4.
        group: how many rows of an output share a scale; None for all of them.
        symmetric: whether 0 stands for 0, and the range is as wide to both sides.
        per: ``"channel"``, a scale for each output, or ``"tensor"``, one for the weight.
        where: who speaks in errors.

    Raises:
        RangeError: one of them is none of these.
    """

    bits: int = 8
    group: int | None = None
    symmetric: bool = True
    per: str = "channel"
    where: str = field(default="px.compress.quantize", compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or self.bits not in BITS:
            raise self.refusal("bits of 8 or 4", self.bits, "bits=8 keeps most, bits=4 takes half of its room")
        if self.per not in ("channel", "tensor"):
            raise self.refusal('per="channel" or per="tensor"', self.per, "leave it out for a scale per output")
        whole = isinstance(self.group, int) and not isinstance(self.group, bool)
        if self.group is not None and (not whole or self.group < 1):
            raise self.refusal("a group of 1 or more, or None", self.group, "group=32 is usual for 4 bits")
        if self.group is not None and self.per == "tensor":
            raise self.refusal('per="channel" with a group', "tensor", "leave one of them out")

    def refusal(self, expected: str, got: Any, fix: str) -> RangeError:
        """An error about one of the options."""
        return RangeError(expected, got=repr(got)[:100], fix=fix, where=self.where)

    def check_products(self) -> None:
        """Refuse what integer products can't have: scales within an output, and zeros elsewhere than at 0."""
        if self.group is not None or not self.symmetric:
            got = f"group={self.group}" if self.group is not None else "symmetric=False"
            expected, fix = "one symmetric scale for an output, for integer products", "leave it out, or inputs="
            raise RangeError(expected, got=got, fix=fix, where=self.where)

    @property
    def most(self) -> int:
        """The largest integer."""
        return 2 ** (self.bits - 1) - 1

    @property
    def least(self) -> int:
        """The smallest; with zero in the middle one is left out, so that both sides are alike."""
        return -self.most if self.symmetric else -self.most - 1
