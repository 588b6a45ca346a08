"""px.load_onnx: the order of things."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.core import ExportError, RangeError, warn_once
from phlox.interchange.onnx_reading._bounds import check_length
from phlox.interchange.onnx_reading._file import Source, read
from phlox.interchange.onnx_reading._graph import Node, walk
from phlox.interchange.onnx_reading._known import canonical
from phlox.interchange.onnx_reading._layout import ordered
from phlox.interchange.onnx_reading._model import Held, OnnxModel
from phlox.interchange.onnx_reading._roles import kernels, roles
from phlox.interchange.onnx_reading._run import unknown
from phlox.interchange.onnx_reading.operators import OPERATORS


def load_onnx(file: str | os.PathLike[str] | bytes | Any, *, fixed: Mapping[str, Any] | None = None) -> OnnxModel:
    """Read an ONNX file as a Module whose weights have the names of its graph, and train.

    Arguments:
        file: a path, the bytes of a file, or an ``onnx.ModelProto``. Arrays in files beside a path are read.
        fixed: inputs by name that are always the same, such as a number of steps that decides shapes; the model then
            has no such input.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError: it is not whole, its arrays are not where it says, or its nodes cannot run in their order.
        ExportError: it needs operators that have no form here; all of them are named.
        RangeError: ``fixed`` names no input.

    Source: the ONNX standard, operators 7 to 28.

    >>> import jax.numpy as jnp, numpy as np, onnx, phlox as px
    >>> text = '''<ir_version: 8, opset_import: ["" : 17]>
    ... scale (float[n, 3] x) => (float[n, 3] y) <float[3] gain = {1, 2, 3}> { y = Mul(x, gain) }'''
    >>> model = px.load_onnx(onnx.parser.parse_model(text))
    >>> px.jit(model)(jnp.ones((1, 3))).tolist()
    [[1.0, 2.0, 3.0]]
    >>> px.grad(lambda model, x: model(x).sum())(model, jnp.ones((2, 3))).weights["gain"].tolist()
    [2.0, 2.0, 2.0]
    """
    where = "px.load_onnx" + (f"({os.fspath(file)!r})" if isinstance(file, str | os.PathLike) else "")
    source = read(file, where)
    _check_operators(source, where)
    check_length(source.graph, source.functions, where)
    chosen = {name: np.asarray(value) for name, value in (fixed or {}).items()}
    _check_fixed(source, chosen, where)
    found = roles(source.graph, source.state)
    _check_dtypes(source, where)
    orders = kernels(source.graph, found.weights)
    weights = {
        n: jnp.asarray(ordered(a, orders.get(n, range(a.ndim))), canonical(a.dtype)) for n, a in found.weights.items()
    }
    state = {name: jnp.asarray(a, canonical(a.dtype)) for name, a in found.state.items()}
    inputs = tuple(port for port in source.graph.inputs if port.name not in chosen)
    source = replace(source, graph=replace(source.graph, arrays={**found.program, **chosen}))
    return OnnxModel(Held(source, inputs, orders), weights, state)


def _check_operators(source: Source, where: str) -> None:
    """Refuse operators that are not known, all at once."""
    bodies = [(source.graph.walk(), source.versions)]
    bodies += [(walk(f.nodes), {**source.versions, **f.versions}) for f in source.functions.values()]
    lacking: list[Node] = []
    for nodes, versions in bodies:
        lacking += [n for n in nodes if not _is_known(source, n, versions)]
    if lacking:
        error = unknown(lacking, source.versions.get(lacking[0].domain, 1))
        raise ExportError(error.expected, got=error.got, fix=error.fix, where=where)


def _is_known(source: Source, node: Node, versions: Mapping[str, int]) -> bool:
    if (node.domain, node.kind) in source.functions:
        return True
    return OPERATORS.find(node.domain, node.kind, versions.get(node.domain, 1)) is not None


def _check_fixed(source: Source, chosen: Mapping[str, np.ndarray], where: str) -> None:
    names = [port.name for port in source.graph.inputs]
    for name in chosen:
        if name not in names:
            raise RangeError(
                f"fixed inputs among {', '.join(names)}", got=repr(name), fix="name one of these", where=where
            )


def _check_dtypes(source: Source, where: str) -> None:
    """Say once that 64 bits become 32 where they do."""
    found = next((n for n, a in source.graph.arrays.items() if a.dtype in (np.float64, np.complex128)), None)
    if found is not None and canonical(np.float64) != np.float64:
        warn_once(
            where,
            f"{where}: {found!r} and others are float64 and become float32 because JAX's 64-bit mode is off; "
            'call jax.config.update("jax_enable_x64", True) to keep them.',
        )
