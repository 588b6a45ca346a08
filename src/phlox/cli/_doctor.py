"""``phlox doctor``: what is installed, where programs run, which kernels are in use and why, what is kept on disk."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax

from phlox.cli._versions import version_of
from phlox.nn import kernels_report

_PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy", "optax")


def doctor() -> None:
    """Print the facts that a question about speed or an error is answered with."""
    facts = [*_system(), *_devices(), *kernels_report(), *_cache()]
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        print(f"{name:<{width}}  {fact}")


def _system() -> list[tuple[str, str]]:
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    versions = [(name, version_of(name)) for name in _PACKAGES]
    return [("python", python), *((n, "not installed" if v == "unknown" else v) for n, v in versions)]


def _devices() -> list[tuple[str, str]]:
    devices = jax.devices()
    kinds = sorted({f"{d.platform} ({d.device_kind})" for d in devices})
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [("devices", f"{len(devices)} × {', '.join(kinds)}"), ("processor", f"{allowed} cores for this process")]


def _cache() -> list[tuple[str, str]]:
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"]:
        return [("compile cache", "off")]
    files = [p for p in Path(folder).glob("*") if p.is_file()]
    return [("compile cache", f"{folder} ({len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.0f} MB)")]
