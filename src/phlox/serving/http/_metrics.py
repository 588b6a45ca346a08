"""Numbers for Prometheus: requests, batches, queues and memory, by model and version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from phlox.serving.language._model import LanguageModel
from phlox.serving.repository._repository import Repository
from phlox.serving.workers._place import Place
from phlox.serving.workers._sums import SHARE, OfWorkers, Sums, count_in

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_ROWS = tuple(2**n for n in range(11))
_MODEL = ("model", "version")
_ENGINE = {
    "slots": "Texts that can be written at once", "running": "Texts that are written", "waiting": "Texts that wait",
    "reused": "Tokens of prompts that a slot had already", "preempted": "Texts that had to give up their slot so far",
    "cancelled": "Texts that were not wanted any more", "refused": "Texts that there was no room for",
}  # fmt: skip


class Metrics:
    """What is counted.

    Arguments:
        place: of a worker, whose numbers are added to those of the others.
    """

    def __init__(self, place: Place | None = None) -> None:
        if place is not None:
            count_in(place.folder, place.slot)
        self.registry, self._place = CollectorRegistry(), place
        self._sums: Sums | None = None
        self._process = ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "phlox_requests", "Requests answered", (*_MODEL, "protocol", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "phlox_request_seconds", "From a request to its answer", _MODEL, buckets=_SECONDS, registry=self.registry
        )
        self._rows = Histogram("phlox_batch_rows", "Rows of a batch", _MODEL, buckets=_ROWS, registry=self.registry)
        self._batches = Histogram(
            "phlox_batch_seconds", "One batch of a model", _MODEL, buckets=_SECONDS, registry=self.registry
        )
        self._read = Counter("phlox_prompt_tokens", "Tokens of prompts", _MODEL, registry=self.registry)
        self._written = Counter("phlox_written_tokens", "Tokens that were written", _MODEL, registry=self.registry)
        self._first = Histogram(
            "phlox_first_token_seconds", "From a request to its first token", _MODEL, buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._back = Counter(
            "phlox_rollbacks", "Rollbacks, by the version that has all requests since", _MODEL, registry=self.registry
        )
        self._recorded = Counter("phlox_requests_recorded", "Requests written down", registry=self.registry)
        self._unrecorded = Counter(
            "phlox_requests_unrecorded",
            "Requests that there was no time or place to write down",
            registry=self.registry,
        )
        self._known: dict[Any, Any] = {}

    def answered(self, model: str, version: int, protocol: str, status: int, seconds: float) -> None:
        """Count an answer."""
        key = (model, version, protocol, status)
        found = self._known.get(key)
        if found is None:
            found = self._requests.labels(*key), self._seconds.labels(model, version)
            self._known[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def ran(self, model: str, version: int, rows: int, seconds: float) -> None:
        """Count a batch."""
        key = (model, version)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._rows.labels(model, version), self._batches.labels(model, version)
        found[0].observe(rows)
        found[1].observe(seconds)

    def began(self, model: str, version: int, seconds: float) -> None:
        """Count how long the first token of an answer took."""
        self._first.labels(model, version).observe(seconds)

    def wrote(self, model: str, version: int, read: int, written: int) -> None:
        """Count tokens of a request that is over."""
        self._read.labels(model, version).inc(read)
        self._written.labels(model, version).inc(written)

    def recorded(self, written: int, left_out: int) -> None:
        """Count requests that were written down, and those that were not though they should."""
        self._recorded.inc(written)
        self._unrecorded.inc(left_out)

    def rolled_back(self, model: str, version: int) -> None:
        """Count a rollback."""
        self._back.labels(model, version).inc()

    def watch(self, repository: Repository) -> None:
        """Tell of queues and memory too, as they are when somebody asks."""
        now = _Now(repository)
        self.registry.register(now)
        if self._place is not None:
            self._sums = Sums(self._place.folder, self._place.slot, [self._process, now])

    def note(self) -> None:
        """Tell other workers of queues and memory as they are."""
        if self._sums is not None:
            with suppress(OSError):  # no room: the next one may find some
                self._sums.write()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        if self._sums is None or self._place is None:
            return generate_latest(self.registry)
        return self._sums.text([OfWorkers(self._place.board)])


class _Now:
    def __init__(self, repository: Repository):
        self.repository = repository

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        told = {
            "phlox_queue": ("Requests that wait", lambda v: v.batcher.waiting),
            "phlox_in_flight": ("Requests in the batch that runs", lambda v: v.batcher.running),
            "phlox_weights_bytes": ("Bytes of the weights", lambda v: v.kept),
        }
        for name, (text, read) in told.items():
            family = GaugeMetricFamily(name, text, labels=_MODEL)
            for model in self.repository.models.values():
                for number, version in model.available().items():
                    family.add_metric((model.name, str(number)), read(version))
            yield family
        shares = GaugeMetricFamily(SHARE, "Share of the requests that name no version", labels=_MODEL)
        for model in self.repository.models.values():
            for number, share in model.shares().items():
                shares.add_metric((model.name, str(number)), share)
        yield shares
        yield from self._engines()

    def _engines(self) -> Iterator[Any]:
        """What the engines of language models do now, and did so far."""
        told = [
            (model.name, str(number), version.servable.engine.statistics())
            for model in self.repository.models.values()
            for number, version in model.available().items()
            if isinstance(version.servable, LanguageModel)
        ]
        for name, text in _ENGINE.items():
            family = GaugeMetricFamily(f"phlox_engine_{name}", text, labels=_MODEL)
            for model, number, statistics in told:
                family.add_metric((model, number), getattr(statistics, name))
            yield family
