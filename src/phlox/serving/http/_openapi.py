"""The page of addresses for programs, as OpenAPI has it: the general ones, and one for each model's observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phlox.serving.engine._rows import batch_symbol
from phlox.serving.engine._servable import TEXT
from phlox.serving.http._answers import Answer, answer_json
from phlox.serving.http._asked import Asked
from phlox.serving.http._health import phlox_version
from phlox.serving.http._images import takes_image
from phlox.serving.repository._repository import Repository
from phlox.serving.repository._version import Version
from phlox.weights import BundleArray

_ERRORS = {
    "400": "a request that is not of the form", "404": "a model, version or signature that is not served",
    "408": "a body that does not arrive", "413": "a request beyond the limits",
    "422": "values against the model's schema", "429": "a queue that is full",
    "500": "a model that fails", "503": "a model that is not loaded", "504": "no answer in time",
}  # fmt: skip
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_SECONDS = {
    "name": "X-Request-Timeout", "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0},
    "description": "seconds that the answer may take",
}  # fmt: skip
_IMAGE = {
    "type": "object", "required": ["b64"], "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "additionalProperties": False,
}  # fmt: skip


async def openapi(asked: Asked) -> Answer:
    """The page."""
    return answer_json(made(asked.repository))


def made(repository: Repository) -> dict[str, Any]:
    """What there is to ask now.

    Source: OpenAPI 3.1.0.
    """
    paths = _general()
    for model in repository.models.values():
        there = model.available()
        if there:
            paths |= _observation(there[max(there)])
    info = {"title": "Phlox", "version": phlox_version(), "description": "A model server."}
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": {"Error": error}}}


def _general() -> dict[str, Any]:
    """The addresses that do not depend on which models there are."""
    anything, named = {"type": "object"}, [_NAME]
    tensors = {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array", "items": anything}}}
    rows = {"type": "object", "properties": {"signature_name": {"type": "string"}, "instances": {"type": "array"},
                                             "inputs": {}}}  # fmt: skip
    examples = {"type": "object", "required": ["examples"], "properties": {
        "examples": {"type": "array", "items": anything}, "context": anything}}  # fmt: skip
    v1, v2 = "/v1/models/{name}", "/v2/models/{name}"
    return {
        "/v1/models": _get("models of text, as OpenAI's protocol lists them", []),
        "/v1/chat/completions": _post("what a model answers in a chat", [], _texts("messages")),
        "/v1/completions": _post("texts that go on from texts", [], _texts("prompt")),
        "/v1/embeddings": _post("vectors of texts", [], _texts("input")),
        "/healthz": _get("the process is there", []),
        "/readyz": _get("every model can be asked", []),
        "/metrics": _get("numbers for Prometheus", [], kind="text/plain"),
        v1: _get("states of a model's versions", named, "404"),
        f"{v1}/metadata": _get("signatures of a model", named, "404", "503"),
        f"{v1}:predict": _post("outputs for rows or columns, as TensorFlow Serving has it", named, rows),
        f"{v1}:classify": _post("labels with scores", named, examples),
        f"{v1}:regress": _post("a number for each example", named, examples),
        "/v2": _get("what the server is", []),
        "/v2/health/live": _get("the process is there", []),
        "/v2/health/ready": _get("every model can be asked", []),
        v2: _get("inputs and outputs of a model", named, "404", "503"),
        f"{v2}/ready": _get("whether a model can be asked", named, "404"),
        f"{v2}/infer": _post("outputs for tensors, as KServe's version 2 has it", named, tensors),
    }


def _texts(what: str) -> dict[str, Any]:
    """A body of OpenAI's protocol: a model, what it is asked, and options."""
    return {"type": "object", "required": ["model", what], "properties": {"model": {"type": "string"}, what: {}}}


def _observation(version: Version) -> dict[str, Any]:
    """The address of one model for one observation."""
    servable = version.servable
    signed = servable.signatures[version.signature(None)]
    if batch_symbol(signed) is None:
        return {}
    inputs = {x.name: _row(x, x.name in servable.encoders) for x in signed.inputs}
    body = {"type": "object", "required": list(inputs), "properties": inputs, "additionalProperties": False}
    text = f"outputs of {version.name} for one observation"
    return {f"/predict/{version.name}": _post(text, [], body)}


def _row(told: BundleArray, encoded: bool) -> dict[str, Any]:
    """The schema of one row of an input."""
    if told.dtype == TEXT:
        inner: dict[str, Any] = {"type": "string"}
    elif told.dtype == "bool":
        inner = {"type": "boolean"}
    else:
        inner = {"type": "integer" if "int" in told.dtype else "number"}
    inner = {"anyOf": [inner, {"type": "string"}]} if encoded else inner
    for n in reversed(told.shape[1:]):
        length = {"minItems": n, "maxItems": n} if isinstance(n, int) else {}
        inner = {"type": "array", "items": inner, **length}
    return {"anyOf": [inner, _IMAGE]} if takes_image(told) else inner


def _get(text: str, parameters: list[Any], *errors: str, kind: str = "application/json") -> dict[str, Any]:
    return {"get": {"summary": text, "parameters": parameters, "responses": _responses(errors, kind)}}


def _post(text: str, parameters: list[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": body}}
    told = {
        "summary": text,
        "parameters": [*parameters, _SECONDS],
        "requestBody": {"required": True, "content": content},
    }
    return {"post": {**told, "responses": _responses(tuple(_ERRORS))}}


def _responses(errors: tuple[str, ...], kind: str = "application/json") -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answer = {"content": {kind: {"schema": {}}}}
    found: dict[str, Any] = {"200": {"description": "the answer", **answer}}
    if "503" not in errors:  # what is told of health has one form, whatever it tells
        found["503"] = {"description": "not yet, or no longer", **answer}
    for status in errors:
        found[status] = {"description": _ERRORS[status], "content": error}
    return found
