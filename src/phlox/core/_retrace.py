"""Why a compiled function was traced again: what differs from the trace before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phlox.core import _dtypes, _mode
from phlox.core._errors import describe, shown
from phlox.core._layout import Static, displayed

if TYPE_CHECKING:
    from phlox.core._functionalize import Call


class Retraces:
    """The traces of one compiled function, each as text by path."""

    def __init__(self, name: str):
        self.name = name
        self.traces: list[dict[str, str]] = []

    def note(self, call: Call) -> None:
        """Remember what the arguments of this trace look like."""
        self.traces.append(_described(call))

    def report(self) -> str:
        """One line per trace after the first, naming what changed since."""
        if not self.traces:
            return f"{self.name}: not traced yet"
        lines = [f"{self.name}: traced {len(self.traces)} time{'s' if len(self.traces) > 1 else ''}"]
        for n in range(1, len(self.traces)):
            changes = _changes(self.traces[n - 1], self.traces[n])
            lines.append(f"  trace {n + 1}: " + ("; ".join(changes) or "an equal call whose program was dropped"))
        return "\n".join(lines)


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    changed = [f"{k} {before[k]} → {after[k]}" for k in before if k in after and before[k] != after[k]]
    gone = [f"{k} is gone" for k in before if k not in after]
    new = [f"{k} is new ({after[k]})" for k in after if k not in before]
    return changed + gone + new


def _described(call: Call) -> dict[str, str]:
    structure = call.structure
    names = [f"module {n}" if len(structure.roots) > 1 else "model" for n in range(len(structure.roots))]
    seen: dict[str, str] = {"px.training": repr(_mode.automatic()), "px.dtypes": repr(_dtypes.policy())}
    for m, (layout, _) in enumerate(structure.nodes):
        root, path = structure.module_path(m)
        name = names[root] + displayed(path)
        mode = {True: "trainmode", False: "testmode", None: "automode"}[layout.pinned]
        seen[name] = f"{layout.cls.__name__} ({mode}{', frozen' if layout.frozen else ''})"
        for attribute, spec in layout.attrs:
            if isinstance(spec, Static):
                seen[f"{name}.{attribute}"] = shown(spec.value)
    for i, leaf in enumerate(call.leaves):
        root, path = structure.leaf_path(i)
        seen[names[root] + displayed(path)] = _aval(leaf)
    bare = iter(call.bare)
    for n, (kind, value) in enumerate(call.spec):
        if kind != "module":
            seen[f"argument leaf {n}"] = _aval(next(bare)) if kind == "array" else repr(value)
    return seen


def _aval(x: Any) -> str:
    return describe(x) if not hasattr(x, "aval") else f"{x.dtype}{list(x.shape)}"
