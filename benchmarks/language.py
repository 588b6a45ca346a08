"""Language models of px.models beside transformers on PyTorch: one forward pass, or one step of Adam, of each.

The models have the same weights, written by px.models.save; each contender has a process of its own, and they take
turns. docs/performance.md says what is measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, fastest, interleave, median, quartiles, record, short, spreads
from _processes import LeftOutError, Place, Process
from _worker import forget_peak, resident
from frameworks import Form

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "torch", "transformers")
FORMS = {
    form.name: form
    for form in (
        Form("Phlox", "phlox"),
        Form("Phlox, memory kept", "phlox", "kept"),
        Form("transformers, eager", "torch"),
        Form("transformers, torch.compile", "torch", "compile"),
    )
}
OURS = [name for name, form in FORMS.items() if form.framework == "phlox"]
THEIRS = [name for name in FORMS if name not in OURS]
MODELS = {"bert_base_uncased": "fill-mask", "gpt2": "text-generation"}  # by variant, the task of the head
KINDS = {"forward": "a forward pass", "training": "a step of Adam"}
RATE = 1e-4
EQUAL = 1e-3  # of a loss before training, relative


@dataclass(frozen=True)
class Settings:
    rounds: int = 9
    steps: int = 1  # in a block
    batch: int = 8
    time: int = 128
    small: bool = False


QUICK = Settings(rounds=2, batch=2, time=16, small=True)
SMALL = {  # by the names of either family
    "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip


def write(name: str, folder: Path, settings: Settings) -> int:
    """A model with fresh weights, and tokens for it; return how many numbers it has."""
    config = px.eval_shape(lambda: px.models.create(name, task=MODELS[name])).config
    if settings.small:
        known = {field.name for field in dataclasses.fields(config)}
        config = dataclasses.replace(config, **{k: v for k, v in SMALL.items() if k in known})
    with px.seed(0):
        model = px.models.create(config)
    px.models.save(model, folder)
    shape = (2, settings.batch, settings.time)
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, config.vocab_size, shape))
    return sum(array.size for array in px.paths(px.split(model)[0]).values())


# --- in a process of its own --------------------------------------------------------------------------


def with_phlox(form: Form, folder: Path, kind: str) -> tuple[Callable[[], float], Callable[[], Any]]:
    """The loss without dropout, and a step whose last result is waited for by reading it."""
    import jax.numpy as jnp

    if form.kind == "kept":
        px.keep_freed_memory()
    model = px.models.load(folder)
    tokens, labels = jnp.asarray(np.load(folder / "tokens.npy").astype(np.int32))
    writes = model.config.task == "text-generation"

    def loss_of(model: Any, x: Any) -> Any:
        scores = model(x)
        wanted = (scores[:, :-1], x[:, 1:]) if writes else (scores, labels)
        return px.losses.cross_entropy(*wanted)

    calm = px.jit(loss_of)
    if kind == "forward":
        forward = px.jit(lambda model, x: model(x))
        return lambda: float(calm(model, tokens)), lambda: forward(model, tokens)
    opt = px.Optimizer(px.optim.Adam(RATE), model)

    @px.jit
    def step(model: Any, opt: Any, x: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: loss_of(model, x))(model)
        opt.update(model, grads)
        return loss

    return lambda: float(calm(model, tokens)), lambda: step(model, opt, tokens)


def with_torch(form: Form, folder: Path, kind: str) -> tuple[Callable[[], float], Callable[[], Any]]:
    """As above."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    transformers.utils.logging.disable_progress_bar()
    named = json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    model = getattr(transformers, named).from_pretrained(folder)
    tokens, labels = torch.tensor(np.load(folder / "tokens.npy"))
    labels = tokens if named.startswith("GPT2") else labels  # which it shifts itself
    call = torch.compile(model) if form.kind == "compile" else model
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def calm() -> float:
        model.eval()
        with torch.inference_mode():
            return float(model(tokens, labels=labels).loss)

    def forward() -> Any:
        with torch.inference_mode():
            return call(tokens).logits

    def step() -> Any:
        model.train()
        adam.zero_grad()
        loss = call(tokens, labels=labels).loss
        loss.backward()
        adam.step()
        return loss.detach()

    return calm, forward if kind == "forward" else step


def block(step: Callable[[], Any], steps: int) -> float:
    """Seconds a step, with one wait, for the last."""
    begin = time.perf_counter()
    result = None
    for _ in range(steps):
        result = step()
    float(result.reshape(-1)[-1])  # pyright: ignore[reportOptionalMemberAccess]
    return (time.perf_counter() - begin) / steps


