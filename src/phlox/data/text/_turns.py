"""Where an answer in a chat ends, as its template writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phlox.core import StructureError

_MARK = "answer"


def has_template(tokenizer: Any) -> bool:
    """Whether a tokenizer has a chat template."""
    try:
        tokenizer.template()
    except StructureError:
        return False
    return True


def end_of_turn(tokenizer: Any, before: Sequence[Mapping[str, Any]] = ()) -> list[int]:
    """What the template writes behind an answer: one special token, or the tokens of its text; none of blanks.

    Arguments:
        before: messages that the chat begins with.

    Raises:
        StructureError: there is no template. ChatTemplateError: it refuses these messages.
    """
    said = [*before, {"role": "user", "content": "question"}, {"role": "assistant", "content": _MARK}]
    _, found, behind = tokenizer.chat(said, generate=False).rpartition(_MARK)
    tokens = tokenizer.encode(behind.strip(), special=False) if found and behind.strip() else []
    return tokens[:1] if tokens and tokens[0] in tokenizer.special_ids else tokens
