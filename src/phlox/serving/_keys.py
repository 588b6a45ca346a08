"""The keys that let clients in, and whose each is."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from phlox.core import RangeError


class Keys:
    """What ``Authorization: Bearer`` may say.

    Arguments:
        keys: one for all clients, or several: then each is a client of its own.

    Raises:
        RangeError: none, the same twice, or one with blanks or beyond ASCII.

    >>> Keys(["a1", "b2"]).holder("Bearer b2"), Keys(["a1"]).holder("Bearer a1"), Keys(["a1"]).holder("Basic a1")
    ('key 2', '', None)
    """

    def __init__(self, keys: Sequence[str]):
        odd = [key for key in keys if not isinstance(key, str) or not key.isascii() or key.split() != [key]]
        if odd or not keys or len(set(keys)) < len(keys):
            fix = "make one of letters and digits, such as openssl rand -hex 32 gives"
            got = "none" if not keys else "another" if odd else "one of them twice"
            raise RangeError("a token of ASCII without spaces, or several", got=got, fix=fix, where="px.serving.Server")
        self._keys = [key.encode() for key in keys]

    def holder(self, authorization: str) -> str | None:
        """Whose key it is: which of several, nobody's in particular where there is one; None where it is no key."""
        scheme, _, key = authorization.partition(" ")
        sent = key.strip().encode("utf-8", "replace")
        found = [n for n, known in enumerate(self._keys, 1) if hmac.compare_digest(sent, known)]
        if not found or scheme.lower() != "bearer":
            return None
        return f"key {found[0]}" if len(self._keys) > 1 else ""
