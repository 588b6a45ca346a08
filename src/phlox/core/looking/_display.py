"""Printing: a model as the constructor calls that would build it, with what it holds beside each line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from phlox.core._errors import StructureError, describe
from phlox.core.context._here import Node
from phlox.core.looking._display_html import page
from phlox.core.looking._health import INF, LOST, NAN, ZERO, findings
from phlox.core.looking._line import Line, counted
from phlox.core.module._arrays import Path, displayed, is_array
from phlox.core.module._plan import ARRAY, Plan, plan_of
from phlox.core.module._spec import Container, Item, Spec

_WIDTH = 60  # up to this column, what stands behind the lines is aligned
_LONG = 72  # an argument's text is cut here


def render(module: Node) -> str:
    """The tree of a Module as text, ending with its totals."""
    tree, total = read(module)
    rows = list(_rows(tree, 0))
    width = max((len(text) for text, remark in rows if remark and len(text) <= _WIDTH), default=0)
    lines = [f"{text:<{width}}  # {remark}" if remark else text for text, remark in rows]
    if total and tree.parts:
        lines[-1] += f"  # total: {total}"
    return "\n".join(lines)


def render_html(module: Node) -> str:
    """The tree as nested, foldable HTML for notebooks."""
    return page(*read(module))


def read(module: Node) -> tuple[Line, str]:
    """The printed tree of a Module, and its totals as text."""
    try:
        reader = _Reader(plan_of([module]))
    except StructureError as error:  # one that holds itself, say: printing must not fail
        return Line(type(module).__name__, "…", warnings=(error.got or error.expected,)), ""
    return reader.line(0, "", (), ()), reader.total()


def _rows(line: Line, depth: int) -> Iterator[tuple[str, str]]:
    """Each row of the text, and what stands behind it."""
    indent, comma = "  " * depth, "," if depth else ""
    head = indent + line.label + (f"{line.times} × " if line.times > 1 else "")
    if not line.parts:
        yield f"{head}{line.text}{comma}", line.remarks()
        return
    is_root = not depth  # its counts are the totals, at the end
    yield f"{head}{line.name}(", ", ".join(line.notes + line.warnings) if is_root else line.remarks()
    if line.arguments:
        yield f"{indent}  {line.arguments},", ""
    for part in line.parts:
        yield from _rows(part, depth + 1)
    yield f"{indent}){comma}", ""


class _Reader:
    """Reads a plan into lines, each Module once; where one stands again, the line says where it stood first."""

    def __init__(self, plan: Plan):
        self.plan, self.structure, self.seen = plan, plan.structure, set[int]()
        self.arrays = plan.gather()
        self.index = {place: i for i, place in enumerate(self.structure.leaves)}
        self.findings, self.all_read = findings(self.arrays)

    def line(self, m: int, label: str, path: Path, above: tuple[str, ...]) -> Line:
        """One Module and what is below it; ``above`` is what already holds for the whole of its owner."""
        module, (layout, kinds) = self.plan.module(m), self.structure.nodes[m]
        chain = getattr(module, "_positional", None)
        entries = list(_entries(layout.attrs, chain))
        tied = {i: k for i, k in enumerate(kinds) if isinstance(k, int) and k != ARRAY and self._is_veiled(k)}
        has_parts = _has_parts(entries, tuple(ARRAY if i in tied else k for i, k in enumerate(kinds)))
        line = Line(type(module).__name__, arguments_text(module, named=has_parts), label, path)
        if m in self.seen:
            first = displayed(self.structure.module_path(m)[1]).lstrip(".")
            line.arguments = "…" if has_parts else line.arguments
            line.notes = (f"shared with {first}",)
            return line
        self.seen.add(m)
        modes = _modes(module)
        line.notes = tuple(mode for mode in modes if mode not in above)
        if not has_parts:
            places = {
                i: self.index[m, i] if kind == ARRAY else self._here(m, i, tied.get(i)) for i, kind in enumerate(kinds)
            }
            leaves = {i: leaf for i, leaf in places.items() if leaf is not None}
            again = [f"{layout.heads[i]} tied to {self._first(k)}" for i, k in tied.items() if i not in leaves]
            line.notes = (*line.notes, *again)
            line = self._counted(line, [*leaves.values()], [displayed(layout.paths[i]).lstrip(".") for i in leaves])
            line.warnings = tuple(w for w in line.warnings if not again or w != "all zero")  # of what is its own alone
            return line
        for where, spec in entries:
            name = _label(where, chain)
            if not isinstance(spec, int):
                line.parts.append(Line(_written(spec.value), "", name, where, kind="function"))
            elif kinds[spec] == ARRAY or spec in tied:
                leaf = self.index[m, spec] if spec not in tied else self._here(m, spec, tied[spec])
                line.parts.append(
                    self._array(leaf, name, where) if leaf is not None else self._tied(tied[spec], name, where)
                )
            elif isinstance(kinds[spec], int):
                line.parts.append(self.line(kinds[spec], name, where, (*above, *modes)))
        line.params = sum(part.params for part in line.parts)
        line.state = sum(part.state for part in line.parts)
        line.parts = _grouped(line.parts)
        return line

    def _is_veiled(self, m: int) -> bool:
        return self.structure.nodes[m][0].cls._veiled

    def _here(self, m: int, item: int, tied: int | None) -> int | None:
        """The array of a ``Tied`` where its path is that of this item."""
        if tied is None or self.structure.parents.get(tied) != (m, item):
            return None
        return self.index.get((tied, 0))

    def _first(self, m: int) -> str:
        return displayed(self.structure.module_path(m)[1]).lstrip(".")

    def _tied(self, m: int, label: str, path: Path) -> Line:
        """An array that stood in another Module before."""
        return Line("…", "", label, path, notes=(f"tied to {self._first(m)}",), kind="function")

    def _array(self, leaf: int, label: str, path: Path) -> Line:
        """An array that a Module with parts holds itself."""
        value = self.arrays[leaf]
        line = Line(str(value.dtype), ", ".join(map(str, value.shape)), label, path, kind="array")
        return self._counted(line, [leaf], [""])

    def _counted(self, line: Line, leaves: list[int], names: list[str]) -> Line:
        """Add what the arrays of a line count, and what is remarkable about them."""
        params = [i for i in leaves if self._is_parameter(i)]
        line.params = sum(prod(self.arrays[i].shape) for i in params)
        line.state = sum(prod(self.arrays[i].shape) for i in leaves) - line.params
        dtypes = sorted({str(self.arrays[i].dtype) for i in params} - {"float32"})
        if line.kind != "array":
            line.notes = (*dtypes, *line.notes)
        for mark, lost in ((LOST, "lost its buffers"), (NAN, "NaN"), (INF, "Inf")):
            where = [name for i, name in zip(leaves, names, strict=True) if mark in self.findings[i]]
            if where:
                behind = f" in {_listed(where)}" if mark != LOST and any(where) else ""
                line.warnings += (lost + behind,)
        if params and all(ZERO in self.findings[i] for i in params):
            line.warnings += ("all zero",)
        return line

    def _is_parameter(self, leaf: int) -> bool:
        return jnp.issubdtype(self.arrays[leaf].dtype, jnp.inexact) and not self.structure.is_state(leaf)

    def total(self) -> str:
        """Parameters, state and memory of the whole tree."""
        arrays = self.arrays
        params = [i for i in range(len(arrays)) if self._is_parameter(i)]
        size = [prod(a.shape) for a in arrays]
        count = sum(size[i] for i in params)
        frozen = sum(size[i] for i in params if self.structure.is_frozen(i))
        held = f" ({'all' if frozen == count else f'{frozen:_}'} frozen)" if frozen else ""
        text = f"{counted(count, 'parameter')}{held} in {counted(len(params), 'array')}" if params else ""
        if len(arrays) > len(params):
            text += (
                f"{' + ' if text else ''}{sum(size) - count:_} state in {counted(len(arrays) - len(params), 'array')}"
            )
        if not text:
            return ""
        unread = "" if self.all_read else ", too large to look for NaN"
        return f"{text}, {bytes_text(sum(n * a.dtype.itemsize for n, a in zip(size, arrays, strict=True)))}{unread}"


def _entries(attrs: tuple[tuple[str, Spec], ...], chain: str | None) -> Iterator[tuple[Path, Any]]:
    """What stands on a line of its own: items by number, and the functions among them in lists and dicts."""
    count = iter(range(10**9))

    def walk(spec: Spec, path: Path, inside: bool) -> Iterator[tuple[Path, Any]]:
        if isinstance(spec, Item):
            yield path, next(count)
        elif isinstance(spec, Container):
            for label, child in zip(spec.labels, spec.children, strict=True):
                yield from walk(child, (*path, label), inside or spec.size > 0 or path == (chain,))
        elif inside and callable(spec.value):
            yield path, spec

    for name, spec in attrs:
        yield from walk(spec, (name,), False)


def _has_parts(entries: list[tuple[Path, Any]], kinds: tuple[Any, ...]) -> bool:
    """True where there is more than arrays."""
    return any(not isinstance(s, int) or (isinstance(kinds[s], int) and kinds[s] != ARRAY) for _, s in entries)


def _label(path: Path, chain: str | None) -> str:
    if chain is not None and path[0] == chain:
        return "" if isinstance(path[-1], int) else f"{path[-1]}="
    return displayed(path).lstrip(".") + "="


def _grouped(parts: list[Line]) -> list[Line]:
    """Equal neighbours that follow each other in a list become one line."""
    grouped: list[Line] = []
    for part in parts:
        last = grouped[-1] if grouped else None
        if last is not None and _follows(last, part) and last.same_as(part):
            last.times += 1
            if last.label:
                start = last.path[-1]
                last.label = f"{displayed(last.path[:-1]).lstrip('.')}[{start}:{start + last.times}]="
        else:
            grouped.append(part)
    return grouped


def _follows(last: Line, part: Line) -> bool:
    """``blocks[1]`` after ``blocks[0]``."""
    a, b = last.path, part.path
    return a[:-1] == b[:-1] and type(a[-1]) is type(b[-1]) is int and b[-1] == a[-1] + last.times


def _modes(module: Node) -> tuple[str, ...]:
    """What was pinned and frozen by hand."""
    meta = module._px
    pinned = {True: "trainmode", False: "testmode", None: ""}[meta.pinned]
    frozen = "frozen" if meta.frozen is True else f"{_listed(sorted(meta.frozen))} frozen" if meta.frozen else ""
    return tuple(mode for mode in (pinned, frozen) if mode)


def _listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def bytes_text(n: float) -> str:
    """A number of bytes in a unit that reads well.

    >>> bytes_text(1), bytes_text(1536), bytes_text(3 * 2**40)
    ('1 byte', '1.5 KiB', '3.0 TiB')
    """
    if n < 1024:
        return f"{n:.0f} byte{'' if n == 1 else 's'}"
    for unit in ("KiB", "MiB", "GiB"):
        n /= 1024
        if n < 1024:
            return f"{n:.1f} {unit}"
    return f"{n / 1024:.1f} TiB"


# --- constructor arguments ---------------------------------------------------------------------------


def arguments_text(module: Node, *, named: bool = False) -> str:
    """The constructor's arguments as they were given, from the attributes of the same names."""
    return ", ".join(_given(module, named))


