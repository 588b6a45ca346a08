"""Models converted to ONNX, checked in full, run by ONNX Runtime, and compared with what XLA computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np

import phlox as px
from interchange.registry import Input, Row
from kit import oracle
from phlox.interchange.onnx import to_onnx

onnx = oracle("onnx")
onnxruntime = oracle("onnxruntime")

TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}
BFLOAT16 = onnx.TensorProto.BFLOAT16
SIZES: tuple[Mapping[str, int], ...] = ({"batch": 3, "time": 5}, {"batch": 1, "time": 8})


class Program(px.Module):
    """A function as a model."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f = f

    def __call__(self, *inputs: Any) -> Any:
        return self.f(*inputs)


def structs(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Shapes with names of sizes, as a caller writes them."""
    return {name: Shape(x.shape, np.dtype(x.dtype)) for name, x in inputs.items()}


class Shape:
    """What has a shape and a dtype."""

    def __init__(self, shape: Sequence[int | str], dtype: Any) -> None:
        self.shape, self.dtype = tuple(shape), dtype


def session(model: Any) -> Any:
    """The model in ONNX Runtime, checked in full before."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    text = _readable(model).SerializeToString()
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def _readable(model: Any) -> Any:
    """NumPy cannot take bfloat16 from the runtime: such outputs as float32."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == BFLOAT16:
            name = f"{output.name}/wide"
            model.graph.node.append(onnx.helper.make_node("Cast", [output.name], [name], to=onnx.TensorProto.FLOAT))
            output.name, output.type.tensor_type.elem_type = name, onnx.TensorProto.FLOAT
    return model


def run(made: Any, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs; inputs that the model does not read are left out."""
    names = {i.name for i in made.get_inputs()}
    outputs = [o.name for o in made.get_outputs()]
    found = made.run_with_ort_values(outputs, {k: _fed(v) for k, v in feeds.items() if k in names})
    return [
        v.numpy().astype(ml_dtypes.bfloat16) if name.endswith("/wide") else v.numpy()
        for name, v in zip(outputs, found, strict=True)
    ]


def _fed(x: np.ndarray) -> Any:
    if x.dtype == ml_dtypes.bfloat16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(x.view(np.uint16), BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(x)


def close(name: str, got: np.ndarray, want: Any, tolerance: float | None = None) -> None:
    """Equal in shape, dtype, and value to the tolerance of the dtype, or exactly."""
    want = np.asarray(want)
    assert got.shape == want.shape, f"{name}: {got.shape} for {want.shape}"
    assert got.dtype == want.dtype, f"{name}: {got.dtype} for {want.dtype}"
    near = TOLERANCE.get(want.dtype.name, 0) if tolerance is None else tolerance
    got, want = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=near, atol=near, equal_nan=True, err_msg=name)


def close_to_largest(name: str, got: np.ndarray, want: Any) -> None:
    """Equal to a share of the largest number, as ``px.export`` has it: a model adds up errors of its parts."""
    want = np.asarray(want)
    largest = max(1.0, float(np.abs(want.astype("float32")).max(initial=0)))
    close(name, got, want, largest * TOLERANCE.get(want.dtype.name, 0))


def agree(
    f: Callable[..., Any],
    inputs: Mapping[str, Input],
    sizes: Sequence[Mapping[str, int]] = SIZES,
    given: Mapping[str, np.ndarray] | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Any:
    """Convert a function once, and hold it to what XLA computes at each of the sizes."""
    model = to_onnx(Program(f), structs(inputs), **options)
    made, compiled = session(model), jax.jit(f)
    names = [o.name for o in made.get_outputs()]
    symbolic = any(isinstance(n, str) for x in inputs.values() for n in x.shape)
    for i, at in enumerate(sizes if symbolic else sizes[:1]):
        feeds = {k: x.drawn(at, 10 * i + j) for j, (k, x) in enumerate(inputs.items())} | dict(given or {})
        want = jax.tree.leaves(compiled(*feeds.values()))
        for name, a, b in zip(names, run(made, feeds), want, strict=True):
            close(f"{name} at {at}", a, b, tolerance)
    return model


def agree_on(row: Row, **options: Any) -> Any:
    """The same for a row of the registry."""
    model, function = row.build(), row.function()
    bounds = [f"{n} {sign} {k}" for n, ends in row.ranges.items() for sign, k in zip((">=", "<="), ends, strict=True)]
    made = to_onnx(model, structs(row.inputs), call=function, constraints=bounds, **options)
    ready = session(made)
    compiled = px.jit(function)
    for feeds in row.drawn():
        want = jax.tree.leaves(compiled(model, *feeds.values()))
        for i, (a, b) in enumerate(zip(run(ready, feeds), want, strict=True)):
            close_to_largest(f"output {i} of {row.name}", a, b)
    return made
