"""Compiled programs kept on disk, so that the next start compiles nothing again."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path

import jax

_MARK = "phlox-compile-cache"
_OFF = ("off", "0", "false", "no")
# What JAX and XLA write there: a name, a hash, and what the file is; and XLA's own folders.
_ENTRY = re.compile(r".*-[0-9a-f]{32,}-(cache|atime)|\.lockfile|xla_gpu_\w+")


def compile_cache(path: str | os.PathLike[str] | bool | None = True) -> Path | None:
    """Keep compiled programs in a folder, by default the user's cache folder; None or False turns it off.

    It is on from ``import phlox``, unless ``JAX_COMPILATION_CACHE_DIR`` already names a folder (JAX's own setting
    stands), or ``PHLOX_COMPILE_CACHE`` is ``off``; that variable may name a folder too. JAX runs what it finds there,
    so the folder must be one that only trusted users write to; it grows until ``px.clear_compile_cache()``.

    Returns:
        The folder in use, or None where it is turned off or cannot be written.

    >>> import phlox as px
    >>> px.compile_cache(None) is None
    True
    """
    if path is None or path is False:
        jax.config.update("jax_enable_compilation_cache", False)
        _take_notice()
        return None
    folder = default_folder() if path is True else Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / _MARK).touch()
    except (OSError, ValueError):
        return None  # a read-only home: compile as ever
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    _take_notice()
    return folder


def _take_notice() -> None:
    """Let JAX look at its settings again; it does so once, at the first compilation."""
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    reset_cache()


def default_folder() -> Path:
    """Where compiled programs are kept unless the user says otherwise."""
    named = os.environ.get("PHLOX_COMPILE_CACHE", "")
    if named and named.lower() not in _OFF:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "phlox" / "xla"


def clear_compile_cache() -> int:
    """Delete all compiled programs that are kept; returns how many files there were.

    Only a folder that ``px.compile_cache`` has used is touched, and in it only what JAX wrote.
    """
    folder = Path(_configured() or default_folder())
    if not (folder / _MARK).exists():
        return 0
    files = [p for p in folder.iterdir() if _ENTRY.fullmatch(p.name)]
    for p in files:
        shutil.rmtree(p, ignore_errors=True) if p.is_dir() else p.unlink(missing_ok=True)
    return len(files)


def _configured() -> str | None:
    return getattr(jax.config, "jax_compilation_cache_dir", None)


def start() -> None:
    """Turn the cache on at import, unless the environment speaks against it."""
    # An entry that a full disk cut short is compiled again; nobody has to hear of it.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    if os.environ.get("PHLOX_COMPILE_CACHE", "").lower() not in _OFF and not _configured():
        compile_cache()
