"""The server as its operators know it: full, late, left, slow, locked, encrypted, watched, and told to leave."""

import http.client
import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.core import MissingExtraError
from phlox.serving import Limits, Server
from serving.small import Scaled, ask, write_onnx

oracle("uvicorn")
oracle("httptools")
oracle("prometheus_client")

PREDICT = "/v1/models/m:predict"
ROW = {"instances": [[1, 2]]}


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def in_thread(function, *arguments):
    """Call a function in a thread; gives what it gave, when asked."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*arguments)))
    thread.start()

    def result():
        thread.join(30)
        return found[0]

    return result


def number(server, name):
    """A number of /metrics."""
    text = ask(server, "GET", "/metrics")[1].decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
    return sum(float(value) for _, _, value in lines)


def test_full_late_and_left():
    servable = Scaled()
    journal = io.StringIO()
    limits = Limits(queue=2, seconds=30)
    with Server({"m": servable}, port=0, limits=limits, journal=journal, requests=True) as server:
        servable.free.clear()
        first = in_thread(ask, server, "POST", PREDICT, ROW)
        until(lambda: servable.entered.acquire(blocking=False))
        late = in_thread(ask, server, "POST", PREDICT, ROW, {"X-Request-Timeout": "0.15"})
        until(lambda: number(server, "phlox_queue{") == 1)
        status, told, headers = ask(server, "POST", PREDICT, ROW)
        assert (status, headers["retry-after"]) == (429, "1")
        assert told["error"].startswith("m/1 expects at most 2 requests at a time, got one more")
        status, told, _ = late()
        assert (status, told["error"].splitlines()[0]) == (504, "m/1 expects an answer within 0.15 s, got none yet")
        gone = http.client.HTTPConnection("127.0.0.1", server.port)
        gone.request("POST", PREDICT, json.dumps({"instances": [[7, 7]]}))
        time.sleep(0.1)  # longer than the patience of the watch
        gone.close()
        until(lambda: '"status": 499' in journal.getvalue())
        assert ask(server, "GET", "/readyz")[0] == 200  # health is told while a model is busy
        servable.free.set()
        assert first()[1] == {"predictions": [[2, 4]]}
        assert ask(server, "POST", PREDICT, {"instances": [[3, 3]]})[0] == 200
        assert ask(server, "POST", PREDICT, ROW, {"X-Request-Timeout": "soon"})[0] == 400
    assert not any((x == 7).any() for x in servable.seen)  # who has left takes no time of the model's
    assert len(servable.seen) == 2
    lines = [json.loads(line) for line in journal.getvalue().splitlines()]
    asked = [line for line in lines if line["event"] == "request" and line["path"] == PREDICT]
    assert sorted(line["status"] for line in asked) == [200, 200, 400, 429, 499, 504]
    assert {line["version"] for line in asked} == {"m/1"}
    assert [line["event"] for line in lines if line["event"] != "request"] == [
        "loading", "available", "serving", "leaving", "unloading", "left"
    ]  # fmt: skip


def test_numbers_for_prometheus():
    with Server({"m": Scaled()}, port=0) as server:
        for _ in range(3):
            ask(server, "POST", PREDICT, {"instances": [[1, 2], [3, 4]]})
        ask(server, "POST", PREDICT, {"instances": [[-1, 2]]})
        ask(server, "POST", "/v2/models/m/infer", {})
        labels = '{model="m",protocol="tensorflow",status="200",version="1"}'
        assert number(server, f"phlox_requests_total{labels}") == 3
        assert number(server, 'phlox_requests_total{model="m",protocol="tensorflow",status="500"') == 1
        assert number(server, 'phlox_requests_total{model="m",protocol="kserve",status="400"') == 1
        assert number(server, "phlox_batch_rows_sum") == 7
        assert number(server, "phlox_batch_seconds_count") == 4
        assert number(server, "phlox_request_seconds_count") == 5
        assert number(server, "process_resident_memory_bytes") > 1 << 20


def raw(server, *parts, pause=0.0):
    """What comes back for bytes that are sent as they are, until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as line:
        for part in parts:
            line.sendall(part)
            time.sleep(pause)
        line.settimeout(20)
        found = b""
        while more := line.recv(65536):
            found += more
        return found


