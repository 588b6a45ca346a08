"""A loaded ONNX file as a Module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from phlox.core import DtypeError, ExportError, Module, Param, State
from phlox.interchange._checking import ready
from phlox.interchange.onnx_reading._file import Source
from phlox.interchange.onnx_reading._graph import Port
from phlox.interchange.onnx_reading._known import canonical, constant
from phlox.interchange.onnx_reading._layout import laid
from phlox.interchange.onnx_reading._run import Runner
from phlox.interchange.onnx_reading._structure import OnnxStructure, structure
from phlox.interchange.onnx_reading._words import Words
from phlox.weights import BundleArray, Signature


@dataclass(frozen=True, eq=False, repr=False)
class Held:
    """What a loaded file holds beside its weights; one object, compared by identity."""

    source: Source
    """Its graph has the numbers of the program alone: sizes, axes, what the caller fixed."""
    inputs: tuple[Port, ...]
    kernels: Mapping[str, tuple[int, ...]]
    """Weights whose axes lie as Phlox has them, each with their order."""

    def __repr__(self) -> str:
        return f"{self.source.name}({', '.join(p.name for p in self.inputs)})"


class OnnxModel(Module):
    """An ONNX file as a function of its inputs: a Module, whose weights have the names of the file's graph.

    It runs line by line and under every transform, and trains. One output is an array, several are a dict by name.
    ``model.weights[name]`` are the arrays that are trained, ``model.state[name]`` those that are not: statistics of
    normalisation, scales of quantisation, whole numbers. Normalisation runs in its inference form, and dropout is off,
    as the file says, also while the model trains. Kernels of convolutions have Phlox's order, space, in, out; all other
    arrays have the file's.

    Raises:
        OptionError, DtypeError, ShapeError: inputs that the graph does not take.
        ExportError: a shape that depends on what inputs hold, under a transform.
    """

    held: Held

    weights: dict[str, Param]
    state: dict[str, State]

    def __init__(self, held: Held, weights: dict[str, jax.Array], state: dict[str, jax.Array]):
        self.held, self.weights, self.state = held, weights, state

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(port.name for port in self.held.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(port.name for port in self.held.source.graph.outputs)

    @property
    def structure(self) -> OnnxStructure:
        """What the file is made of: operators, and arrays by name; printing it gives tables."""
        source = self.held.source
        arrays: dict[str, Any] = {"weights": self.weights, "state": self.state}
        return structure(source.name, source.graph, source.versions, self.held.inputs, **arrays)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        held = self.held
        given = _taken(held, inputs, named)
        runner = Runner(held.source.functions, held.source.versions)
        weights = {name: laid(w, held.kernels.get(name, ())) for name, w in self.weights.items()}
        found = runner.graph(held.source.graph, {**held.source.graph.arrays, **weights, **self.state, **given})
        values = _given(held, found)
        return values[0] if len(values) == 1 else dict(zip(self.outputs, values, strict=True))

    def _brief(self) -> str:
        held = self.held
        return f"OnnxModel({held.source.name!r}, {len(held.source.graph.nodes)} nodes)"


def _given(held: Held, values: list[Any]) -> list[Any]:
    """Outputs as their caller sees them: arrays, dicts of them by class, and outside of a trace text."""
    ports = held.source.graph.outputs
    return [_output(port.name, y, held.source.name) for port, y in zip(ports, values, strict=True)]


def _output(name: str, y: Any, where: str) -> Any:
    if isinstance(y, dict):
        return {key: constant(x) for key, x in y.items()}
    if not isinstance(y, Words):
        return constant(y)
    if isinstance(y.places, Tracer):
        fix = "call the model outside of it; or load the part that gives numbers, which onnx.utils.Extractor cuts out"
        raise ExportError("outputs that are numbers, under a transform", got=f"text in {name!r}", fix=fix, where=where)
    return y.text()


def _taken(held: Held, inputs: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs by name, checked against what the graph says of them."""
    where = held.source.name
    values = dict(zip((p.name for p in held.inputs), inputs, strict=False)) | dict(named)
    ports = tuple(_entry(port, values.get(port.name), where) for port in held.inputs)
    found = ready(Signature(ports, ()), {}, inputs, named, where)
    return {port.name: constant(x) for port, x in zip(held.inputs, found, strict=True)}


def _entry(port: Port, value: Any, where: str) -> BundleArray:
    """An input as a signature says it; sizes that the file leaves open are those of the value."""
    if port.dtype is None:
        fix = "take the part of the model that works on numbers"
        raise DtypeError(f"an array for {port.name}", got="text, a sequence or an optional", fix=fix, where=where)
    if port.shape is None:
        return BundleArray(port.name, np.shape(value), canonical(port.dtype).name)
    shape = tuple(f"{port.name}:{i}" if n is None else n for i, n in enumerate(port.shape))
    return BundleArray(port.name, shape, canonical(port.dtype).name)
