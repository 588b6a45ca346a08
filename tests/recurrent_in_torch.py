"""PyTorch's recurrent layers around our arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any


def parts_of(p: Mapping[str, Any], at: str) -> dict[str, Any]:
    """The arrays below one path, by the rest of their names."""
    return {k[len(at) :]: v for k, v in p.items() if k.startswith(at)}


def in_torch(torch: Any, kind: str, cells: list[Mapping[str, Any]], hidden: int, **options: Any) -> Any:
    """PyTorch's layer of this kind, as a function ``(x, state) -> (y, state)``, around our cells' arrays."""
    both = bool(options.get("bidirectional"))
    proj = cells[0]["weight_hr"].shape[1] if "weight_hr" in cells[0] else 0
    given = dict(options, batch_first=True, **({"proj_size": proj} if proj else {}))
    layer = getattr(torch.nn, kind)(cells[0]["weight_ih"].shape[0], hidden, len(cells) // (1 + both), **given)
    layer = layer.to(cells[0]["weight_ih"].dtype)
    named = {}
    for i, cell in enumerate(cells):
        end = f"_l{i // 2}_reverse" if both and i % 2 else f"_l{i // (1 + both)}"
        named["weight_ih" + end], named["weight_hh" + end] = cell["weight_ih"].T, cell["weight_hh"].T
        named["bias_ih" + end] = cell["bias"]
        named["bias_hh" + end] = torch.zeros_like(cell["bias"])
        if "bias_hn" in cell:
            named["bias_hh" + end] = torch.cat([torch.zeros(2 * hidden, dtype=cell["bias"].dtype), cell["bias_hn"]])
        if "weight_hr" in cell:
            named["weight_hr" + end] = cell["weight_hr"].T

    def run(*args: Any) -> Any:
        with warnings.catch_warnings():  # PyTorch says once that oneDNN has no projections
            warnings.filterwarnings("ignore", message="LSTM with projections")
            return torch.func.functional_call(layer, named, args)

    return run
