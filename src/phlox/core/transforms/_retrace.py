"""Why a compiled function was traced again: what differs from the trace before that was most like it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from phlox.core._errors import describe, form, shown
from phlox.core._static import static_key
from phlox.core.context import _dtypes, _mode
from phlox.core.context._warning import warn_once
from phlox.core.module._arrays import displayed
from phlox.core.module._spec import Static
from phlox.core.transforms._names import Called, argument_names, array_names, place_of, root_names, user_function
from phlox.core.transforms._surroundings import Surroundings

_PATIENCE = 5  # traces that one changing number may cost before we say something
_NUMBERS = (int, float, complex)


@dataclass
class Seen:
    """One thing that a trace depends on: what it is compared by, its text, and the number that it is, if one."""

    key: Any
    text: str
    number: Any = None


@dataclass
class Trace:
    """What the arguments of one trace looked like, by path, and what the function read around it."""

    seen: dict[str, Seen]
    thread: int = field(default_factory=threading.get_ident)
    around: Surroundings | None = None


class Retraces:
    """The traces of one compiled function."""

    name: str
    fn: Any
    lock: threading.Lock

    def __init__(self, fn: Any):
        self.name, self.fn = getattr(fn, "__name__", repr(fn)), fn
        self.traces: list[Trace] = []
        self.costs: dict[str, int] = {}  # how many traces a number at a path has cost
        self.lock = threading.Lock()

    def note(self, call: Called, leaves: Sequence[Any], bare: Sequence[Any]) -> None:
        """Remember what the arguments of this trace look like."""
        trace = Trace(_described(call, leaves, bare), around=Surroundings(self.fn))
        with self.lock:
            before, self.traces = self.traces, [*self.traces, trace]
        if before:
            self._hint(before[-1].seen, trace.seen)
            self._warn_changed_surroundings(before[-1], trace)

    def report(self) -> str:
        """One line per trace after the first, naming what changed since; and what changed around the function."""
        if not self.traces:
            return f"{self.name}: not traced yet"
        lines = [f"{self.name}: traced {len(self.traces)} time{'s' if len(self.traces) > 1 else ''}"]
        lines += [f"  trace {n + 1}: {self._reason(n)}" for n in range(1, len(self.traces))]
        return "\n".join(lines + self._stale())

    def _reason(self, n: int) -> str:
        """What distinguishes a trace from the one that is most like it among those before, the latest of equals."""
        trace, earlier = self.traces[n], self.traces[:n]
        changes = [_changes(t.seen, trace.seen) for t in earlier]
        nearest = min(range(n), key=lambda i: (len(changes[i]), -i))
        if changes[nearest]:
            since = "" if nearest == n - 1 else f" (since trace {nearest + 1})"
            return "; ".join(changes[nearest]) + since
        if all(t.thread != trace.thread for t, c in zip(earlier, changes, strict=True) if not c):
            return f"an equal call to trace {nearest + 1}, made by another thread before that one was compiled"
        return (
            f"equal to trace {nearest + 1} as far as Phlox can see: its program was dropped, or a setting of JAX, a "
            "mesh or a sharding is another"
        )

    def _stale(self) -> list[str]:
        """What the function read around it when it was traced, and what is another now."""
        now = Surroundings(self.fn)
        lines = {}
        for n, trace in enumerate(self.traces):
            for name, text in trace.around.differences(now) if trace.around else ():
                lines[name] = f"  stale: trace {n + 1} was compiled with {text}; pass it as an argument"
        return list(lines.values())

    def _hint(self, before: dict[str, Seen], after: dict[str, Seen]) -> None:
        """Say once that a Python number which changes from call to call compiles the program each time."""
        changed = [k for k in after if k in before and before[k].key != after[k].key]
        if set(before) != set(after) or len(changed) != 1:
            return
        (path,) = changed
        if before[path].number is None or after[path].number is None:
            return
        self.costs[path] = self.costs.get(path, 0) + 1
        if self.costs[path] == _PATIENCE:
            value = after[path].number
            cure = (
                f"make it an array, {path} = jnp.asarray({value!r})"
                if "." in path
                else f"take {path!r} out of static_argnums and static_argnames, or pass jnp.asarray({value!r})"
            )
            warn_once(
                f"number {id(self)} {path}",
                f"{self.name} was traced and compiled {_PATIENCE} times because the Python number {path} changed, the "
                f"last time {before[path].text} → {after[path].text}: it is a constant of the program; {cure}",
            )

    def _warn_changed_surroundings(self, before: Trace, after: Trace) -> None:
        if before.around is None or after.around is None:
            return
        for name, text in before.around.differences(after.around):
            warn_once(
                f"stale {id(self)} {name}",
                f"{self.name} was compiled with {text}: what a compiled function reads around it is kept as when "
                f"it was traced, and calls of the shapes seen before still use the old one; pass {name} as an argument",
            )


def _changes(before: dict[str, Seen], after: dict[str, Seen]) -> list[str]:
    changed = [_change(k, before[k], after[k]) for k in before if k in after and before[k].key != after[k].key]
    gone = [f"{k} is gone" for k in before if k not in after]
    new = [f"{k} is new ({after[k].text})" for k in after if k not in before]
    return changed + gone + new


def _change(path: str, before: Seen, after: Seen) -> str:
    if before.text != after.text:
        return f"{path} {before.text} → {after.text}"
    return f"{path} {before.text} → another of the same text; make it once and keep it, so that it is equal"


def _described(call: Called, leaves: Sequence[Any], bare: Sequence[Any]) -> dict[str, Seen]:
    structure = call.structure
    roots = root_names(call)
    seen = {
        "px.training": _static(_mode.automatic()),
        "px.dtypes": _static(_dtypes.policy()),
        "the form of the arguments": Seen(call.treedef, form(call.treedef)),
    }
    for m, (layout, kinds) in enumerate(structure.nodes):
        root, path = structure.module_path(m)
        name = roots[root] + displayed(path)
        mode = {True: "trainmode", False: "testmode", None: "automode"}[layout.pinned]
        text = f"{layout.cls.__name__} ({mode}{', frozen' if layout.frozen else ''})"
        seen[name] = Seen((layout.cls, layout.pinned, layout.frozen, layout.auto), text)
        for attribute, spec in layout.attrs:
            if isinstance(spec, Static):
                seen[f"{name}.{attribute}"] = _static(spec.value)
        for i, kind in enumerate(kinds):
            if isinstance(kind, int) and kind >= 0 and structure.parents.get(kind) != (m, i):
                owner, way = structure.module_path(kind)
                seen[name + displayed(layout.paths[i])] = Seen(kind, f"the Module at {roots[owner]}{displayed(way)}")
    arrays, others = array_names(call)
    seen |= {name: _array(x) for name, x in zip([*arrays, *others], [*leaves, *bare], strict=True)}
    for name, (kind, value) in zip(argument_names(call), call.spec, strict=True):
        if kind == "static":
            seen[name] = _static(getattr(value, "value", value) if type(value).__name__ == "Hidden" else value)
    return seen


def _static(value: Any) -> Seen:
    number = value if isinstance(value, _NUMBERS) and not isinstance(value, bool) else None
    inner = user_function(value)
    text = place_of(value) if getattr(inner, "__name__", "") == "<lambda>" else shown(value)
    return Seen(static_key(value), text, number)


def _array(x: Any) -> Seen:
    """An array by what JAX compiles for: shape, dtype, whether its dtype is weak, and the mesh axes in its type."""
    try:
        aval = jax.typeof(x)
    except TypeError:  # a shape alone
        return Seen((x.shape, x.dtype), describe(x))
    text = f"{aval.dtype}{list(aval.shape)}" if hasattr(aval, "dtype") else str(aval)
    if getattr(aval, "weak_type", False):
        text += " (of a Python number)"
    spec = getattr(getattr(aval, "sharding", None), "spec", ())
    if any(axis is not None for axis in spec):
        text += f" over {spec}"
    return Seen(aval, text)
