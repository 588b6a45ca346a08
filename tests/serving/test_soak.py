"""Minutes of load: versions come, go and are broken; 200,000 requests; SIGTERM. Nothing is lost, wrong or kept."""

import contextlib
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from kit import oracle
from serving.small import write_onnx

for package in ("uvicorn", "httptools", "prometheus_client", "onnxruntime", "psutil"):
    oracle(package)

pytestmark = pytest.mark.soak
SECONDS = 60.0
REQUESTS = 200_000
INFER = "/v2/models/m/infer"
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 3]}]}).encode()
GROWTH = 8 << 20  # bytes


@contextlib.contextmanager
def serving(folder, *options):
    """A server in a process of its own, and its port; it must end well."""
    with open(folder.parent / "journal", "w+") as journal:
        command = [sys.executable, "-m", "phlox", "serve", str(folder), "--port", "0", *options]
        process = subprocess.Popen(command, stderr=journal)
        try:
            end, told = time.monotonic() + 60, ""
            while '"serving"' not in told:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.05)
                told = (folder.parent / "journal").read_text()
            line = next(json.loads(line) for line in told.splitlines() if '"serving"' in line)
            yield process, int(line["url"].rpartition(":")[2])
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def asking(port, stop, found, wrong):
    """Ask on one connection until it is over; whatever is no right answer is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while not stop.is_set():
        try:
            connection.request("POST", INFER, BODY)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            factor = float(told.get("model_version", "nan"))
            right = answer.status == 200 and told["outputs"][0]["data"] == [factor, 3 * factor]
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            told, right = error, False
        if not right:
            wrong.append(told)
            connection.close()
        else:
            found[factor] = found.get(factor, 0) + 1
    connection.close()


def test_versions_come_go_and_are_broken_under_load(tmp_path):
    models = tmp_path / "models" / "m"
    write_onnx(models / "1" / "model.onnx", 1.0)
    stop, found, wrong = threading.Event(), {}, []
    with serving(tmp_path / "models") as (_, port):
        threads = [threading.Thread(target=asking, args=(port, stop, found, wrong)) for _ in range(8)]
        for thread in threads:
            thread.start()
        end, last = time.monotonic() + SECONDS, 1
        for n in itertools.count(2):
            if time.monotonic() > end or wrong:
                break
            write_onnx(tmp_path / "new" / "model.onnx", float(n))
            os.rename(tmp_path / "new", models / str(n))
            broken = models / str(1000 + n)
            broken.mkdir()
            (broken / "model.onnx").write_bytes(b"no model")
            late = time.monotonic() + 30
            while n not in found:
                assert time.monotonic() < late, (n, found, wrong[:3])
                time.sleep(0.05)
            shutil.rmtree(models / str(last))
            shutil.rmtree(broken)
            last = n
        stop.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []
    assert set(found) == {float(n) for n in range(1, last + 1)}
    assert last > SECONDS / 10
    assert sum(found.values()) > 50 * SECONDS


def test_memory_is_flat(tmp_path):
    import psutil

    write_onnx(tmp_path / "models" / "m" / "1" / "model.onnx", 2.0)
    odd = BODY.replace(b"[1, 3]", b"[1, 3, 5]")
    texts = [(INFER, BODY, b" 200 "), (INFER, BODY, b" 200 "), (INFER, odd, b" 400 "), (INFER + "s", BODY, b" 404 ")]
    head = "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n"
    asked = [(head.format(path, len(body)).encode() + body, status) for path, body, status in texts]
    failed = []

    def ask(port, count):
        with socket.create_connection(("127.0.0.1", port), 20) as line:
            for request, status in itertools.islice(itertools.cycle(asked), count):
                line.sendall(request)
                answer = line.recv(65536)
                while not answer.endswith(b"}"):
                    answer += line.recv(65536)
                if status not in answer[:16]:
                    failed.append(answer)

    with serving(tmp_path / "models") as (process, port):
        server, kept = psutil.Process(process.pid), []
        for _ in range(10):
            for _ in range(REQUESTS // 10 // 16 // 125):  # connections come and go, too
                threads = [threading.Thread(target=ask, args=(port, 125)) for _ in range(16)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(60)
            kept.append(server.memory_info().rss)
        assert server.num_threads() < 60
    assert failed == []
    assert kept[-1] - kept[2] < GROWTH, kept


def test_sigterm_again_and_again(tmp_path):
    write_onnx(tmp_path / "models" / "m" / "1" / "model.onnx", 2.0)
    for _ in range(5):
        answered, lost = [], []
        with serving(tmp_path / "models") as (process, port):
            threads = [threading.Thread(target=_ask_until_it_leaves, args=(port, answered, lost)) for _ in range(32)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + 30
            while len(answered) < 2000:
                assert time.monotonic() < end
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join(60)
        assert (lost, set(answered)) == ([], {2.0})


def _ask_until_it_leaves(port, answered, lost):
    """Ask on one connection after the other, until there is nobody; what was sent and not answered is lost."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.connect()
        except OSError:
            return
        closing = False
        try:
            while not closing:
                connection.request("POST", INFER, BODY)
                answer = connection.getresponse()
                closing = answer.getheader("connection") == "close"
                answered.append(json.loads(answer.read())["outputs"][0]["data"][0])
        except (OSError, http.client.HTTPException) as error:
            lost.append(error)
            return
        finally:
            connection.close()
