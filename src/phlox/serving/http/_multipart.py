"""Forms of browsers: fields and files."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from phlox.serving._errors import InvalidRequestError

_MOST_PARTS = 100


def read_form(body: bytes, content_type: str, where: str) -> dict[str, Any]:
    """The parts of ``multipart/form-data`` by name: a file's bytes, a field as JSON, or as text where it is none.

    Raises:
        InvalidRequestError: it is no such form.

    Source: RFC 7578.

    >>> text = b'--b\\r\\nContent-Disposition: form-data; name="x"\\r\\n\\r\\n[1, 2]\\r\\n--b--\\r\\n'
    >>> read_form(text, "multipart/form-data; boundary=b", "")
    {'x': [1, 2]}
    """
    boundary = _header(content_type).get_param("boundary")
    parts = b"" if not isinstance(boundary, str) or not boundary else b"\r\n--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(parts) if parts else []
    if len(pieces) < 3 or not pieces[-1].startswith(b"--") or len(pieces) > _MOST_PARTS:
        got, fix = "something else", "send fields and files as a browser does"
        raise InvalidRequestError("a form of a hundred parts at most", got=got, fix=fix, where=where)
    return dict(_part(piece, where) for piece in pieces[1:-1])


def _part(piece: bytes, where: str) -> tuple[str, Any]:
    head, found, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    told = next((line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition:")), b"")
    header = _header(told.partition(b":")[2].strip().decode("utf-8", "replace"))
    name, file = header.get_param("name"), header.get_param("filename")
    if not found or not isinstance(name, str):
        fix = "name every part"
        raise InvalidRequestError("parts with a name", got=repr(head[:80]), fix=fix, where=where)
    return name, content if file is not None else _field(content)


def _field(content: bytes) -> Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _header(text: str) -> Message:
    found = Message()
    found["content-type"] = text
    return found
