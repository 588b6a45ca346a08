"""Tokens a second of phlox serve, beside transformers serve with its continuous batching, for one GPT-2.

Every server is a process of its own, on the same weights, theirs in an environment of its own (`scripts/install
.venv-serve-transformers transformers`), and stands still while the other one is asked. docs/serving-language.md says
what is measured.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Spread, Table, Times, command, interleave, median, quartiles, ratio, record, short, spreads
from served import free_port

import phlox as px

PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "transformers", "uvicorn", "httptools", "uvloop")
OURS, THEIRS = "Phlox", "transformers serve"
ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "serving-language.md"
THEIR_PYTHON = ROOT / ".venv-serve-transformers" / "bin" / "python"
AT_EIGHT = 2.0  # times their tokens a second
COMPILED = "Finished XLA compilation"  # as JAX logs it


@dataclass(frozen=True)
class Settings:
    rounds: int = 3
    streams: Sequence[tuple[int, int, bool]] = (  # texts of each in a round, and whether its prompts come again
        (1, 2, True),
        (8, 1, True),
        (8, 1, False),
        (32, 1, True),
    )
    prompts: tuple[int, int] = (16, 128)  # tokens, from the shortest to the longest
    new: tuple[int, int] = (24, 48)
    small: bool = False


QUICK = Settings(rounds=1, streams=((1, 1, True), (8, 1, False)), prompts=(4, 24), new=(4, 12), small=True)


def write(folder: Path, settings: Settings) -> int:
    """A GPT-2 with fresh weights that no token ends, and a tokenizer that has a word for each token.

    Its weights are larger than usual: else each text would be its last token again and again, in any order of batches.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    config = dataclasses.replace(px.models.GPT2Config(), eos_token_id=None, bos_token_id=None, initializer_range=0.2)
    if settings.small:
        config = dataclasses.replace(config, vocab_size=200, n_positions=256, n_embd=32, n_layer=2, n_head=2)
    with px.seed(0):
        px.models.save(px.models.create(config), folder)
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(config.vocab_size)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.n_positions}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
    return config.vocab_size


