"""What a version takes, told before it is loaded, and refused where it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

from phlox.core import bytes_text
from phlox.loop import NotEnoughMemoryError, available_memory
from phlox.weights import MANIFEST, MODEL

_WHILE_LOADING = 2  # the file, and the arrays made of it


def bytes_of(path: Path) -> int:
    """Bytes of the weights that a version keeps: of a bundle those of one form, the largest."""
    if path.is_file():
        return path.stat().st_size
    sizes = {p.name: p.stat().st_size for p in path.iterdir() if p.is_file()}
    if MANIFEST not in sizes:
        return _of_forms(sizes) or sum(sizes.values())
    try:
        content = json.loads((path / MANIFEST).read_text("utf-8"))
        told = {name: int(size) for name, (size, _) in content["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return sum(sizes.values())  # damaged: whoever opens it says so
    forms = [told.get(MODEL, 0), told.get("weights.safetensors", 0)]
    forms.append(sum(n for name, n in told.items() if ".onnx" in name))
    return max(forms)


def _of_forms(sizes: dict[str, int]) -> int:
    """Bytes of the weights of a model's folder, which may hold them in two forms, one of which is read."""
    forms = (sum(size for name, size in sizes.items() if name.endswith(ending)) for ending in (".safetensors", ".bin"))
    return next((size for size in forms if size), 0)


def check_room(kept: int, *, used: int, limit: int | None, where: str) -> None:
    """Refuse a version that does not fit.

    Arguments:
        kept: bytes that it keeps.
        used: bytes that loaded versions keep.
        limit: bytes that all versions may keep.
        where: the function that speaks in errors.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    if limit is not None and used + kept > limit:
        raise NotEnoughMemoryError(
            f"models of {bytes_text(limit)} at most", where=where,
            got=f"{bytes_text(kept)} beside {bytes_text(used)} that are loaded", fix="unload one, or raise --memory",
        )  # fmt: skip
    free = available_memory()
    if free is not None and _WHILE_LOADING * kept > free:
        raise NotEnoughMemoryError(
            f"{bytes_text(_WHILE_LOADING * kept)} to load weights of {bytes_text(kept)}", where=where,
            got=f"{bytes_text(free)} free", fix="unload a version, or serve it on a larger machine",
        )  # fmt: skip
