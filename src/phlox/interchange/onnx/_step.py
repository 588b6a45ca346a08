"""One operation of a traced program as a rule sees it, and the tables that rules are entered in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phlox.core import ExportError
from phlox.interchange.onnx._graph import Graph, Size
from phlox.interchange.onnx._sizes import is_symbolic

Run = Callable[[Graph, Any, Sequence[Any]], list[Any]]
"""``run(graph, jaxpr, values)`` writes a program into a graph and gives its results."""

Rule = Callable[..., Any]
"""``rule(graph, step, *values)`` writes the nodes of one operation and gives its result, or a list of results."""


@dataclass(frozen=True)
class Step:
    """One operation: its name, its parameters, the types of its results."""

    kind: str
    params: Mapping[str, Any]
    outs: tuple[Any, ...]
    run: Run
    layer: str

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    @property
    def shape(self) -> tuple[Size, ...]:
        """The shape of the first result."""
        return tuple(self.outs[0].shape)

    @property
    def dtype(self) -> Any:
        """The dtype of the first result."""
        return self.outs[0].dtype

    def refusal(self, what: str, fix: str) -> ExportError:
        """The error of an operation that ONNX has no form for."""
        return ExportError(
            "operations that ONNX can express",
            got=f"{self.kind}: {what}",
            fix=fix,
            where=self.layer or "the model",
            located=True,
        )


class Rules(dict[str, Rule]):
    """Rules by the name of JAX's primitive."""

    def on(self, *names: str) -> Callable[[Rule], Rule]:
        """Enter a function under these names."""

        def enter(rule: Rule) -> Rule:
            for name in names:
                assert name not in self, name
                self[name] = rule
            return rule

        return enter


def known_size(step: Step, size: Size, what: str) -> int:
    """A size that must be a number."""
    if is_symbolic(size):
        raise step.refusal(f"{what} of size {size}", f"give {what} a known size")
    return int(size)
