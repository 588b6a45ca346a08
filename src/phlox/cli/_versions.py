"""What is installed, in which version."""

from __future__ import annotations

import importlib.metadata


def version_of(package: str) -> str:
    """The version of a package, "unknown" for a source tree that is run without being installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
