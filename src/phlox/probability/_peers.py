"""NumPyro, imported where it is used."""

from __future__ import annotations

import importlib
from typing import Any

from phlox.core import MissingExtraError


def _peer(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = 'pip install "phlox[probability]"'
        where = "px.probability"
        raise MissingExtraError(f"{module} for distributions", got=str(error), fix=fix, where=where) from error


def numpyro() -> Any:
    """NumPyro: what programs of random variables are written in."""
    return _peer("numpyro")


def distributions() -> Any:
    """NumPyro's distributions."""
    return _peer("numpyro.distributions")


def infer() -> Any:
    """NumPyro's samplers and variational inference."""
    return _peer("numpyro.infer")


def guides() -> Any:
    """NumPyro's families of variational distributions."""
    return _peer("numpyro.infer.autoguide")


def diagnostics() -> Any:
    """NumPyro's measures of chains."""
    return _peer("numpyro.diagnostics")
