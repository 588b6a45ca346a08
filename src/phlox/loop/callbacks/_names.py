"""Which callback of a run is which of those that a checkpoint knows: told by class and arguments, not by order."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from phlox.core import StructureError
from phlox.loop._warning import warn

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def constructed(thing: Any) -> str:
    """A callback as it was constructed, with every argument by name: ``EMA(decay=0.9, warmup=False)``.

    It says the same in every process: functions and objects without a text of their own are told by their names.
    """
    args, kwargs = getattr(thing, "_given", ((), {}))
    try:
        signature = inspect.signature(type(thing).__init__)
        bound = signature.bind(thing, *args, **kwargs)
        bound.apply_defaults()
        given = dict(list(bound.arguments.items())[1:])
    except (TypeError, ValueError):
        given = {**{str(n): v for n, v in enumerate(args)}, **kwargs}
    return f"{type(thing).__name__}({', '.join(f'{name}={in_text(v)}' for name, v in given.items())})"


def in_text(value: Any) -> str:
    """A value as text that says the same in every process."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{in_text(k)}: {in_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(in_text, value)) + "]"
    if inspect.isroutine(value) or isinstance(value, type):
        return getattr(value, "__qualname__", str(value))
    return _ADDRESS.sub("", repr(value))


def matched(ours: Mapping[str, Any], theirs: Mapping[str, str], keeps: set[str]) -> dict[str, str]:
    """The name in a checkpoint of each callback by the name it has here; one that it does not know is left out.

    Callbacks of one class and equal arguments are told by their order. A class of which one is left over on either
    side is that one with other arguments.

    Arguments:
        ours: callbacks by name.
        theirs: how each callback of the checkpoint was constructed, by name.
        keeps: those of the checkpoint that kept something.

    Raises:
        StructureError: several of one class are left over.
    """
    found: dict[str, str] = {}
    texts = {name: constructed(callback) for name, callback in ours.items()}
    for name, text in texts.items():
        same = [n for n, theirs_text in theirs.items() if theirs_text == text and n not in found.values()]
        if same:
            found[name] = same[0]
    classes = dict.fromkeys(_class(text) for text in texts.values())
    for kind in classes:
        left = [n for n, text in texts.items() if _class(text) == kind and n not in found]
        there = [n for n, text in theirs.items() if _class(text) == kind and n not in found.values()]
        if len(left) == 1 and len(there) == 1:
            found[left[0]] = there[0]
            if there[0] in keeps:
                warn(f"px.fit(resume=…): {texts[left[0]]} goes on from {theirs[there[0]]}")
        elif left and there and keeps & set(there):
            raise StructureError(
                f"callbacks {kind} with the arguments of the checkpoint, to tell which is which: "
                + "; ".join(theirs[n] for n in there),
                got="; ".join(texts[n] for n in left),
                fix="give them the arguments they had; their order does not matter",
                where="Run.restore",
            )
    gone = [theirs[n] for n in theirs if n in keeps and n not in found.values()]
    if gone:
        warn(f"px.fit(resume=…): what the checkpoint has of {'; '.join(gone)} is not used")
    return found


def _class(text: str) -> str:
    return text.partition("(")[0]
