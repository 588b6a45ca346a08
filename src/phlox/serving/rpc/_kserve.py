"""KServe's GRPCInferenceService."""

from __future__ import annotations

from typing import Any

import numpy as np

from phlox.serving._errors import InvalidRequestError, UnavailableError
from phlox.serving.http._binary import NAMES, from_bytes, to_bytes
from phlox.serving.http._health import phlox_version
from phlox.serving.http._kserve import datatype_of, described, form_of, indexed, platform_of, text_or_numbers
from phlox.serving.repository._version import State, Version
from phlox.serving.rpc._calls import Call, Handler
from phlox.serving.rpc._messages import kserve

_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


async def infer(call: Call, request: Any) -> Any:
    """Outputs for inputs; they come back as bytes."""
    version = call.choose(request.model_name, request.model_version or None)
    with version.used():
        signature = version.signature(request.parameters["signature"].string_param or None)
        inputs = _inputs(request, version, signature)
        found = await call.answer(version, signature, inputs)
    answer = kserve().ModelInferResponse(model_name=version.name, model_version=str(version.number), id=request.id)
    for name in [x.name for x in request.outputs] or list(found):
        if name not in found:
            fix = "leave outputs out for all of them"
            expected = f"outputs among {', '.join(found)}"
            raise InvalidRequestError(expected, got=repr(name)[:100], fix=fix, where=str(version))
        y = found[name]
        answer.outputs.add(name=name, datatype=datatype_of(y), shape=y.shape)
        answer.raw_output_contents.append(to_bytes(y))
    return answer


async def server_live(call: Call, request: Any) -> Any:
    """That the process is there."""
    return kserve().ServerLiveResponse(live=True)


async def server_ready(call: Call, request: Any) -> Any:
    """Whether every model can be asked."""
    return kserve().ServerReadyResponse(ready=call.ready)


async def model_ready(call: Call, request: Any) -> Any:
    """Whether a model can be asked."""
    try:
        there = call.choose(request.name, request.version or None).state is State.AVAILABLE
    except UnavailableError:
        there = False
    return kserve().ModelReadyResponse(ready=there)


async def server_metadata(call: Call, request: Any) -> Any:
    """What the server is."""
    return kserve().ServerMetadataResponse(name="phlox", version=phlox_version(), extensions=["model_repository"])


async def model_metadata(call: Call, request: Any) -> Any:
    """The inputs and outputs of a version."""
    with call.choose(request.name, request.version or None).used() as version:
        signed = version.servable.signatures[version.signature(None)]
        there = sorted(call.repository.find(version.name).available())
        return kserve().ModelMetadataResponse(
            name=version.name, versions=map(str, there), platform=platform_of(version),
            inputs=[described(x) for x in signed.inputs], outputs=[described(x) for x in signed.outputs],
        )  # fmt: skip


async def index(call: Call, request: Any) -> Any:
    """All models and versions with their states."""
    found = [indexed(v) for m in call.repository.models.values() for v in m.versions.values()]
    return kserve().RepositoryIndexResponse(models=[m for m in found if m["state"] == "READY" or not request.ready])


async def load(call: Call, request: Any) -> Any:
    """Load a model that was unloaded, or try one anew that failed."""
    await call.repository.load(request.model_name)
    return kserve().RepositoryModelLoadResponse()


async def unload(call: Call, request: Any) -> Any:
    """Put a model away until it is loaded again."""
    await call.repository.unload(request.model_name)
    return kserve().RepositoryModelUnloadResponse()


SERVICE = "inference.GRPCInferenceService"
METHODS: dict[str, Handler] = {
    "ModelInfer": infer,
    "ServerLive": server_live,
    "ServerReady": server_ready,
    "ModelReady": model_ready,
    "ServerMetadata": server_metadata,
    "ModelMetadata": model_metadata,
    "RepositoryIndex": index,
    "RepositoryModelLoad": load,
    "RepositoryModelUnload": unload,
}
"""Handlers by method; their messages are called as these are."""


def _inputs(request: Any, version: Version, signature: str) -> dict[str, Any]:
    """Inputs by name, out of their contents, or out of the bytes beside them."""
    where, servable = f"{version} {signature}", version.servable
    known = {x.name: x for x in servable.signatures[signature].inputs}
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        fix = "send bytes for each input, or for none"
        expected = f"bytes for {len(request.inputs)} inputs"
        raise InvalidRequestError(expected, got=f"for {len(raw)}", fix=fix, where=where)
    found: dict[str, Any] = {}
    for i, tensor in enumerate(request.inputs):
        name = tensor.name
        if name not in known or name in found:
            got, fix = repr(name)[:100], "send each input once"
            raise InvalidRequestError(f"inputs {', '.join(map(str, known.values()))}", got=got, fix=fix, where=where)
        entry = {"datatype": tensor.datatype, "shape": list(tensor.shape)}
        datatype, shape = form_of(entry, known[name], name in servable.encoders, where)
        one = from_bytes(memoryview(raw[i]), datatype, shape, where) if raw else _values(tensor, datatype, shape, where)
        found[name] = text_or_numbers(one)
    return found


def _values(tensor: Any, datatype: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A tensor out of its typed contents."""
    if datatype not in _CONTENTS:
        fix = "send it in raw_input_contents"
        raise InvalidRequestError(f"{datatype} as bytes", got="contents", fix=fix, where=where)
    values = list(getattr(tensor.contents, _CONTENTS[datatype]))
    count = 1
    for n in shape:
        count *= n
    if len(values) != count:
        got, fix = f"{len(values)}", "send as many values as the shape says"
        expected = f"{count} values of {datatype} for {tensor.name}"
        raise InvalidRequestError(expected, got=got, fix=fix, where=where)
    made = np.empty(count, object)
    made[:] = values
    if datatype == "BYTES":
        return made.reshape(shape)
    names = {name: dtype for dtype, name in NAMES.items() if dtype != "key"}
    wide = np.array(values)
    found = wide.astype(names[datatype])
    if found.dtype.kind in "iu" and (found != wide).any():
        got, fix = "a number that it does not hold", "look at the datatype"
        raise InvalidRequestError(f"{datatype} for {tensor.name}", got=got, fix=fix, where=where)
    return found.reshape(shape)
