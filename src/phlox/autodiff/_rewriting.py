"""What a program does otherwise: rules replaced, and functions of the cotangents at layers and arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax.numpy as jnp

from phlox.autodiff._program import Flat
from phlox.autodiff._rules import RULES, Rule
from phlox.core import ShapeError, StructureError, describe

Hook = Callable[[Any], Any]


class Rewriting:
    """``rewrite=`` taken apart: ``rules``, and ``act``, which sees every cotangent."""

    rules: dict[str, Rule]

    def __init__(
        self,
        rewrite: Mapping[str, Callable[..., Any]] | None,
        program: Flat,
        names: Sequence[str],
        layers: Mapping[str, str],
    ):
        self.rules = dict(RULES)
        self.hooks: dict[int, list[tuple[str, Hook]]] = {}
        kinds = {line.kind for line in program.lines}
        made, read = results(program), readers(program)
        for name, function in (rewrite or {}).items():
            places = [n for n, path in zip(program.inputs, names, strict=True) if fnmatchcase(path, name)]
            found = [layer for layer in layers if layer and fnmatchcase(layer, name)]
            for layer in found:
                places += [n for n in made if inside(made[n], layer) and leaves(n, layer, program.outputs, read)]
            if not places and not found and name not in kinds and name not in RULES:
                raise _unknown(name, names, layers)
            for number in places:
                self.hooks.setdefault(number, []).append((name, function))
            if not places and not found:
                self.rules[name] = Rule(function, _given)

    def act(self, number: int, g: Any) -> Any:
        """The cotangent that goes on from a value."""
        for name, function in self.hooks.get(number, ()):
            new = function(g)
            if new is None:
                continue
            new = jnp.asarray(new, g.dtype)
            if new.shape != g.shape:
                raise ShapeError(
                    f"a cotangent like {describe(g)}",
                    got=describe(new),
                    fix="return it in the shape it came in, or None to leave it as it is",
                    where=f'rewrite={{"{name}": …}}',
                    located=True,
                )
            g = new
        return g


def _given(gs: list[str], xs: list[str], ys: list[str], parameters: Any, i: int) -> str:
    return f"a rule that was given, {', '.join(gs)}"


def results(program: Flat) -> dict[int, str]:
    """The layer of every value that a line makes."""
    return {n: line.layer for line in program.lines for n in line.makes}


def inside(layer: str, outer: str) -> bool:
    """Whether a path is that of a layer, or below it."""
    return layer == outer or layer.startswith(f"{outer}.")


def readers(program: Flat) -> dict[int, set[str]]:
    """For every value the layers that read it."""
    found: dict[int, set[str]] = {}
    for line in program.lines:
        for n in line.reads:
            found.setdefault(n, set()).add(line.layer)
    return found


def leaves(number: int, layer: str, outputs: Sequence[int], read: Mapping[int, set[str]]) -> bool:
    """Whether a value of a layer is read outside of it."""
    return number in outputs or any(not inside(r, layer) for r in read.get(number, ()))


def _unknown(name: str, names: Sequence[str], layers: Mapping[str, str]) -> StructureError:
    some = [n for n in (*layers, *names) if n][:6]
    return StructureError(
        "names of operations, layers or arrays",
        got=repr(name),
        fix=f"take one that the program prints, such as {', '.join(map(repr, some))}" if some else "print the program",
        where="rewrite",
    )
