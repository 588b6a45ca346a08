"""One exported model in the programs that run it: Python, C++, Node and a browser.

The model is examples/deploy/digits.py's: a picture of a digit, found and read. Every program starts anew in each round;
docs/deploy.md says what is measured.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Spread, Table, command, quartiles, short

import phlox as px

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXAMPLES = ROOT / "examples" / "deploy"
PAGE = ROOT / "docs" / "deploy.md"
PACKAGES = ("phlox", "jax", "jaxlib", "numpy", "onnx", "onnxruntime")
PHLOX, PYTHON, LITERT, CPP, NODE, BROWSER, LITERT_PAGE = (
    "Phlox, px.load_exported", "ONNX Runtime, Python", "LiteRT, Python", "ONNX Runtime, C++", "ONNX Runtime, Node",
    "the page, Chromium", "by LiteRT.js, Chromium",
)  # fmt: skip
EQUAL = 1e-5
NPM = "onnxruntime-web"


@dataclass(frozen=True)
class Settings:
    rounds: int = 5
    calls: int = 200
    epochs: int = 1


QUICK = Settings(rounds=1, calls=5)


@dataclass(frozen=True)
class Run:
    """What one start of a program gave."""

    start: float  # milliseconds from its start to its first answer
    call: float  # milliseconds, the median
    memory: float  # megabytes, the most
    shares: Sequence[float]


@dataclass(frozen=True)
class Case:
    """The bundle, a drawing and what the model says of it."""

    folder: Path
    raw: Path
    wanted: np.ndarray
    calls: int
    litert: Path | None  # a bundle of one picture at a time, where Phlox writes LiteRT files


@dataclass
class Results:
    runs: dict[str, list[Run]]
    megabytes: dict[str, tuple[float, float]]  # of the model's file, and of what runs it
    notes: list[str] = field(default_factory=list)

    def tables(self) -> list[Table]:
        header = ["", "model, MB", "with it, MB", "start, ms", "a call, ms", "quartiles", "memory, MB"]
        rows = []
        for name, runs in self.runs.items():
            call = Spread.of([run.call for run in runs])
            start, memory = (statistics.median(getattr(run, what) for run in runs) for what in ("start", "memory"))
            sizes = map(short, self.megabytes[name])
            rows.append([name, *sizes, short(start), short(call.median), quartiles(call), short(memory)])
        return [Table("A picture of a digit, found and read", header, rows)]

    def json(self) -> dict[str, Any]:
        return {"runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()}}


def example(name: str) -> Any:
    """A program of examples/deploy."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)


def prepared(folder: Path, settings: Settings, formats: Sequence[Any]) -> Case:
    """The network, trained shortly: its numbers do not matter; and its bundle."""
    digits = example("digits")
    model, _ = digits.train(settings.epochs)
    digits.export(model, folder / "bundle", list(formats))
    drawing = digits.drawn(digits.pictures()[0][-1:])
    drawing.tofile(folder / "digit.raw")
    run = px.jit(lambda model, x: digits.shares(model(digits.centred(x)))["shares"])
    litert = folder / "litert" if "litert" in px.interchange.targets() else None
    if litert is not None:
        digits.export(model, litert, ["litert", *(one for one in formats if not isinstance(one, str))], batch=1)
    wanted = np.asarray(run(model, drawing))[0]
    return Case(folder / "bundle", folder / "digit.raw", wanted, settings.calls, litert)


# --- what runs it ---------------------------------------------------------------------------------------------


def told(program: Sequence[str | Path], case: Case) -> Run:
    """A program's own numbers: its answer on one line, what it took as JSON on the last of the other stream."""
    begin = time.perf_counter()
    lone = subprocess.run([*map(str, program)], capture_output=True, text=True, check=True)
    start = 1e3 * (time.perf_counter() - begin)
    done = subprocess.run([*map(str, program), str(case.calls)], capture_output=True, text=True, check=True)
    numbers = json.loads(done.stderr.strip().splitlines()[-1])
    return Run(start, numbers["call"], numbers["memory"], [float(n) for n in lone.stdout.split()[1:]])


def in_browser(folder: Path, case: Case) -> Run:
    """The page: drawn on is not what is compared, so the drawing is chosen as a picture."""
    chrome = example("chrome")
    from PIL import Image

    picture = np.fromfile(case.raw, np.uint8).reshape(112, 112)
    path = case.raw.with_suffix(".png")
    Image.fromarray(picture).save(path)
    state = 'document.getElementById("state")'
    with chrome.Chrome() as browser, chrome.served(folder) as address:
        begin = time.perf_counter()
        browser.open(address + "index.html")
        browser.choose("input[type=file]", path)
        browser.wait(f'{state}.dataset.state === "answered"')
        start = 1e3 * (time.perf_counter() - begin)
        rows = "[...document.querySelectorAll('#answers li')].map((row) => [row.dataset.class, row.dataset.share])"
        shares = [float(share) for _, share in sorted(browser.value(rows))]
        times = []
        for _ in range(case.calls):
            browser.value(f'{state}.dataset.state = "waiting"; document.forms[0].requestSubmit()')
            browser.wait(f'{state}.dataset.state === "answered"')
            times.append(float(browser.value(f"{state}.dataset.milliseconds")))
        return Run(start, statistics.median(times), browser.memory(), shares)


