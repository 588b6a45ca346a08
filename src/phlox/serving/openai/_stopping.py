"""Strings that end a text: what could be the beginning of one waits until it is known."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Text in pieces, up to the first of some strings; how it is cut into pieces changes nothing.

    Of several the one that is complete first ends the text; of these the longest.

    Arguments:
        stops: the strings, none of them empty.

    >>> stops = StopStrings(["END"])
    >>> stops.add("the E"), stops.add("ast. E"), stops.add("ND of it"), stops.found
    ('the ', 'East. ', '', 'END')
    """

    found: str | None
    """The string that ended the text."""

    def __init__(self, stops: Sequence[str]):
        self._stops, self._held, self.found = tuple(stops), "", None

    def add(self, text: str) -> str:
        """What is known to stand before any of the strings, now that there is more."""
        if self.found is not None or not self._stops:
            return "" if self.found is not None else text
        self._held += text
        ends = [(self._held.find(stop) + len(stop), -len(stop), stop) for stop in self._stops if stop in self._held]
        if ends:
            end, _, self.found = min(ends)
            out, self._held = self._held[: end - len(self.found)], ""
            return out
        waits = max(beginning(self._held, stop) for stop in self._stops)
        out, self._held = self._held[: len(self._held) - waits], self._held[len(self._held) - waits :]
        return out

    def rest(self) -> str:
        """What waited, of a text that is over."""
        out, self._held = self._held, ""
        return out


def beginning(text: str, mark: str) -> int:
    """How many of the last characters of a text are the first of a mark, short of all of it.

    >>> beginning("the E", "END"), beginning("THE END", "END")
    (1, 0)
    """
    most = min(len(mark) - 1, len(text))
    return next((n for n in range(most, 0, -1) if text.endswith(mark[:n])), 0)
