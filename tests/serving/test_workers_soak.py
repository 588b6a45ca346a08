"""Workers under load: killed again and again, told to leave, rolled out and back. What clients see is what is said."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.serving import Server, Workers
from serving.small import ask, write_onnx
from serving.test_server import PREDICT, _ask_until_it_leaves, in_thread, number, until
from serving.test_workers import answered, connections

for package in ("uvicorn", "httptools", "prometheus_client", "onnxruntime", "psutil"):
    oracle(package)

pytestmark = pytest.mark.soak
BODY = json.dumps({"instances": [[1, 3]]})


def asking(port, stop, answers, wrong, broken):
    """Ask on one connection until it is over; a connection that breaks is noted and opened anew."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not stop.is_set():
        try:
            connection.request("POST", PREDICT, BODY)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            factor = int(answer.getheader("x-model-version"))
        except (OSError, http.client.HTTPException) as error:
            broken.append((time.monotonic(), error))
            connection.close()
            continue
        if answer.status == 200 and told["predictions"] == [[factor, 3 * factor]]:
            answers.append(factor)
        else:
            wrong.append((answer.status, told))
    connection.close()


def loaded(port, clients, during):
    """What clients saw while something happened."""
    stop, answers, wrong, broken = threading.Event(), [], [], []
    threads = [threading.Thread(target=asking, args=(port, stop, answers, wrong, broken)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        during(answers)
    finally:
        stop.set()
        for thread in threads:
            thread.join(90)
    return answers, wrong, broken


def test_kills_under_load_break_the_connections_of_one_worker_and_nothing_else(tmp_path):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    server, lost, draws = Server(tmp_path, port=0), [], random.Random(0)
    with Workers(server, 2) as workers:

        def kill(answers):
            for _ in range(6):
                until(lambda: all(workers.pids) and ask(server, "GET", "/readyz")[0] == 200, 120)
                time.sleep(1.0)
                victim, before = draws.choice(workers.pids), len(answers)
                os.kill(victim, signal.SIGSTOP)  # so that its connections can be counted
                lost.append(connections(victim, server.port))
                os.kill(victim, signal.SIGKILL)
                until(lambda before=before: len(answers) > before + 200, 120)

        answers, wrong, broken = loaded(server.port, 8, kill)
        assert wrong == []  # a request is answered rightly, or its connection is closed
        assert 0 < len(broken) <= sum(lost)  # and closed are those of a process that was killed
        until(lambda: ask(server, "GET", "/readyz")[0] == 200, 120)
        assert number(server, "phlox_workers_started_again") == 6
        counted = number(server, 'phlox_requests_total{model="m",protocol="tensorflow",status="200"')
        assert 0 <= counted - len(answers) <= len(broken)  # counted, and killed before it was sent


def test_shares_change_under_load_in_all_workers(tmp_path):
    for version in (1, 2):
        write_onnx(tmp_path / "m" / str(version) / "model.onnx", float(version))
    server = Server(tmp_path, port=0)
    with Workers(server, 2):

        def change(answers):
            for weights in ({"1": 1}, {"1": 9, "2": 1}, {"1": 1, "2": 1}, {"2": 1}):
                status, told, _ = ask(server, "POST", "/v2/repository/models/m/rollout", {"weights": weights})
                assert status == 200, told
                time.sleep(0.2)  # what was asked before is answered
                start = len(answers)
                until(lambda start=start: len(answers) > start + 1500, 120)
                got, whole = answers[start : start + 1500].count(2) / 1500, sum(weights.values())
                assert abs(got - weights.get("2", 0) / whole) < 0.07
            assert ask(server, "POST", "/v2/repository/models/m/rollback")[0] == 200
            time.sleep(0.2)
            start = len(answers)
            until(lambda: len(answers) > start + 300, 120)
            assert set(answers[start:]) == {1}

        _, wrong, broken = loaded(server.port, 4, change)
    assert (wrong, broken) == ([], [])


def test_sigterm_under_load_answers_every_request(tmp_path):
    write_onnx(tmp_path / "models" / "m" / "1" / "model.onnx", 2.0)
    command = [sys.executable, "-m", "phlox", "serve", str(tmp_path / "models"), "--port", "0", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stderr.readline, "")
        told = next(json.loads(line) for line in lines if '"event": "serving"' in line)
        assert told["workers"] == 2
        port = int(told["url"].rpartition(":")[2])
        logged = in_thread(lambda: list(lines))
        answered, lost, started = [], [], []
        counts = [in_thread(_ask_until_it_leaves, port, answered, lost, started) for _ in range(8)]
        until(lambda: len(started) == 8 and len(answered) > 1000, 120)
        process.send_signal(signal.SIGTERM)
        for count in counts:
            count()
        assert process.wait(60) == 0
        assert (lost, set(answered)) == ([], {2.0})
        events = [json.loads(line) for line in logged()]
        assert sum(one["event"] == "worker left" for one in events) == 2
        assert events[-1]["event"] == "left"
    finally:
        process.kill()
        process.stderr.close()


def test_workers_end_with_who_started_them(tmp_path):
    import psutil

    write_onnx(tmp_path / "models" / "m" / "1" / "model.onnx", 2.0)
    command = [sys.executable, "-m", "phlox", "serve", str(tmp_path / "models"), "--port", "0", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = iter(process.stderr.readline, "")
    next(line for line in lines if '"event": "serving"' in line)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    process.kill()
    process.stderr.close()
    process.wait()
    _, alive = psutil.wait_procs(workers, 60)
    assert alive == []


def test_what_cannot_be_served_ends_all_with_the_words_of_one_server(tmp_path, capsys):
    for options in ([], ["--workers", "2"]):
        assert cli.main(["serve", str(tmp_path / "nowhere"), "--port", "0", *options]) == 1
        assert "nowhere to exist, got nothing\n  fix: " in capsys.readouterr().err
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(px.serving.UnavailableError, match=r"bad\.onnx to run in ONNX Runtime"):
        Workers(Server(tmp_path / "bad.onnx", port=0), 2).start()


def test_a_guard_adds_up_what_workers_counted(tmp_path):
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 1.0)
    write_onnx(tmp_path / "m" / "2" / "model.onnx", 2.0)
    server = Server(tmp_path, port=0)
    with Workers(server, 2), px.serving.Client(server.url) as client:
        client.roll_out("m", {1: 1})
        client.roll_out("m", {2: 1}, px.serving.Guard(seconds=1e-6, requests=41))
        lines = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(8)]
        for line in lines:  # neither of the workers sees 41
            for _ in range(5):
                assert answered(line) == {"predictions": [[2, 4]]}
        time.sleep(1.0)
        told = ask(server, "GET", "/v2/repository/models/m/rollout")[1]
        assert (told["weights"], told["versions"]["2"]["answers"]) == ({"2": 1}, 40)
        assert answered(lines[0]) == {"predictions": [[2, 4]]}
        until(lambda: all(answered(line) == {"predictions": [[1, 2]]} for line in lines), 60)
        assert number(server, "phlox_rollbacks_total") == 1
        for line in lines:
            line.close()
