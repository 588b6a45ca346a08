"""At which layer a difference begins: every layer's output is made an output of the file, and compared in order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import jax

from phlox.core import Module, capture, modules
from phlox.interchange._comparing import difference
from phlox.interchange._program import Program
from phlox.interchange.targets._target import Target
from phlox.nn import reference_forms

_RESULT = "the result"


def where_it_begins(target: Target, model: Module, program: Program, inputs: Mapping[str, Any], most: float) -> str:
    """The first layer in the order of running whose output is off by more than ``most``, in words.

    Loops and maps hide the layers inside of them: there it is the layer around.
    """
    seen = Program(model, program.request, program.sizes, program.where, see=_seeing)
    with tempfile.TemporaryDirectory(prefix="phlox-layers-") as folder:
        target.write([seen], Path(folder))
        found = target.opened(seen, Path(folder))(inputs)
    with reference_forms():
        wanted = seen.jitted(list(seen.weights.values()), list(inputs.values()))
    known = modules(model)
    for name, x in zip(seen.output_names, wanted, strict=True):
        if difference(found[name], x) > most:
            path = _path(name)
            layer = known.get(path)
            return f"at {path or 'the model itself'}" + (f", {layer._brief()}" if layer is not None else "")
    return "in none of its layers, once their outputs are wanted too"


def _path(name: str) -> str:
    """The path of a layer from the name of its output, ``layers.0/0#2``."""
    return "" if name.startswith(_RESULT) else name.partition("/")[0].partition("#")[0]


def _seeing(model: Module, call: Callable[[Module], Any]) -> dict[str, Any]:
    """The arrays that each layer gave, in the order of running, and the result."""
    results: list[Any] = []
    method: Any = MethodType(lambda m: results.append(call(m)), model)
    layers = capture(method)
    parts = {f"{path}/{i}": x for path, y in layers.items() if path for i, x in enumerate(jax.tree.leaves(y))}
    arrays = {name: x for name, x in parts.items() if isinstance(x, jax.Array)}
    return {**arrays, _RESULT: results[0]}
