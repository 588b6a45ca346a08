"""The libraries of privacy, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from phlox.core import MissingExtraError


def _peer(module: str, what: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f'pip install "phlox[{extra}]"'
        raise MissingExtraError(f"{module} {what}", got=str(error), fix=fix, where="px.privacy") from error


def dp_accounting() -> Any:
    """dp-accounting: what a training has given away of its data, added up."""
    return _peer("dp_accounting", "to add up what is given away", "privacy")


def tenseal() -> Any:
    """TenSEAL: vectors of encrypted numbers."""
    return _peer("tenseal", "to compute with encrypted numbers", "encrypted")
