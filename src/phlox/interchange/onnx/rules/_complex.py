"""Complex numbers as pairs of real ones, and Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from phlox.interchange.onnx._build import (
    cast,
    concatenated,
    merged,
    number,
    part,
    reshape,
    reversed_,
    transpose,
    unsqueeze,
)
from phlox.interchange.onnx._graph import Complex, Graph, Size, Value
from phlox.interchange.onnx._parts import is_complex, real_of
from phlox.interchange.onnx._step import Rule, Rules, Step

COMPLEX = Rules()
"""Rules for complex arrays; of what is in neither table, a complex array is refused."""

BY_PARTS = frozenset([
    "add", "add_any", "sub", "neg", "broadcast_in_dim", "reshape", "transpose", "slice", "concatenate", "pad",
    "select_n", "reduce_sum", "cumsum", "rev", "squeeze", "expand_dims", "stack", "unstack", "split", "tile",
    "dynamic_slice", "dynamic_update_slice", "gather", "scatter", "scatter-add",
])  # fmt: skip
"""Operations that do to both parts what they do to a real array."""

Pair = Complex | Value


def by_parts(rule: Rule, graph: Graph, step: Step, *xs: Any) -> Any:
    """Apply the rule of real arrays to the real parts, then to the imaginary ones."""
    real = replace(step, outs=tuple(jax.ShapeDtypeStruct(v.shape, _real(v)) for v in step.outs))
    re = rule(graph, real, *(x.re if isinstance(x, Complex) else x for x in xs))
    im = rule(graph, real, *(x.im if isinstance(x, Complex) else x for x in xs))
    return [Complex(a, b) for a, b in zip(re, im, strict=True)] if isinstance(re, list) else Complex(re, im)


def _real(aval: Any) -> Any:
    return real_of(aval.dtype) if is_complex(aval) else aval.dtype


@COMPLEX.on("real")
def _re(graph: Graph, step: Step, x: Complex) -> Value:
    return x.re


@COMPLEX.on("imag")
def _im(graph: Graph, step: Step, x: Complex) -> Value:
    return x.im


@COMPLEX.on("complex")
def _complex(graph: Graph, step: Step, re: Value, im: Value) -> Complex:
    return Complex(re, im)


@COMPLEX.on("conj")
def _conj(graph: Graph, step: Step, x: Pair) -> Complex:
    z = _lifted(graph, x)
    return Complex(z.re, graph.op("Neg", z.im))


def _lifted(graph: Graph, x: Pair) -> Complex:
    """A real array as a complex one."""
    return x if isinstance(x, Complex) else Complex(x, graph.op("Mul", x, number(graph, x, 0)))


@COMPLEX.on("convert_element_type")
def _convert(graph: Graph, step: Step, x: Pair) -> Complex:
    dtype = real_of(step.dtype)
    if isinstance(x, Complex):
        return Complex(cast(graph, x.re, dtype), cast(graph, x.im, dtype))
    return _lifted(graph, cast(graph, x, dtype))


@COMPLEX.on("mul")
def _mul(graph: Graph, step: Step, x: Complex, y: Complex) -> Complex:
    shape = step.shape
    times: Callable[[Value, Value], Value] = lambda a, b: graph.op("Mul", a, b, shape=shape)  # noqa: E731
    re = graph.op("Sub", times(x.re, y.re), times(x.im, y.im))
    return Complex(re, graph.op("Add", times(x.re, y.im), times(x.im, y.re)))


@COMPLEX.on("square")
def _square(graph: Graph, step: Step, x: Complex) -> Complex:
    return _mul(graph, step, x, x)


@COMPLEX.on("integer_pow")
def _integer_pow(graph: Graph, step: Step, x: Complex) -> Complex:
    if step["y"] < 1:
        raise step.refusal(f"power {step['y']} of a complex number", "divide by a positive power")
    y = x
    for _ in range(step["y"] - 1):
        y = _mul(graph, step, y, x)
    return y


@COMPLEX.on("div")
def _div(graph: Graph, step: Step, x: Complex, y: Complex) -> Complex:
    above = _mul(graph, step, x, Complex(y.re, graph.op("Neg", y.im)))
    below = _squared(graph, y)
    return Complex(graph.op("Div", above.re, below), graph.op("Div", above.im, below))


def _squared(graph: Graph, x: Complex) -> Value:
    return graph.op("Add", graph.op("Mul", x.re, x.re), graph.op("Mul", x.im, x.im))


@COMPLEX.on("abs")
def _abs(graph: Graph, step: Step, x: Complex) -> Value:
    return graph.op("Sqrt", _squared(graph, x))


@COMPLEX.on("exp")
def _exp(graph: Graph, step: Step, x: Complex) -> Complex:
    size = graph.op("Exp", x.re)
    return Complex(graph.op("Mul", size, graph.op("Cos", x.im)), graph.op("Mul", size, graph.op("Sin", x.im)))


def dot(real: Rule, graph: Graph, step: Step, x: Complex, y: Complex) -> Complex:
    """A product of matrices, as four of real ones."""
    one = replace(step, outs=(jax.ShapeDtypeStruct(step.shape, real_of(step.dtype)),))
    each = partial(real, graph, one)
    re = graph.op("Sub", each(x.re, y.re), each(x.im, y.im))
    return Complex(re, graph.op("Add", each(x.re, y.im), each(x.im, y.re)))


# --- Fourier transforms -----------------------------------------------------------------------------------


@COMPLEX.on("fft")
def _fft(graph: Graph, step: Step, x: Pair) -> Pair:
    kind, lengths = step["fft_type"].name, step["fft_lengths"]
    last = x.rank - 1
    others = range(x.rank - len(lengths), last)
    if kind == "RFFT":
        x = _transformed(graph, x, last, lengths[-1], onesided=1)
    elif kind in ("FFT", "IFFT"):
        x = _transformed(graph, x, last, lengths[-1], inverse=int(kind == "IFFT"))
    for axis in others:
        x = _transformed(graph, x, axis, x.shape[axis], inverse=int(kind in ("IFFT", "IRFFT")))
    if kind == "IRFFT":
        assert isinstance(x, Complex)
        x = _transformed(graph, _mirrored(graph, x, lengths[-1]), last, lengths[-1], inverse=1).re
    return x


def _mirrored(graph: Graph, x: Complex, n: Size) -> Complex:
    """The whole spectrum of a real signal of length ``n``: the second half is the first, conjugated, backwards."""
    axis = x.rank - 1
    end = n - n // 2
    half = Complex(part(graph, x.re, axis, 0, n // 2 + 1), part(graph, x.im, axis, 0, n // 2 + 1))
    if end == 1:
        return half
    back = [reversed_(graph, part(graph, v, axis, 1, end), [axis]) for v in (x.re, x.im)]
    shape = (*x.shape[:-1], n)
    re = concatenated(graph, [half.re, back[0]], axis, shape)
    return Complex(re, concatenated(graph, [half.im, graph.op("Neg", back[1])], axis, shape))


def _transformed(graph: Graph, x: Pair, axis: int, n: Size, *, inverse: int = 0, onesided: int = 0) -> Complex:
    """Along one axis: DFT takes (batch, time, parts)."""
    order = [*(i for i in range(x.rank) if i != axis), axis]
    planes = [transpose(graph, v, order) for v in ((x.re, x.im) if isinstance(x, Complex) else (x,))]
    before = planes[0].shape[:-1]
    rows = [merged(graph, v, 0, v.rank - 1) if v.rank > 1 else unsqueeze(graph, v, [0]) for v in planes]
    both = concatenated(graph, [unsqueeze(graph, v, [2]) for v in rows], 2, (*rows[0].shape, len(rows)))
    long = n // 2 + 1 if onesided else n
    shape = (both.shape[0], long, 2)
    if graph.store.opset >= 20:
        inputs, along = [both, None, graph.constant(np.int64(1))], {}
    else:
        inputs, along = [both], {"axis": 1}
    y = graph.ops("DFT", inputs, [(shape, both.dtype)], inverse=inverse, onesided=onesided, **along)[0]
    out = []
    for i in (0, 1):
        v = graph.op("Gather", y, graph.constant(np.int64(i)), shape=shape[:2], axis=2)
        v = reshape(graph, v, (*before, long))
        out.append(transpose(graph, v, [order.index(a) for a in range(x.rank)]))
    return Complex(*out)
