"""Several processes behind one port: spread, killed, started again, added up, ordered, and told to leave."""

import asyncio
import http.client
import io
import json
import os
import signal
import sys

import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.serving import Server, Workers
from phlox.serving._limits import Limits
from phlox.serving.workers import _restarts, _supervisor
from phlox.serving.workers._board import Board, Stage
from phlox.serving.workers._orders import Orders
from phlox.serving.workers._place import Place
from phlox.serving.workers._restarts import Restarts
from serving.small import Scaled, ask, write_onnx
from serving.test_server import PREDICT, ROW, number, until

prometheus = oracle("prometheus_client")
psutil = oracle("psutil")
oracle("uvicorn")
oracle("onnxruntime")


def places(folder, count=2):
    return [Place(slot, count, folder, None) for slot in range(count)]


def test_who_has_fewer_connections_takes_the_next_one(tmp_path):
    one, two, three = places(tmp_path, 3)
    assert one.turn(7) == 0.0  # alone, loading: health is answered
    two.serve()
    assert one.turn(0) is None  # who has no models yet takes nothing from one who has
    assert two.turn(9) == 0.0
    three.serve()
    three.enter(ready=True, connections=4)
    assert (two.turn(3), two.turn(4), two.turn(5), two.turn(6)) == (0.0, 0.0, 0.002, 0.004)
    assert two.turn(10**6) == 0.01  # a worker that hangs keeps nobody waiting for long
    three.leave()
    assert two.turn(10**6) == 0.0


def test_ready_is_when_all_are(tmp_path):
    one, two = places(tmp_path)
    one.serve()
    assert not one.ready
    two.serve()
    assert one.ready
    assert two.ready
    two.enter(ready=False, connections=0)
    assert not one.ready
    two.enter(ready=True, connections=0)
    one.board.enter(1, Stage.GONE)
    assert not one.ready


def test_an_order_that_a_kill_cut_off_is_no_order(tmp_path):
    mine, theirs = Orders(tmp_path / "orders"), Orders(tmp_path / "orders")
    assert mine.add({"order": "load", "name": "a"}) == 1
    with (tmp_path / "orders").open("ab") as file:
        file.write(b'{"order": "unl')
    assert [order["name"] for order in theirs.new()] == ["a"]
    assert theirs.new() == []
    assert mine.add({"order": "load", "name": "b"}) == 2
    assert [order["name"] for order in theirs.new()] == ["b"]
    assert (theirs.read, [order["name"] for order in mine.new()]) == (2, ["a", "b"])


def test_pauses_grow_and_a_minute_of_service_makes_up_for_all():
    now = [0.0]
    restarts = Restarts(9, clock=lambda: now[0])
    assert [restarts.pause() for _ in range(3)] == pytest.approx([0.1, 0.4, 1.6])
    restarts.serves()
    now[0] += 59.0
    assert restarts.pause() == pytest.approx(6.4)
    restarts.serves()
    now[0] += 60.0
    restarts.serves()
    assert restarts.pause() == pytest.approx(0.1)
    assert [restarts.pause() for _ in range(8)][-5:] == [25.6, 30.0, 30.0, 30.0, None]


