"""Health and numbers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from phlox.serving.http._answers import Answer, answer_json
from phlox.serving.http._asked import Asked
from phlox.serving.http._metrics import CONTENT_TYPE


def phlox_version() -> str:
    """The version that is installed; nothing where it is run from its source alone."""
    try:
        return version("phlox")
    except PackageNotFoundError:
        return ""


async def healthz(asked: Asked) -> Answer:
    """That the process is there."""
    return answer_json({"status": "ok"})


async def readyz(asked: Asked) -> Answer:
    """Whether requests may be sent here: every model can be asked, and the server is not leaving."""
    there = asked.ready
    models = {name: sorted(m.available()) for name, m in asked.repository.models.items()}
    return answer_json({"ready": there, "models": models}, 200 if there else 503)


async def metrics(asked: Asked) -> Answer:
    """Numbers for Prometheus."""
    return Answer(200, asked.scope["phlox.metrics"].text(), CONTENT_TYPE)
