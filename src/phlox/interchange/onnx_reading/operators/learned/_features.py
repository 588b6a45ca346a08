"""Columns scaled, filled, encoded, and put together."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from phlox.interchange.onnx_reading._call import Call
from phlox.interchange.onnx_reading._known import canonical, constant, is_float
from phlox.interchange.onnx_reading._words import Words
from phlox.interchange.onnx_reading.operators._table import OPERATORS
from phlox.interchange.onnx_reading.operators.learned._classes import ANEW, ML
from phlox.interchange.onnx_reading.operators.learned._scores import real


@OPERATORS.on("Scaler", domain=ML)
def _scaler(call: Call, x: Any) -> Any:
    offset, scale = (np.asarray(call[name], np.float32) for name in ("offset", "scale"))
    return (real(x) - offset) * scale


@OPERATORS.on("Normalizer", domain=ML)
def _normalizer(call: Call, x: Any) -> Any:
    """Rows divided by their norm; a row of zeros stays."""
    x, kind = real(x), call.get("norm", "MAX")
    if kind == "L2":
        square = jnp.square(x).sum(-1, keepdims=True)
        norm = jnp.sqrt(jnp.where(square == 0, 1, square))
    elif kind in ("L1", "MAX"):
        norm = jnp.abs(x).sum(-1, keepdims=True) if kind == "L1" else x.max(-1, keepdims=True)
    else:
        raise call.refusal("a norm among MAX, L1, L2", kind, "write it with one of these")
    return x / jnp.where(norm == 0, 1, norm)


@OPERATORS.on("Binarizer", domain=ML)
def _binarizer(call: Call, x: Any) -> Any:
    x = constant(x)
    return (x > np.asarray(call.get("threshold", 0.0), x.dtype)).astype(x.dtype)


@OPERATORS.on("Imputer", domain=ML)
def _imputer(call: Call, x: Any) -> Any:
    """What is missing, NaN or a number that says so, by a number of its column."""
    x = constant(x)
    kind, one = ("floats", "float") if is_float(x) else ("int64s", "int64")
    missing = np.asarray(call.get(f"replaced_value_{one}", 0), x.dtype)
    gone = jnp.isnan(x) if is_float(x) and np.isnan(missing) else x == missing
    return jnp.where(gone, np.asarray(call[f"imputed_value_{kind}"], x.dtype), x)


@OPERATORS.on("OneHotEncoder", domain=ML)
def _one_hot(call: Call, x: Any) -> Any:
    """A new last axis of categories; one that is not known gives zeros."""
    if isinstance(x, Words):
        places = {w: i for i, w in enumerate(call["cats_strings"])}
        whole, known = x.looked_up(places, -1, np.int32), np.arange(len(places))
    else:
        whole, known = constant(x).astype(canonical(np.int64)), np.asarray(call["cats_int64s"], canonical(np.int64))
    return (whole[..., None] == known).astype(jnp.float32)


@OPERATORS.on("FeatureVectorizer", domain=ML)
def _vectorizer(call: Call, *xs: Any) -> Any:
    """Columns side by side, each input cut or filled up to so many of them."""
    parts = [real(x).reshape(x.shape[0], -1) for x in xs]
    sizes = call.sized(call.get("inputdimensions") or [p.shape[1] for p in parts])
    fitted = [jnp.pad(p[:, :n], ((0, 0), (0, max(0, n - p.shape[1])))) for p, n in zip(parts, sizes, strict=True)]
    return jnp.concatenate(fitted, 1)


@OPERATORS.on("ArrayFeatureExtractor", domain=ML)
def _extractor(call: Call, x: Any, places: Any) -> Any:
    """Places of the last axis, which may be words."""
    flat = places.reshape(-1)
    if isinstance(x, np.ndarray) and x.dtype == object:
        return Words(constant(flat).reshape(1, -1), tuple(x.reshape(-1).tolist()))
    y = constant(x)[..., constant(flat)]
    return y[None] if x.ndim == 1 else y


_KINDS = (
    ("float", np.float32, 0.0),
    ("int64", np.int64, -1),
    ("string", object, "_Unused"),
)


@OPERATORS.on("LabelEncoder", since=2, domain=ML)
def _label_encoder(call: Call, x: Any) -> Any:
    """Each number or word by another: a table of pairs, and what stands for all else."""
    keys, _ = _column(call, "keys")
    values, default = _column(call, "values")
    if keys.shape != values.shape:
        fix = ANEW
        raise call.refusal("as many values as keys", f"{keys.size} keys and {values.size} values", fix)
    table = np.append(values, np.asarray([default], values.dtype))
    if isinstance(x, Words):
        found = x.looked_up({k: i for i, k in enumerate(keys.tolist())}, keys.size, np.int32)
    elif keys.dtype == object:
        fix = "take the part of the model that works on numbers"
        raise call.refusal("words that the model itself makes", "numbers for keys of text", fix)
    else:
        found = _place(constant(x), keys, call.version >= 4)
    if table.dtype == object:
        return Words(found, tuple(table.tolist()))
    return jnp.asarray(table, canonical(table.dtype))[found]


def _column(call: Call, name: str) -> tuple[np.ndarray, Any]:
    """Keys or values, and the default of their kind."""
    tensor = call.get(f"{name}_tensor")
    if tensor is not None:
        default = call.get("default_tensor")
        return np.asarray(tensor).reshape(-1), 0 if default is None else np.asarray(default).reshape(-1)[0]
    for kind, dtype, default in _KINDS:
        given = call.get(f"{name}_{kind}s")
        if given:
            return np.asarray(given, dtype), call.get(f"default_{kind}", default)
    raise call.refusal(f"a list of {name}", "none", ANEW)


def _place(x: Any, keys: np.ndarray, holes: bool) -> Any:
    """The place of each number among the keys, or that behind them; ``holes`` where NaN is a key like others."""
    same = x[..., None] == keys.astype(x.dtype)
    if holes and is_float(x):
        same |= jnp.isnan(x)[..., None] & np.isnan(keys.astype(x.dtype))
    return jnp.where(same.any(-1), same.argmax(-1), keys.size)


@OPERATORS.on("ZipMap", domain=ML)
def _zip_map(call: Call, x: Any) -> Any:
    """A dict of columns by class."""
    names = call.get("classlabels_strings") or call.get("classlabels_int64s") or ()
    if x.ndim != 2 or x.shape[1] != len(names):
        raise call.refusal(f"(rows, {len(names)}), a column for each class", f"{list(x.shape)}", "write the file anew")
    return {name: constant(x)[:, i] for i, name in enumerate(names)}
