"""A step of Adam on a LoRA beside a GPT-2: px.adapt beside PEFT on PyTorch.

Both have the same base and the same adapter, of one A for queries and values, which PEFT's is of the fused layer; each
contender has a process of its own, and they take turns. docs/performance.md says what is measured.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, fastest, interleave, median, quartiles, record, short, spreads
from _processes import LeftOutError, Place, Process
from _worker import forget_peak, resident
from frameworks import Form
from language import SMALL, block, unequal

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "torch", "transformers", "peft")
FORMS = {
    form.name: form
    for form in (
        Form("Phlox", "phlox"),
        Form("Phlox, memory kept", "phlox", "kept"),
        Form("PEFT, eager", "torch"),
        Form("PEFT, torch.compile", "torch", "compile"),
    )
}
OURS = [name for name, form in FORMS.items() if form.framework == "phlox"]
THEIRS = [name for name in FORMS if name not in OURS]
RANK, RATE = 8, 1e-3


@dataclass(frozen=True)
class Settings:
    rounds: int = 9
    steps: int = 1  # in a block
    batch: int = 8
    time: int = 128
    small: bool = False


QUICK = Settings(rounds=2, batch=2, time=16, small=True)


def adapted(model: Any) -> Any:
    """The model with a fresh adapter of queries and values, whose A are alike."""
    px.adapt.lora(model, RANK, where=("**.q_proj", "**.v_proj"), key=0)
    for one in model.blocks:
        query, value = (layer.adapters["default"] for layer in (one.attention.q_proj, one.attention.v_proj))
        value.a = px.copy(query.a)
    return model


def write(folder: Path, settings: Settings) -> int:
    """The base, the adapter and tokens; return how many numbers the adapter has."""
    config = px.eval_shape(lambda: px.models.create("gpt2")).config
    known = {field.name for field in dataclasses.fields(config)} if settings.small else set()
    calm = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)  # what is frozen infers here, and not there
    config = dataclasses.replace(config, **calm, **{k: v for k, v in SMALL.items() if k in known})
    with px.seed(0):
        model = px.models.create(config)
    px.models.save(model, folder)
    px.adapt.save(adapted(model), folder / "adapter")
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, config.vocab_size, (settings.batch, settings.time)))
    return sum(array.size for array in px.split(model)[0].values())


# --- in a process of its own --------------------------------------------------------------------------


def with_phlox(form: Form, folder: Path) -> tuple[Callable[[], float], Callable[[], Any]]:
    """The loss, and a step whose last result is waited for by reading it."""
    import jax.numpy as jnp

    if form.kind == "kept":
        px.keep_freed_memory()
    model = adapted(px.models.load(folder))
    tokens = jnp.asarray(np.load(folder / "tokens.npy").astype(np.int32))
    opt = px.Optimizer(px.optim.Adam(RATE), model)

    def loss_of(model: Any, x: Any) -> Any:
        return px.losses.cross_entropy(model(x)[:, :-1], x[:, 1:])

    @px.jit
    def step(model: Any, opt: Any, x: Any) -> Any:
        loss, grads = px.value_and_grad(lambda model: loss_of(model, x))(model)
        opt.update(model, grads)
        return loss

    calm = px.jit(loss_of)
    return lambda: float(calm(model, tokens)), lambda: step(model, opt, tokens)


def with_torch(form: Form, folder: Path) -> tuple[Callable[[], float], Callable[[], Any]]:
    """As above."""
    import peft
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    transformers.utils.logging.disable_progress_bar()
    base = transformers.GPT2LMHeadModel.from_pretrained(folder)
    model = peft.PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
    tokens = torch.tensor(np.load(folder / "tokens.npy"))
    call = torch.compile(model) if form.kind == "compile" else model
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)

    def calm() -> float:
        with torch.inference_mode():
            return float(model(tokens, labels=tokens).loss)

    def step() -> Any:
        model.train()
        adam.zero_grad()
        loss = call(tokens, labels=tokens).loss
        loss.backward()
        adam.step()
        return loss.detach()

    return calm, step


def child(name: str, folder: Path) -> None:
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
        calm, step = (with_phlox if form.framework == "phlox" else with_torch)(form, folder)
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

    def __init__(self, form: Form, folder: Path):
        env = Place().env(form, folder / "cache" / form.name.replace(" ", "-"))
        self.popen = subprocess.Popen(
            [sys.executable, __file__, "--child", form.name, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True,
        )  # fmt: skip
        self.ready = self._answer()


@dataclass
class Results:
    title: str
    times: Times  # seconds a step, one number a round
    peaks: dict[str, int | None]  # bytes
    first: dict[str, float]  # seconds of the first step
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What Phlox is held to: the faster of its two forms, against the faster of PEFT's."""
        ours, best = fastest(self.times, OURS) or OURS[0], fastest(self.times, THEIRS)
        what = f"{self.title}: {ours}, against {best or 'PEFT'}"
        return [Bar(what, 1.0, median(self.times, ours, best))]

    def tables(self) -> list[Table]:
        header = ["", "ms a step", "times Phlox", "quartiles, ms", "peak MiB", "first, s"]
        rows = []
        for name, spread in spreads(self.times, 1e3):
            against, peak = median(self.times, name, OURS[0]), self.peaks[name]
            row = [name, short(spread.median), "–" if against is None else f"{short(against)}×", quartiles(spread)]
            rows.append([*row, "–" if peak is None else f"{peak / 2**20:.0f}", short(self.first[name])])
        bars = [bar.row() for bar in self.bars()]
        return [Table(self.title, header, rows), Table("Bars for adapters", ["", "asked", "measured", "verdict"], bars)]

    def json(self) -> dict[str, Any]:
        return {
            "adapting": {self.title: record(self.times, 1e3, OURS[0])},
            "units": {"adapting": "ms"},
            "races": [asdict(self)],
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


@contextlib.contextmanager
def started(folder: Path, notes: list[str], tell: Callable[[str], None]) -> Iterator[dict[str, Contender]]:
    """The contenders that do equal work, ready."""
    with contextlib.ExitStack() as stack:
        ready: dict[str, Contender] = {}
        for form in FORMS.values():
            tell(form.name)
            try:
                ready[form.name] = Contender(form, folder)
                stack.callback(ready[form.name].end)
            except LeftOutError as reason:
                notes.append(f"{form.name} is left out: {reason}")
        for name, reason in unequal(ready, "training").items():
            notes.append(f"{name} is left out: {reason}")
            del ready[name]
        yield ready


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        folder = Path(made)
        count = write(folder, settings)
        gc.collect()
        title = f"LoRA of {count / 1e3:.3g} thousand numbers beside gpt2, {settings.batch}×{settings.time} tokens, a step of Adam"
        with started(folder, notes, tell) as ready:
            tell("timing")
            ask = lambda process: lambda: process.ask(settings.steps)["seconds"]  # noqa: E731
            times = interleave({key: ask(process) for key, process in ready.items()}, settings.rounds)
            peaks = {key: process.ask("memory")["peak"] for key, process in ready.items()}
            first = {key: process.ready["first"] for key, process in ready.items()}
    return Results(title, times, peaks, first, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("adapting", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
        raise SystemExit(0)
    raise SystemExit(main())
