"""Requests on a server: so many clients, each of which asks again when it has its answer. wrk asks, where it is.

As a program, ``_load.py PORT PATH BODY CLIENTS SECONDS`` is our own client, in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_HEAD = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Target:
    """What is asked."""

    port: int
    path: str
    body: bytes

    @property
    def request(self) -> bytes:
        return _HEAD.format(self.path, len(self.body)).encode() + self.body


@dataclass(frozen=True)
class Load:
    """What came of it; seconds."""

    a_request: float  # 1 / requests a second
    p99: float


def load(target: Target, clients: int, seconds: float) -> Load:
    """Ask for so long.

    Raises:
        RuntimeError: an answer was an error.
    """
    return _by_wrk(target, clients, seconds) if shutil.which("wrk") else _by_ours(target, clients, seconds)


def client() -> str:
    """Who asks."""
    return "wrk" if shutil.which("wrk") else "a client in Python"


def _by_wrk(target: Target, clients: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as folder:
        (body := Path(folder) / "body").write_bytes(target.body)
        script = Path(folder) / "post.lua"
        lines = [f'wrk.method, wrk.body = "POST", io.open("{body}", "rb"):read("*a")']
        script.write_text("\n".join([*lines, 'wrk.headers["Content-Type"] = "application/json"']) + "\n", "utf-8")
        url = f"http://127.0.0.1:{target.port}{target.path}"
        command = [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{max(1, round(seconds))}s",
            "--latency",
            "--timeout",
            "60s",
            "-s",
            str(script),
            url,
        ]
        return read_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def read_wrk(text: str) -> Load:
    """What wrk says.

    Raises:
        RuntimeError: an answer was an error.
    """
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text.strip())
    rate, late = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if rate is None or late is None:
        raise RuntimeError(text.strip())
    return Load(1 / float(rate[1]), float(late[1]) * _UNITS[late[2]])


def _by_ours(target: Target, clients: int, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile(prefix="phlox-bench-") as body:
        body.write(target.body)
        body.flush()
        what = [target.port, target.path, body.name, clients, seconds]
        command = [sys.executable, __file__, *map(str, what)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["the client failed"])[-1])
        return Load(**json.loads(done.stdout))


class _Client(asyncio.Protocol):
    """One connection: asks, and asks again."""

    def __init__(self, request: bytes, times: list[float], end: float, done: asyncio.Future[None]):
        self._request, self._times, self._end, self.done = request, times, end, done
        self._got, self._length = b"", -1

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._got, self._length = b"", -1
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._length < 0:
            head, found, _ = self._got.partition(b"\r\n\r\n")
            if not found:
                return
            told = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if b" 200 " not in head[:16] or told is None:
                self._fail(self._got[:300].decode("latin-1"))
                return
            self._length = len(head) + 4 + int(told[1])
        if len(self._got) >= self._length:
            now = time.perf_counter()
            self._times.append(now - self._asked)
            if now < self._end:
                self._ask()
            elif not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was closed")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


async def _ask(target: Target, clients: int, seconds: float) -> Load:
    loop, times = asyncio.get_running_loop(), list[float]()
    begin = time.perf_counter()
    made = [_Client(target.request, times, begin + seconds, loop.create_future()) for _ in range(clients)]
    for one in made:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", target.port)
    await asyncio.gather(*[one.done for one in made])
    took = time.perf_counter() - begin
    for one in made:
        one._transport.close()
    return Load(took / len(times), sorted(times)[int(0.99 * (len(times) - 1))])


def main(port: str, path: str, body: str, clients: str, seconds: str) -> None:
    from phlox.serving._server import _loop_factory

    target = Target(int(port), path, Path(body).read_bytes())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        found = runner.run(_ask(target, int(clients), float(seconds)))
    print(json.dumps({"a_request": found.a_request, "p99": found.p99}))


if __name__ == "__main__":
    main(*sys.argv[1:])
