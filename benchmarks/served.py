"""Requests a second of phlox serve, beside other model servers in Python with the same networks.

Every server is a process of its own, in an environment of its own (`scripts/install .venv-serve-NAME NAME`); one at a
time is asked. docs/performance.md says what is measured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _load import Load, Target, client, load
from _measure import Bar, Spread, Table, Times, command, interleave, median, quartiles, ratio, record, short, spreads

import phlox as px

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "onnxruntime", "uvicorn", "httptools", "uvloop")
OURS, ON_ONNX = "Phlox", "Phlox, the ONNX file"
PEERS = ("kserve", "mlserver", "litserve", "rayserve")
BY_ROW = ("litserve", "rayserve")  # those that are asked for a row without the axis of the batch
MODELS = {"small MLP": (16,), "ResNet-18 at 64²": (64, 64, 3), "encoder, 8 × 128": (8, 128)}
ASKED = {"small MLP": 3.0}  # times the best peer's requests a second, at most clients
LARGER = 1.2
SAME = 1e-5  # of batched answers and single ones
EQUAL = 1e-3  # of servers, relative to the largest number


@dataclass(frozen=True)
class Settings:
    rounds: int = 5
    seconds: float = 2.0
    clients: Sequence[int] = (1, 8, 32)
    models: Sequence[str] = tuple(MODELS)


QUICK = Settings(rounds=1, seconds=0.5, models=("small MLP",))


def network(name: str) -> Any:
    """A network with fresh weights."""
    with px.seed(0):
        if name == "small MLP":
            return px.Chain(px.Dense(16, 64, px.relu), px.Dense(64, 64, px.relu), px.Dense(64, 10))
        if name == "ResNet-18 at 64²":
            return px.models.create("resnet18", classes=10)
        return px.TransformerEncoder(lambda: px.TransformerEncoderLayer(128, 4, 512), 4)


def write(name: str, folder: Path) -> None:
    """A folder of models with a bundle, and one with its ONNX file alone."""
    (folder / "bundles" / "m").mkdir(parents=True)
    made, given = folder / "bundles" / "m" / "1", {"x": px.Spec("batch", *MODELS[name])}
    px.export(network(name), made, inputs=given, to=["stablehlo", "onnx"])
    (folder / "files" / "m").mkdir(parents=True)
    (folder / "files" / "m" / "1").mkdir()
    for file in made.glob("model.onnx*"):
        os.link(file, folder / "files" / "m" / "1" / file.name)


# --- servers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A server that runs, and how it is asked."""

    name: str
    port: int
    row: bool  # whether a request is one row without the axis of the batch

    def target(self, x: np.ndarray) -> Target:
        """The request for some rows."""
        if self.row:
            return Target(self.port, "/predict", json.dumps({"x": x[0].tolist()}).encode())
        one = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.reshape(-1).tolist()}
        return Target(self.port, "/v2/models/m/infer", json.dumps({"inputs": [one]}).encode())

    def ask(self, x: np.ndarray) -> np.ndarray:
        """What it answers for one row, as numbers in a row."""
        target = self.target(x)
        url, headers = f"http://127.0.0.1:{target.port}{target.path}", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, target.body, headers), timeout=60) as answer:
            told = json.load(answer)
        values = told["output"] if self.row else told["outputs"][0]["data"]
        return np.asarray(values, np.float64).reshape(-1)


def program(name: str, folder: Path, port: int) -> list[str] | str:
    """How a server is started; or why it is not."""
    if name in (OURS, ON_ONNX):
        source = folder / ("bundles" if name == OURS else "files")
        return [sys.executable, "-m", "phlox", "serve", str(source), "--port", str(port)]
    python = ROOT / f".venv-serve-{name}" / "bin" / "python"
    if not python.exists():
        return f"{name} is left out: scripts/install .venv-serve-{name} {name} makes its environment"
    return [str(python), str(ROOT / "benchmarks" / "servers" / f"on_{name}.py"), str(onnx_file(folder)), str(port)]


def onnx_file(folder: Path) -> Path:
    """The ONNX file that all peers serve."""
    [found] = (folder / "files" / "m" / "1").glob("*.onnx")
    return found


def free_port() -> int:
    """A port that is free now, with two more behind it, most likely."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@contextmanager
def running(name: str, line: Sequence[str], port: int, x: np.ndarray) -> Iterator[Server]:
    """A server, from its first answer on."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    if name in PEERS:
        environment.pop("PYTHONPATH", None)
    made = subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        server = Server(name, port, name in BY_ROW)
        wait(server, made, x)
        yield server
    finally:
        os.killpg(made.pid, signal.SIGTERM)
        try:
            made.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()


