"""How a layer names itself on one line."""

from __future__ import annotations

from typing import Any

from phlox.nn.functional import identity


def act_text(act: Any) -> str:
    """``", relu"`` behind the sizes of a layer, nothing for the identity."""
    return "" if act is identity else f", {getattr(act, '__name__', None) or repr(act)}"
