"""Traces: what OpenTelemetry's own SDK sees of requests, and what a collector is sent."""

import contextlib
import http.server
import threading

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.core import MissingExtraError
from phlox.serving import Server, Tracing, Workers
from serving.small import Scaled, ask
from serving.test_server import PREDICT, ROW, in_thread, until

oracle("uvicorn")
sdk = oracle("opentelemetry.sdk.trace")
from opentelemetry import trace  # noqa: E402 - what it needs is looked for first
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # the specification's own example


@contextlib.contextmanager
def traced(models, **options):
    """A server, and the spans that are over."""
    spans, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with Server(models, port=0, tracing=Tracing(provider=provider), **options) as server:
        yield server, spans


def named(spans, name):
    return [one for one in spans.get_finished_spans() if one.name == name]


class Watching(Scaled):
    """Says which span its code runs in."""

    def __init__(self):
        super().__init__()
        self.inside = {}

    def preprocess(self, signature, inputs):
        self.inside["preprocess"] = trace.get_current_span().get_span_context()
        return inputs

    def predict(self, signature, inputs):
        self.inside["predict"] = trace.get_current_span().get_span_context()
        return super().predict(signature, inputs)


def test_requests_of_one_batch_are_linked_with_it():
    servable = Watching()
    with traced({"m": servable}) as (server, spans):
        servable.free.clear()
        first = in_thread(ask, server, "POST", PREDICT, ROW)
        until(lambda: servable.entered.acquire(blocking=False))
        second = in_thread(ask, server, "POST", PREDICT, ROW, {"traceparent": PARENT, "tracestate": "a=1"})
        third = in_thread(ask, server, "POST", "/v2/models/m/infer", {"inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})  # fmt: skip
        until(lambda: ask(server, "GET", "/metrics")[1].count(b'phlox_queue{model="m",version="1"} 2.0'))
        servable.free.set()
        sent = [one() for one in (first, second, third)]
        assert [status for status, *_ in sent] == [200] * 3
        assert ask(server, "POST", PREDICT, {"instances": [[-1, 2]]})[0] == 500
        assert ask(server, "POST", "/v1/models/nothing:predict", ROW)[0] == 404
        ask(server, "GET", "/v1/models/m")  # is no request for outputs
    requests = named(spans, "tensorflow m") + named(spans, "kserve m")
    assert len(requests) == 4
    one, two, failed, three = requests
    assert f"{two.context.trace_id:032x}" == PARENT[3:35]
    assert f"{two.parent.span_id:016x}" == PARENT[36:52]
    assert (two.context.trace_state.get("a"), one.parent) == ("1", None)
    assert sent[1][2]["traceresponse"] == f"{PARENT[:35]}-{two.context.span_id:016x}-01"
    assert two.attributes["phlox.version"] == "m/1"
    assert (two.kind, two.attributes["http.response.status_code"]) == (trace.SpanKind.SERVER, 200)
    assert (failed.status.status_code, two.status.status_code) == (trace.StatusCode.ERROR, trace.StatusCode.UNSET)
    assert len(named(spans, "tensorflow")) == 1  # of no model
    alone, together, _ = named(spans, "batch")
    assert [len(batch.links) for batch in (alone, together)] == [1, 2]
    assert {link.context.span_id for link in together.links} == {two.context.span_id, three.context.span_id}
    assert (together.attributes["phlox.rows"], together.attributes["phlox.requests"]) == (2, 2)
    for name in ("queue", "compute"):
        for request, batch in ((one, alone), (two, together), (three, together)):
            [part] = [span for span in named(spans, name) if span.parent.span_id == request.context.span_id]
            assert request.start_time <= part.start_time <= part.end_time <= request.end_time
            if name == "compute":
                assert [link.context.span_id for link in part.links] == [batch.context.span_id]
                assert (part.start_time, part.end_time) == (batch.start_time, batch.end_time)
    [waited] = [span for span in named(spans, "queue") if span.parent.span_id == two.context.span_id]
    assert waited.end_time >= alone.end_time  # while the one before it ran
    assert servable.inside["preprocess"].span_id == failed.context.span_id
    assert servable.inside["predict"].span_id == named(spans, "batch")[2].context.span_id


def test_a_trace_that_is_not_wanted_is_none():
    with traced({"m": Scaled()}) as (server, spans):
        sent = ask(server, "POST", PREDICT, ROW, {"traceparent": PARENT[:-2] + "00"})[2]
        assert sent["traceresponse"].endswith("-00")
        assert ask(server, "POST", PREDICT, ROW, {"traceparent": "nonsense"})[0] == 200
    assert len(named(spans, "batch")) == len(named(spans, "tensorflow m")) == 1
    with Server({"m": Scaled()}, port=0) as server:
        assert "traceresponse" not in ask(server, "POST", PREDICT, ROW, {"traceparent": PARENT})[2]


def test_a_client_hands_its_trace_on_and_grpc_takes_it():
    grpc = oracle("grpc")
    from phlox.serving.rpc._messages import kserve

    with traced({"m": Scaled()}, grpc_port=0) as (server, spans):
        tracer = sdk.TracerProvider().get_tracer("test")
        with tracer.start_as_current_span("outside") as outside, px.serving.Client(server.url) as client:
            client.predict("m", {"x": np.float32([[1, 2]])})
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}}
        request = kserve().ModelInferRequest(model_name="m", inputs=[tensor]).SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            call(request, timeout=20, metadata=(("traceparent", PARENT),))
        until(lambda: named(spans, "kserve-grpc m"))
    [one] = named(spans, "kserve m")
    assert (one.context.trace_id, one.parent.span_id) == (
        outside.get_span_context().trace_id, outside.get_span_context().span_id
    )  # fmt: skip
    [call] = named(spans, "kserve-grpc m")
    assert (f"{call.context.trace_id:032x}", call.attributes["http.response.status_code"]) == (PARENT[3:35], 200)
    assert {span.parent.span_id for span in named(spans, "compute")} == {one.context.span_id, call.context.span_id}


