"""Addresses, and who answers them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from phlox.serving.http import _health, _kserve, _openapi, _page, _plain, _rollouts, _tensorflow
from phlox.serving.http._answers import Answer, Streamed
from phlox.serving.http._asked import Asked
from phlox.serving.openai._chat import chat_completions
from phlox.serving.openai._completions import completions
from phlox.serving.openai._embeddings import embeddings
from phlox.serving.openai._models import models

Handler = Callable[[Asked], Awaitable[Answer | Streamed]]
_PLACES = ("", "/versions/{version}", "/labels/{label}")
_MOST_KNOWN = 1024


class Route(NamedTuple):
    """Who answers an address."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


class Match(NamedTuple):
    """A route that an address has, and what stands in the address by name."""

    method: str
    handler: Handler
    params: Mapping[str, str]


class Routes:
    """The addresses that there are. Those that were asked are remembered, as most are asked again and again."""

    def __init__(self) -> None:
        self._routes = _all()
        self._known: dict[str, list[Match]] = {}

    def find(self, path: str) -> list[Match]:
        """The routes of an address by method; none where it is no address."""
        found = self._known.get(path)
        if found is None:
            matches = ((route, route.pattern.fullmatch(path)) for route in self._routes)
            found = [Match(route.method, route.handler, match.groupdict()) for route, match in matches if match]
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            if len(path) < 300:
                self._known[path] = found
        return found


def _all() -> list[Route]:
    tensorflow, kserve = "/v1/models/{name}", "/v2/models/{name}"
    verbs = {"predict": _tensorflow.predict, "classify": _tensorflow.classify, "regress": _tensorflow.regress}
    return [
        *(_route("POST", f"{tensorflow}{place}:{verb}", call) for verb, call in verbs.items() for place in _PLACES),
        *(_route("POST", f"{kserve}{place}/infer", _kserve.infer) for place in _PLACES),
        *(_route("POST", f"/predict/{{name}}{place}", _plain.predict) for place in _PLACES),
        _route("POST", "/v1/chat/completions", chat_completions),
        _route("POST", "/v1/completions", completions),
        _route("POST", "/v1/embeddings", embeddings),
        _route("GET", "/v1/models", models),
        _route("GET", "/healthz", _health.healthz),
        _route("GET", "/readyz", _health.readyz),
        _route("GET", "/metrics", _health.metrics),
        *(_route("GET", f"{tensorflow}{place}/metadata", _tensorflow.metadata) for place in _PLACES),
        *(_route("GET", f"{tensorflow}{place}", _tensorflow.status) for place in _PLACES),
        _route("GET", "/openapi.json", _openapi.openapi),
        *(_route("GET", path, _page.page) for path in _page.PATHS),
        _route("GET", "/v2", _kserve.server_metadata),
        _route("GET", "/v2/health/live", _kserve.live),
        _route("GET", "/v2/health/ready", _kserve.ready),
        *(_route("GET", f"{kserve}{place}/ready", _kserve.model_ready) for place in _PLACES),
        *(_route("GET", f"{kserve}{place}", _kserve.model_metadata) for place in _PLACES),
        _route("POST", "/v2/repository/index", _kserve.index),
        _route("POST", "/v2/repository/models/{name}/load", _kserve.load),
        _route("POST", "/v2/repository/models/{name}/unload", _kserve.unload),
        _route("GET", "/v2/repository/models/{name}/rollout", _rollouts.rollout),
        _route("POST", "/v2/repository/models/{name}/rollout", _rollouts.change),
        _route("POST", "/v2/repository/models/{name}/rollback", _rollouts.back),
    ]


def _route(method: str, template: str, handler: Handler) -> Route:
    return Route(method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", template)), handler)
