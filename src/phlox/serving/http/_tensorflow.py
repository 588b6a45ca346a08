"""TensorFlow Serving's REST: predict, classify, regress, status and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.core import RangeError
from phlox.serving._errors import InvalidRequestError
from phlox.serving.http._answers import Answer, answer_arrays, answer_json
from phlox.serving.http._asked import Asked
from phlox.serving.http._bodies import json_object, read_request
from phlox.serving.http._json_arrays import labels_of, read_array, scores_of, write_array
from phlox.serving.openai._models import model_of
from phlox.serving.repository._version import State, Version
from phlox.weights import BundleArray, Signature

Outputs = Mapping[str, np.ndarray]
_DTYPES = {
    "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF", "bfloat16": "DT_BFLOAT16", "bool": "DT_BOOL",
    "str": "DT_STRING", "key": "DT_UINT32", "complex64": "DT_COMPLEX64", "complex128": "DT_COMPLEX128",
}  # fmt: skip


async def predict(asked: Asked) -> Answer:
    """Outputs for inputs in rows (``instances``) or in columns (``inputs``)."""
    version, told, signature = await _read(asked)
    where = f"{version} {signature}"
    if ("instances" in told) == ("inputs" in told):
        got = "both" if "inputs" in told else ", ".join(map(repr, list(told)[:5])) or "an empty object"
        fix = 'send {"instances": [row, …]} or {"inputs": {"name": values}}'
        raise InvalidRequestError("either instances or inputs", got=got, fix=fix, where=where)
    by_row = "instances" in told
    columns = _columns(told, version.servable.signatures[signature], where)
    outputs = await _outputs(asked, version, signature, columns)
    return answer_arrays({"predictions": _rows(outputs, where)} if by_row else {"outputs": _one_or_all(outputs)})


async def classify(asked: Asked) -> Answer:
    """Labels with scores for examples of features."""
    version, told, signature = await _read(asked)
    where = f"{version} {signature}"
    columns, count = features_of(told, version.servable.signatures[signature], where)
    outputs = await _outputs(asked, version, signature, columns)
    return answer_arrays({"results": classes_of(version, outputs, count, where)})


async def regress(asked: Asked) -> Answer:
    """A number for each example of features."""
    version, told, signature = await _read(asked)
    where = f"{version} {signature}"
    columns, count = features_of(told, version.servable.signatures[signature], where)
    outputs = await _outputs(asked, version, signature, columns)
    return answer_arrays({"results": regressions_of(outputs, count, where)})


async def status(asked: Asked) -> Answer:
    """The states of a model's versions; of one that OpenAI's protocol serves, what that tells of it too."""
    plain = not {"version", "label"} & asked.params.keys()
    told = model_of(asked, asked.params["name"]) if plain else None
    if told is not None and asked.params["name"] not in asked.repository.models:  # an adapter
        return answer_json(told)
    if "version" in asked.params or "label" in asked.params:
        versions = [asked.choose()]
    else:
        versions = list(asked.repository.find(asked.params["name"]).versions.values())
    states = [_status(v) for v in sorted(versions, key=lambda v: -v.number)]
    return answer_json({**(told or {}), "model_version_status": states})


async def metadata(asked: Asked) -> Answer:
    """The signatures of a version."""
    with asked.choose().used() as version:
        told = {foreign(name): _signature(one) for name, one in version.servable.signatures.items()}
    spec = {"name": version.name, "signature_name": "", "version": str(version.number)}
    definitions = {
        "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap", "signature_def": told,
    }  # fmt: skip
    return answer_json({"model_spec": spec, "metadata": {"signature_def": definitions}})


async def _read(asked: Asked) -> tuple[Version, dict[str, Any], str]:
    """The version, the body, and the name of the signature."""
    version, body = await read_request(asked)
    told = json_object(body, version.limits, asked.path)
    with version.used():
        name = told.get("signature_name")
        if name is not None and not isinstance(name, str):
            fix = "leave it out for the default one"
            raise InvalidRequestError("signature_name as text", got=repr(name)[:50], fix=fix, where=str(version))
        return version, told, version.signature(name)


async def _outputs(asked: Asked, version: Version, signature: str, columns: Mapping[str, Any]) -> Outputs:
    with version.used():
        signed, servable = version.servable.signatures[signature], version.servable
        where = f"{version} {signature}"
        known = {x.name: x for x in signed.inputs}
        inputs = {n: read_array(x, known[n], servable, where) if n in known else x for n, x in columns.items()}
        return await asked.answer(version, signature, inputs)


def classes_of(version: Version, outputs: Outputs, count: int, where: str) -> list[list[Any]]:
    """Labels with scores, for each of so many examples.

    Raises:
        InvalidRequestError: no output scores classes.
    """
    scored = scores_of(outputs, count)
    if scored is None:
        fix = 'ask by :predict, or name the output with the scores "scores"'
        raise InvalidRequestError("a model that scores classes", got=_shapes(outputs), fix=fix, where=where)
    scores = np.asarray(scored[1], np.float64 if scored[1].dtype == np.float64 else np.float32)
    labels = labels_of(version.servable, scores.shape[1])
    return [[list(pair) for pair in zip(labels, map(write_array, row), strict=True)] for row in scores]


def regressions_of(outputs: Outputs, count: int, where: str) -> list[float]:
    """A number for each of so many examples.

    Raises:
        InvalidRequestError: not one output has one.
    """
    fits = [y for y in outputs.values() if y.size == count and len(y) == count and y.dtype.kind in "fVi"]
    if len(fits) != 1:
        fix = "ask by :predict"
        raise InvalidRequestError("a model of one number for a row", got=_shapes(outputs), fix=fix, where=where)
    return write_array(fits[0].reshape(-1))


def _shapes(outputs: Outputs) -> str:
    return ", ".join(f"{n} {y.dtype}{list(y.shape)}" for n, y in outputs.items())


def _columns(told: Mapping[str, Any], signed: Signature, where: str) -> dict[str, Any]:
    """Values by input, whichever way they were sent."""
    names = [x.name for x in signed.inputs]
    if "inputs" in told:
        value = told["inputs"]
        return dict(value) if isinstance(value, dict) and set(value) != {"b64"} else {_only(names, where): value}
    rows = told["instances"]
    if not isinstance(rows, list) or not rows:
        got = "an empty list" if rows == [] else f"a {type(rows).__name__}"
        raise InvalidRequestError("instances as a list of rows", got=got, fix="send a row at least", where=where)
    if not isinstance(rows[0], dict) or (set(rows[0]) == {"b64"} and "b64" not in names):
        return {_only(names, where): rows}
    return _turned(rows, where)


def _turned(rows: list[Any], where: str) -> dict[str, list[Any]]:
    """Rows as columns."""
    names = rows[0].keys()
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != names:
            got = f"row {i} with {', '.join(row) or 'none'}" if isinstance(row, dict) else f"row {i}, no object"
            fix = "name the same inputs in every row"
            raise InvalidRequestError(f"rows of {', '.join(names)}", got=got[:200], fix=fix, where=where)
    return {name: [row[name] for row in rows] for name in names}


def _only(names: list[str], where: str) -> str:
    if len(names) != 1:
        fix = f'name each: {{"inputs": {{"{names[0]}": …}}}}'
        raise InvalidRequestError(f"values for {', '.join(names)}", got="one without a name", fix=fix, where=where)
    return names[0]


def features_of(told: Mapping[str, Any], signed: Signature, where: str) -> tuple[dict[str, Any], int]:
    """The features of tf.Example's JSON as columns in the inputs' shapes, and how many examples there are."""
    examples, context = told.get("examples"), told.get("context", {})
    if not isinstance(examples, list) or not examples or not all(isinstance(e, dict) for e in examples):
        fix = 'send {"examples": [{"feature": value}]}'
        raise InvalidRequestError("examples as a list of objects", got=repr(examples)[:80], fix=fix, where=where)
    twice = [n for e in examples for n in e if n in context] if isinstance(context, dict) else []
    if not isinstance(context, dict) or twice:
        got = f"{twice[0]} in both" if twice else f"context as a {type(context).__name__}"
        fix = "send a feature in the context or in each example"
        raise InvalidRequestError("features of examples, and others in context", got=got, fix=fix, where=where)
    columns = _turned([{**context, **e} for e in examples], where)
    known = {x.name: x for x in signed.inputs}
    return {n: [_shaped(x, known.get(n), where) for x in rows] for n, rows in columns.items()}, len(examples)


def _shaped(value: Any, told: BundleArray | None, where: str) -> Any:
    """A feature, which is flat, in the shape of a row; one value may stand for a list of one."""
    if told is None:
        return value
    tail = told.shape[1:]
    if not tail:
        return value[0] if isinstance(value, list) and len(value) == 1 else value
    flat = value if isinstance(value, list) else [value]
    if len(tail) == 1 or any(isinstance(n, str) for n in tail) or (flat and isinstance(flat[0], list)):
        return flat
    if len(flat) != int(np.prod([int(n) for n in tail])):
        got, fix = f"{len(flat)} values", "send all values of a row in one list, the last axis fastest"
        raise RangeError(f"{told}", got=got, fix=fix, where=where)
    return np.asarray(flat, object).reshape([int(n) for n in tail]).tolist()


def _rows(outputs: Mapping[str, np.ndarray], where: str) -> list[Any]:
    counts = {len(y) if y.ndim else -1 for y in outputs.values()}
    if len(counts) != 1 or -1 in counts:
        got = ", ".join(f"{n} {list(y.shape)}" for n, y in outputs.items())
        fix = 'send {"inputs": …} in place of instances'
        raise InvalidRequestError("a model whose outputs have rows", got=got, fix=fix, where=where)
    if len(outputs) == 1:
        return write_array(next(iter(outputs.values())))
    return [{name: write_array(y[i]) for name, y in outputs.items()} for i in range(counts.pop())]


def _one_or_all(outputs: Mapping[str, np.ndarray]) -> Any:
    if len(outputs) == 1:
        return write_array(next(iter(outputs.values())))
    return {name: write_array(y) for name, y in outputs.items()}


def _status(version: Version) -> dict[str, Any]:
    failed = version.state is State.END and version.error
    told = {"error_code": "UNKNOWN" if failed else "OK", "error_message": version.error if failed else ""}
    return {"version": str(version.number), "state": version.state.value, "status": told}


def _signature(signed: Signature) -> dict[str, Any]:
    return {
        "inputs": {x.name: _tensor(x) for x in signed.inputs},
        "outputs": {x.name: _tensor(x) for x in signed.outputs},
        "method_name": "tensorflow/serving/predict",
    }


def _tensor(told: BundleArray) -> dict[str, Any]:
    shape = (2,) if told.dtype == "key" else told.shape
    sizes = [{"size": str(n) if isinstance(n, int) else "-1", "name": ""} for n in shape]
    dtype = _DTYPES.get(told.dtype, f"DT_{told.dtype.upper()}")
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": told.name}


def foreign(name: str) -> str:
    """A signature's name as TensorFlow's clients call it."""
    return "serving_default" if name == "default" else name