def test_slow_and_long_and_half_requests():
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nContent-Length: 28\r\n"
    body = json.dumps({"instances": [[1, 2], [3]]})[:-4].encode()
    journal, limits = io.StringIO(), Limits(arriving=0.2, header=2000, body=1000)
    with Server({"m": Scaled()}, port=0, limits=limits, journal=journal) as server:
        assert raw(server, head).startswith(b"HTTP/1.1 408 ")
        late = raw(server, head + b"\r\n" + body[:10])
        assert late.startswith(b"HTTP/1.1 408 ")
        assert b"a body within 0.2 s, got a part of it" in late
        long = raw(server, b"GET /healthz HTTP/1.1\r\n", b"X: " + b"a" * 3000, pause=0.02)
        assert long.startswith(b"HTTP/1.1 431 ")
        chunked = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert raw(server, chunked + b"400\r\n" + b"a" * 1024 + b"\r\n").startswith(b"HTTP/1.1 413 ")
        assert raw(server, b"\x16\x03\x01 no http\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert raw(server, b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 404 "
        )
        with socket.create_connection(("127.0.0.1", server.port), 20) as line:  # closes its half when it has asked
            whole = json.dumps(ROW).encode()
            line.sendall(head.replace(b"28", str(len(whole)).encode()) + b"Connection: close\r\n\r\n" + whole)
            line.shutdown(socket.SHUT_WR)
            found = b""
            while more := line.recv(65536):
                found += more
        assert found == b"" or found.endswith(b'{"predictions": [[2.0, 4.0]]}')
        assert ask(server, "POST", PREDICT, ROW)[1] == {"predictions": [[2, 4]]}
        compressed = {"Content-Encoding": "gzip"}
        status, told, _ = ask(server, "POST", PREDICT, ROW, compressed)
        assert (status, "a body without Content-Encoding, got 'gzip'" in told["error"]) == (400, True)
    lines = [json.loads(line) for line in journal.getvalue().splitlines()]  # what uvicorn logs is in lines of JSON too
    assert "Invalid HTTP request received." in [line.get("message") for line in lines]


def test_without_its_token_nothing_but_health_is_told():
    with Server({"m": Scaled()}, port=0, token="s3cret") as server:
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert ask(server, "GET", path)[0] == 200
        asked = [("GET", "/metrics"), ("GET", "/v1/models/m"), ("GET", "/v2"), ("GET", "/nowhere"), ("POST", PREDICT)]
        for method, path in [*asked, ("POST", "/v2/repository/models/m/unload"), ("POST", "/v2/models/m/infer")]:
            for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
                status, told, answered = ask(server, method, path, ROW if method == "POST" else None, headers)
                assert (status, answered["www-authenticate"]) == (401, "Bearer")
                assert "a token, got none, or another" in told["error"]
        right = {"Authorization": "Bearer s3cret"}
        assert ask(server, "POST", PREDICT, ROW, right)[1] == {"predictions": [[2, 4]]}
        assert ask(server, "GET", "/v1/models/m", None, right)[0] == 200


def test_tls(tmp_path):
    grpc = oracle("grpc")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", "req", "-x509", *made, *names], check=True, capture_output=True)
    with Server({"m": Scaled()}, port=0, grpc_port=0, certificate=certificate, key=key) as server:
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{server.grpc_port}", trusted) as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", timeout=20) == b"\x08\x01"
        assert server.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trust, timeout=20)
        connection.request("POST", PREDICT, json.dumps(ROW))
        assert json.loads(connection.getresponse().read()) == {"predictions": [[2, 4]]}
        connection.close()
    key.write_text("no key")
    with (
        pytest.raises(px.RangeError, match=r"certificate\.pem expects a certificate and its key"),
        Server({"m": Scaled()}, port=0, certificate=certificate, key=key),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": 3}, px.OptionError, "a path, or servables by name, got 3"),
        ({"source": {"m": px.Dense(2, 2)}}, px.OptionError, "servables by name, got 'm': Dense"),
        ({"source": {"a/b": Scaled()}}, px.RangeError, "names that stand in an address, got 'a/b'"),
        ({"port": -1}, px.RangeError, "a port from 0 to 65535, got -1"),
        ({"poll": 0.0}, px.RangeError, "poll above 0"),
        ({"token": "two words"}, px.RangeError, "a token of ASCII without spaces"),
        ({"token": ""}, px.RangeError, "a token of ASCII without spaces"),
        ({"certificate": "a.pem"}, px.OptionError, "a certificate and its key, got one of them"),
    ],
)
def test_wrong_servers_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Server(**{"source": {}, **arguments})


def test_what_cannot_be_served_ends_the_server(tmp_path):
    with (
        pytest.raises(px.weights.MissingFileError, match="nowhere to exist, got nothing"),
        Server(tmp_path / "nowhere", port=0),
    ):
        pass
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    oracle("onnxruntime")
    with (
        pytest.raises(px.serving.UnavailableError, match=r"bad.onnx to run in ONNX Runtime"),
        Server(tmp_path / "bad.onnx", port=0),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(px.RangeError, match=f"127.0.0.1:{port} to be free, got Address already in use"),
            Server({"m": Scaled()}, port=port),
        ):
            pass


