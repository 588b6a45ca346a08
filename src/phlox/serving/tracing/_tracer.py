"""Spans: of a request, of its time in the queue, of the batch that it ran in, of its tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from phlox.serving.tracing._tracing import Tracing

_FIELDS = (b"traceparent", b"tracestate")
RESPONSE = "traceresponse"
"""The header of an answer that says which trace it is in."""


class Tracer:
    """Makes spans.

    Arguments:
        tracing: where they go.
        worker: of several processes.
    """

    def __init__(self, tracing: Tracing, worker: int = 0):
        self._own = tracing.provider is None
        self._provider = tracing.made(worker)
        self._tracer = self._provider.get_tracer("phlox.serving")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, headers: Mapping[bytes, bytes]) -> RequestSpan:
        """The span of a request, which is the current one until it ends.

        Arguments:
            name: of what is asked.
            headers: of the request.
        """
        told = {n.decode(): headers[n].decode("latin-1") for n in _FIELDS if n in headers}
        parent = self._propagator.extract(told, contexts.Context())
        return RequestSpan(self, self._tracer.start_span(name, parent, SpanKind.SERVER))

    def asked(self) -> tuple[Any, int] | None:
        """What a request that goes into a queue is found by later: its context, and when that was."""
        here = contexts.get_current()
        return (here, time.time_ns()) if trace.get_current_span(here).is_recording() else None

    @contextmanager
    def running(self, name: str, asked: Sequence[tuple[Any, int] | None], rows: int) -> Iterator[None]:
        """The span of a batch, in the trace of its first request and linked with all; and theirs, linked with it."""
        traced = [one for one in asked if one is not None]
        if not traced:
            yield
            return
        start = time.time_ns()
        for context, came in traced:
            self.span("queue", context, came, start)
        links = [Link(trace.get_current_span(context).get_span_context()) for context, _ in traced]
        told = {"phlox.version": name, "phlox.rows": rows, "phlox.requests": len(asked)}
        batch = self._tracer.start_span("batch", traced[0][0], links=links, attributes=told, start_time=start)
        try:
            with trace.use_span(batch):
                yield
        finally:
            end = time.time_ns()
            batch.end(end)
            for context, _ in traced:
                self.span("compute", context, start, end, links=[Link(batch.get_span_context())])

    def span(self, name: str, context: Any, start: int, end: int, **more: Any) -> None:
        """A span that is over."""
        self._tracer.start_span(name, context, start_time=start, **more).end(end)

    def close(self) -> None:
        """Send what is there; a provider that was given may go on."""
        if self._own:
            self._provider.shutdown()
        else:
            self._provider.force_flush()


class RequestSpan:
    """The span of one request.

    Arguments:
        tracer: what makes its parts.
        span: OpenTelemetry's.
    """

    def __init__(self, tracer: Tracer, span: Any):
        self._tracer, self._span = tracer, span
        self.context = trace.set_span_in_context(span)
        self._token = contexts.attach(self.context)

    @property
    def response(self) -> str:
        """Which trace the answer is in, as the header has it."""
        told = self._span.get_span_context()
        return f"00-{told.trace_id:032x}-{told.span_id:016x}-{told.trace_flags:02x}"

    def part(self, name: str, start: int, end: int, **told: Any) -> None:
        """A part of it that is over."""
        self._tracer.span(name, self.context, start, end, attributes=told)

    def note(self, **told: Any) -> None:
        """Say more of it."""
        self._span.set_attributes(told)

    def end(self, name: str, status: int, told: Mapping[str, Any]) -> None:
        """It is answered.

        Arguments:
            name: of what was asked, now that it is known.
            status: as HTTP has it.
            told: attributes.
        """
        self._span.update_name(name)
        self._span.set_attributes({**told, "http.response.status_code": status})
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        contexts.detach(self._token)


class TracedMetrics:
    """What a request for text counts, told in its trace too.

    Arguments:
        metrics: where it is counted.
        span: of the request.
    """

    def __init__(self, metrics: Any, span: RequestSpan):
        self._metrics, self._span = metrics, span
        self._first: int | None = None

    def began(self, model: str, version: int, seconds: float) -> None:
        """The first token is there; the wait for a slot and the reading of the prompt are before it."""
        self._first = time.time_ns()
        self._span.part("first token", self._first - int(seconds * 1e9), self._first)
        self._metrics.began(model, version, seconds)

    def wrote(self, model: str, version: int, read: int, written: int) -> None:
        """All tokens are there."""
        told = {"gen_ai.usage.input_tokens": read, "gen_ai.usage.output_tokens": written}
        if self._first is not None:
            self._span.part("tokens", self._first, time.time_ns(), **told)
        self._span.note(**told)
        self._metrics.wrote(model, version, read, written)
