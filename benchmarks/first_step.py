"""From nothing to the end of a first training step: ResNet-50, BERT and a GPT of 24 layers, beside plain JAX's own.

Each contender starts in a fresh process, with no folder of compiled programs, and they take turns. JAX tells by itself
how long it traced, lowered and compiled. docs/performance.md says what is measured.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, record, short
from _processes import Place
from frameworks import Form
from language import PAGE
from workloads import _residual, _transformer, resnet50
from workloads._workload import Batch, Workload, noise, tokens

PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "optax", "numpy")
PHLOX, REPEATED, JAX = "Phlox", "Phlox, RepeatedLayer", "plain JAX"
FORMS = {form.name: form for form in (Form(PHLOX, "phlox"), Form(REPEATED, "phlox", "repeated"), Form(JAX, "jax"))}
PHASES = {
    "tracing": "/jax/core/compile/jaxpr_trace_duration",
    "lowering": "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "XLA": "/jax/core/compile/backend_compile_duration",
}
MOST, FRACTION = 1.5, 0.5  # what Phlox, and what its layers in a loop may take, in times of plain JAX

RESNET = resnet50.PLAN
BERT = _transformer.Plan(768, 12, 12, 128, vocabulary=30522, norm_first=False, pooled=True, classes=2)
GPT = _transformer.Plan(256, 8, 24, 128, vocabulary=1000, causal=True, classes=1000)


def texts(count: int, plan: _transformer.Plan) -> Callable[[np.random.Generator], Batch]:
    """Texts, each with a class."""

    def draw(rng: np.random.Generator) -> Batch:
        words = rng.integers(0, plan.vocabulary or 0, (count, plan.length)).astype(np.int32)
        return words, rng.integers(0, plan.classes or 0, count).astype(np.int32)

    return draw


def workloads(small: bool) -> dict[str, tuple[Workload, tuple[str, ...]]]:
    """The models by title, with who starts them; ``small`` ones show that it runs."""
    resnet, bert, gpt = RESNET, BERT, GPT
    if small:
        resnet = dataclasses.replace(RESNET, side=32, blocks=RESNET.blocks[:1])
        tiny: dict[str, Any] = {"dim": 32, "heads": 2, "layers": 2, "length": 16, "vocabulary": 50}
        bert, gpt = dataclasses.replace(BERT, **tiny), dataclasses.replace(GPT, **tiny, classes=50)
    pictures = noise(2, resnet.side, resnet.side, 3, classes=resnet.classes)
    common: dict[str, Any] = {"bar": MOST, "steps": 1, "batches": 1}
    of_gpt = _transformer.models(gpt)
    found = {
        f"ResNet-50, 2×{resnet.side}×{resnet.side}": ("resnet", pictures, _residual.models(resnet), (PHLOX, JAX)),
        f"BERT, {bert.layers} layers of {bert.dim}, 2×{bert.length} tokens": (
            "bert", texts(2, bert), _transformer.models(bert), (PHLOX, JAX),
        ),
        f"GPT, {gpt.layers} layers of {gpt.dim}, 2×{gpt.length} tokens": (
            "gpt", tokens(2, gpt.length, vocabulary=gpt.vocabulary or 0),
            {**of_gpt, "repeated": lambda: repeated(gpt)}, (PHLOX, REPEATED, JAX),
        ),
    }  # fmt: skip
    return {
        title: (Workload(name, title, batch, models, **common), forms)
        for title, (name, batch, models, forms) in found.items()
    }


def repeated(plan: _transformer.Plan) -> Any:
    """The GPT with its layers in a loop."""
    import phlox as px

    options: dict[str, Any] = {"act": px.gelu, "dropout": 0.0, "norm_first": True, "causal": True}
    return px.Chain(
        px.Embedding(plan.vocabulary, plan.dim),
        px.PositionEmbedding(plan.length, plan.dim),
        px.nn.RepeatedLayer(lambda: px.TransformerEncoderLayer(plan.dim, plan.heads, **options), plan.layers),
        px.LayerNorm(plan.dim),
        px.Dense(plan.dim, plan.classes),
    )


@dataclass(frozen=True)
class Settings:
    rounds: int = 2
    small: bool = False


QUICK = Settings(rounds=1, small=True)


# --- in a process of its own --------------------------------------------------------------------------


@contextmanager
def phases() -> Iterator[dict[str, float]]:
    """Seconds of each phase within the block; functions that are traced within others count once."""
    found = dict.fromkeys(PHASES, 0.0)

    def hear(event: str, seconds: float, **_: Any) -> None:
        for name, wanted in PHASES.items():
            if event == wanted:
                found[name] = max(found[name], seconds) if name == "tracing" else found[name] + seconds

    jax.monitoring.register_event_duration_secs_listener(hear)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(hear)


def told(form: Form, workload: Workload) -> dict[str, float]:
    """Seconds until the model is there, of the first step and its phases, and of a later one; and its parameters."""
    framework = importlib.import_module(f"frameworks.on_{form.framework}")
    framework.start(form)
    models = dict(workload.models)
    if form.kind:
        models[form.framework] = models[form.kind]
    gc.collect()
    begin = time.perf_counter()
    contender = framework.contender(dataclasses.replace(workload, models=models), form, False)
    built = time.perf_counter()
    with phases() as found:
        loss = contender.run(1)
        first = time.perf_counter()
    contender.run(1)
    later = time.perf_counter()
    contender.run(1)
    return {
        "model": built - begin, "first": first - built, **found, "later": time.perf_counter() - later, "loss": loss,
        "parameters": contender.parameters,
    }  # fmt: skip


def child(arguments: Sequence[str]) -> bool:
    """Be a contender where the command line asks for it; whether it did."""
    if arguments[1:2] != ["--child"]:
        return False
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    form, title, small = arguments[2], arguments[3], arguments[4] == "small"
    print(json.dumps(told(FORMS[form], workloads(small)[title][0])), file=answers, flush=True)
    return True


# --- all of them --------------------------------------------------------------------------------------


def started(form: Form, title: str, settings: Settings) -> dict[str, float]:
    """What a fresh process tells, which finds nothing compiled."""
    off = {"PHLOX_COMPILE_CACHE": "off"}
    known = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    threads = {name: str(Place().cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    size = "small" if settings.small else "full"
    command = [sys.executable, __file__, "--child", form.name, title, size]
    done = subprocess.run(command, env=known | threads | off, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@dataclass
class Start:
    """What was told of one model, by contender and round."""

    title: str
    told: Mapping[str, list[dict[str, float]]]

    def times(self, what: str) -> Times:
        return {name: [one[what] for one in rounds] for name, rounds in self.told.items()}

    def whole(self) -> Times:
        """Seconds from nothing to the end of the first step."""
        models = self.times("model")
        return {name: np.add(models[name], first).tolist() for name, first in self.times("first").items()}

    def middle(self, name: str, what: str) -> float:
        return float(np.median([one[what] for one in self.told[name]]))


@dataclass
class Results:
    starts: list[Start]
    notes: list[str]

    def bars(self) -> list[Bar]:
        found = []
        for start in self.starts:
            first = start.times("first")
            found.append(Bar(f"{start.title}: first step", MOST, median(first, PHLOX, JAX)))
            found.append(Bar(f"{start.title}: model and first step", MOST, median(start.whole(), PHLOX, JAX)))
            if REPEATED in start.told:
                found.append(Bar(f"{start.title}: first step of {REPEATED}", FRACTION, median(first, REPEATED, JAX)))
        return found

    def tables(self) -> list[Table]:
        columns = ("model", "first", *PHASES)
        header = ["", "model, s", "first step, s", *PHASES, "times JAX", "a later one, ms"]
        found = []
        for start in self.starts:
            rows = []
            for name in start.told:
                against, later = median(start.times("first"), name, JAX), 1e3 * start.middle(name, "later")
                seconds = [short(start.middle(name, what)) for what in columns]
                rows.append([name, *seconds, "–" if against is None else f"{short(against)}×", short(later)])
            found.append(Table(start.title, header, rows))
        bars = [bar.row() for bar in self.bars()]
        return [*found, Table(f"Bars, in times of {JAX}", ["", "asked", "measured", "verdict"], bars)]

    def json(self) -> dict[str, Any]:
        return {
            "first_step": {start.title: record(start.times("first"), 1, JAX) for start in self.starts},
            "units": {"first_step": "s"},
            "told": {start.title: start.told for start in self.starts},
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()],
        }


def unequal(told: Mapping[str, list[dict[str, float]]]) -> dict[str, str]:
    """Why a contender starts something else than plain JAX."""
    found = {}
    for name, rounds in told.items():
        counts = {one["parameters"] for one in rounds} | {told[JAX][0]["parameters"]}
        if len(counts) > 1:
            found[name] = f"it has {rounds[0]['parameters']} parameters, {JAX} {told[JAX][0]['parameters']}"
        elif not np.isfinite([one["loss"] for one in rounds]).all():
            found[name] = "its loss is not finite"
    return found


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    notes: list[str] = []
    starts = []
    for title, (_, forms) in workloads(settings.small).items():
        told: dict[str, list[dict[str, float]]] = {name: [] for name in forms}

        def start(name: str, title: str = title, told: Any = told) -> float:
            tell(f"{title}: {name}")
            told[name].append(started(FORMS[name], title, settings))
            return told[name][-1]["first"]

        interleave({name: lambda name=name, start=start: start(name) for name in forms}, settings.rounds)
        for name, reason in unequal(told).items():
            notes.append(f"{title}: {name} is left out: {reason}")
            del told[name]
        starts.append(Start(title, told))
    return Results(starts, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("first step", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if child(sys.argv):
        raise SystemExit(0)
    raise SystemExit(main())
