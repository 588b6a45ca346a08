"""Health and numbers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from phlox.serving.http._answers import Answer, answer_json
from phlox.serving.http._asked import repository_of
from phlox.serving.http._metrics import CONTENT_TYPE


async def healthz(request: Request) -> Answer:
    """That the process is there."""
    return answer_json({"status": "ok"})


async def readyz(request: Request) -> Answer:
    """Whether requests may be sent here: every model can be asked, and the server is not leaving."""
    there = repository_of(request).ready and not request.app.state.leaving
    models = {name: sorted(m.available()) for name, m in repository_of(request).models.items()}
    return answer_json({"ready": there, "models": models}, 200 if there else 503)


async def metrics(request: Request) -> Answer:
    """Numbers for Prometheus."""
    return Response(request.app.state.metrics.text(), headers={"content-type": CONTENT_TYPE})
