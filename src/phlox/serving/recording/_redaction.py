"""What of a request is not written down as it is."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import numpy as np

from phlox.core import OptionError, RangeError

Action = Literal["drop", "hash", "truncate"]
_DIGITS = 32  # of a hash, in base 16


@dataclass(frozen=True)
class Redaction:
    r"""A rule for columns by name; or, with ``text``, for parts of texts.

    A column is dropped, or each of its values is hashed with the recording's salt, or its texts are cut to ``keep``
    characters and its numbers to the first ``keep``. The first rule whose name fits a column holds; those for parts of
    texts hold all, before it: what the pattern finds becomes ``[…]``, or its hash.

    Arguments:
        name: of columns, such as ``inputs.user_id``, ``user*`` for inputs and outputs; ``*`` stands for anything.
        action: ``"drop"``, ``"hash"`` or ``"truncate"``.
        keep: of what is truncated.
        text: a regular expression for parts of texts.

    Raises:
        OptionError: another action; a pattern that is none, or for parts that are truncated.
        RangeError: nothing, or less, to keep.

    >>> import numpy as np
    >>> Redaction("user*", "drop").fits("inputs.user_id"), Redaction("outputs.*").fits("inputs.user_id")
    (True, False)
    >>> mail = Redaction(text=r"\S+@\S+")
    >>> mail.within("write to ada@example.org soon", b"")
    'write to […] soon'
    """

    name: str = "*"
    action: Action = "drop"
    keep: int = 32
    text: str | None = None

    def __post_init__(self) -> None:
        where = "Redaction"
        if self.action not in get_args(Action):
            fix = 'write Redaction("user*", "hash")'
            raise OptionError("drop, hash or truncate", got=repr(self.action)[:50], fix=fix, where=where)
        if not isinstance(self.keep, int) or isinstance(self.keep, bool) or self.keep < 1:
            raise RangeError("keep from 1", got=repr(self.keep), fix='drop it: Redaction("user*", "drop")', where=where)
        if self.text is None:
            return
        if self.action == "truncate":
            fix = "leave text out, or drop what it finds"
            raise OptionError("parts of texts to be dropped or hashed", got="truncate", fix=fix, where=where)
        try:
            re.compile(self.text)
        except re.error as error:
            got, fix = f"{self.text!r}: {error}"[:200], "write it as Python's re has it"
            raise OptionError("a regular expression", got=got, fix=fix, where=where) from error

    def fits(self, column: str) -> bool:
        """Whether it is a rule for a column."""
        return fnmatchcase(column, self.name) or fnmatchcase(column.partition(".")[2], self.name)

    def within(self, value: str, salt: bytes) -> str:
        """A text without what the pattern finds."""
        assert self.text is not None
        if self.action == "drop":
            return re.sub(self.text, "[…]", value)
        return re.sub(self.text, lambda found: f"[{hashed(found[0], salt)}]", value)

    def whole(self, column: np.ndarray, salt: bytes) -> np.ndarray | None:
        """A column by this rule; None where it is dropped."""
        if self.action == "drop":
            return None
        if self.action == "hash":
            return _each(column, lambda value: hashed(value, salt))
        if column.dtype == object:
            return _each(column, lambda value: value[: self.keep] if isinstance(value, str | bytes) else value)
        return column.reshape(-1)[: self.keep]


def redacted(columns: Mapping[str, Any], rules: Sequence[Redaction], salt: bytes) -> dict[str, np.ndarray]:
    """Columns by all rules.

    >>> rules = [Redaction("card", "truncate", 4), Redaction("user", "drop")]
    >>> columns = {"inputs.card": np.array(["4111222233334444"], object), "inputs.user": np.array(["ada"], object)}
    >>> {name: column.tolist() for name, column in redacted(columns, rules, b"").items()}
    {'inputs.card': ['4111']}
    """
    found = {}
    for name, value in columns.items():
        column: np.ndarray | None = np.asarray(value)
        rule = None
        for one in rules:
            if one.text is not None and column.dtype == object and one.fits(name):
                column = _each(column, lambda v, one=one: one.within(_text(v), salt))
            elif one.text is None and rule is None and one.fits(name):
                rule = one
        column = column if rule is None else rule.whole(column, salt)
        if column is not None:
            found[name] = column
    return found


def hashed(value: Any, salt: bytes) -> str:
    """A value's hash with a salt: equal for equal values, and of no use to who has not the salt.

    Source: RFC 2104, with SHA-256.

    >>> hashed("ada", b"salt") == hashed("ada", b"salt"), hashed("ada", b"salt") == hashed("ada", b"pepper")
    (True, False)
    """
    text = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return hmac.new(salt, text, hashlib.sha256).hexdigest()[:_DIGITS]


def _each(column: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
    made = np.empty(column.shape, object)
    made.reshape(-1)[:] = [change(value) for value in column.reshape(-1).tolist()]
    return made


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
