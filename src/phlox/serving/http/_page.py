"""The page on which people try a model by hand: pictures drawn or sent, numbers and text typed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from phlox.serving.http._answers import Answer
from phlox.serving.http._asked import Asked

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page/try.js": ("try.js", "text/javascript; charset=utf-8"),
}
_GUARDS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

PATHS = tuple(_FILES)


async def page(asked: Asked) -> Answer:
    """One of its files."""
    return _file(asked.path)


@cache
def _file(path: str) -> Answer:
    name, kind = _FILES[path]
    return Answer(200, (_FOLDER / name).read_bytes(), kind, _GUARDS)