# --- the race ---------------------------------------------------------------------------------------------------


def npm_package() -> Path | None:
    """Where npm has put ONNX Runtime for browsers, for the pages and for Node."""
    named = os.environ.get("PHLOX_ONNXRUNTIME_WEB")
    places = [Path(named)] if named else [p / "node_modules" / NPM for p in (EXAMPLES / "node", ROOT)]
    return next((place for place in places if (place / "dist").is_dir()), None)


def library() -> Path:
    """ONNX Runtime's shared library, which its wheel has."""
    import onnxruntime

    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))


def megabytes(*places: Path) -> float:
    files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place]) if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def contenders(case: Case, place: Path, npm: Path | None, notes: list[str]) -> dict[str, Callable[[], Run]]:
    """The programs that this machine can run, made ready."""
    me, model = [sys.executable, HERE / "_deployed.py"], case.folder / "model.onnx"
    found: dict[str, Callable[[], Run]] = {
        PHLOX: lambda: told([*me, "phlox", case.folder, case.raw], case),
        PYTHON: lambda: told([*me, "onnx", case.folder, case.raw], case),
    }
    if case.litert is not None:
        found[LITERT] = lambda: told([*me, "litert", case.litert or "", case.raw], case)
    if shutil.which("g++"):
        program = place / "deploy"
        subprocess.run(["g++", "-std=c++17", "-O2", EXAMPLES / "cpp" / "main.cpp", "-o", program, "-ldl"], check=True)
        found[CPP] = lambda: told([program, library(), model, case.raw], case)
    else:
        notes.append("C++ is left out: there is no g++")
    if npm is None:
        notes.append(f"Node and the page are left out: npm install {NPM}@1.30 in examples/deploy/node")
        return found
    return found | of_npm(case, place, npm)


def of_npm(case: Case, place: Path, npm: Path) -> dict[str, Callable[[], Run]]:
    """Those that npm's packages run."""
    found: dict[str, Callable[[], Run]] = {}
    shutil.copyfile(EXAMPLES / "node" / "run.mjs", place / "run.mjs")
    (place / "node_modules").symlink_to(npm.parent)
    if shutil.which("node"):
        found[NODE] = lambda: told(["node", place / "run.mjs", case.folder, case.raw], case)
    if not any(map(shutil.which, example("chrome").NAMES)):
        return found
    found[BROWSER] = lambda: in_browser(case.folder, case)
    if case.litert is not None and (npm.parent / "@litertjs" / "core").is_dir():
        example("litert_page").write_page(case.litert, npm.parent, place / "page")
        found[LITERT_PAGE] = lambda: in_browser(place / "page", case)
    return found


def sizes(case: Case, place: Path, npm: Path | None) -> dict[str, tuple[float, float]]:
    """Megabytes of the model's files, and of what runs them: interpreters, Node and browsers are left out."""
    import jax
    import jaxlib

    packages = [Path(module.__file__ or "").parent for module in (px, jax, jaxlib)]
    model, wasm = megabytes(case.folder / "model.onnx"), "ort-wasm-simd-threaded.wasm"
    found = {
        PHLOX: (megabytes(case.folder / "model.stablehlo", case.folder / "weights.safetensors"), megabytes(*packages)),
        PYTHON: (model, megabytes(library().parents[1])),
        CPP: (model, megabytes(library())),
    }
    if npm is not None:
        node = [npm / "dist" / name for name in ("ort.node.min.mjs", "ort-wasm-simd-threaded.mjs", wasm)]
        page = [
            case.folder / name for name in ("index.html", "page.js", "bundle.json", "ort.wasm.bundle.min.mjs", wasm)
        ]
        found |= {NODE: (model, megabytes(*node)), BROWSER: (model, megabytes(*page))}
    if case.litert is not None:
        import ai_edge_litert

        model = megabytes(case.litert / "model.tflite")
        page = [path for path in (place / "page").glob("*") if path.suffix != ".tflite" and "compat" not in path.name]
        found |= {
            LITERT: (model, megabytes(Path(ai_edge_litert.__file__).parent)),
            LITERT_PAGE: (model, megabytes(*page)),
        }
    return found


def raced(makers: Mapping[str, Callable[[], Run]], case: Case, rounds: int, tell: Callable[[str], None]) -> Results:
    """Every program in each round, each round beginning with the next one; one that errs is left out."""
    results = Results({name: [] for name in makers}, {})
    for r in range(rounds):
        names = [*results.runs]
        for name in names[r % len(names) :] + names[: r % len(names)]:
            tell(f"round {r + 1} of {rounds}: {name}")
            run = makers[name]()
            off = float(np.abs(np.asarray(run.shares) - case.wanted).max())
            if off > EQUAL:
                results.notes.append(f"{name} is left out: it is off by {off:.1e}")
                del results.runs[name]
            else:
                results.runs[name].append(run)
    return results


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    npm, notes = npm_package(), list[str]()
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        place = Path(made)
        tell("training and exporting")
        page = [] if npm is None else [px.interchange.Web(onnxruntime_web=npm)]
        case = prepared(place, settings, ["stablehlo", "onnx", *page])
        results = raced(contenders(case, place, npm, notes), case, settings.rounds, tell)
        results.megabytes, results.notes = sizes(case, place, npm), notes + results.notes
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    return command("deployed", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