def test_a_missing_package_is_named(monkeypatch):
    find = px.serving._server.importlib.util.find_spec
    monkeypatch.setattr(
        px.serving._server.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    with pytest.raises(MissingExtraError, match=r'expects uvicorn, got none\n  fix: pip install "phlox\[serve\]"'):
        Server({"m": Scaled()})


def test_versions_change_while_the_server_is_asked(tmp_path):
    oracle("onnxruntime")
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    factors, stop = [], threading.Event()

    def asking(server):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        while not stop.is_set():
            connection.request("POST", PREDICT, json.dumps({"instances": [[1, 1]]}))
            answer = connection.getresponse()
            text = json.loads(answer.read())
            factors.append(text["predictions"][0][0] if answer.status == 200 else text)
        connection.close()

    with Server(tmp_path, port=0, poll=0.02) as server:
        threads = [threading.Thread(target=asking, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in (2, 3):
            until(lambda n=n: n - 1 in factors)
            broken = tmp_path / "m" / f"{n}0"
            broken.mkdir()
            (broken / "model.onnx").write_bytes(b"no model")
            write_onnx(tmp_path / "new" / "model.onnx", n)
            os.rename(tmp_path / "new", tmp_path / "m" / str(n))
            until(lambda n=n: n in factors)
            shutil.rmtree(tmp_path / "m" / str(n - 1))
            shutil.rmtree(broken)
        stop.set()
        for thread in threads:
            thread.join(20)
    assert set(factors) == {1.0, 2.0, 3.0}, [f for f in factors if not isinstance(f, float)][:3]


def test_a_version_that_leaves_while_a_body_comes_is_followed_by_the_next(tmp_path):
    oracle("onnxruntime")
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    asked = [
        ("/v1/models/m:predict", ROW, {"predictions": [[2, 4]]}),
        ("/v2/models/m/infer", {"inputs": [tensor]}, None),
        ("/predict/m", {"x": [1, 2]}, {"model": "m", "version": 2, "outputs": {"y": [2, 4]}}),
        ("/v1/models/m/versions/1:predict", ROW, None),
    ]
    with Server(tmp_path, port=0, poll=0.02) as server:
        lines = []
        for path, body, _ in asked:
            line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            text = json.dumps(body).encode()
            line.putrequest("POST", path)
            line.putheader("Content-Length", str(len(text)))
            line.endheaders(text[:5])
            lines.append((line, text[5:]))
        write_onnx(tmp_path / "new" / "model.onnx", 2.0)
        os.rename(tmp_path / "new", tmp_path / "m" / "2")
        until(lambda: ask(server, "GET", "/v1/models/m/versions/1")[0] == 404)
        answers = []
        for line, rest in lines:
            line.send(rest)
            answer = line.getresponse()
            answers.append((answer.status, json.loads(answer.read())))
            line.close()
    assert [status for status, _ in answers] == [200, 200, 200, 404]
    for (_, told), (_, _, wanted) in zip(answers, asked, strict=True):
        assert wanted is None or told == wanted
    assert (answers[1][1]["model_version"], answers[1][1]["outputs"][0]["data"]) == ("2", [2, 4])


def test_who_is_connected_is_answered_and_told_to_leave(monkeypatch):
    monkeypatch.setattr(px.serving.http._listening, "SETTLING", 2.0)
    with Server({"m": Scaled()}, port=0) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for leaving in (False, True):
            if leaving:
                stopped = in_thread(server.stop)
                until(lambda: _is_closed(server.port))
                time.sleep(0.4)  # idle connections stay for a while
            connection.request("POST", PREDICT, json.dumps(ROW))
            answer = connection.getresponse()
            assert json.loads(answer.read()) == {"predictions": [[2, 4]]}
            assert (answer.getheader("connection") == "close") is leaving
        connection.close()
        assert stopped() is None


def _is_closed(port):
    try:
        socket.create_connection(("127.0.0.1", port), 20).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_under_load_answers_every_request(tmp_path):
    oracle("onnxruntime")
    write_onnx(tmp_path / "models" / "m" / "1" / "model.onnx", 2.0)
    command = [sys.executable, "-m", "phlox", "serve", str(tmp_path / "models"), "--port", "0", "--access-log"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        told = next(json.loads(line) for line in lines if '"serving"' in line)
        port = int(told["url"].rpartition(":")[2])
        logged = in_thread(lambda: list(lines))
        answered, lost, started = [], [], []
        counts = [in_thread(_ask_until_it_leaves, port, answered, lost, started) for _ in range(8)]
        until(lambda: len(started) == 8 and len(answered) > 100)
        process.send_signal(signal.SIGTERM)
        for count in counts:
            count()
        assert process.wait(20) == 0
        assert (lost, set(answered)) == ([], {2.0})
        events = [json.loads(line) for line in logged()]
        assert sum(e["event"] == "request" and e["status"] == 200 for e in events) >= len(answered) - 8
        assert [e["event"] for e in events if e["event"] != "request"] == ["leaving", "unloading", "left"]
    finally:
        process.kill()
        process.stderr.close()


def test_signals_go_where_they_went_before():
    """Behind the server's life in a program's main thread."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    journal = io.StringIO()
    server = Server({"m": Scaled()}, port=0, journal=journal)

    def end():
        until(lambda: '"serving"' in journal.getvalue())
        os.kill(os.getpid(), signal.SIGTERM)

    ended = in_thread(end)
    server.run()
    ended()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def _ask_until_it_leaves(port, answered, lost, started):
    """Ask on one connection after the other; a request that was sent and not answered is lost."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.connect()
        except OSError:
            return
        try:
            closing = False
            while not closing:
                connection.request("POST", PREDICT, json.dumps({"instances": [[1, 1]]}))
                answer = connection.getresponse()
                closing = answer.getheader("connection") == "close"
                answered.append(json.loads(answer.read())["predictions"][0][0])
                if threading.get_ident() not in started:
                    started.append(threading.get_ident())
        except (OSError, http.client.HTTPException) as error:
            lost.append(error)
            return
        finally:
            connection.close()


def test_one_message_on_the_command_line(tmp_path, capsys):
    assert cli.main(["serve", str(tmp_path / "nowhere"), "--port", "0"]) == 1
    assert "nowhere to exist, got nothing\n  fix: " in capsys.readouterr().err
    assert cli.main(["serve", str(tmp_path), "--port", "0", "--memory", "much"]) == 1
    assert "phlox serve expects --memory such as 4G, got 'much'" in capsys.readouterr().err
    assert cli.main(["serve", str(tmp_path), "--token-file", str(tmp_path / "none")]) == 1
    assert "to exist" in capsys.readouterr().err


def test_answers_do_not_depend_on_who_else_asks():
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32) ** 2
    with Server({"m": Scaled()}, port=0) as server:
        found = [in_thread(ask, server, "POST", PREDICT, {"instances": [row.tolist()]}) for row in x]
        np.testing.assert_allclose([one()[1]["predictions"][0] for one in found], 2 * x, rtol=1e-6)


CONFIG = """
model_config_list {
  config { name: "m" base_path: "%s/m" model_platform: "tensorflow"
           model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "old" value: 1 } }
  config { name: "broken" }
}
"""


def test_a_model_config_file_of_tensorflow_serving(tmp_path):
    oracle("onnxruntime")
    oracle("google.protobuf")
    folder, file = tmp_path / "models", tmp_path / "models.config"
    for name in ("m", "n"):
        for number in (1, 2, 3):
            write_onnx(folder / name / str(number) / "model.onnx", float(number))
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    file.write_text(CONFIG % folder)
    with Server(folder, port=0, config=file) as server:
        found = ask(server, "GET", "/readyz")[1]["models"]
        assert found == {"m": [1, 2], "broken": [], "n": []}
        for where, factor in (("", 2), ("/versions/1", 1), ("/labels/old", 1)):
            told = ask(server, "POST", f"/v1/models/m{where}:predict", ROW)[1]
            assert told == {"predictions": [[factor, 2 * factor]]}
        assert ask(server, "POST", "/v1/models/m/versions/3:predict", ROW)[0] == 404
        assert ask(server, "POST", "/v1/models/n:predict", ROW)[0] == 503
    wrong = [
        (b"model_config_list {", px.OptionError, "models.config expects a ModelServerConfig as text"),
        (b"\xff", px.OptionError, "a ModelServerConfig as text"),
        (b"", px.serving.InvalidRequestError, "a list of models, got none"),
        (b'model_config_list { config { name: "odd" } }', px.serving.UnknownModelError, "models among broken, m, n"),
        (b'model_config_list { config { name: "m" base_path: "/" } }', px.serving.InvalidRequestError, "folder of m"),
    ]
    for text, error, message in wrong:
        file.write_bytes(text)
        with pytest.raises(error, match=message), Server(folder, port=0, config=file):
            pass
    with pytest.raises(px.weights.MissingFileError, match="nowhere"), Server(folder, port=0, config="nowhere"):
        pass
