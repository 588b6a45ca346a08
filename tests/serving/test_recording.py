"""Requests written down: whole, sampled, without what nobody may keep, and never at the price of an answer."""

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.serving import Recording, Redaction, Server, Workers
from phlox.serving.recording import _recorder
from phlox.serving.recording._record import Record
from phlox.serving.recording._recorder import Recorder
from phlox.serving.recording._texts import columns_of
from serving.small import Scaled, Scores, Upper, ask
from serving.test_server import PREDICT, number

pq = oracle("pyarrow.parquet")
oracle("uvicorn")


def wrote(folder, records, **options):
    """Records written by a recorder that is closed; gives how many were counted as written and as left out."""
    counts, told = [], []
    recorder = Recorder(
        Recording(folder, **options), 3, lambda event, facts: told.append(facts), lambda *both: counts.append(both)
    )
    for record in records:
        recorder.put(record)
    recorder.close()
    return (sum(n for n, _ in counts), sum(n for _, n in counts)), told


def record(x, y=None, *, model="m", version=1, status=200, name="r"):
    made = Record(name)
    made.model, made.version, made.status, made.seconds, made.signature = model, version, status, 0.25, "default"
    made.inputs, made.outputs = {"x": x}, {} if y is None else {"y": y}
    return made


def test_what_was_asked_and_answered_is_read_again(tmp_path):
    start = datetime.now(UTC)
    with Server(
        {"m": Scaled(), "words": Upper(), "image": Scores()}, port=0, grpc_port=0, recording=Recording(tmp_path)
    ) as server:
        status, _, sent = ask(server, "POST", PREDICT, {"instances": [[1, 2], [3, 4]]}, {"X-Request-Id": "order-7"})
        assert (status, sent["x-request-id"]) == (200, "order-7")
        own = ask(server, "POST", PREDICT, {"instances": [[5, 6]]}, {"X-Request-Id": "a" * 200})[2]["x-request-id"]
        assert ask(server, "POST", PREDICT, {"instances": [[-1, 6]]})[0] == 500
        assert ask(server, "POST", PREDICT, {"instances": [[1, 2, 3]]})[0] == 400
        ask(server, "GET", "/v1/models/m")
        ask(server, "POST", "/v1/models/words:predict", {"instances": ["Grüß", "b"]})
        ask(server, "POST", "/v1/models/image:predict", {"instances": np.ones((9, 2, 2, 1), int).tolist() * 9})
        _ask_by_grpc(server)
    found = list(px.serving.requests(tmp_path, "m"))
    assert [(one.status, one.protocol, one.version, one.worker) for one in found] == [
        (200, "tensorflow", 1, 0), (200, "tensorflow", 1, 0), (500, "tensorflow", 1, 0), (400, "tensorflow", 1, 0),
        (200, "kserve-grpc", 1, 0),
    ]  # fmt: skip
    assert [one.request_id for one in found[:2]] == ["order-7", own]
    assert len(own) == 16
    np.testing.assert_array_equal(found[0].outputs["y"], np.float32([[2, 4], [6, 8]]))
    assert (found[0].inputs["x"].dtype, found[0].signature, found[2].outputs) == (np.float32, "default", {})
    assert start < found[0].time < found[1].time < datetime.now(UTC)
    assert 0 < found[0].seconds < (datetime.now(UTC) - start).total_seconds()
    requests = px.serving.requests(tmp_path, "m", since=found[1].time, until=found[3].time)
    assert len(requests) == 2
    np.testing.assert_array_equal(requests.column("inputs.x"), np.float32([[5, 6], [-1, 6]]))
    [words] = px.serving.requests(tmp_path, "words")
    assert words.inputs["text"].tolist() == ["Grüß", "b"]
    assert (words.outputs["text"].tolist(), words.outputs["length"].tolist()) == (["GRÜSS!", "B!"], [4, 1])
    [image] = px.serving.requests(tmp_path, "image")
    assert image.inputs["image"] == {"count": 324, "nans": 0, "mean": 1.0, "std": 0.0, "min": 1.0, "max": 1.0}
    with pytest.raises(px.OptionError, match="one model, or its name, got image, m, words"):
        px.serving.requests(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "m", "words"]


def _ask_by_grpc(server):
    grpc = oracle("grpc")
    from phlox.serving.rpc._messages import kserve

    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, 2]}}
    request = kserve().ModelInferRequest(model_name="m", inputs=[tensor]).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        _, told = call.with_call(request, timeout=20, metadata=(("x-route-key", "ada"), ("x-request-id", "g1")))
        assert ("x-model-version", "1") in told.trailing_metadata()


