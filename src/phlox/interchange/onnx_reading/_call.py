"""One node as an operator sees it, and the table that operators are entered in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import numpy as np
from jax.core import Tracer

from phlox.core import ExportError, describe
from phlox.interchange.onnx_reading._graph import Node
from phlox.interchange.onnx_reading._known import constant, has_symbols, is_known, is_symbol
from phlox.interchange.onnx_reading._layout import aligned, laid, plain

Operator = Callable[..., Any]
"""``operator(call, *inputs)`` gives the node's output, or a tuple of them; an input that is left out is None."""

Entry = Callable[[Operator], Operator]
LARGEST = 1 << 30
"""Numbers in one array."""
_CURES = "give that input by px.load_onnx(file, fixed={name: value}), or cut and fill it up to sizes that are known"


@dataclass(frozen=True, eq=False)
class Call:
    """A node with its attributes resolved, the version of its operators, and what runs the graphs in it."""

    node: Node
    attributes: Mapping[str, Any]
    version: int
    run: Callable[..., list[Any]]
    """``run(graph, *inputs)`` runs a graph among the attributes."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.attributes:
            raise self.refusal(f"the attribute {name!r}", "none", "the file is not whole; write it anew")
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what stands for one that is left out."""
        return self.attributes.get(name, default)

    def with_attributes(self, **attributes: Any) -> Call:
        """The same node with other attributes beside those that it has."""
        return replace(self, attributes={**self.attributes, **attributes})

    @property
    def count(self) -> int:
        """How many outputs the node has."""
        return len(self.node.outputs)

    def wants(self, place: int) -> bool:
        """Whether somebody reads the output at this place."""
        return place < len(self.node.outputs) and bool(self.node.outputs[place])

    def filled(self, inputs: Sequence[Any], count: int) -> tuple[Any, ...]:
        """So many inputs, None for those that are left out at the end."""
        return *inputs, *[None] * (count - len(inputs))

    def refusal(self, expected: str, got: str, fix: str) -> ExportError:
        """The error of a node that cannot be run."""
        return ExportError(expected, got=got, fix=fix, where=str(self.node), located=True)

    def known(self, x: Any, what: str) -> np.ndarray:
        """A value that decides shapes, so that it must be known while tracing.

        Raises:
            ExportError: it depends on the model's inputs.
        """
        if is_known(x):
            return np.asarray(x)
        if isinstance(x, Tracer):
            raise self.refusal(f"{what} known while tracing", f"{describe(x)}, computed from inputs", _CURES)
        return np.asarray(x)

    def ints(self, x: Any, what: str) -> list[int]:
        """Known whole numbers; sizes that are symbols stay so."""
        return [n if is_symbol(n) else int(n) for n in self.known(x, what).reshape(-1)]

    def axes(self, x: Any = None, name: str = "axes") -> list[int] | None:
        """Axes, which were an attribute and became an input."""
        if x is not None:
            return self.ints(x, name)
        found = self.get(name)
        return None if found is None else [int(n) for n in found]

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
            ExportError: the array has no such axis.
        """
        if not -rank <= axis < rank:
            fix = "give it inputs like those that the file was made for; where they are, the file is damaged"
            raise self.refusal(f"an axis from {-rank} to {rank - 1}", str(axis), fix)
        return int(axis) % rank

    def sized(self, shape: Sequence[Any]) -> tuple[int, ...]:
        """A shape that is made from numbers of the file.

        Raises:
            ExportError: no machine holds it, or a size is negative.
        """
        total = 1
        numbers = [int(n) for n in shape if not is_symbol(n)]
        for n in numbers:
            total *= n
        if total > LARGEST or any(n < 0 for n in numbers):
            fix = "the file is damaged, or not meant to be run"
            raise self.refusal(f"a result of at most {LARGEST} numbers", str(list(shape)), fix)
        return tuple(n if is_symbol(n) else int(n) for n in shape)


class Operators(dict[tuple[str, str], list[tuple[int, Operator]]]):
    """Operators by domain and name, each with the versions of the standard that it is for."""

    def on(self, *names: str, since: int = 1, domain: str = "", any_order: bool = False) -> Entry:
        """Enter a function under these names, from this version on; its inputs are plain arrays unless it says so."""

        def enter(operator: Operator) -> Operator:
            entered = operator if any_order else _of_plain(operator)
            for name in names:
                entries = self.setdefault((domain, name), [])
                assert since not in [v for v, _ in entries], name
                entries.append((since, entered))
                entries.sort(key=lambda entry: entry[0])
            return operator

        return enter

    def elementwise(self, *names: str, domain: str = "") -> Entry:
        """Enter a function of numbers one by one, which does not ask how axes lie."""

        def enter(operator: Operator) -> Operator:
            self.on(*names, domain=domain, any_order=True)(_in_any_order(operator))
            return operator

        return enter

    def find(self, domain: str, name: str, version: int) -> Operator | None:
        """The newest form that is not newer than the file."""
        found = [operator for since, operator in self.get((domain, name), ()) if since <= version]
        return found[-1] if found else None


def _of_plain(operator: Operator) -> Operator:
    @wraps(operator)
    def run(call: Call, *inputs: Any) -> Any:
        return operator(call, *map(plain, inputs))

    return run


def _in_any_order(operator: Operator) -> Operator:
    @wraps(operator)
    def run(call: Call, *inputs: Any) -> Any:
        arrays, order = aligned(inputs)
        if not all(x is None or is_known(x) for x in arrays):
            arrays = [constant(x) if has_symbols(x) else x for x in arrays]
        return laid(operator(call, *arrays), order)

    return run