def test_a_collector_is_sent_what_it_understands(tmp_path):
    oracle("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    bodies = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            import gzip

            text = self.rfile.read(int(self.headers["content-length"]))
            text = gzip.decompress(text) if self.headers.get("content-encoding") == "gzip" else text
            bodies.append((self.path, self.headers["x-key"], ExportTraceServiceRequest.FromString(text)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *told):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        with Server({"m": Scaled()}, port=0, tracing=Tracing(url, service="shop", headers={"x-key": "k"})) as server:
            ask(server, "POST", PREDICT, ROW)
        collector.shutdown()
    assert {(path, key) for path, key, _ in bodies} == {("/v1/traces", "k")}
    [resource] = [one for *_, body in bodies for one in body.resource_spans]
    told = {one.key: one.value for one in resource.resource.attributes}
    assert (told["service.name"].string_value, told["phlox.worker"].int_value) == ("shop", 0)
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == ["batch", "compute", "queue", "tensorflow m"]


def test_tokens_have_spans():
    oracle("tokenizers")
    oracle("jinja2")
    from serving.openai.small import language

    text = "Hello, world"
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with traced({"tiny": language(text)}) as (server, spans):
        assert ask(server, "POST", "/v1/chat/completions", body)[0] == 200
    [request] = named(spans, "openai tiny")
    first, tokens = named(spans, "first token")[0], named(spans, "tokens")[0]
    assert first.parent.span_id == tokens.parent.span_id == request.context.span_id
    assert request.start_time <= first.start_time <= first.end_time == tokens.start_time <= tokens.end_time
    assert tokens.attributes["gen_ai.usage.output_tokens"] == request.attributes["gen_ai.usage.output_tokens"] > 2
    assert request.attributes["gen_ai.usage.input_tokens"] > 2


def test_wrong_tracings_are_refused(tmp_path, monkeypatch):
    with pytest.raises(px.OptionError, match="an endpoint, or a provider, got neither"):
        Tracing()
    with pytest.raises(px.OptionError, match="an endpoint, or a provider, got both"):
        Tracing("http://a", provider=sdk.TracerProvider())
    with pytest.raises(px.OptionError, match="an address of http or https, got 'collector:4318'"):
        Tracing("collector:4318")
    with pytest.raises(px.RangeError, match="sample above 0, to 1, got 0"):
        Tracing("http://a", 0)
    with pytest.raises(px.OptionError, match="tracing by an endpoint, got a provider of this process"):
        Workers(Server(tmp_path, tracing=Tracing(provider=sdk.TracerProvider())), 2)
    monkeypatch.setattr(px.serving.tracing._tracing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'opentelemetry.sdk, got none\n  fix: pip install "phlox\[otel\]"'):
        Tracing("http://a")
