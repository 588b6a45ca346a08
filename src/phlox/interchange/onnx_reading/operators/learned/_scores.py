"""From scores to what a classifier gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import constant, is_float


def real(x: Any) -> Any:
    """Numbers as floats: as they are, or as float32."""
    x = constant(x)
    return x if is_float(x) else x.astype(jnp.float32)


def _softmax_zero(x: Any) -> Any:
    """A softmax in which zeros stay zero, and count for nothing."""
    zero = jnp.abs(x) <= 1e-7
    powers = jnp.where(zero, 0, jnp.exp(x - x.max(-1, keepdims=True)))
    return powers / powers.sum(-1, keepdims=True)


_TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda x: x,
    "LOGISTIC": jax.nn.sigmoid,
    "SOFTMAX": lambda x: jax.nn.softmax(x, -1),
    "SOFTMAX_ZERO": _softmax_zero,
    "PROBIT": jax.scipy.special.ndtri,
}


def transformed(call: Call, scores: Any) -> Any:
    """Scores (rows, classes) by the node's ``post_transform``."""
    return _TRANSFORMS[_name(call)](scores)


def _name(call: Call) -> str:
    name = call.get("post_transform", "NONE")
    if name not in _TRANSFORMS:
        raise call.refusal(f"a post_transform among {', '.join(_TRANSFORMS)}", name, "write it with one of these")
    return name


def of_two(call: Call, score: Any, shares: bool) -> Any:
    """Scores of two classes from that of the second: shares add up to 1, others are opposites.

    Shapes:
        score: (rows,) to (rows, 2).
    """
    if _name(call) == "PROBIT":
        return transformed(call, score)[:, None]
    if shares:
        return jnp.stack([1 - score, score], -1)
    both = jnp.stack([-score, score], -1)
    return both if _name(call) == "NONE" else transformed(call, both)


def floats(call: Call, name: str) -> np.ndarray:
    """An attribute as float32, or a tensor attribute as it is."""
    tensor = call.get(f"{name}_as_tensor")
    return np.asarray(call.get(name) or [], np.float32) if tensor is None else np.asarray(tensor).reshape(-1)