def test_rules_hold_for_what_their_names_and_patterns_say(tmp_path):
    rules = [
        Redaction("inputs.x", "hash"), Redaction("note", "truncate", 5), Redaction("secret*"),
        Redaction(text=r"\d{4,}"), Redaction("inputs.mail", "hash", text=r"\S+@\S+"), Redaction("request_id"),
        Redaction("numbers", "truncate", 2),
    ]  # fmt: skip
    made = record(np.array([1, 2]), np.array([0.5]))
    texts = {"note": "call 12345 now", "mail": "from ada@b.org", "secret_name": "ada", "bytes": b"pin 9999"}
    made.inputs = {
        **made.inputs, **{n: np.array([t], object) for n, t in texts.items()}, "numbers": np.float32([[1, 2], [3, 4]]),
    }  # fmt: skip
    assert wrote(tmp_path, [made], redact=rules, salt="pepper") == ((1, 0), [])

    def expected(text):
        return hmac.new(b"pepper", text.encode(), hashlib.sha256).hexdigest()[:32]

    [found] = px.serving.requests(tmp_path)
    assert found.request_id is None
    assert found.inputs["x"].tolist() == [expected("1"), expected("2")]
    assert {n: x.tolist() for n, x in found.inputs.items() if n != "x"} == {
        "note": ["call "], "mail": [f"from [{expected('ada@b.org')}]"], "bytes": ["pin […]"], "numbers": [1.0, 2.0],
    }  # fmt: skip
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    for secret in (b"ada", b"12345", b"9999", b"pepper"):
        assert secret not in raw


