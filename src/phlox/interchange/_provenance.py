"""Where a bundle comes from: fingerprints of code, data and environment, and the bundle before it."""

from __future__ import annotations

import hashlib
import inspect
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from phlox.core import Module, modules
from phlox.interchange._about import About
from phlox.weights import read_bundle

_PACKAGES = (
    "phlox", "jax", "jaxlib", "numpy", "safetensors", "onnx", "onnxruntime", "litert-converter", "ai-edge-litert",
)  # fmt: skip


def provenance(model: Module, about: About, where: str) -> dict[str, Any]:
    """What a bundle says of where it comes from."""
    parent = about.parent
    if parent is not None and not isinstance(parent, Mapping):
        found = read_bundle(parent, where=where)
        parent = {"name": found.name, "version": found.version, "sha256": found.sha256}
    return {"code": _code(model), "data": about.data, "environment": environment(), "parent": parent}


def environment() -> dict[str, str]:
    """The versions that decide what a model computes."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _code(model: Module) -> dict[str, str | None]:
    """A checksum of each module of the user's that a class of the model stands in; None where its text is gone."""
    names = {type(part).__module__ for part in modules(model).values()}
    return {name: _fingerprint(name) for name in sorted(names) if name.partition(".")[0] != "phlox"}


def _fingerprint(name: str) -> str | None:
    try:
        return hashlib.sha256(inspect.getsource(sys.modules[name]).encode()).hexdigest()
    except (KeyError, OSError, TypeError):
        return None
