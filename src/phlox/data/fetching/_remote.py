"""A file that lies elsewhere."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file on the network whose content is known beforehand.

    Arguments:
        name: what it is called here.
        addresses: where it lies, the first choice first; each gives the same bytes.
        size: how many bytes.
        sha256: its SHA-256 in lower-case hexadecimal digits.
    """

    name: str
    addresses: tuple[str, ...]
    size: int
    sha256: str

    def is_whole(self, path: Path) -> bool:
        """Whether this file lies there, by size and checksum.

        Raises:
            OSError: it cannot be read, or is a device or a pipe.
        """
        from phlox.weights import open_regular

        try:
            with open_regular(path) as file:
                if os.fstat(file.fileno()).st_size != self.size:
                    return False
                digest = hashlib.sha256(usedforsecurity=False)
                while block := file.read(_BLOCK):
                    digest.update(block)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == self.sha256