def test_what_language_models_were_asked_and_wrote():
    asked = {
        "model": "tiny", "user": "ada", "temperature": 0.5, "n": 2, "stream": True, "stop": ["x"],
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "image_url"}]},
            {"role": "assistant", "content": None},
        ],
    }  # fmt: skip
    parts = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 1, "delta": {"content": "Goo"}}]},
        {"choices": [{"index": 0, "delta": {"content": "Hi"}}]},
        {"choices": [{"index": 1, "delta": {"content": "d day"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    ]
    stream = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts) + b"data: [DONE]\n\n"
    assert {n: x.tolist() for n, x in columns_of(json.dumps(asked).encode(), stream).items()} == {
        "inputs.roles": ["system", "user", "assistant"], "inputs.contents": ["Be kind.", "Hello\n[image_url]", ""],
        "inputs.user": ["ada"], "inputs.temperature": 0.5, "inputs.n": 2, "inputs.stream": True,
        "outputs.text": ["Hi", "Good day"], "outputs.calls": ['[{"index": 0}]'], "outputs.finish": ["length", "stop"],
        "outputs.prompt_tokens": 7, "outputs.completion_tokens": 3,
    }  # fmt: skip
    whole = columns_of(b'{"prompt": ["a", [1, 2]]}', b'{"choices": [{"text": "b"}]}')
    assert {n: x.tolist() for n, x in whole.items()} == {"inputs.prompt": ["a", "[1, 2]"], "outputs.text": ["b"]}
    assert columns_of(b"no json", b"") == {}
    assert columns_of(b"[1]", b'{"choices": 3, "usage": null}') == {}


def test_files_are_whole_of_one_form_and_of_the_size_that_was_asked_for(tmp_path):
    x = np.ones((1, 50), np.float64)
    records = [record(x, x) for _ in range(20)] + [record(x.astype(np.int32)), record(x.astype(np.complex64))]
    assert wrote(tmp_path, records, file_bytes=6000)[0] == (22, 0)
    sizes = [pq.ParquetFile(path).metadata.num_rows for path in sorted((tmp_path / "m").iterdir())]
    assert sum(sizes) == 22
    assert sizes.count(5) == 4  # 512 bytes of each, and 800 of its arrays
    found = px.serving.requests(tmp_path)
    assert found.column("inputs.x").shape == (21, 50)
    assert "inputs.x" in found.table.column_names
    (tmp_path / "m" / "1.parquet").write_bytes(b"PAR1")
    with pytest.raises(px.weights.CorruptFileError, match=r"requests in .*1\.parquet"):
        len(px.serving.requests(tmp_path))


def test_nobody_waits_for_the_disk(tmp_path, monkeypatch):
    free, counts = threading.Event(), []
    write = _recorder.Recorder._write_one
    monkeypatch.setattr(_recorder.Recorder, "_write_one", lambda *told: (free.wait(20), write(*told)))
    recorder = Recorder(
        Recording(tmp_path, file_bytes=1, waiting_bytes=200_000), count=lambda *both: counts.append(both)
    )
    for _ in range(30):
        recorder.put(record(np.ones((1, 1250))))  # 10,512 bytes each
    left_out = sum(n for _, n in counts)
    assert 10 <= left_out <= 11  # one may be in hand
    free.set()
    recorder.close()
    assert sum(n for n, _ in counts) == 30 - left_out == len(px.serving.requests(tmp_path))
    assert recorder._held == 0


def test_a_disk_that_takes_nothing_costs_rows_and_is_told(tmp_path):
    (tmp_path / "m").write_text("in the way")
    (written, left_out), told = wrote(tmp_path, [record(np.ones(2)), record(np.ones(2), model="n")])
    assert (written, left_out, told[0]["requests"]) == (1, 1, 1)
    assert len(px.serving.requests(tmp_path, "n")) == 1


def test_a_sample_is_a_share(tmp_path):
    recorder = Recorder(Recording(tmp_path, 0.2))
    recorder._random.seed(0)
    found = sum(recorder.wants() for _ in range(5000))
    recorder.close()
    assert abs(found - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5
    counted = []
    with Server({"m": Scaled()}, port=0, recording=Recording(tmp_path, 1e-9)) as server:
        counted.append(ask(server, "POST", PREDICT, {"instances": [[1, 2]]})[2])
        assert number(server, "phlox_requests_recorded_total") == 0
    assert "x-request-id" not in counted[0]
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Recording("r", 0), px.RangeError, "sample above 0, to 1, got 0"),
        (lambda: Recording("r", 1.5), px.RangeError, "sample above 0, to 1"),
        (lambda: Recording("r", elements=0), px.RangeError, "elements from 1"),
        (lambda: Recording("r", redact=["user"]), px.OptionError, "a list of Redaction, got 'user'"),
        (lambda: Recording("r", redact=[Redaction("a", "hash")]), px.OptionError, "a salt, where something is hashed"),
        (lambda: Redaction("a", "hide"), px.OptionError, "drop, hash or truncate, got 'hide'"),
        (lambda: Redaction("a", "truncate", 0), px.RangeError, "keep from 1, got 0"),
        (lambda: Redaction(text="("), px.OptionError, "a regular expression"),
        (lambda: Redaction("a", "truncate", text="b"), px.OptionError, "parts of texts to be dropped or hashed"),
        (
            lambda: px.serving.requests("nowhere"),
            px.weights.MissingFileError,
            "requests of a model in nowhere, got none",
        ),
        (lambda: px.serving.requests("r", since=datetime(2020, 1, 1)), px.OptionError, "a time with its zone"),
    ],
)
def test_wrong_recordings_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rows_of_other_sizes_and_columns_that_are_not_there(tmp_path):
    wrote(tmp_path, [record(np.ones((1, 2))), record(np.ones((1, 3))), record(np.ones((1, 999)))])
    found = px.serving.requests(tmp_path, until=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(px.OptionError, match=r"rows of inputs.x of one size, got \[2\] and \[3\]"):
        found.column("inputs.x")
    with pytest.raises(px.OptionError, match=r"a column among inputs.x, inputs.x.summary, got 'x'"):
        found.column("x")
    assert len(px.serving.requests(tmp_path, version=2)) == 0


def test_the_command_line_says_what_is_written(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(Server, "run", lambda self: made.append(self))
    monkeypatch.setattr(Workers, "run", lambda self: made.append(self))
    monkeypatch.setenv("PHLOX_LOG_SALT", "pepper")
    rules = ["--redact", "user*=hash", "--redact", "a=b=truncate:7", "--redact", "x=drop", "--redact-text", r"\d+"]
    told = ["serve", str(tmp_path), "--log-requests", str(tmp_path / "log"), "--sample", "0.25", *rules]
    assert cli.main(told) == 0
    (tmp_path / "salt").write_text("s3cret\n")
    assert cli.main([*told, "--salt-file", str(tmp_path / "salt"), "--workers", "3"]) == 0
    server, workers = made
    assert server.settings.recording == Recording(
        tmp_path / "log", 0.25,
        [Redaction("user*", "hash"), Redaction("a=b", "truncate", 7), Redaction("x"), Redaction(text=r"\d+")], "pepper",
    )  # fmt: skip
    assert (workers.count, workers.server.settings.recording.salt) == (3, "s3cret")
    for odd in ("user", "user=", "=drop", "user=hide", "user=truncate", "user=truncate:0", "user=hash:3"):
        assert cli.main([*told, "--redact", odd]) == 1
        assert "a rule as NAME=drop, hash or truncate:N" in capsys.readouterr().err
    assert cli.main(["serve", str(tmp_path), "--redact", "x=drop"]) == 1
    assert "rules for requests that are written, got no folder" in capsys.readouterr().err


def test_texts_of_a_language_model_are_written_down(tmp_path):
    oracle("tokenizers")
    oracle("jinja2")
    from serving.openai.small import language

    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello 12345"}]}
    recording = Recording(tmp_path, redact=[Redaction(text=r"\d+")])
    with Server({"tiny": language("Good day")}, port=0, recording=recording) as server:
        for more in ({}, {"stream": True}):
            assert ask(server, "POST", "/v1/chat/completions", {**asked, **more})[0] == 200
    for one in px.serving.requests(tmp_path):
        assert (one.protocol, one.status, one.inputs["contents"].tolist()) == ("openai", 200, ["Hello […]"])
        assert one.outputs["text"].tolist() == ["Good day"]
    assert len(px.serving.requests(tmp_path)) == 2
