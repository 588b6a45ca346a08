"""Integers in the place of floats: ResNet-50, BERT and GPT-2 in 8 and 4 bits beside float32 and ONNX Runtime's int8.

Weights are fresh, and the same for all: written by px.models.save, and as ONNX files by px.export, which ONNX Runtime's
own tools quantise. Each contender has a process of its own, and they take turns. docs/performance.md says what is
measured.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _int8_files import write_int8
from _measure import Bar, command, median
from _saved_models import Race, Ready, Track, child, threads
from _saved_models import Results as Races
from frameworks import Form
from language import PAGE, SMALL

import phlox as px

PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy", "onnx", "onnxruntime", "torch", "transformers")
INT8, INT4, FLOAT = "Phlox, int8", "Phlox, int4 in groups of 32", "Phlox, float32"
RUNTIME, RUNTIME_FLOAT, TORCH = "ONNX Runtime, int8", "ONNX Runtime, float32", "PyTorch, dynamic int8"
FORMS = {
    form.name: form
    for form in (
        Form(INT8, "phlox", "int8"),
        Form(INT4, "phlox", "int4"),
        Form(FLOAT, "phlox"),
        Form(RUNTIME, "onnx", "int8"),
        Form(RUNTIME_FLOAT, "onnx"),
        Form(TORCH, "torch"),
    )
}
NEAR = 0.9  # the cosine to what float32 gives, below which a contender computes something else


@dataclass(frozen=True)
class Kind:
    """A model and what is asked of it."""

    model: str
    what: str
    shape: tuple[int, ...]
    forms: tuple[str, ...]
    faster: float  # what int8 may take, in times of float32
    new: int = 0  # tokens to write

    @property
    def task(self) -> dict[str, str]:
        tasks = {"bert_base_uncased": "fill-mask", "gpt2": "text-generation"}
        return {"task": tasks[self.model]} if self.model in tasks else {}


KINDS = {
    "picture": Kind("resnet50", "a picture", (1, 224, 224, 3), (INT8, FLOAT, RUNTIME, RUNTIME_FLOAT), 1 / 1.5),
    "pictures": Kind("resnet50", "eight pictures", (8, 224, 224, 3), (INT8, FLOAT, RUNTIME, RUNTIME_FLOAT), 1 / 1.5),
    "text": Kind("bert_base_uncased", "128 tokens", (1, 128), (INT8, FLOAT, RUNTIME, RUNTIME_FLOAT, TORCH), 1 / 1.5),
    "texts": Kind("bert_base_uncased", "8×128 tokens", (8, 128), (INT8, FLOAT, RUNTIME, RUNTIME_FLOAT, TORCH), 1 / 1.5),
    "writing": Kind("gpt2", "32 tokens behind a prompt of 16", (1, 16), (INT8, INT4, FLOAT), 1 / 1.6, 32),
    "writings": Kind("gpt2", "32 tokens behind each of eight prompts", (8, 16), (INT8, INT4, FLOAT), 1 / 1.6, 32),
}


@dataclass(frozen=True)
class Settings:
    rounds: int = 5
    kinds: tuple[str, ...] = tuple(KINDS)
    small: bool = False


QUICK = Settings(rounds=2, kinds=("picture", "text", "writing"), small=True)
TINY = SMALL | {"hidden_sizes": (32, 64), "depths": (1, 1), "embedding_size": 16}


def example(kind: Kind, settings: Settings, count: int, seed: int) -> np.ndarray:
    """Pictures or tokens."""
    rng, shape = np.random.default_rng(seed), kind.shape[1:]
    if len(shape) == 3:
        size = 64 if settings.small else shape[0]
        return rng.standard_normal((count, size, size, 3)).astype(np.float32)
    return rng.integers(0, 200 if settings.small else 30_000, (count, *shape)).astype(np.int32)


def write(kinds: dict[str, Kind], folder: Path, settings: Settings) -> None:
    """The model of some kinds with fresh weights, an example of each with what float32 gives, and both ONNX files."""
    kind = next(iter(kinds.values()))
    config = px.eval_shape(lambda: px.models.create(kind.model, **kind.task)).config
    if settings.small:
        known = {field.name for field in dataclasses.fields(config)}
        config = dataclasses.replace(config, **{k: v for k, v in TINY.items() if k in known})
    if kind.new:
        config = dataclasses.replace(config, eos_token_id=None, bos_token_id=None)
    with px.seed(0):
        px.models.save(px.models.create(config), folder)
    model = px.models.load(folder)
    for name, each in kinds.items():
        x = example(each, settings, each.shape[0], 0)
        np.save(folder / f"{name}.npy", x)
        np.save(folder / f"{name}-wanted.npy", np.asarray(model(x)))
    measured = example(kind, settings, 4, 1)
    np.save(folder / "measured.npy", measured)
    if RUNTIME in kind.forms:
        given = {"x": px.Spec("batch", *measured.shape[1:], dtype=measured.dtype.name)}
        px.export(model, folder / "float32", inputs=given, to=["onnx"])
        write_int8(folder, static=not kind.task)


# --- in a process of its own --------------------------------------------------------------------------


def near(wanted: Path, run: Callable[[], Any]) -> Callable[[], float]:
    """A check that a contender computes about what float32 gives: 1 then, else 0."""

    def check() -> float:
        found, exact = (np.asarray(a, np.float64).ravel() for a in (run(), np.load(wanted)))
        cosine = found @ exact / np.sqrt((found @ found) * (exact @ exact))
        return float(cosine > NEAR)

    return check


def quantized(model: Any, form: Form, folder: Path, kind: Kind) -> Any:
    """The model as a form has it: static ranges for pictures, those of each token for texts, weights alone to write."""
    if not form.kind:
        return model
    if kind.new:
        return px.compress.quantize(model, 4, group=32) if form.kind == "int4" else px.compress.quantize(model)
    if kind.task:
        is_table = lambda path, layer: isinstance(layer, px.Embedding)  # noqa: E731
        return px.compress.quantize(px.compress.quantize(model, inputs="dynamic", skip=is_table))
    model = px.fold_batch_norm(model)
    return px.compress.quantize(model, inputs=px.compress.calibrate(model, np.load(folder / "measured.npy")))


def with_phlox(form: Form, folder: Path, name: str) -> Ready:
    """By Phlox, with freed memory kept."""
    px.keep_freed_memory()
    kind, x = KINDS[name], np.load(folder / f"{name}.npy")
    model = quantized(px.models.load(folder), form, folder, kind)
    run = px.jit(lambda model, x: model(x))
    step = lambda: run(model, x)  # noqa: E731
    if kind.new:
        step = lambda: np.asarray(px.generate(model, x, max_new=kind.new).tokens)  # noqa: E731
    return near(folder / f"{name}-wanted.npy", lambda: model(x)), step


def with_onnx(form: Form, folder: Path, name: str) -> Ready:
    """By ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    path = folder / ("int8.onnx" if form.kind else "float32/model.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.load(folder / f"{name}.npy")}
    step = lambda: np.asarray(session.run(None, feed)[0])  # noqa: E731
    return near(folder / f"{name}-wanted.npy", step), step


def with_torch(form: Form, folder: Path, name: str) -> Ready:
    """By transformers on PyTorch, whose linear layers are quantised dynamically."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    transformers.utils.logging.disable_progress_bar()
    inner = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    model: Any = torch.ao.quantization.quantize_dynamic(inner, {torch.nn.Linear}, dtype=torch.qint8)
    tokens = torch.tensor(np.load(folder / f"{name}.npy")).long()

    def step() -> Any:
        with torch.inference_mode():
            return model(tokens).logits

    return near(folder / f"{name}-wanted.npy", lambda: step().numpy()), step


# --- all of them --------------------------------------------------------------------------------------


@dataclass
class Results(Races):
    """Races, and what int8 is held to in each: float32, and ONNX Runtime's int8."""

    faster: dict[str, float] = dataclasses.field(default_factory=dict)  # by title

    def bars(self) -> list[Bar]:
        found = []
        for race in self.races:
            asked = self.faster[race.title]
            found.append(Bar(f"{race.title}: int8, against float32", asked, median(race.times, INT8, FLOAT)))
            if RUNTIME in race.times:
                bar = Bar(f"{race.title}: int8, against {RUNTIME}", 1.0, median(race.times, INT8, RUNTIME))
                found.append(bar)
        return found


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    races: list[Race] = []
    notes: list[str] = []
    faster: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        for model in dict.fromkeys(KINDS[name].model for name in settings.kinds):
            kinds = {name: KINDS[name] for name in settings.kinds if KINDS[name].model == model}
            folder = Path(made) / model
            tell(f"{model}: writing it")
            write(kinds, folder, settings)
            for name, kind in kinds.items():
                title = f"{model}, {kind.what}"
                forms = {form: FORMS[form] for form in kind.forms}
                races.append(Track(__file__, forms, folder, name).race(title, settings.rounds, 1, notes, tell))
                faster[title] = kind.faster
    return Results("quantized", FORMS, races, notes, "a call", faster)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("quantized", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    if child(sys.argv, {"phlox": with_phlox, "onnx": with_onnx, "torch": with_torch}, FORMS):
        raise SystemExit(0)
    raise SystemExit(main())
