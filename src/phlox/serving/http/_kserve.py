"""KServe's version 2, the Open Inference Protocol: infer, metadata, health, and the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from phlox.serving._errors import InvalidRequestError, UnavailableError
from phlox.serving.engine._servable import TEXT
from phlox.serving.http._answers import Answer, answer_arrays, answer_json, json_of_arrays
from phlox.serving.http._asked import Asked
from phlox.serving.http._binary import DATATYPES, NAMES, from_bytes, to_bytes
from phlox.serving.http._bodies import json_object, read_request
from phlox.serving.http._health import phlox_version
from phlox.serving.http._json_arrays import read_array, write_array
from phlox.serving.repository._version import State, Version
from phlox.weights import BundleArray

_HEADER = b"inference-header-content-length"
_LARGEST = 1 << 40


async def infer(asked: Asked) -> Answer:
    """Outputs for inputs, in JSON or as bytes behind it."""
    version, body = await read_request(asked)
    told, tail = _parted(asked, body, version)
    with version.used():
        parameters = _object(told, "parameters", str(version))
        named = parameters.get("signature")
        signature = version.signature(named if isinstance(named, str) else None)
        inputs = _inputs(told, tail, version, signature)
        found = await asked.answer(version, signature, inputs)
    return _answered(version, told, parameters, _chosen(told, found, f"{version} {signature}"))


async def server_metadata(asked: Asked) -> Answer:
    """What the server is."""
    extensions = ["binary_tensor_data", "model_repository"]
    return answer_json({"name": "phlox", "version": phlox_version(), "extensions": extensions})


async def live(asked: Asked) -> Answer:
    """That the process is there."""
    return answer_json({"live": True})


async def ready(asked: Asked) -> Answer:
    """Whether every model can be asked."""
    there = asked.ready
    return answer_json({"ready": there}, 200 if there else 503)


async def model_ready(asked: Asked) -> Answer:
    """Whether a model can be asked."""
    try:
        there = asked.choose().state is State.AVAILABLE
    except UnavailableError:
        there = False
    return answer_json({"name": asked.params["name"], "ready": there}, 200 if there else 503)


async def model_metadata(asked: Asked) -> Answer:
    """The inputs and outputs of a version."""
    with asked.choose().used() as version:
        signed = version.servable.signatures[version.signature(None)]
        told = {
            "name": version.name,
            "versions": [str(n) for n in sorted(asked.repository.find(version.name).available())],
            "platform": platform_of(version),
            "inputs": [described(x) for x in signed.inputs],
            "outputs": [described(x) for x in signed.outputs],
        }
    return answer_json(told)


async def index(asked: Asked) -> Answer:
    """All models and versions with their states."""
    found = [v for m in asked.repository.models.values() for v in m.versions.values()]
    return answer_json([indexed(v) for v in sorted(found, key=lambda v: (v.name, v.number))])


async def load(asked: Asked) -> Answer:
    """Load a model that was unloaded, or try one anew that failed."""
    await asked.repository.load(asked.params["name"])
    return Answer(200)


async def unload(asked: Asked) -> Answer:
    """Put a model away until it is loaded again."""
    await asked.repository.unload(asked.params["name"])
    return Answer(200)


def _parted(asked: Asked, body: bytes, version: Version) -> tuple[dict[str, Any], memoryview]:
    """The JSON of a body, and the bytes behind it."""
    length = asked.header(_HEADER)
    if length is None:
        return json_object(body, version.limits, asked.path), memoryview(b"")
    if not length.isdecimal() or int(length[:20]) > len(body):
        fix = "say how many bytes of the body are JSON"
        raise InvalidRequestError(f"at most {len(body)}", got=repr(length)[:40], fix=fix, where=_HEADER.decode())
    at = int(length)
    return json_object(body[:at], version.limits, asked.path), memoryview(body)[at:]


def _inputs(told: Mapping[str, Any], tail: memoryview, version: Version, signature: str) -> dict[str, Any]:
    """Inputs by name; the bytes behind the JSON are used up by them."""
    where, servable = f"{version} {signature}", version.servable
    known = {x.name: x for x in servable.signatures[signature].inputs}
    found: dict[str, Any] = {}
    for entry in _list(told, "inputs", where):
        name = entry.get("name")
        if not isinstance(name, str) or name not in known or name in found:
            got, fix = repr(name)[:100], "send each input once"
            raise InvalidRequestError(f"inputs {', '.join(map(str, known.values()))}", got=got, fix=fix, where=where)
        datatype, shape = form_of(entry, known[name], name in servable.encoders, where)
        size = _object(entry, "parameters", where).get("binary_data_size")
        if size is None:
            found[name] = _from_json(entry, datatype, shape, version, known[name], where)
            continue
        if type(size) is not int or not 0 <= size <= len(tail):
            got, fix = repr(size)[:40], "send as many bytes behind the JSON"
            raise InvalidRequestError(f"binary_data_size up to {len(tail)}", got=got, fix=fix, where=where)
        found[name], tail = text_or_numbers(from_bytes(tail[:size], datatype, shape, where)), tail[size:]
    if len(tail):
        fix = "name every tensor among the inputs"
        raise InvalidRequestError("no bytes behind the last tensor", got=f"{len(tail)}", fix=fix, where=where)
    return found


def form_of(entry: Mapping[str, Any], told: BundleArray, encoded: bool, where: str) -> tuple[str, tuple[int, ...]]:
    """Datatype and shape as they are sent; the datatype must be the signature's."""
    datatype, shape = entry.get("datatype"), entry.get("shape")
    wanted = [NAMES.get(told.dtype, told.dtype), *(["BYTES"] if encoded else [])]
    if datatype not in wanted or datatype not in DATATYPES:
        got, fix = f"{datatype!r}"[:60], "send it in this datatype; nothing is converted"
        raise InvalidRequestError(f"{told.name} as {' or '.join(wanted)}", got=got, fix=fix, where=where)
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < _LARGEST for n in shape) or len(shape) > 32:
        got, fix = repr(shape)[:60], 'send "shape": [1, 3]'
        raise InvalidRequestError(f"the shape of {told.name}", got=got, fix=fix, where=where)
    return str(datatype), tuple(shape)


