"""What rich draws, as plain text: the form in which tables go into files and under tests."""

from __future__ import annotations

import io
from typing import Any


def plain_text(thing: Any, width: int) -> str:
    """What rich draws of a thing, without colours, in lines of at most ``width`` signs.

    >>> plain_text("four words of text", 10)
    'four words\\nof text'
    """
    from rich.console import Console

    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(thing)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
