"""The ``phlox`` command."""

from phlox.cli._main import main

__all__ = ["main"]
