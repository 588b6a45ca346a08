"""px.serving.ray: models on Ray Serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phlox.core import MissingExtraError, RangeError
from phlox.serving._limits import Limits
from phlox.serving._server import Server
from phlox.serving.engine._servable import Servable
from phlox.serving.language._opening import Language
from phlox.serving.replicas._front import Front
from phlox.serving.replicas._replica import Replica

WHERE = "px.serving.ray"
_FRONT = 0.1  # of a core: it hands requests on
_MANY = 1 << 16  # requests that a front has on their way


def ray(
    source: str | os.PathLike[str] | Mapping[str, Servable] | Callable[[], Mapping[str, Servable]],
    *,
    replicas: int | tuple[int, int] = 1,
    ongoing: int = 64,
    resources: Mapping[str, float] | None = None,
    fronts: int = 1,
    tries: int = 3,
    limits: Limits | None = None,
    inputs: Mapping[str, Any] | None = None,
    allow: Iterable[Any] = (),
    language: Language | None = None,
    memory: int | None = None,
    poll: float = 1.0,
    token: str | Sequence[str] | None = None,
    requests: bool = False,
) -> Any:
    """Models as an application of Ray Serve: ``ray.serve.run(px.serving.ray("models/", replicas=4))``.

    Each replica is a process that has all the models, and answers all protocols over HTTP as ``px.serving.Server``
    does, requests in batches. Before them stands a front, which sends a request to another replica where the one that
    had it died before it began to answer.

    Arguments:
        source: as for ``px.serving.Server``, a folder that all machines see; or a function of nothing that gives
            servables by name, called in each replica.
        replicas: how many; or the fewest and the most, between which Ray chooses by how many requests there are.
        ongoing: requests that a replica has at a time, which is what its batches are made of; Ray aims at half as many.
        resources: what Ray reserves for each, such as ``{"CPU": 4, "GPU": 1}``; by default one core.
        fronts: processes that take requests and hand them on.
        tries: how many replicas a request is sent to at most.
        limits, inputs, allow, language, memory, poll, token, requests: as for ``px.serving.Server``, for each replica.

    Returns:
        Ray's application, for ``ray.serve.run`` or the ``import_path`` of its configuration.

    Raises:
        MissingExtraError: Ray Serve, or what a server needs, is not installed.
        RangeError, OptionError: arguments out of their range.
    """
    least, most = replicas if isinstance(replicas, tuple) else (replicas, replicas)
    for name, value in (("replicas", least), ("replicas", most), *_counts(ongoing, fronts, tries)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RangeError(f"{name} of at least 1", got=repr(value)[:60], fix="give 2", where=WHERE)
    if most < least:
        fix = f"write replicas=({most}, {least})"
        raise RangeError("the fewest replicas, then the most", got=repr(replicas), fix=fix, where=WHERE)
    options = {
        "limits": limits or Limits(), "inputs": inputs, "allow": tuple(allow), "language": language, "memory": memory,
        "poll": poll, "token": token, "requests": requests,
    }  # fmt: skip
    Server({} if callable(source) else source, **options)  # refuses here what no replica could begin with
    found = str(Path(source).resolve()) if isinstance(source, str | os.PathLike) else source
    deployment = _library().deployment
    models = deployment(Replica).options(
        name="models",
        max_ongoing_requests=ongoing,
        ray_actor_options=_reserved(resources),
        graceful_shutdown_timeout_s=options["limits"].draining,
        **_scaled(least, most, ongoing),
    )
    front = deployment(Front).options(
        name="front", num_replicas=fronts, max_ongoing_requests=_MANY, ray_actor_options={"num_cpus": _FRONT}
    )
    return front.bind(models.bind(found, options), tries, options["limits"].body)


def _counts(ongoing: Any, fronts: Any, tries: Any) -> Iterable[tuple[str, Any]]:
    return ("ongoing", ongoing), ("fronts", fronts), ("tries", tries)


def _scaled(least: int, most: int, ongoing: int) -> dict[str, Any]:
    """How many replicas, as Ray has it."""
    if least == most:
        return {"num_replicas": least}
    target = max(ongoing / 2, 1)
    return {"autoscaling_config": {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": target}}


def _reserved(resources: Mapping[str, float] | None) -> dict[str, Any]:
    """What is reserved for an actor, as Ray has it."""
    left = {"CPU": 1.0, **(resources or {})}
    found: dict[str, Any] = {"num_cpus": left.pop("CPU"), "num_gpus": left.pop("GPU", 0)}
    return {**found, "resources": left} if left else found


def _library() -> Any:
    try:
        from ray import serve  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("Ray Serve", got="none", fix='pip install "phlox[ray-serve]"', where=WHERE) from None
    return serve
