"""ONNX files of Phlox's models in ONNX Runtime, beside files of the same networks by PyTorch's own exporter.

The networks have the same weights, written by px.models.save and read by transformers; both files run in one process,
in turns. docs/performance.md says what is measured.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Bar, Table, Times, command, interleave, median, quartiles, record, seconds_a_step, short, spreads

import phlox as px

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "onnx", "onnx-ir", "onnxruntime", "torch", "onnxscript", "transformers")
OURS, THEIRS = "Phlox", "PyTorch"
FILES = {OURS: "ours/model.onnx", THEIRS: "theirs.onnx"}
MODELS = {"resnet50": None, "bert_base_uncased": "fill-mask", "gpt2": "text-generation"}  # by variant, the head's task
EQUAL = 1e-3  # of what the files give, relative to the largest number
THREADS = 2


@dataclass(frozen=True)
class Settings:
    rounds: int = 15
    steps: int = 2  # in a block
    batch: int = 1
    time: int = 128
    image: int = 224
    small: bool = False


QUICK = Settings(rounds=2, steps=1, time=16, image=64, small=True)
SMALL = {  # by the names of all three families
    "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 64, "hidden_sizes": (32, 64), "depths": (1, 1), "embedding_size": 16,
}  # fmt: skip


def write(name: str, folder: Path, settings: Settings) -> np.ndarray:
    """A model with fresh weights in a folder; an example of its input."""
    task = {} if MODELS[name] is None else {"task": MODELS[name]}
    config = px.eval_shape(lambda: px.models.create(name, **task)).config
    if settings.small:
        known = {field.name for field in dataclasses.fields(config)}
        config = dataclasses.replace(config, **{k: v for k, v in SMALL.items() if k in known})
    with px.seed(0):
        px.models.save(px.models.create(config), folder)
    rng = np.random.default_rng(0)
    if MODELS[name] is None:
        return rng.standard_normal((settings.batch, settings.image, settings.image, 3)).astype(np.float32)
    return rng.integers(0, config.vocab_size, (settings.batch, settings.time)).astype(np.int32)


def export_ours(folder: Path, example: np.ndarray) -> float:
    """Write ours/model.onnx with a batch of any size, proved as users have it; how many seconds it took."""
    model = px.models.load(folder)
    begin = time.perf_counter()
    given = {"x": px.Spec("batch", *example.shape[1:], dtype=example.dtype.name)}
    px.export(model, folder / "ours", inputs=given, to=["onnx"])
    return time.perf_counter() - begin


def export_theirs(folder: Path) -> float:
    """Write theirs.onnx the same way, in a process of its own."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    named = json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    example = torch.tensor(np.load(folder / "example.npy"))
    example = example.permute(0, 3, 1, 2).contiguous() if example.ndim == 4 else example.long()
    inner = getattr(transformers, named).from_pretrained(folder).eval()

    class Scores(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x, **({"use_cache": False} if "GPT2" in named else {})).logits

    begin = time.perf_counter()
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    twice = torch.cat([example, example])
    torch.onnx.export(Scores(), (twice,), folder / "theirs.onnx", dynamo=True, dynamic_shapes=dynamic)
    return time.perf_counter() - begin


def session(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A file made ready."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = made.get_inputs()[0].name
    return lambda x: np.asarray(made.run(None, {name: x})[0])


@dataclass(frozen=True)
class Race:
    """What was measured of one network."""

    title: str
    times: Times  # seconds a call, one number a round
    export: dict[str, float]  # seconds
    megabytes: dict[str, float]


@dataclass
class Results:
    races: list[Race]
    notes: list[str]

    def bars(self) -> list[Bar]:
        """What our files are held to."""
        found = [Bar(f"{r.title}: ours, against PyTorch's", 1.1, median(r.times, OURS, THEIRS)) for r in self.races]
        writing = [r.export[OURS] for r in self.races if r.title.startswith("resnet50")]
        return [*found, *(Bar("writing resnet50", 20.0, seconds, "s") for seconds in writing)]

    def tables(self) -> list[Table]:
        header = ["", "ms a call", "times PyTorch's", "quartiles, ms", "file, MB", "to write, s"]
        found = []
        for race in self.races:
            rows = []
            for name, spread in spreads(race.times, 1e3):
                against = median(race.times, name, THEIRS)
                row = [name, short(spread.median), "–" if against is None else f"{short(against)}×", quartiles(spread)]
                rows.append([*row, short(race.megabytes[name]), short(race.export[name])])
            found.append(Table(race.title, header, rows))
        return [
            *found,
            Table("Bars for exported files", ["", "asked", "measured", "verdict"], [b.row() for b in self.bars()]),
        ]

    def json(self) -> dict[str, Any]:
        races = {r.title: {"times": record(r.times, 1e3, THEIRS), "export": r.export} for r in self.races}
        return {"races": races, "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def raced(name: str, folder: Path, settings: Settings, tell: Callable[[str], None]) -> Race | str:
    """One network's two files in turns; or why not."""
    tell(f"{name}: writing it")
    example = write(name, folder, settings)
    np.save(folder / "example.npy", example)
    export = {OURS: export_ours(folder, example)}
    tell(f"{name}: PyTorch writes it")
    child = [sys.executable, __file__, "--child", str(folder)]
    done = subprocess.run(child, capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    if done.returncode:
        return f"{name} is left out: {(done.stderr.strip().splitlines() or ['PyTorch failed'])[-1]}"
    export[THEIRS] = json.loads(done.stdout.splitlines()[-1])
    calls = {key: session(folder / file) for key, file in FILES.items()}
    theirs = np.ascontiguousarray(example.transpose(0, 3, 1, 2)) if example.ndim == 4 else example.astype(np.int64)
    feeds = {OURS: example, THEIRS: theirs}
    a, b = (calls[key](feeds[key]) for key in (OURS, THEIRS))
    if not agree(a, b):
        return f"{name} is left out: its two files do not agree"
    tell(f"{name}: timing")
    step = lambda key: lambda: seconds_a_step(lambda: calls[key](feeds[key]), settings.steps, lambda y: y)  # noqa: E731
    times = interleave({key: step(key) for key in calls}, settings.rounds)
    sizes = {key: sum(p.stat().st_size for p in folder.glob(f"{file}*")) / 1e6 for key, file in FILES.items()}
    title = f"{name}, {' × '.join(map(str, example.shape))}"
    return Race(title, times, export, sizes)


def agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two programs give the same, to a share of the largest number."""
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() <= EQUAL * np.abs(wanted).max())


def in_folders(names: Sequence[str], race: Callable[[str, Path], Any]) -> tuple[list[Any], list[str]]:
    """What was measured of each network, in a folder of its own, and why others are left out."""
    races, notes = [], []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
            found = race(name, Path(made))
            (notes if isinstance(found, str) else races).append(found)
    return races, notes


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    return Results(*in_folders(MODELS, lambda name, folder: raced(name, folder, settings, tell)))


def main(arguments: Sequence[str] | None = None) -> int:
    return command("exported", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(export_theirs(Path(sys.argv[2]))))
        raise SystemExit(0)
    raise SystemExit(main())