def wait(server: Server, process: subprocess.Popen[bytes], x: np.ndarray) -> None:
    """Wait for the first answer.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            server.ask(x)
            return
        except (OSError, urllib.error.URLError, KeyError, ValueError):
            time.sleep(0.1)
    raise RuntimeError(f"{server.name} does not answer")


# --- what is measured -----------------------------------------------------------------------------------------


@dataclass
class Race:
    """What was measured of one network with so many clients."""

    model: str
    clients: int
    times: Times  # seconds a request, one number a round
    late: Times  # the 99th percentile of a request's seconds

    @property
    def title(self) -> str:
        return f"{self.model}, {self.clients} client{'s' if self.clients > 1 else ''}"

    def peer(self) -> str | None:
        """The peer that answers most."""
        there = [n for n in PEERS if n in self.times]
        return min(there, key=lambda n: Spread.of(self.times[n]).median, default=None)

    def table(self) -> Table:
        rows, best = [], self.peer()
        for name, spread in spreads(self.times, 1e6):
            against = median(self.times, name, best)
            times = "–" if against is None else f"{short(1 / against)}×"
            late = short(1e3 * Spread.of(self.late[name]).median)
            rows.append([name, short(1e6 / spread.median), times, short(spread.median), quartiles(spread), late])
        header = ["", "requests/s", "times the best peer's", "µs a request", "quartiles", "99 %, ms"]
        return Table(self.title, header, rows)


@dataclass
class Results:
    races: list[Race]
    same: Mapping[str, float]  # the largest difference of batched answers and single ones, by network
    most: int  # clients
    notes: list[str] = field(default_factory=list)

    def bars(self) -> list[Bar]:
        """What ours is held to."""
        found = []
        for race in (race for race in self.races if race.clients == self.most):
            best = race.peer()
            against = median(race.times, best, OURS)
            what = f"{race.title}: requests/s, times the best peer's"
            found.append(Bar(what, ASKED.get(race.model, LARGER), against, at_most=False))
            late = None if best is None else ratio(race.late, OURS, best).median
            found.append(Bar(f"{race.title}: the 99th percentile, against that peer's", 1.0, late))
        return found + [Bar(f"{name}: batched against single", SAME, off, "") for name, off in self.same.items()]

    def tables(self) -> list[Table]:
        bars = Table("Bars for serving", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()])
        return [*(race.table() for race in self.races), bars]

    def json(self) -> dict[str, Any]:
        races = {
            r.title: {"times": record(r.times, 1e6, r.peer()), "late": record(r.late, 1e3, r.peer())}
            for r in self.races
        }
        return {"races": races, "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def difference(server: Server, shape: tuple[int, ...]) -> float:
    """The largest difference of answers that were asked for at once and one after the other."""
    rows = np.random.default_rng(1).standard_normal((64, 1, *shape)).astype(np.float32)
    alone = [server.ask(x) for x in rows]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(server.ask, rows))
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(a).max())) for a, b in zip(alone, together, strict=True))


def raced(name: str, folder: Path, settings: Settings, tell: Callable[[str], None], results: Results) -> None:
    """All servers with one network."""
    tell(f"{name}: writing it")
    write(name, folder)
    x = np.random.default_rng(0).standard_normal((1, *MODELS[name])).astype(np.float32)
    with ExitStack() as stack:
        servers = dict[str, Server]()
        for one in (OURS, ON_ONNX, *PEERS):
            port = free_port()
            line = program(one, folder, port)
            if isinstance(line, str):
                if line not in results.notes:
                    results.notes.append(line)
                continue
            tell(f"{name}: starting {one}")
            try:
                servers[one] = stack.enter_context(running(one, line, port, x))
            except RuntimeError as error:
                results.notes.append(f"{name}: {error}, and is left out")
        agreeing = agreed(name, servers, x, results.notes)
        results.same = {**results.same, name: difference(servers[OURS], MODELS[name])}
        for clients in settings.clients:
            tell(f"{name}: {clients} clients")
            results.races.append(race(name, clients, agreeing, x, settings))


def agreed(name: str, servers: Mapping[str, Server], x: np.ndarray, notes: list[str]) -> dict[str, Server]:
    """Those that answer what ours does."""
    answers = {one: server.ask(x) for one, server in servers.items()}
    wanted = answers[OURS]
    most = EQUAL * np.abs(wanted).max()
    near = {n: y.shape == wanted.shape and np.abs(y - wanted).max() <= most for n, y in answers.items()}
    notes.extend(f"{name}: {one} is left out: it answers something else" for one, same in near.items() if not same)
    return {one: server for one, server in servers.items() if near[one]}


def race(name: str, clients: int, servers: Mapping[str, Server], x: np.ndarray, settings: Settings) -> Race:
    """Ask each in turn."""
    late: Times = {one: [] for one in servers}

    def timer(one: Server) -> Callable[[], float]:
        def timed() -> float:
            found: Load = load(one.target(x), clients, settings.seconds)
            late[one.name].append(found.p99)
            return found.a_request

        return timed

    for one in servers.values():
        load(one.target(x), clients, min(1.0, settings.seconds))
    times = interleave({n: timer(one) for n, one in servers.items()}, settings.rounds)
    return Race(name, clients, times, late)


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    results = Results([], {}, max(settings.clients))
    for name in settings.models:
        with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
            raced(name, Path(made), settings, tell, results)
    results.notes.append(f"asked by {client()}")
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    return command("served", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
