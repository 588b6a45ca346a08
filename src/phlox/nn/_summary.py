"""px.summary: what every layer of a model returns, holds and computes, as a table."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from phlox.core import Module, StructureError, apply, copy, describe, is_key, modules, plain_text, split
from phlox.nn._autosize import structs
from phlox.nn._flops import MARK, Tally, count
from phlox.nn.functional.kernels._kernels import reference_forms

_WIDTH = 120


@dataclass(frozen=True)
class SummaryRow:
    """One layer, without its parts: they have rows of their own."""

    path: str
    layer: str
    output: tuple[Any, ...]
    """Shapes of the arrays that it returned at its last call; empty if it was not called."""
    parameters: int
    state: int
    flops: int
    activation_bytes: int
    calls: int


class Summary:
    """The rows of a model and their totals; printing it gives the table.

    FLOPs are floating-point operations of one forward pass, a multiplication with an addition being two; loops count
    as often as they run. Activation memory is what layers newly hand on, not temporary memory inside them.
    """

    name: str
    rows: list[SummaryRow]

    def __init__(self, name: str, rows: Sequence[SummaryRow], parameter_bytes: int, open_ended: bool):
        self.name, self.rows = name, list(rows)
        self.parameter_bytes = parameter_bytes
        self.open_ended = open_ended
        self.parameters: int = sum(r.parameters for r in rows)
        self.state: int = sum(r.state for r in rows)
        self.flops: int = sum(r.flops for r in rows)
        self.activation_bytes: int = sum(r.activation_bytes for r in rows)

    def __rich__(self) -> Any:
        """The table, for rich."""
        from rich.table import Table

        table = Table(title=self.name, title_justify="left", show_footer=True, show_edge=False, pad_edge=False)
        totals = ("total", "", "", f"{self.parameters:,}", f"{self.state:,}", short(self.flops), self._memory())
        names = ("path", "layer", "output", "parameters", "state", "FLOPs", "activations")
        for i, (name, total) in enumerate(zip(names, totals, strict=True)):
            table.add_column(name, total, justify="left" if i < 3 else "right", overflow="fold")
        for r in self.rows:
            times = f" ×{r.calls}" if r.calls > 1 else ""
            shapes = ", ".join(map(str, r.output)) or ("" if r.calls else "not called")
            table.add_row(
                r.path or "(model)", r.layer, shapes + times, _number(r.parameters), _number(r.state),
                short(r.flops) if r.flops else "", bytes_short(r.activation_bytes) if r.activation_bytes else "",
            )  # fmt: skip
        return table

    def _memory(self) -> str:
        return bytes_short(self.activation_bytes)

    def __str__(self) -> str:
        note = "; loops of unknown length count once" if self.open_ended else ""
        held = f"parameters and state take {bytes_short(self.parameter_bytes)}{note}"
        return f"{plain_text(self, _WIDTH)}\n{held}"

    __repr__ = __str__


def summary(model: Module, *inputs: Any, dtype: Any = jnp.float32, train: bool = False) -> Summary:
    """What every layer of a model returns, holds and computes for these inputs; nothing is computed or changed.

    Arguments:
        model: a Module.
        inputs: what it is called with: arrays, ``jax.ShapeDtypeStruct``, or shapes with their batch axis.
        dtype: dtype of the inputs that are given as shapes.
        train: whether the model trains.

    Returns:
        A ``Summary``, which prints as a table: ``.rows`` (path, layer, output, parameters, state, flops,
        activation_bytes, calls), and the totals ``.parameters``, ``.state``, ``.flops``, ``.activation_bytes``.

    Raises:
        ShapeError: the model does not take these inputs; names the layer. Inputs that are no shapes and no arrays.
        StructureError: the model is no Module.

    >>> import phlox as px
    >>> found = px.nn.summary(px.Chain(px.Dense(4, 8, px.relu), px.Dense(8, 2)), (32, 4))
    >>> [(r.path, r.output, r.parameters, r.flops) for r in found.rows[1:]]
    [('layers.0', ((32, 8),), 40, 2560), ('layers.1', ((32, 2),), 18, 1088)]
    """
    if not isinstance(model, Module):
        raise StructureError(
            "a Module",
            got=describe(model),
            fix="summarise each Module by itself, or put them in one: px.Chain(*layers), px.Chain(name=layer)",
            where="px.summary",
        )
    given = [s for x in inputs for s in structs(x, dtype)]
    marked = copy(model)
    found = modules(marked)
    for i, module in enumerate(found.values()):
        if any("__call__" in c.__dict__ for c in type(module).__mro__):
            module.__class__ = _marked(type(module))
        module._row = i
    params, state = split(marked)

    def forward(params: Any, state: Any, *xs: Any) -> Any:
        return apply(marked, params, state, *xs, train=train)[0]

    with reference_forms():  # whose operations can be counted
        jaxpr = jax.make_jaxpr(forward)(params, state, *given)
    tally = count(jaxpr.jaxpr, Tally())
    rows = _rows(modules(model), params, state, tally)
    held = sum(_nbytes(v) for v in (*params.values(), *state.values()))
    return Summary(type(model).__name__, rows, held, tally.open_ended)


@functools.cache
def _marked(cls: type[Module]) -> type[Module]:
    """A class like ``cls`` whose calls leave the row of the layer in the jaxpr; made once for each class."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with jax.named_scope(f"{MARK}{self._row}"):
            y = cls.__call__(self, *args, **kwargs)
        leaves, treedef = jax.tree.flatten(y)
        arrays = [i for i, v in enumerate(leaves) if isinstance(v, jax.Array)]
        for n, i in enumerate(arrays):
            leaves[i] = checkpoint_name(leaves[i], f"{MARK}{self._row}-{n}")
        return jax.tree.unflatten(treedef, leaves)

    return type(cls.__name__, (cls,), {"__call__": __call__, "__module__": cls.__module__})


def _rows(found: dict[str, Module], params: Any, state: Any, tally: Tally) -> list[SummaryRow]:
    held = {path: [0, 0] for path in found}
    for which, arrays in enumerate((params, state)):
        for name, value in arrays.items():
            held[_owner(name, held)][which] += value.size
    return [
        SummaryRow(
            path=path,
            layer=module._brief(),
            output=tuple(tuple(a.shape) for a in tally.results[i]),
            parameters=held[path][0],
            state=held[path][1],
            flops=tally.flops[i],
            activation_bytes=tally.nbytes[i],
            calls=tally.calls[i],
        )
        for i, (path, module) in enumerate(found.items())
    ]


def _owner(name: str, paths: dict[str, Any]) -> str:
    """The path of the Module that holds an array: the longest that its path starts with."""
    parts = name.split(".")
    while parts:
        parts.pop()
        if ".".join(parts) in paths:
            return ".".join(parts)
    return ""


def _nbytes(v: Any) -> int:
    return v.size * (8 if is_key(v) else v.dtype.itemsize)


def _number(n: int) -> str:
    return f"{n:,}" if n else ""


def short(n: float) -> str:
    """A count with three digits and a unit.

    >>> short(2560), short(12), short(4_089_184_256)
    ('2.56 k', '12', '4.09 G')
    """
    for unit in ("", " k", " M", " G", " T"):
        if n < 999.5 or unit == " T":
            return f"{n:.3g}{unit}" if unit else str(n)
        n /= 1000
    raise AssertionError


def bytes_short(n: float) -> str:
    """Bytes in a unit that reads well.

    >>> bytes_short(512), bytes_short(3 * 2**20)
    ('512 B', '3 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1023.5 or unit == "GiB":
            return f"{n:.3g} {unit}"
        n /= 1024
    raise AssertionError
