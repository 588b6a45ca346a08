"""Printing: a model as the constructor calls that would build it, with what it holds beside each line."""

from __future__ import annotations

import html
import inspect
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core._compat import Tracer
from phlox.core._layout import Container, Static, displayed, is_array
from phlox.core._module import Module, examine
from phlox.core._plan import ARRAY, Plan, plan_of


@dataclass
class Line:
    """One Module of the printed tree, or several equal ones in a row."""

    label: str  # "0: ", "norm = " or empty
    text: str  # constructor form without the parts
    params: int = 0
    state: int = 0
    note: str = ""  # flags and sharing
    times: int = 1
    parts: list[Line] = field(default_factory=list)

    def same_as(self, other: Line) -> bool:
        """True where only the label differs."""
        mine = (self.text, self.params, self.state, self.note)
        theirs = (other.text, other.params, other.state, other.note)
        return mine == theirs and len(self.parts) == len(other.parts) and all(
            a.label == b.label and a.same_as(b) for a, b in zip(self.parts, other.parts, strict=True)
        )  # fmt: skip

    def counts(self) -> str:
        """Parameters and state, as printed behind the line."""
        each = f" ({self.times} × {self.params:_})" if self.times > 1 and self.params else ""
        found = [f"{self.params * self.times:_} parameters{each}"] if self.params else []
        found += [f"{self.state * self.times:_} state"] if self.state else []
        return ", ".join(found + ([self.note] if self.note else []))


def render(module: Module) -> str:
    """The tree of a Module as text, ending with its totals."""
    tree, plan = _tree(module)
    rows = _rows(tree, 0)
    width = min(max((len(r[0]) for r in rows), default=0), 60)
    lines = [f"{text:<{width}}  # {note}" if note else text for text, note in rows]
    total = _total(plan)
    if not total or not tree.parts:
        return lines[0] if len(lines) == 1 else "\n".join(lines)
    return "\n".join([*lines[:-1], f"{lines[-1]}  # total: {total}"])


def render_html(module: Module) -> str:
    """The tree as nested, foldable HTML for notebooks."""
    tree, plan = _tree(module)
    style = "font-family:ui-monospace,monospace;font-size:13px;line-height:1.5"
    total = _total(plan)
    foot = f'<div style="opacity:.65">total: {html.escape(total)}</div>' if total else ""
    return f'<div class="phlox" style="{style}">{_html(tree, 0)}{foot}</div>'


def _html(line: Line, depth: int) -> str:
    times = f"{line.times} × " if line.times > 1 else ""
    head = f"<b>{html.escape(line.label)}</b>{times}{html.escape(line.text)}"
    counts = f' <span style="opacity:.65">{html.escape(line.counts())}</span>' if line.counts() else ""
    if not line.parts:
        return f'<div style="margin-left:1.2em">{head}{counts}</div>'
    inner = "".join(_html(p, depth + 1) for p in line.parts)
    is_open = " open" if depth < 2 else ""
    return f'<details{is_open} style="margin-left:1.2em"><summary>{head}{counts}</summary>{inner}</details>'


def _rows(line: Line, depth: int) -> list[tuple[str, str]]:
    indent, comma = "  " * depth, "," if depth else ""
    head = indent + line.label + (f"{line.times} × " if line.times > 1 else "")
    if not line.parts:
        return [(f"{head}{line.text}{comma}", line.counts())]
    rows = [(f"{head}{line.text.removesuffix('()')}(", line.counts())]
    for part in line.parts:
        rows += _rows(part, depth + 1)
    return [*rows, (f"{indent}){comma}", "")]


def _tree(module: Module) -> tuple[Line, Plan]:
    plan = plan_of([module])
    return _Reader(plan).line(0, "", set()), plan


class _Reader:
    """Reads a plan into lines, each Module once; later meetings say where it stands."""

    def __init__(self, plan: Plan):
        self.plan, self.seen = plan, set[int]()
        self.values: dict[tuple[int, int], Any] = dict(zip(plan.structure.leaves, plan.gather(), strict=True))

    def line(self, m: int, label: str, above: set[int]) -> Line:
        module = self.plan.module(m)
        if m in self.seen:
            first = displayed(self.plan.structure.module_path(m)[1])
            return Line(label, module._brief(), note=f"shared with {first}")
        self.seen.add(m)
        layout, kinds = self.plan.structure.nodes[m]
        children = [(layout.paths[i], k) for i, k in enumerate(kinds) if isinstance(k, int) and k != ARRAY]
        chain = getattr(module, "_positional", None)
        functions = _functions(module, chain)
        if not children and not functions:
            line = Line(label, signature(module))
            self._count(line, m)
            return line
        line = Line(label, type(module).__name__ + "()")
        self._count(line, m)
        parts = [self.line(k, _label(path, chain), above | {m}) for path, k in children]
        arguments = [Line(f"{name}=", text) for name, text, _ in given_arguments(module)]
        line.parts = [*arguments, *_grouped(_interleaved(parts, functions))]
        return line

    def _count(self, line: Line, m: int) -> None:
        structure, own = self.plan.structure, []
        for i, (owner, item) in enumerate(structure.leaves):
            if owner != m:
                continue
            value = self.values[owner, item]
            size = int(np.prod(value.shape))
            if structure.is_state(i) or not jnp.issubdtype(value.dtype, jnp.inexact):
                line.state += size
            else:
                line.params += size
                own.append(value)
        module = self.plan.module(m)
        notes = [f for f in (_flags(own), _mode(module)) if f]
        line.note = ", ".join(notes)