def _from_json(
    entry: Mapping[str, Any], datatype: str, shape: tuple[int, ...], version: Version, told: BundleArray, where: str
) -> np.ndarray:
    """Data in JSON: flat, or in lists as the shape says."""
    data = entry.get("data")
    if not isinstance(data, list):
        got, fix = "none" if data is None else f"a {type(data).__name__}", 'send "data": [1, 2, 3]'
        raise InvalidRequestError(f"data for {told.name}", got=got, fix=fix, where=where)
    told = BundleArray(told.name, shape, TEXT) if datatype == "BYTES" else told
    found = np.asarray(read_array(data, told, version.servable, where))
    count = 1
    for n in shape:
        count *= n
    if found.size != count:
        got, fix = f"{found.size}", "send as many numbers as the shape says"
        raise InvalidRequestError(f"{count} numbers for {told.name} {list(shape)}", got=got, fix=fix, where=where)
    return text_or_numbers(found.reshape(shape))


def text_or_numbers(found: np.ndarray) -> np.ndarray:
    """Bytes that are UTF-8 as text, as encoders and most code take it; others stay bytes."""
    if found.dtype != object:
        return found
    made = np.empty(found.shape, object)
    made.reshape(-1)[:] = [_decoded(x) for x in found.reshape(-1)]
    return made


def _decoded(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _chosen(told: Mapping[str, Any], found: Mapping[str, np.ndarray], where: str) -> list[tuple[str, Any, dict]]:
    """The outputs that are asked for, with the parameters of each; all where none is named."""
    wanted = _list(told, "outputs", where) if told.get("outputs") else [{"name": n} for n in found]
    chosen = []
    for entry in wanted:
        name = entry.get("name")
        if not isinstance(name, str) or name not in found:
            fix = "leave outputs out for all of them"
            expected = f"outputs among {', '.join(found)}"
            raise InvalidRequestError(expected, got=repr(name)[:100], fix=fix, where=where)
        chosen.append((name, found[name], _object(entry, "parameters", where)))
    return chosen


def _answered(
    version: Version, told: Mapping[str, Any], parameters: Mapping[str, Any], chosen: list[tuple[str, Any, dict]]
) -> Answer:
    """The answer, tensors in JSON or behind it as each was asked for."""
    outputs, tail = [], list[bytes]()
    for name, y, own in chosen:
        entry: dict[str, Any] = {"name": name, "shape": list(y.shape), "datatype": datatype_of(y)}
        if own.get("binary_data", parameters.get("binary_data_output", False)) is True:
            tail.append(to_bytes(y))
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = write_array(y.reshape(-1))
        outputs.append(entry)
    made = {"model_name": version.name, "model_version": str(version.number), "outputs": outputs}
    if isinstance(told.get("id"), str):
        made["id"] = told["id"]
    if not tail:
        return answer_arrays(made)
    head = json_of_arrays(made)
    headers = {_HEADER.decode(): str(len(head))}
    return Answer(200, b"".join([head, *tail]), "application/octet-stream", headers)


def datatype_of(y: np.ndarray) -> str:
    """KServe's name of an array's dtype."""
    return "BYTES" if y.dtype.kind in "OSU" else NAMES.get(y.dtype.name, y.dtype.name.upper())


def _object(told: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    found = told.get(key, {})
    if not isinstance(found, dict):
        fix = "leave it out, or send an object"
        raise InvalidRequestError(f"{key} as an object", got=f"a {type(found).__name__}", fix=fix, where=where)
    return found


def _list(told: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = told.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(x, dict) for x in found):
        fix = f'send "{key}": [{{"name": …}}]'
        raise InvalidRequestError(f"{key} as a list of objects", got=repr(found)[:60], fix=fix, where=where)
    return found


def platform_of(version: Version) -> str:
    """What runs a version, as one word."""
    return "phlox_" + re.sub(r"\W", "_", version.runtime).lower()


def described(told: BundleArray) -> dict[str, Any]:
    """An input or output as metadata has it."""
    shape = (2,) if told.dtype == "key" else told.shape
    sizes = [n if isinstance(n, int) else -1 for n in shape]
    return {"name": told.name, "datatype": NAMES.get(told.dtype, told.dtype.upper()), "shape": sizes}


def indexed(version: Version) -> dict[str, Any]:
    """A version as the repository's index has it."""
    state = {State.AVAILABLE: "READY", State.LOADING: "LOADING", State.UNLOADING: "UNLOADING"}
    told = state.get(version.state, "UNAVAILABLE")
    return {"name": version.name, "version": str(version.number), "state": told, "reason": version.error}
