"""Errors of compiled code while it runs: JAX raises its own, which carry the text of ours; here they are ours again."""

from __future__ import annotations

import copy

from phlox.core._errors import PhloxError

_texts: dict[str, PhloxError] = {}


def raised_later(error: PhloxError) -> str:
    """The text that a callback of a compiled program is to raise in place of this error."""
    text = str(error)
    _texts[text] = error
    return text


def raised(failure: BaseException) -> PhloxError | None:
    """The error whose text a failure of JAX's carries."""
    said = str(failure) if _texts else ""
    return next((copy.copy(error) for text, error in _texts.items() if text in said), None)
