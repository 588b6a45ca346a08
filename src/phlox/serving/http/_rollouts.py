"""Shares of versions: told, changed, put back."""

from __future__ import annotations

from phlox.serving._errors import InvalidRequestError
from phlox.serving.http._answers import Answer, answer_json
from phlox.serving.http._asked import Asked
from phlox.serving.http._bodies import json_object, read_body
from phlox.serving.repository._rollout import KEEP, roll_back, roll_out, told_of

_KEYS = ("weights", "guard")


async def rollout(asked: Asked) -> Answer:
    """How a model's requests are shared."""
    return _told(asked)


async def change(asked: Asked) -> Answer:
    """Share a model's requests anew."""
    limits = asked.repository.limits
    told = json_object(await read_body(asked, limits), limits, asked.path)
    weights, odd = told.get("weights"), [key for key in told if key not in _KEYS]
    if not isinstance(weights, dict) or not weights or odd:
        got = repr(odd[0])[:100] if odd else f"weights {weights!r}"[:100]
        fix = 'send {"weights": {"3": 9, "4": 1}, "guard": {"errors": 0.05}}'
        raise InvalidRequestError("weights by version, and a guard", got=got, fix=fix, where=asked.path)
    await roll_out(asked.repository, asked.params["name"], weights, told.get("guard", KEEP))
    return _told(asked)


async def back(asked: Asked) -> Answer:
    """Give all requests to the version that had them before."""
    await roll_back(asked.repository, asked.params["name"])
    return _told(asked)


def _told(asked: Asked) -> Answer:
    return answer_json(told_of(asked.repository.find(asked.params["name"]), asked.tallies))