def test_counters_go_on_where_a_process_that_is_gone_left_them(tmp_path, monkeypatch):
    from phlox.serving.workers._sums import OfWorkers, Sums, count_in

    monkeypatch.setattr(prometheus.values, "ValueClass", prometheus.values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def counted(slot, amounts):
        """What one process of a slot counts until it is killed, and how much it holds."""
        count_in(tmp_path, slot)
        registry = prometheus.CollectorRegistry()
        requests = prometheus.Counter("phlox_requests", "Requests", ["model"], registry=registry)
        seconds = prometheus.Histogram("phlox_seconds", "Seconds", ["model"], buckets=(1, 2), registry=registry)
        for amount in amounts:
            requests.labels("m").inc(amount)
            seconds.labels("m").observe(amount)
        held = prometheus.core.GaugeMetricFamily("phlox_queue", "Waiting", labels=["model"])
        held.add_metric(["m"], sum(amounts))
        own = prometheus.core.GaugeMetricFamily("process_open_fds", "Files")
        own.add_metric([], slot + 7)
        share = prometheus.core.GaugeMetricFamily("phlox_share", "Share", labels=["model"])
        share.add_metric(["m"], 0.25)
        now = type("Now", (), {"collect": lambda self: [held, own, share]})()
        return Sums(tmp_path, slot, [now])

    counted(0, [0.5, 1.5]).write()
    counted(1, [3]).write()
    restarted = counted(0, [1.5])  # the next process of slot 0
    board = Board(tmp_path / "board", 2)
    board.enter(1, Stage.SERVING)
    for slot in (0, 0, 1):
        board.started(slot)
    lines = restarted.text([OfWorkers(board)]).decode().splitlines()
    for line in (
        'phlox_requests_total{model="m"} 6.5',
        'phlox_seconds_bucket{le="1.0",model="m"} 1.0',
        'phlox_seconds_bucket{le="2.0",model="m"} 3.0',
        'phlox_seconds_count{model="m"} 4.0',
        'phlox_queue{model="m"} 4.5',
        'phlox_share{model="m"} 0.25',
        'process_open_fds{worker="0"} 7.0',
        'process_open_fds{worker="1"} 8.0',
        "phlox_workers 2.0",
        "phlox_workers_serving 1.0",
        "phlox_workers_started_again 1.0",
    ):
        assert line in lines, "\n".join(lines)


def shared(test, folder, source):
    """Run a test of two workers' models, which follow each other."""
    from phlox.serving.workers._shared import Following, SharedRepository

    told = []

    async def whole():
        limits = Limits(batch=1)
        both = [
            SharedRepository(one, source, limits, None, None, lambda event, facts: told.append((event, facts)))
            for one in places(folder)
        ]
        for one in both:
            await one.refresh()
            await one.catch_up()
            one.place.serve()
        async with Following(both[0]), Following(both[1]):
            try:
                return await test(*both)
            finally:
                for one in both:
                    await one.close()

    asyncio.run(whole())
    return told


def served(*repositories):
    return [{n: sorted(m.available()) for n, m in one.models.items()} for one in repositories]


def test_what_is_ordered_of_one_is_done_by_all(tmp_path):
    from phlox.serving.repository._policy import Policy
    from phlox.serving.repository._rollout import roll_back, roll_out
    from phlox.serving.workers._shared import SharedRepository

    source, folder = tmp_path / "models", tmp_path / "shared"
    folder.mkdir()
    for name in "mn":
        for version in (1, 2):
            write_onnx(source / name / str(version) / "model.onnx", float(version))

    async def test(one, two):
        assert served(one, two) == [{"m": [2], "n": [2]}] * 2
        await one.unload("n")
        assert served(one, two) == [{"m": [2], "n": []}] * 2
        await two.load("n")
        assert served(one, two) == [{"m": [2], "n": [2]}] * 2
        with pytest.raises(px.serving.UnknownModelError, match="'o'"):
            await two.load("o")
        await roll_out(one, "m", {1: 1})
        assert [r.find("m").choose().number for r in (one, two)] == [1, 1]
        await roll_back(two, "m")
        assert [r.find("m").choose().number for r in (one, two)] == [2, 2]
        await two.configure({"m": Policy((1,))})
        assert served(one, two) == [{"m": [1], "n": []}] * 2
        late = SharedRepository(Place(1, 2, folder, None), source, Limits(batch=1))
        await late.refresh()
        await late.catch_up()  # what a worker that is started again has missed
        assert served(late) == [{"m": [1], "n": []}]
        await late.close()
        two.place.board.enter(1, Stage.SERVING)
        two.place.stage = Stage.LEAVING  # follows no more, while the board says that it serves
        return await one.unload("m")

    from phlox.serving.workers import _shared

    before, _shared._PATIENCE = _shared._PATIENCE, 0.1
    try:
        with pytest.raises(px.serving.UnavailableError, match=r"all workers to follow within 0.1 s, got worker 1 not"):
            shared(test, folder, source)
    finally:
        _shared._PATIENCE = before


def test_wrong_workers_are_refused(tmp_path):
    with pytest.raises(px.OptionError, match="a server of a folder or file, got servables by name"):
        Workers(Server({"m": Scaled()}), 2)
    with pytest.raises(px.OptionError, match="a server of a folder or file, got '/models'"):
        Workers("/models", 2)
    for count in (0, True, 2.0):
        with pytest.raises(px.RangeError, match="count from 1"):
            Workers(Server(tmp_path), count)


def test_workers_that_end_again_and_again_end_all(tmp_path, monkeypatch):
    monkeypatch.setattr(_supervisor, "_COMMAND", (sys.executable, "-S", "-c", "raise SystemExit(3)"))
    monkeypatch.setattr(_restarts, "_FIRST", 0.001)
    journal, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    workers = Workers(Server(tmp_path, port=0, journal=journal), 1, restarts=3)
    wanted = r"expects workers that stay, got worker 0 ended 3 times in a row .*, the last with status 3\n"
    with pytest.raises(px.serving.UnavailableError, match=wanted):
        workers.run()
    lines = [json.loads(line) for line in journal.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["worker ended", "worker ended", "given up", "leaving", "left"]
    assert {line["how"] for line in lines if "how" in line} == {"with status 3"}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_port_that_is_taken_and_a_folder_that_is_not_there(tmp_path, capsys):
    with Server({"m": Scaled()}, port=0) as taken:
        code = cli.main(["serve", str(tmp_path), "--port", str(taken.port), "--workers", "2"])
    assert (code, "to be free, got Address already in use" in capsys.readouterr().err) == (1, True)


def test_a_worker_that_is_killed_costs_its_own_connections_alone(tmp_path):
    """Two processes: who is connected to the other one notices nothing, and nothing that was counted is forgotten."""
    write_onnx(tmp_path / "m" / "1" / "model.onnx", 2.0)
    server, asked = Server(tmp_path, port=0, grpc_port=0), 0
    with Workers(server, 2) as workers:
        assert ask(server, "GET", "/readyz")[0] == 200
        before, lines = workers.pids, []
        while len(lines) < 6 or not 0 < connections(before[0], server.port) < len(lines):
            lines.append(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30))
            assert answered(lines[-1]) == {"predictions": [[2, 4]]}
        asked += len(lines)
        lost = connections(before[0], server.port)
        os.kill(before[0], signal.SIGKILL)
        found = [answered(line) for line in lines]
        assert found.count(None) == lost  # those of one worker, and no other
        asked += len(lines) - lost
        for _ in range(4):
            assert ask(server, "POST", PREDICT, ROW)[1] == {"predictions": [[2, 4]]}
        asked += 4
        until(lambda: ask(server, "GET", "/readyz")[0] == 503)  # one is missing
        until(lambda: ask(server, "GET", "/readyz")[0] == 200, 120)
        assert (workers.pids[0] in before, workers.pids[1] == before[1]) == (False, True)
        assert number(server, 'phlox_requests_total{model="m",protocol="tensorflow",status="200"') == asked
        assert number(server, "phlox_workers_started_again") == 1
        assert ask(server, "POST", "/v2/repository/models/m/unload", {})[0] == 200
        spread = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(4)]
        assert [told["error"][:3] for told in map(answered, spread)] == ["m e"] * 4
        for line in [*lines, *spread]:
            line.close()
    assert workers.pids == [None, None]


def connections(pid, port):
    """How many connections of clients a process has."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in found)


def answered(line):
    """The answer on a connection; None where it is closed."""
    try:
        line.request("POST", PREDICT, json.dumps(ROW))
        return json.loads(line.getresponse().read())
    except (OSError, http.client.HTTPException):
        return None
