"""What a program ran in: the version of its code, its packages, its devices."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_SECONDS = 5  # that git may take
_FILES = 50  # changed files that are named
_VARIABLES = ("JAX_", "XLA_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # names of the environment begin so


def code_version() -> dict[str, Any]:
    """The program that runs, and the state of the git repository that it is in; JSON-able.

    ``commit`` is there within a repository, ``changed`` names the files that differ from it, and ``diff`` is a digest
    of how. Nothing of the repository's address is kept: it may hold a password.
    """
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    path = None if program is None else Path(program).absolute()
    found: dict[str, Any] = {"program": None if path is None else path.name, "arguments": sys.argv[1:]}
    if path is not None and path.is_file():
        found["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found | _repository(path.parent if path is not None else Path.cwd())


def _repository(folder: Path) -> dict[str, Any]:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=normal").splitlines()
    found: dict[str, Any] = {"commit": commit, "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD")}
    if changed:
        diff = hashlib.sha256(_git(folder, "diff", "HEAD").encode()).hexdigest()
        found |= {"changed": [line[3:] for line in changed[:_FILES]], "diff": diff}
    return found


def _git(folder: Path, *arguments: str) -> str:
    """What git says; nothing where there is no git, no repository, or no answer in time."""
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, env=environment, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").rstrip()


def environment() -> dict[str, Any]:
    """Python, the system, devices, packages and what switches JAX; JSON-able. No names of people or machines.

    >>> sorted(environment())
    ['devices', 'packages', 'processors', 'python', 'system', 'variables']
    """
    kinds = [f"{d.platform} ({d.device_kind})" for d in jax.devices()]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
        "processors": os.cpu_count(),
        "devices": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "packages": dict(_packages()),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)},
    }


@functools.cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Every installed package and its version, as the names of their folders tell: none of their files is read."""
    found: dict[str, str] = {}
    for place in sys.path:
        folder = Path(place or ".")
        for info in folder.glob("*.dist-info") if folder.is_dir() else ():
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            found.setdefault(name.lower().replace("_", "-"), version)
    return tuple(sorted(found.items()))
