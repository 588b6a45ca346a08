"""A plain form: one observation in, its outputs out, and the name of its class where classes have names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from phlox.serving._errors import InvalidRequestError
from phlox.serving.engine._rows import batch_symbol
from phlox.serving.engine._servable import TEXT
from phlox.serving.http._answers import Answer, answer_arrays
from phlox.serving.http._asked import Asked
from phlox.serving.http._bodies import json_object, read_request
from phlox.serving.http._images import read_image, takes_image
from phlox.serving.http._json_arrays import decoded, read_array, scores_of, write_array
from phlox.serving.http._multipart import read_form
from phlox.serving.repository._version import Version
from phlox.weights import BundleArray


async def predict(asked: Asked) -> Answer:
    """The outputs for one observation, without the axis of the batch."""
    version, body = await read_request(asked)
    with version.used():
        signature = version.signature(_query(asked).get("signature"))
        where = f"{version} {signature}"
        signed = version.servable.signatures[signature]
        if batch_symbol(signed) is None:
            fix = "ask by /v1 or /v2, with all axes"
            got = str(signed)
            raise InvalidRequestError("a signature of rows for one observation", got=got, fix=fix, where=where)
        known = {x.name: x for x in signed.inputs}
        kind = asked.header(b"content-type") or ""
        if kind.startswith("multipart/form-data"):
            values: Mapping[str, Any] = read_form(body, kind, where)
        else:
            values = json_object(body, version.limits, asked.path)
        inputs = {n: await _row(x, known[n], version, where) if n in known else [x] for n, x in values.items()}
        found = await asked.answer(version, signature, inputs)
    return answer_arrays(_told(version, found))


def _query(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(asked.scope["query_string"].decode("latin-1")))


async def _row(value: Any, told: BundleArray, version: Version, where: str) -> Any:
    """A value with the axis of the batch before it."""
    if isinstance(value, dict) and set(value) == {"b64"} and told.dtype != TEXT:
        value = decoded(value["b64"], where)
    if isinstance(value, bytes) and takes_image(told):
        return (await version.in_thread(read_image, value, told, version.limits.elements, where))[None]
    if isinstance(value, bytes) and told.dtype == TEXT:
        made = np.empty(1, object)
        made[0] = value
        return made
    if isinstance(value, bytes):
        fix = "send numbers in JSON"
        raise InvalidRequestError(f"numbers for {told}", got=f"{len(value)} bytes", fix=fix, where=where)
    return read_array([value], told, version.servable, where)


def _told(version: Version, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    made: dict[str, Any] = {"model": version.name, "version": version.number}
    made["outputs"] = {name: write_array(np.asarray(y[0], y.dtype)) for name, y in found.items()}
    scored = scores_of(found, 1)
    if scored is not None and len(version.servable.classes) == scored[1].shape[1]:
        scores = np.asarray(scored[1][0], np.float64)
        made["class"] = version.servable.classes[int(np.argmax(scores))]
        made["classes"] = dict(zip(version.servable.classes, map(write_array, scores), strict=True))
    return made