# --- servers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    port: int
    model: str
    process: subprocess.Popen[bytes]
    log: Path

    def pause(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    @property
    def compiled(self) -> int:
        """How many programs it has compiled so far."""
        return self.log.read_text("utf-8").count(COMPILED)


def program(name: str, folder: Path, port: int) -> list[str] | str:
    """How a server is started; or why it is not."""
    if name == OURS:
        return [sys.executable, "-m", "phlox", "serve", str(folder), "--port", str(port), "--slots", "32"]
    if not THEIR_PYTHON.exists():
        return f"{name} is left out: scripts/install .venv-serve-transformers transformers makes its environment"
    line = "from transformers.cli.transformers import main; main()"
    options = ["--continuous-batching", "--device", "cpu", "--dtype", "float32", "--port", str(port)]
    return [str(THEIR_PYTHON), "-c", line, "serve", *options, str(folder)]


@contextmanager
def running(name: str, line: Sequence[str], port: int, folder: Path) -> Iterator[Server]:
    """A server, from its first answer on."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", "JAX_LOG_COMPILES": "1"}
    if name == THEIRS:
        environment.pop("PYTHONPATH", None)
    log = folder.with_name(f"{name}.log")
    with log.open("wb") as lines:
        made = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=lines, start_new_session=True)
    server = Server(name, port, folder.name if name == OURS else str(folder), made, log)
    try:
        wait(server)
        yield server
    finally:
        server.resume()
        os.killpg(made.pid, signal.SIGTERM)
        try:
            made.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()


def wait(server: Server) -> None:
    """Wait for the first answer.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    end = time.monotonic() + 300
    while time.monotonic() < end and server.process.poll() is None:
        try:
            asyncio.run(asked(server, "t1 t2", 2))
        except (OSError, RuntimeError, ValueError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"{server.name} does not answer")


# --- clients --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One text: when its first token came and its last, in seconds, and what it says."""

    first: float
    whole: float
    text: str


async def asked(server: Server, prompt: str, new: int) -> Answer:
    """Ask for a text, piece by piece.

    Raises:
        RuntimeError: the answer is an error, or ends early.
    """
    body = {"model": server.model, "prompt": prompt, "max_tokens": new, "temperature": 0, "stream": True}
    content, start = json.dumps(body).encode(), time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    try:
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{server.name} answers {status.decode().strip()}")
        first, pieces = 0.0, []
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                told = json.loads(line[6:])
                piece = "".join(choice.get("text") or "" for choice in told["choices"])
                first = first or (time.perf_counter() - start if piece else 0.0)
                pieces.append(piece)
    finally:
        writer.close()
    text = "".join(pieces)
    if len(text.split()) != new:
        raise RuntimeError(f"{server.name} wrote {len(text.split())} of {new} tokens")
    return Answer(first, time.perf_counter() - start, text)


@dataclass(frozen=True)
class Work:
    """What the streams of a round ask for: prompts and new tokens, for each stream one after the other."""

    streams: Sequence[Sequence[tuple[str, int]]]

    @classmethod
    def drawn(cls, streams: int, each: int, vocabulary: int, settings: Settings, number: int = 0) -> Work:
        drawn = np.random.default_rng([streams, number] if number else streams)

        def one() -> tuple[str, int]:
            ids = drawn.integers(0, vocabulary, drawn.integers(*settings.prompts, endpoint=True))
            return " ".join(f"t{i}" for i in ids), int(drawn.integers(*settings.new, endpoint=True))

        return cls([[one() for _ in range(each)] for _ in range(streams)])

    @property
    def tokens(self) -> int:
        """New tokens of all."""
        return sum(new for stream in self.streams for _, new in stream)

    async def ask(self, server: Server) -> list[Answer]:
        """All answers, stream after stream."""

        async def stream(texts: Sequence[tuple[str, int]]) -> list[Answer]:
            return [await asked(server, *one) for one in texts]

        return [x for xs in await asyncio.gather(*map(stream, self.streams)) for x in xs]


# --- what is measured -----------------------------------------------------------------------------------------


@dataclass
class Race:
    """What was measured with so many streams."""

    streams: int
    again: bool  # whether prompts are those of the round before
    times: Times  # seconds a token, one number a round
    first: Times  # the 95th percentile of the seconds to a first token
    middle: Times  # and their median

    @property
    def title(self) -> str:
        return f"GPT-2, {self.streams} stream{'s' if self.streams > 1 else ''}{'' if self.again else ', new prompts'}"

    def table(self) -> Table:
        rows = []
        for name, spread in spreads(self.times, 1e3):
            against = median(self.times, name, THEIRS)
            times = "–" if against is None else f"{short(1 / against)}×"
            first = [short(1e3 * Spread.of(found[name]).median) for found in (self.middle, self.first)]
            rows.append([name, short(1e3 / spread.median), times, short(spread.median), quartiles(spread), *first])
        header = ["", "tokens/s", f"times {THEIRS}", "ms a token", "quartiles", "first token, ms", "the 95th of 100"]
        return Table(self.title, header, rows)


@dataclass
class Results:
    races: list[Race]
    notes: list[str] = field(default_factory=list)
    compiled: int | None = None  # programs that ours compiled while it was asked

    def bars(self) -> list[Bar]:
        """What ours is held to."""
        found = []
        for race in self.races:
            there = THEIRS in race.times
            against = median(race.times, THEIRS, OURS) if there else None
            asked_for = AT_EIGHT if race.streams == 8 and race.again else 1.0
            found.append(Bar(f"{race.title}: tokens/s, times theirs", asked_for, against, at_most=False))
            late = ratio(race.first, OURS, THEIRS).median if there else None
            found.append(Bar(f"{race.title}: the first token's 95th percentile, against theirs", 1.0, late))
        found.append(Bar("programs compiled while texts of all lengths are asked for", 0, self.compiled, ""))
        return found

    def tables(self) -> list[Table]:
        bars = Table("Bars for texts", ["", "asked", "measured", "verdict"], [bar.row() for bar in self.bars()])
        return [*(race.table() for race in self.races), bars]

    def json(self) -> dict[str, Any]:
        races = {
            r.title: {"times": record(r.times, 1e3, THEIRS), "first": record(r.first, 1e3, THEIRS)} for r in self.races
        }
        return {"races": races, "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def race(works: Sequence[Work], servers: Mapping[str, Server], settings: Settings, notes: list[str]) -> Race:
    """Ask each in turn, after a round that does not count, for one work after the other; the others stand still."""
    found = Race(
        len(works[0].streams), works[0] is works[-1], {}, {one: [] for one in servers}, {o: [] for o in servers}
    )
    said: dict[str, list[list[str]]] = {}
    rounds = {name: iter(works) for name in servers}

    def timer(server: Server, *, counts: bool = True) -> Callable[[], float]:
        def timed() -> float:
            work = next(rounds[server.name])
            server.resume()
            start = time.perf_counter()
            answers = asyncio.run(work.ask(server))
            seconds = time.perf_counter() - start
            server.pause()
            said[server.name] = [answer.text.split() for answer in answers]
            if counts:
                for times, percent in ((found.first, 95), (found.middle, 50)):
                    times[server.name].append(float(np.percentile([x.first for x in answers], percent)))
            return seconds / work.tokens

        return timed

    for server in servers.values():
        timer(server, counts=False)()
    found.times = interleave({name: timer(server) for name, server in servers.items()}, settings.rounds)
    if len(said) > 1:
        same = sum(a == b for a, b in zip(*said.values(), strict=True))
        notes.append(f"{found.title}: {same} of {len(said[OURS])} texts are the same, token for token")
    return found


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    results = Results([])
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made, ExitStack() as stack:
        folder = Path(made) / "gpt2"
        tell("writing the model")
        vocabulary = write(folder, settings)
        servers = dict[str, Server]()
        for name in (OURS, THEIRS):
            port = free_port()
            line = program(name, folder, port)
            if isinstance(line, str):
                results.notes.append(line)
                continue
            tell(f"starting {name}")
            servers[name] = stack.enter_context(running(name, line, port, folder))
            servers[name].pause()
        before = servers[OURS].compiled
        for streams, each, again in settings.streams:
            tell(f"{streams} streams")
            one = Work.drawn(streams, each, vocabulary, settings)
            others = [Work.drawn(streams, each, vocabulary, settings, n + 1) for n in range(settings.rounds)]
            works = [one] * (settings.rounds + 1) if again else [one, *others]
            results.races.append(race(works, servers, settings, results.notes))
        results.compiled = servers[OURS].compiled - before
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    return command("served language", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
