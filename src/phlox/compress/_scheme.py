"""What a weight becomes: how many bits, and which of its numbers share a scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from phlox.core import RangeError

BITS = (8, 4)
FLOATS: dict[str, Any] = {"e4m3": jnp.float8_e4m3fn, "e5m2": jnp.float8_e5m2}
"""Floats of 8 bits, by the bits of their exponents and of their digits."""


@dataclass(frozen=True)
class Scheme:
    """How numbers become integers.

    Arguments:
        bits: of an integer, 8 or 4; or the name of a float of 8 bits, where they are asked for.
        group: how many rows of an output share a scale; None for all of them.
        symmetric: whether 0 stands for 0, and the range is as wide to both sides.
        per: ``"channel"``, a scale for each output, or ``"tensor"``, one for the weight.
        where: who speaks in errors.

    Raises:
        RangeError: one of them is none of these.
    """

    bits: int | str = 8
    group: int | None = None
    symmetric: bool = True
    per: str = "channel"
    where: str = field(default="px.compress.quantize", compare=False)
    floats: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or (self.bits not in BITS and not (self.floats and self.bits in FLOATS)):
            names = ', "e4m3" or "e5m2"' if self.floats else ""
            fix = "bits=8 keeps most, bits=4 takes half of its room"
            raise self.refusal(f"bits of 8 or 4{names}", self.bits, fix)
        if self.bits in FLOATS and not self.symmetric:
            raise self.refusal(f"symmetric=True with bits={self.bits!r}", False, "leave it out: a float has a sign")
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
        """Refuse what integer products can't have: floats, scales within an output, and zeros elsewhere than at 0."""
        if isinstance(self.bits, str):
            fix = "leave inputs= out: weights alone can be floats of 8 bits"
            raise self.refusal("bits of 8 or 4 for integer products", self.bits, fix)
        if self.group is not None or not self.symmetric:
            got = f"group={self.group}" if self.group is not None else "symmetric=False"
            expected, fix = "one symmetric scale for an output, for integer products", "leave it out, or inputs="
            raise RangeError(expected, got=got, fix=fix, where=self.where)

    @property
    def dtype(self) -> Any:
        """That of a float of 8 bits; None of integers."""
        return FLOATS.get(self.bits) if isinstance(self.bits, str) else None

    @property
    def most(self) -> int:
        """The largest integer, or float."""
        return int(jnp.finfo(self.dtype).max) if isinstance(self.bits, str) else 2 ** (self.bits - 1) - 1

    @property
    def least(self) -> int:
        """The smallest; with zero in the middle one is left out, so that both sides are alike."""
        return -self.most if self.symmetric else -self.most - 1
