"""The libraries that solve equations, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from phlox.core import MissingExtraError


def _peer(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = 'pip install "phlox[science]"'
        raise MissingExtraError(f"{module} to solve equations", got=str(error), fix=fix, where="px.science") from error


def diffrax() -> Any:
    """Diffrax: differential equations."""
    return _peer("diffrax")


def optimistix() -> Any:
    """Optimistix: roots and fixed points."""
    return _peer("optimistix")


def lineax() -> Any:
    """Lineax: linear systems."""
    return _peer("lineax")


def equinox() -> Any:
    """Equinox, whose errors of compiled code these three raise."""
    return _peer("equinox")
