"""Checks of what layers and methods are given, refused where it is given."""

from __future__ import annotations

from typing import Any

from phlox.core import RangeError, shown


def check_open_unit(where: str, name: str, value: Any) -> float:
    """A number between 0 and 1, both left out."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise RangeError(f"{name} in (0, 1)", got=repr(value), fix=f"give a share, such as {name}=0.9", where=where)
    return float(value)


def check_one_of(where: str, name: str, value: Any, names: tuple[str, ...]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in names:
        several = ", ".join(f'"{n}"' for n in names)
        raise RangeError(f"{name} among {several}", got=shown(value), fix=f'write {name}="{names[0]}"', where=where)
    return value
