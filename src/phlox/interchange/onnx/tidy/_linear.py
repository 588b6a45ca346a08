"""Products with a matrix: without reshapes around them, and with their bias."""

from __future__ import annotations

import onnx_ir as ir

from phlox.interchange.onnx.tidy._graph import alone, before, first, follow, made_by, replace, same_sizes, shaped, sizes


def without_flattening(node: ir.Node) -> bool:
    """``reshape(reshape(x, (rows, in)) @ w)`` back to x's leading axes is ``x @ w``; a bias may stand between."""
    inner = made_by(first(node), "MatMul", "Add", "Gemm")
    if inner is None or not alone(inner.outputs[0]):
        return False
    product, bias = (inner, None) if inner.op_type != "Add" else _biased(inner)
    if product is None or (product.op_type == "Gemm" and not _is_plain(product)):
        return False
    if product.op_type == "Gemm" and len(product.inputs) > 2:
        bias = product.inputs[2]
    flat, w = made_by(product.inputs[0], "Reshape"), product.inputs[1]
    x, matrix, wanted = None if flat is None else first(flat), sizes(w), sizes(node.outputs[0])
    lead, rows = sizes(x), sizes(product.inputs[0])
    if x is None or lead is None or rows is None or matrix is None or len(matrix) != 2 or len(rows) != 2:
        return False
    if lead[-1] != rows[-1] or lead[-1] is None or not same_sizes((*lead[:-1], matrix[1]), wanted):
        return False
    if bias is not None and sizes(bias) != matrix[1:]:
        return False
    out = node.outputs[0]
    y = before(product if product.op_type == "MatMul" else node, "MatMul", [x, w])
    if y.producer() is not None and bias is not None:
        y = before(node, "Add", [shaped(y, wanted, out), bias])
    replace(out, y)
    return True


def _biased(node: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """The product and what is added to it."""
    a, b = node.inputs
    for value, bias in ((a, b), (b, a)):
        product = made_by(value, "MatMul")
        if product is not None and value is not None and alone(value) and bias is not None:
            return product, bias
    return None, None


def _is_plain(gemm: ir.Node) -> bool:
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    return all(a.value == plain.get(name) for name, a in gemm.attributes.items())


def with_bias(node: ir.Node) -> bool:
    """A product of two matrices plus one number a column is ``Gemm``."""
    y = node.outputs[0]
    x, w = (sizes(v) for v in node.inputs)
    if x is None or w is None or len(x) != 2 or len(w) != 2 or y.dtype is None or not y.dtype.is_floating_point():
        return False
    found = follow(y, "Add")
    if found is None or not same_sizes(sizes(found[1]), w[1:]):
        return False
    add, bias = found
    replace(add.outputs[0], before(add, "Gemm", [node.inputs[0], node.inputs[1], bias]))
    return True


RULES = {"Reshape": (without_flattening,)}
LAST = {"MatMul": (with_bias,)}