def child(name: str, folder: Path, kind: str) -> None:
    """Make a contender ready, then time a block for each line of JSON that comes in."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        form = FORMS[name]
        gc.collect()
        forget_peak()
        before = resident("VmRSS")
        calm, step = (with_phlox if form.framework == "phlox" else with_torch)(form, folder, kind)
        begin = calm()
        first = block(step, 1)
        block(step, 2)
        answer(loss=begin, first=first, after=calm())
        for line in sys.stdin:
            if json.loads(line) == "memory":
                peak = resident("VmHWM")
                answer(peak=None if peak is None or before is None else peak - before)
            else:
                block(step, 1)  # fills the caches again
                answer(seconds=block(step, json.loads(line)))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


# --- all of them --------------------------------------------------------------------------------------


class Contender(Process):
    """A contender's process."""

    def __init__(self, form: Form, folder: Path, kind: str):
        arguments = [sys.executable, __file__, "--child", form.name, str(folder), kind]
        env = Place().env(form, folder / "cache" / form.name.replace(" ", "-"))
        self.popen = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
        )
        self.ready = self._answer()


@dataclass(frozen=True)
class Race:
    """What was measured of one model and kind of step, by contender."""

    title: str
    times: Times  # seconds a step, one number a round
    peaks: dict[str, int | None]  # bytes
    first: dict[str, float]  # seconds of the first step


@dataclass
class Results:
    races: list[Race]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What Phlox is held to: the faster of its two forms, against the fastest of transformers'."""
        found = []
        for race in self.races:
            ours, best = fastest(race.times, OURS) or OURS[0], fastest(race.times, THEIRS)
            what = f"{race.title}: {ours}, against {best or 'transformers'}"
            found.append(Bar(what, 1.0, median(race.times, ours, best)))
        return found

    def tables(self) -> list[Table]:
        header = ["", "ms a step", "times Phlox", "quartiles, ms", "peak MiB", "first, s"]
        found = []
        for race in self.races:
            rows = []
            for name, spread in spreads(race.times, 1e3):
                against, peak = median(race.times, name, OURS[0]), race.peaks[name]
                row = [name, short(spread.median), "–" if against is None else f"{short(against)}×", quartiles(spread)]
                rows.append([*row, "–" if peak is None else f"{peak / 2**20:.0f}", short(race.first[name])])
            found.append(Table(race.title, header, rows))
        bars = [bar.row() for bar in self.bars()]
        return [*found, Table("Bars for models of text", ["", "asked", "measured", "verdict"], bars)]

    def json(self) -> dict[str, Any]:
        return {
            "language": {race.title: record(race.times, 1e3, OURS[0]) for race in self.races},
            "units": {"language": "ms"},
            "races": [asdict(race) for race in self.races],
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


@contextlib.contextmanager
def started(folder: Path, kind: str, notes: list[str], tell: Callable[[str], None]) -> Iterator[dict[str, Contender]]:
    """The contenders that do equal work, ready."""
    with contextlib.ExitStack() as stack:
        ready: dict[str, Contender] = {}
        for form in FORMS.values():
            tell(f"{folder.name}, {kind}: {form.name}")
            try:
                ready[form.name] = Contender(form, folder, kind)
                stack.callback(ready[form.name].end)
            except LeftOutError as reason:
                notes.append(f"{folder.name}, {kind}: {form.name} is left out: {reason}")
        for name, reason in unequal(ready, kind).items():
            notes.append(f"{folder.name}, {kind}: {name} is left out: {reason}")
            del ready[name]
        yield ready


def unequal(ready: dict[str, Any], kind: str) -> dict[str, str]:
    """Why contenders do other work than the first: another loss, or one that does not fall in training."""
    found: dict[str, str] = {}
    loss = next((process.ready["loss"] for process in ready.values()), 0.0)
    for name, process in ready.items():
        mine, after = process.ready["loss"], process.ready["after"]
        if not abs(mine - loss) <= EQUAL * abs(loss):
            found[name] = f"its loss is {mine:.6g}, that of {next(iter(ready))} {loss:.6g}"
        elif kind == "training" and not after < mine:
            found[name] = f"its loss went from {mine:.4g} to {after:.4g}"
    return found


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    races, notes = [], []
    for name in MODELS:
        with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
            folder = Path(made) / name
            tell(f"{name}: writing it")
            try:
                count = write(name, folder, settings)
            except px.RangeError as reason:
                notes.append(f"{name} is left out: {reason}")
                continue
            gc.collect()
            for kind, what in KINDS.items():
                title = f"{name}, {count / 1e6:.3g} million numbers, {settings.batch}×{settings.time} tokens, {what}"
                with started(folder, kind, notes, tell) as ready:
                    tell(f"{name}, {kind}: timing")
                    ask = lambda process: lambda: process.ask(settings.steps)["seconds"]  # noqa: E731
                    times = interleave({key: ask(process) for key, process in ready.items()}, settings.rounds)
                    peaks = {key: process.ask("memory")["peak"] for key, process in ready.items()}
                    first = {key: process.ready["first"] for key, process in ready.items()}
                races.append(Race(title, times, peaks, first))
    return Results(races, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("language", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
        raise SystemExit(0)
    raise SystemExit(main())
