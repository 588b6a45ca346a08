"""The models that there are."""

from __future__ import annotations

from typing import Any

from phlox.serving.http._answers import Answer, answer_json
from phlox.serving.http._asked import Asked
from phlox.serving.openai._finding import Entry, entries
from phlox.serving.repository._version import Version


async def models(asked: Asked) -> Answer:
    """The list of models."""
    return answer_json({"object": "list", "data": [_told(entry) for entry in entries(asked.repository)]})


def model_of(asked: Asked, name: str) -> dict[str, Any] | None:
    """What this protocol tells of one model; None where it does not serve it."""
    return next((_told(entry) for entry in entries(asked.repository) if entry.name == name), None)


def _told(entry: Entry) -> dict[str, Any]:
    return {"id": entry.name, "object": "model", "created": _made(entry.version), "owned_by": "phlox"}


def _made(version: Version) -> int:
    return getattr(version.servable, "made", 0)
