"""Arguments of commands as the values that they mean."""

from __future__ import annotations

import argparse
import math


def names(text: str) -> list[str]:
    """Reads names with commas between them."""
    return [name for name in text.split(",") if name]


class at_least:  # noqa: N801 - used like a function
    """Reads a whole number with a lower bound, below 2³¹ as seeds are."""

    def __init__(self, low: int):
        self.low = low

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = -1
        if not self.low <= number < 2**31:
            raise argparse.ArgumentTypeError(f"expected a whole number from {self.low} to {2**31 - 1}, got {text!r}")
        return number


class within:  # noqa: N801 - used like a function
    """Reads a number within bounds."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def __call__(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high:
            raise argparse.ArgumentTypeError(f"expected a number from {self.low} to {self.high}, got {text!r}")
        return number
