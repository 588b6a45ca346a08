"""What a request says, field by field; what it says otherwise is refused by its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from phlox.serving._errors import InvalidRequestError


def refused(param: str, expected: str, *, got: Any, fix: str, reason: str | None = None) -> InvalidRequestError:
    """The error of a field; ``got`` is told as it would stand in Python where it is no text."""
    told = got if isinstance(got, str) else repr(got)
    error = InvalidRequestError(expected, got=told[:200], fix=fix, where=param)
    error.param, error.reason = param, reason
    return error


class Fields:
    """The fields of an object in JSON; null is as good as nothing.

    Arguments:
        told: the object.
        path: where it stands, such as ``tools[0].``.

    >>> fields = Fields({"n": 2, "stop": None})
    >>> fields.whole("n", 1, 128, 1), fields.text("stop"), fields.number("temperature", 0, 2, 1.0)
    (2, None, 1.0)
    """

    def __init__(self, told: Mapping[str, Any], path: str = ""):
        self._told = {name: value for name, value in told.items() if value is not None}
        self._path, self._read = path, set[str]()

    def __contains__(self, name: str) -> bool:
        return name in self._told

    def name(self, field: str) -> str:
        """A field's name, with where it stands."""
        return self._path + field

    def take(self, field: str) -> Any:
        """What a field holds; None where it is not there."""
        self._read.add(field)
        return self._told.get(field)

    def number(self, field: str, low: float, high: float, default: Any = None) -> Any:
        """A finite number within bounds."""
        value = self.take(field)
        if value is None:
            return default
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or not low <= value <= high:
            expected = f"a number from {low:g} to {high:g}"
            raise refused(self.name(field), expected, got=value, fix="leave it out for the usual one")
        return float(value)

    def whole(self, field: str, low: int, high: int, default: Any = None) -> Any:
        """A whole number within bounds."""
        value = self.take(field)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            expected = f"a whole number from {low} to {high}"
            raise refused(self.name(field), expected, got=value, fix="leave it out for the usual one")
        return value

    def flag(self, field: str, default: bool = False) -> bool:
        """True or false."""
        value = self.take(field)
        if value is not None and not isinstance(value, bool):
            raise refused(self.name(field), "true or false", got=value, fix="send it without quotes")
        return default if value is None else value

    def text(self, field: str, default: Any = None) -> Any:
        """A string."""
        value = self.take(field)
        if value is not None and not isinstance(value, str):
            raise refused(self.name(field), "a string", got=value, fix="send a string")
        return default if value is None else value

    def needed(self, field: str) -> str:
        """A string that must be there."""
        value = self.text(field)
        if not value:
            raise refused(self.name(field), "a string", got="none", fix="send one")
        return value

    def one_of(self, field: str, choices: Sequence[Any], default: Any) -> Any:
        """One of a few values."""
        value = self.take(field)
        if value is None:
            return default
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            expected = f"one of {', '.join(map(repr, choices))}"
            raise refused(self.name(field), expected, got=value, fix="choose one of these")
        return value

    def strings(self, field: str, most: int) -> tuple[str, ...]:
        """A string or several, none of them empty."""
        value = self.take(field)
        found = [value] if isinstance(value, str) else [] if value is None else value
        fits = isinstance(found, list) and len(found) <= most and all(isinstance(x, str) and x for x in found)
        if not fits:
            expected = f"a string, or at most {most}, none of them empty"
            raise refused(self.name(field), expected, got=value, fix="send fewer, or leave it out")
        return tuple(found)

    def inner(self, field: str) -> Fields | None:
        """An object within; None where it is not there."""
        value = self.take(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise refused(self.name(field), "an object", got=value, fix="send an object in JSON")
        return Fields(value, f"{self.name(field)}.")

    def objects(self, field: str) -> list[Fields]:
        """A list of objects; none where it is not there."""
        value = self.take(field)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
            raise refused(self.name(field), "a list of objects", got=value, fix="send a list of objects in JSON")
        return [Fields(x, f"{self.name(field)}[{n}].") for n, x in enumerate(value)]

    def whole_content(self) -> dict[str, Any]:
        """All fields as they are."""
        self._read |= set(self._told)
        return dict(self._told)

    def refuse(self, field: str, why: str, fix: str, *harmless: Any) -> None:
        """Refuse a field that is not served, unless it says what is done anyway."""
        value = self.take(field)
        if value is not None and not any(type(value) is type(one) and value == one for one in harmless):
            raise refused(self.name(field), why, got=value, fix=fix, reason="unsupported_parameter")

    def ignore(self, *fields: str) -> None:
        """Read past fields that change nothing of what is written."""
        self._read |= set(fields)

    def refuse_others(self) -> None:
        """Refuse what nobody has read: it would be silently without effect."""
        left = [name for name in self._told if name not in self._read]
        if left:
            known = ", ".join(sorted(self._read))
            expected = f"fields among {known}"
            raise refused(self.name(left[0]), expected, got=left[0], fix="leave it out", reason="unknown_parameter")
