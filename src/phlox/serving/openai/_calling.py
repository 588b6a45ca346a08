"""Calls of tools in a text, found while it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from phlox.serving.openai._stopping import beginning
from phlox.serving.openai._tools import CLOSE, OPEN

_PLAIN_MARK = "<|python_tag|>"  # before a call of Llama 3's, where it is no special token
_BETWEEN = " \t\r\n;,"
_DECODER = json.JSONDecoder()


class Call(NamedTuple):
    """A call of a function, its arguments as JSON."""

    name: str
    arguments: str


class CallReader:
    """A text that may call functions, in pieces; what is no call is given on as text.

    Calls stand in ``<tool_call>`` and ``</tool_call>``, or the whole text is one, or several with semicolons between,
    as objects in JSON with a name and arguments or parameters. What looks like one and is none is text after all.

    Arguments:
        names: of the functions that there are.

    >>> reader = CallReader(["add"])
    >>> reader.add('Well. <tool'), reader.add('_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    (('Well. ', []), ('', [Call(name='add', arguments='{"a": 1}')]))
    """

    def __init__(self, names: Sequence[str]):
        self._names = set(names)
        self._held = ""
        self._form: Literal["unknown", "plain", "tagged"] = "unknown"
        self._open = self._called = False

    def add(self, text: str) -> tuple[str, list[Call]]:
        """What is text, and what are calls, now that there is more."""
        self._held += text
        begin = self._held.lstrip()
        if self._form == "unknown" and begin:
            if _PLAIN_MARK.startswith(begin) and begin != _PLAIN_MARK:
                return "", []
            self._form = "plain" if begin.startswith(("{", _PLAIN_MARK)) else "tagged"
        return self._tagged() if self._form == "tagged" else ("", [])

    def rest(self) -> tuple[str, list[Call]]:
        """What is left of a text that is over; the end of a call may be a token that has no text."""
        left, self._held = self._held, ""
        if self._form == "plain" or self._open:
            calls = _calls(left.strip().removeprefix(_PLAIN_MARK), self._names)
            return ("", calls) if calls else ((OPEN if self._open else "") + left, [])
        return self._text(left), []

    def _tagged(self) -> tuple[str, list[Call]]:
        said, found = "", list[Call]()
        while True:
            if not self._open:
                before, mark, behind = self._held.partition(OPEN)
                if not mark:
                    waits = beginning(self._held, OPEN)
                    before, self._held = before[: len(before) - waits], before[len(before) - waits :]
                    return said + self._text(before), found
                said, self._held, self._open = said + self._text(before), behind, True
            inner, mark, behind = self._held.partition(CLOSE)
            if not mark:
                return said, found
            calls = _calls(inner, self._names)
            said, found = said + ("" if calls else OPEN + inner + CLOSE), found + calls
            self._called, self._held, self._open = self._called or bool(calls), behind, False

    def _text(self, text: str) -> str:
        """Text between calls; blanks alone are none."""
        return "" if self._called and not text.strip() else text


def _calls(text: str, names: set[str]) -> list[Call]:
    """The calls that a text is; none where it is anything else."""
    found, at = list[Call](), 0
    while at < len(text):
        if text[at] in _BETWEEN:
            at += 1
            continue
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        for one in value if isinstance(value, list) else [value]:
            call = _call(one, names)
            if call is None:
                return []
            found.append(call)
    return found


def _call(value: Any, names: set[str]) -> Call | None:
    if not isinstance(value, dict) or value.get("name") not in names:
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # JSON within JSON, as some models have it
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return Call(value["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None