def _label(path: tuple[Any, ...], chain: str | None) -> str:
    if chain is not None and path[0] == chain:
        return "" if isinstance(path[-1], int) else f"{path[-1]}="
    return displayed(path).lstrip(".") + "="


def _functions(module: Module, chain: str | None) -> dict[int, Line]:
    """Plain functions among the parts of a container, by position."""
    if chain is None:
        return {}
    spec = dict(examine(module).layout.attrs).get(chain)
    if not isinstance(spec, Container):
        return {}
    found = {}
    for i, (label, child) in enumerate(zip(spec.labels, spec.children, strict=True)):
        if isinstance(child, Static):
            name = getattr(child.value, "__name__", repr(child.value))
            found[i] = Line("" if isinstance(label, int) else f"{label}=", name)
    return found


def _interleaved(parts: list[Line], functions: dict[int, Line]) -> list[Line]:
    rest = iter(parts)
    merged = [functions[i] if i in functions else next(rest) for i in range(len(functions) + len(parts))]
    return merged


def _grouped(parts: list[Line]) -> list[Line]:
    """Equal neighbours without names of their own become one line."""
    grouped: list[Line] = []
    for part in parts:
        last = grouped[-1] if grouped else None
        if last is not None and last.same_as(part) and (last.label == part.label == "" or _in_row(last, part)):
            last.times += 1
            last.label = _range(last.label, part.label)
        else:
            grouped.append(part)
    return grouped


def _in_row(a: Line, b: Line) -> bool:
    """``blocks[0]=`` and ``blocks[1]=``."""
    return "[" in a.label and "[" in b.label and a.label.split("[")[0] == b.label.split("[")[0]


def _range(first: str, last: str) -> str:
    if not first:
        return first
    name, start = first.split("[", 1)
    return f"{name}[{start.split(':')[0].rstrip(']=')}:{int(last.split('[')[1].rstrip(']=')) + 1}]="


def _flags(arrays: list[Any]) -> str:
    """What is suspicious about concrete parameters."""
    known = [a for a in arrays if isinstance(a, jax.Array) and not isinstance(a, Tracer) and a.size]
    if not known or any(a.is_deleted() for a in known):
        return "lost its buffers" if known else ""
    flags = []
    if any(bool(jnp.isnan(a).any()) for a in known):
        flags.append("some NaN")
    if any(bool(jnp.isinf(a).any()) for a in known):
        flags.append("some Inf")
    if all(not bool(a.any()) for a in known):
        flags.append("all zero")
    return ", ".join(flags)


def _mode(module: Module) -> str:
    pinned = {True: "trainmode", False: "testmode", None: ""}[module._px.pinned]
    frozen = {True: "frozen", False: ""}.get(module._px.frozen, "partly frozen")  # type: ignore[arg-type]
    return ", ".join(f for f in (pinned, frozen) if f)


def _total(plan: Plan) -> str:
    structure, values = plan.structure, plan.gather()
    if not values or not all(hasattr(v, "shape") for v in values):
        return ""
    sizes = [int(np.prod(v.shape)) for v in values]
    kinds = [structure.is_state(i) or not jnp.issubdtype(v.dtype, jnp.inexact) for i, v in enumerate(values)]
    params = sum(s for s, k in zip(sizes, kinds, strict=True) if not k)
    state = sum(s for s, k in zip(sizes, kinds, strict=True) if k)
    nbytes = sum(s * _itemsize(v) for s, v in zip(sizes, values, strict=True))
    arrays = kinds.count(False)
    text = f"{params:_} parameters in {arrays} array{'' if arrays == 1 else 's'}"
    return text + (f", {state:_} state in {kinds.count(True)}" if state else "") + f", {bytes_text(nbytes)}"


def _itemsize(v: Any) -> int:
    return 8 if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v.dtype.itemsize


def bytes_text(n: float) -> str:
    """A number of bytes in a unit that reads well."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError


def signature(module: Module) -> str:
    """Constructor form on one line, from the constructor's parameters and the attributes of the same names."""
    given = [text if positional else f"{name}={text}" for name, text, positional in given_arguments(module)]
    return f"{type(module).__name__}({', '.join(given)})"


def given_arguments(module: Module) -> list[tuple[str, str, bool]]:
    """Constructor arguments that differ from their defaults: name, text, and whether written by position."""
    try:
        parameters = list(inspect.signature(type(module).__init__).parameters.values())[1:]
    except (TypeError, ValueError):
        return []
    found, positional = [], True
    for p in parameters:
        positional = positional and p.kind is p.POSITIONAL_OR_KEYWORD
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name not in module.__dict__:
            continue
        value = module.__dict__[p.name]
        if not _is_plain(value) or _equal(value, p.default):
            positional = positional and p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
            continue
        found.append((p.name, _written(value, p.default), positional))
    return found


def _written(value: Any, default: Any) -> str:
    """An argument as its user would write it."""
    if value is None and isinstance(default, bool):
        return "False"
    if isinstance(value, tuple) and len(value) == 1:
        return repr(value[0])
    return getattr(value, "__name__", None) or repr(value)


def _is_plain(value: Any) -> bool:
    return (
        not isinstance(value, Module)
        and not is_array(value)
        and not (
            isinstance(value, (list, tuple, dict))
            and any(hasattr(v, "shape") for v in jax.tree_util.tree_leaves(value))
        )
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, int) and a:  # one number for every axis
        return all(_equal(v, b) for v in a)
    return a is b or (type(a) is type(b) and not callable(a) and a == b)
