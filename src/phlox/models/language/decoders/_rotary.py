"""Rotary positions as configs write them: their base, and how they are stretched for longer texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.core import RangeError
from phlox.nn import RotaryEmbedding

_ENDLESS = 1e300


def plain_entries(entries: Mapping[str, Any], base: float = 10000.0) -> dict[str, Any]:
    """The entries of a ``config.json`` with ``rope_theta`` and ``rope_scaling`` apart, as older files have them.

    Newer files have both in ``rope_parameters``; a base that is named nowhere is the ``base``.
    """
    found = dict(entries)
    together = found.pop("rope_parameters", None) or found.pop("rope_scaling", None)
    if isinstance(together, dict):
        stretch = {k: v for k, v in together.items() if k not in ("rope_theta", "partial_rotary_factor")}
        found = {k: together[k] for k in ("rope_theta", "partial_rotary_factor") if k in together} | {
            k: v for k, v in found.items() if k not in together
        }
        plain = stretch.get("rope_type", stretch.get("type", "default")) == "default"
        found["rope_scaling"] = None if plain else stretch
    found.setdefault("rope_theta", base)
    return found


def rotary(size: int, theta: float, scaling: Mapping[str, Any] | None, longest: int) -> RotaryEmbedding:
    """Positions that turn the first ``size`` features of a head, for texts of at most ``longest`` tokens."""
    if scaling is not None:
        scaling = {k: v for k, v in scaling.items() if v is not None and k != "finetuned"}  # of which no code reads one
        _check_numbers(scaling)
        kind = scaling.get("rope_type", scaling.get("type"))  # the latter in older files
        if "original_max_position_embeddings" not in scaling and kind in ("dynamic", "yarn"):
            scaling["original_max_position_embeddings"] = longest
    return RotaryEmbedding(size, base=theta, scaling=scaling)


def _check_numbers(scaling: Mapping[str, Any]) -> None:
    """Refuse what is to stretch positions and is no number, or not above 0.

    Raises:
        RangeError: such an entry.
    """
    for key, value in scaling.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, bool) or key in ("rope_type", "type"):
                continue  # a switch, or the way of stretching, which the layer checks
            if not isinstance(number, int | float) or not 0 < number < _ENDLESS:
                fix, where = "look at config.json", "rope_scaling"
                raise RangeError(f"{key} as a number above 0", got=repr(number)[:60], fix=fix, where=where)