def _given(module: Node, named: bool) -> Iterator[str]:
    positional = True
    for p in _parameters(type(module)):
        positional = positional and p.kind is p.POSITIONAL_OR_KEYWORD
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name not in module.__dict__:
            positional = False
            continue
        value = module.__dict__[p.name]
        if value is None and module.__dict__.get(type(module)._implied.get(p.name, "")) is False:
            continue
        is_rate = positional and isinstance(value, float)  # told even where it is the default: Dropout(0.5)
        if not _is_plain(value) or (_equal(value, p.default) and not is_rate):
            positional = False
            continue
        text = _given_text(value, p.default)
        yield text if positional and not named else f"{p.name}={text}"


@functools.lru_cache(maxsize=1024)
def _parameters(cls: type[Node]) -> tuple[inspect.Parameter, ...]:
    """The constructor's parameters without ``self``."""
    try:
        return tuple(inspect.signature(cls.__init__).parameters.values())[1:]
    except (TypeError, ValueError):
        return ()


def _given_text(value: Any, default: Any) -> str:
    """An argument as its user would write it."""
    if value is None and isinstance(default, bool):
        return "False"
    if isinstance(value, tuple) and len(value) == 1:
        return _written(value[0])
    return _written(value)


def _written(value: Any) -> str:
    """A value on one line, functions and classes by their names."""
    if isinstance(value, tuple):
        text = f"({', '.join(map(_written, value))}{',' if len(value) == 1 else ''})"
    elif isinstance(value, list):
        text = f"[{', '.join(map(_written, value))}]"
    elif type(value) is dict:
        text = "{" + ", ".join(f"{k!r}: {_written(v)}" for k, v in value.items()) + "}"
    elif is_array(value):
        text = describe(value)
    else:
        text = getattr(value, "__name__", None) or _represented(value)
    text = " ".join(text.split()).replace("<lambda>", "lambda")
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _represented(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # of the user's own class
        return type(value).__name__
    return text if not text.startswith("<") else type(value).__name__


def _is_plain(value: Any) -> bool:
    if isinstance(value, Node) or is_array(value):
        return False
    return not isinstance(value, (list, tuple, dict)) or not any(
        hasattr(v, "shape") for v in jax.tree_util.tree_leaves(value)
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, int) and a:  # one number for every axis
        return all(_equal(v, b) for v in a)
    try:
        return a is b or (type(a) is type(b) and not callable(a) and bool(a == b))
    except Exception:  # of the user's own class
        return False
