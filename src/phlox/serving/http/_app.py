"""Addresses, and who answers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from phlox.core import PhloxError
from phlox.serving._errors import status_of
from phlox.serving.http import _health, _kserve, _plain, _tensorflow
from phlox.serving.http._answers import Answer, answer_error, answer_http_error, answer_nobody
from phlox.serving.http._asked import noted_version
from phlox.serving.http._bodies import ClientGoneError
from phlox.serving.http._journal import Journal
from phlox.serving.http._metrics import Metrics
from phlox.serving.repository._repository import Repository

_PLACES = ("", "/versions/{version}", "/labels/{label}")


def make_app(repository: Repository, metrics: Metrics, journal: Journal) -> Starlette:
    """The application that answers all addresses."""

    async def failed(request: Request, error: Exception) -> Answer:
        if status_of(error)[0] >= 500:
            told = {"path": request.url.path[:200], "version": str(noted_version(request.scope))}
            journal.tell("error", {**told, "error": f"{type(error).__name__}: {str(error)[:2000]}"})
        return await answer_error(request, error)

    handlers: Any = {
        PhloxError: failed, Exception: failed, ClientGoneError: answer_nobody, HTTPException: answer_http_error,
    }  # fmt: skip
    app = Starlette(routes=_routes(), exception_handlers=handlers)
    app.state.repository, app.state.metrics, app.state.leaving = repository, metrics, False
    return app


def _routes() -> list[Route]:
    """All addresses, those that are asked most first."""
    tensorflow, kserve = "/v1/models/{name}", "/v2/models/{name}"
    verbs = {"predict": _tensorflow.predict, "classify": _tensorflow.classify, "regress": _tensorflow.regress}
    return [
        *(_posted(f"{tensorflow}{place}:{verb}", call) for verb, call in verbs.items() for place in _PLACES),
        *(_posted(f"{kserve}{place}/infer", _kserve.infer) for place in _PLACES),
        *(_posted(f"/predict/{{name}}{place}", _plain.predict) for place in _PLACES),
        Route("/healthz", _health.healthz),
        Route("/readyz", _health.readyz),
        Route("/metrics", _health.metrics),
        *(Route(f"{tensorflow}{place}/metadata", _tensorflow.metadata) for place in _PLACES),
        *(Route(f"{tensorflow}{place}", _tensorflow.status) for place in _PLACES),
        Route("/v2", _kserve.server_metadata),
        Route("/v2/health/live", _kserve.live),
        Route("/v2/health/ready", _kserve.ready),
        *(Route(f"{kserve}{place}/ready", _kserve.model_ready) for place in _PLACES),
        *(Route(f"{kserve}{place}", _kserve.model_metadata) for place in _PLACES),
        _posted("/v2/repository/index", _kserve.index),
        _posted("/v2/repository/models/{name}/load", _kserve.load),
        _posted("/v2/repository/models/{name}/unload", _kserve.unload),
    ]


def _posted(path: str, call: Callable[[Request], Any]) -> Route:
    return Route(path, call, methods=["POST"])
