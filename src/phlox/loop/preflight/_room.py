"""How much memory a device has left for this process, and how much is in use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax


def available_memory(device: Any = None) -> int | None:
    """Bytes that this process can still take on a device; None where nobody tells.

    On a CPU this is what the system calls available, or less where a control group (of a container, of a batch
    system) sets a limit. On an accelerator it is what JAX's allocator may take, less what it has given out.

    Arguments:
        device: one of ``px.devices()``; by default the first.

    >>> import phlox as px
    >>> free = px.loop.available_memory()
    >>> free is None or free > 0
    True
    """
    device = jax.devices()[0] if device is None else device
    if device.platform == "cpu":
        return _available_on_host(Path("/"))
    stats = device.memory_stats() or {}
    return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None


def resident_memory(device: Any = None) -> int | None:
    """Bytes in use: on a CPU those of this process, on an accelerator those of all arrays; None where nobody tells.

    Arguments:
        device: one of ``px.devices()``; by default the first.

    >>> import phlox as px
    >>> used = px.loop.resident_memory()
    >>> used is None or used > 2**20
    True
    """
    device = jax.devices()[0] if device is None else device
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_in_use")
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return _largest_so_far()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _largest_so_far() -> int | None:
    """The most that this process ever held, for systems without /proc."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else 1024 * most


def _available_on_host(root: Path) -> int | None:
    """The least of what the system and the control groups of this process leave; ``root`` is ``/``, or a test's."""
    found = [n for n in (_available_in_system(root), *_left_in_groups(root)) if n is not None]
    if found:
        return max(0, min(found))
    try:  # no /proc: all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _available_in_system(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


# The mount, the limit, the usage, and the part of the usage that is only a cache of files.
_VERSION_1 = ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def _left_in_groups(root: Path) -> list[int]:
    """What each control group around this process leaves of its limit."""
    left = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.strip().split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        mount, limit, usage, cache = _VERSION_2 if number == "0" else _VERSION_1
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):  # inside a container the path may be the host's: only some exist
            folder = root / mount / group
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                left.append(most - used + _statistic(folder / "memory.stat", cache))
    return left


def _statistic(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [name]), 0)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, as in ``max``."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
