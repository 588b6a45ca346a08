"""One attempt: what is missing of a file, from one address."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from phlox.data.fetching._part import Origin, Part
from phlox.data.fetching._remote import RemoteFile

_BLOCK = 1 << 18
_BUSY = (408, 425, 429)  # with 5xx: answers that may be others in a moment
_LOST = (TimeoutError, ConnectionResetError)


class BrokenError(Exception):
    """An attempt that failed: why, and whether the same address may do better at once."""

    def __init__(self, why: str, again: bool):
        super().__init__(why)
        self.why, self.again = why, again


def transfer(address: str, file: RemoteFile, part: Part, timeout: float, told: Callable[[int], None]) -> None:
    """Make a part whole from one address; what comes stays in the part, whatever happens.

    Where the part is of this address, and its server told a version, only the rest is asked for, if the version is
    still the same (RFC 9110, If-Range); else it begins anew.

    Raises:
        BrokenError: no or another answer, too much, or too little.
        OSError: the disk's.
    """
    with _opened(_request(address, part), part, timeout) as answer:
        _begun(answer, address, file, part)
        told(part.size)
        while block := _block(answer):
            part.append(block)
            told(part.size)
            if part.size > file.size:
                part.clear()
                raise BrokenError(f"more than {file.size} bytes", again=False)
    if part.size < file.size:
        raise BrokenError(f"a connection that broke off after {part.size} of {file.size} bytes", again=True)


def _request(address: str, part: Part) -> urllib.request.Request:
    request = urllib.request.Request(address, headers={"User-Agent": "phlox", "Accept-Encoding": "identity"})
    origin = part.origin
    if origin is not None and origin.address == address and origin.version:
        request.add_header("Range", f"bytes={part.size}-")
        request.add_header("If-Range", origin.version)
    return request


def _opened(request: urllib.request.Request, part: Part, timeout: float) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the file there is shorter than what came of it
            part.clear()
        again = error.code in (416, *_BUSY) or error.code >= 500
        raise BrokenError(f"HTTP {error.code} {error.reason}", again) from None
    except urllib.error.URLError as error:
        raise BrokenError(f"no connection: {error.reason}", isinstance(error.reason, _LOST)) from None
    except (OSError, http.client.HTTPException) as error:
        again = isinstance(error, (*_LOST, http.client.HTTPException))
        raise BrokenError(f"no connection: {_text(error)}", again) from None


def _begun(answer: Any, address: str, file: RemoteFile, part: Part) -> None:
    """Look whether the answer is the rest, or the whole; in that case what is there is thrown away."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != part.size or found[2] not in ("*", str(file.size)):
            part.clear()
            raise BrokenError(f"another range: {answer.headers.get('Content-Range')}", again=True)
        return
    length = answer.headers.get("Content-Length", str(file.size))
    if length != str(file.size):
        raise BrokenError(f"{length} bytes instead of {file.size}", again=False)
    part.begin(Origin(address, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")))


def _block(answer: Any) -> bytes:
    try:
        return answer.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise BrokenError(f"a connection that broke off: {_text(error)}", again=True) from None


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
