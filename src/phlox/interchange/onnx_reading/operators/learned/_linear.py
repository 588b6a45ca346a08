"""Linear models; their coefficients are inputs where the reader has made weights of them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.interchange.onnx_reading.operators.learned._classes import ML, class_at, number_of_classes
from phlox.interchange.onnx_reading.operators.learned._scores import floats, of_two, real, transformed


@OPERATORS.on("LinearRegressor", domain=ML)
def _regressor(call: Call, x: Any, coefficients: Any = None, intercepts: Any = None) -> Any:
    """(rows, features) to (rows, targets)."""
    return transformed(call, _affine(call, x, coefficients, intercepts, call.get("targets", 1)))


@OPERATORS.on("LinearClassifier", domain=ML)
def _classifier(call: Call, x: Any, coefficients: Any = None, intercepts: Any = None) -> Any:
    """(rows, features) to classes (rows,) and scores (rows, classes)."""
    scores = _affine(call, x, coefficients, intercepts, None)
    if scores.shape[1] > 1:
        return class_at(call, scores.argmax(-1)), transformed(call, scores)
    second = (scores[:, 0] > 0).astype(jnp.int32)
    shares = call.get("post_transform", "NONE") != "LOGISTIC"
    both = of_two(call, scores[:, 0], shares) if number_of_classes(call) == 2 else transformed(call, scores)
    return class_at(call, second), both


def _affine(call: Call, x: Any, coefficients: Any, intercepts: Any, targets: int | None) -> Any:
    x = real(x) if x.ndim == 2 else real(x).reshape(1, -1)
    flat = constant(floats(call, "coefficients") if coefficients is None else coefficients)
    rows = flat.size // max(x.shape[1], 1) if targets is None else targets
    if flat.size != rows * x.shape[1] or not rows:
        got = f"{flat.size} of them for {x.shape[1]} features"
        raise call.refusal("coefficients for each feature and target", got, "give it inputs of these features")
    y = x @ flat.reshape(rows, x.shape[1]).T.astype(x.dtype)
    bias = floats(call, "intercepts") if intercepts is None else intercepts
    return y + constant(bias).astype(x.dtype) if np.size(bias) else y
