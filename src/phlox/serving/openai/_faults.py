"""Errors as this protocol has them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from typing import Any

from phlox.core import PhloxError
from phlox.serving._errors import InvalidRequestError, UnknownModelError, status_of
from phlox.serving.http._answers import Answer, answer_error, answer_json

_INTERNAL = "the model failed for this request; the server's journal says why"
_TYPES = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 503: "service_unavailable", 504: "timeout"}

PATHS = frozenset({"/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/embeddings"})
"""Addresses whose errors have this form."""


def answer_fault(error: Exception) -> Answer:
    """An error as an answer, with its status."""
    status, _ = status_of(error)
    return answer_json(fault(error), status, answer_error(error).headers)


def answer_no_address(text: str, status: int, headers: dict[str, str]) -> Answer:
    """What is answered where an address does not take a method."""
    return answer_json(_object(text, "invalid_request_error", None, None), status, headers)


def fault(error: Exception) -> dict[str, Any]:
    """An error as an object, also where an answer is under way already."""
    status, _ = status_of(error)
    told = isinstance(error, PhloxError) and (status < 500 or status in (503, 504))
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    param, code = None, _CODES.get(status)
    if isinstance(error, InvalidRequestError):
        param, code = error.param, error.reason
    elif isinstance(error, UnknownModelError):
        param, code = "model", "model_not_found"
    return _object(str(error) if told else _INTERNAL, kind, param, code)


def _object(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
