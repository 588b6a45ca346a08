"""Where traces go, and which requests have one."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phlox.core import MissingExtraError, OptionError, RangeError

_WHERE = "Tracing"
_SDK, _EXPORTER = "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"


@dataclass(frozen=True)
class Tracing:
    """Traces by OpenTelemetry: a span for each request, and in it those of its wait, its computation and its tokens.

    A request that comes with ``traceparent`` goes on with that trace, sampled or not as that says; each answer has
    ``traceresponse``. In code of your own the span is the current one.

    Arguments:
        endpoint: of a collector, OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``.
        sample: the share of requests that come without a trace and get one.
        service: what the server is called in them.
        headers: what the collector wants to be sent, such as a key.
        provider: a ``TracerProvider`` of your own, in place of all this.

    Raises:
        OptionError: neither an endpoint nor a provider, or both.
        RangeError: a sample that is no share.
        MissingExtraError: OpenTelemetry is missing.
    """

    endpoint: str | None = None
    sample: float = 1.0
    service: str = "phlox"
    headers: Mapping[str, str] = field(default_factory=dict)
    provider: Any = None

    def __post_init__(self) -> None:
        if (self.endpoint is None) == (self.provider is None):
            got = "neither" if self.endpoint is None else "both"
            fix = 'write Tracing("http://127.0.0.1:4318/v1/traces")'
            raise OptionError("an endpoint, or a provider", got=got, fix=fix, where=_WHERE)
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            fix = "write http://127.0.0.1:4318/v1/traces"
            raise OptionError("an address of http or https", got=repr(self.endpoint)[:100], fix=fix, where=_WHERE)
        if not isinstance(self.sample, int | float) or not 0 < self.sample <= 1:
            fix = "write 0.1 for one request of ten"
            raise RangeError("sample above 0, to 1", got=repr(self.sample)[:50], fix=fix, where=_WHERE)
        for module in (_SDK,) if self.endpoint is None else (_SDK, _EXPORTER):
            if not _is_there(module):
                raise MissingExtraError(module, got="none", fix='pip install "phlox[otel]"', where=_WHERE)

    def made(self, worker: int) -> Any:
        """What makes spans: the provider, or one that sends them to the endpoint."""
        if self.provider is not None:
            return self.provider
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        resource = Resource.create({"service.name": self.service, "phlox.worker": worker})
        made = TracerProvider(sampler=ParentBased(TraceIdRatioBased(self.sample)), resource=resource)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(self.endpoint, headers=dict(self.headers))))
        return made


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False
