"""The grammar of paths: ``"encoder.layers.3.mlp"`` for one part, ``"encoder.layers.*.mlp"`` for several.

A path is attributes, positions in lists and keys of dicts with dots between, as ``px.paths`` gives them; with brackets,
``"encoder.layers[3].mlp"``, as errors print them, it is the same path. In a pattern ``*`` (or ``**``) stands for any
characters, dots too, ``?`` for one, ``[a-c]`` for one of these. A path or pattern also means all that lies below.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Choice = str | tuple[str, ...] | Callable[[str, Any], bool]
"""What people say for some parts of a model: a path or pattern, several in a tuple, or a predicate (path, part)."""

_INDEX = re.compile(r"(?<![.\[])\[(?:'([^']*)'|\"([^\"]*)\"|(-?\d+))\]")


def dots(path: str) -> str:
    """A path with dots alone.

    >>> dots("encoder.layers[3].mlp"), dots("heads['left'].weight")
    ('encoder.layers.3.mlp', 'heads.left.weight')
    """
    return _INDEX.sub(lambda m: "." + next(filter(None, m.groups()), ""), path).removeprefix(".")


def steps(path: str) -> list[str]:
    """A path in steps; none for the root."""
    return dots(path).split(".") if path else []


def is_pattern(path: str) -> bool:
    """True where a path may mean several parts."""
    return any(c in dots(path) for c in "*?[")


def matches(pattern: str, path: str) -> bool:
    """True where a pattern means what lies at a path, itself or above it.

    >>> matches("layers.*.q_proj", "layers.0.q_proj.weight"), matches("*.bias", "layers.0.bias"), matches("a", "ab")
    (True, True, False)
    """
    return _compiled(pattern)(path) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Callable[[str], Any]:
    text = dots(pattern)
    return re.compile(f"(?:{fnmatch.translate(text)})|(?:{fnmatch.translate(text + '.*')})").match


def means(choice: Choice, path: str, part: Any) -> bool:
    """True where a choice means a part; a predicate is asked about path and part."""
    if isinstance(choice, str):
        return matches(choice, path)
    if isinstance(choice, tuple):
        return any(means(c, path, part) for c in choice)
    return bool(choice(path, part))
