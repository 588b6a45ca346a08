"""What every Python says of its standard library: calls and docstrings of functions and classes, by topic."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

TOPICS = {
    "network": "http urllib socket socketserver ssl smtplib ftplib imaplib poplib email xmlrpc mailbox ipaddress",
    "files": "os pathlib shutil tempfile zipfile tarfile glob fileinput io gzip bz2 lzma filecmp fnmatch",
    "numbers": "math cmath statistics random decimal fractions numbers operator colorsys",
    "waiting": "threading asyncio multiprocessing concurrent queue sched selectors subprocess signal",
    "code": "ast inspect dis tokenize symtable compileall importlib pdb trace traceback bdb code codeop",
    "text": "re string textwrap difflib csv json html xml configparser argparse gettext locale shlex",
    "testing": "unittest doctest",
    "time": "datetime calendar time zoneinfo",
}


class Entry(NamedTuple):
    """One function or class."""

    topic: str
    call: str
    """Its name with what it takes: ``copyfile(src, dst)``."""
    text: str
    """The first paragraph of its docstring."""


def entries(seed: int = 0) -> list[Entry]:
    """All that have a docstring, each text once, in an order by the seed."""
    found: dict[str, Entry] = {}
    for topic, names in TOPICS.items():
        for module in (part for name in names.split() for part in parts(name)):
            for call, text in documented(module):
                found.setdefault(text, Entry(topic, call, text))
    ordered = sorted(found.values())
    random.Random(seed).shuffle(ordered)
    return ordered


def parts(name: str) -> Iterator[Any]:
    """A module, and those below it that can be imported here."""
    yield (module := importlib.import_module(name))
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        last = info.name.rpartition(".")[2]
        if not last.startswith(("_", "test")) and not last.endswith(("win32", "windows_events", "windows_utils")):
            yield importlib.import_module(info.name)


def documented(module: Any) -> Iterator[tuple[str, str]]:
    """Calls and texts of a module's own functions, classes and their methods."""
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if name.startswith("_") or not own or not (inspect.isroutine(thing) or inspect.isclass(thing)):
            continue
        inner = vars(thing).items() if inspect.isclass(thing) else ()
        methods = [(key, value) for key, value in inner if inspect.isroutine(value) and not key.startswith("_")]
        for key, value in [(name, thing), *methods]:
            text = inspect.cleandoc(getattr(value, "__doc__", None) or "").split("\n\n")[0]
            if len(text) > 30:
                yield key + signature(value), " ".join(text.split())


def signature(thing: Any) -> str:
    """What it takes, as far as Python knows."""
    try:
        return str(inspect.signature(thing)).partition(" -> ")[0]
    except (TypeError, ValueError):
        return "()"
