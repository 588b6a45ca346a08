"""Adapters on a base of four bits: a GPT of characters learns how docstrings are written, on int4 and on float32.

The base learns the English of Python's help first, and is the same for both; so are the adapters' first weights and the
windows that they see. docs/compress.md says what is measured.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _measure import Bar, Table, command

import phlox as px

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compress.md"
PACKAGES = ("phlox", "phlox-cpu", "jax", "jaxlib", "numpy")
FLOATS, INTEGERS = "float32", "int4 in groups of 32"
MAPS = ("**.q_proj", "**.k_proj", "**.v_proj", "**.out_proj", "**.gate", "**.up", "**.down", "head")
MODULES = (
    "argparse", "ast", "calendar", "codecs", "collections", "configparser", "contextlib", "copy", "csv", "datetime",
    "decimal", "difflib", "email", "enum", "fractions", "functools", "glob", "gzip", "heapq", "inspect", "io",
    "ipaddress", "itertools", "json", "logging", "math", "operator", "os", "pathlib", "pickle", "pprint", "random",
    "re", "shlex", "shutil", "signal", "socket", "ssl", "statistics", "string", "struct", "subprocess", "tarfile",
    "tempfile", "textwrap", "threading", "tokenize", "traceback", "typing", "unittest", "uuid", "warnings", "weakref",
    "zipfile",
)  # fmt: skip
TIME = 128  # characters of a window


@dataclass(frozen=True)
class Settings:
    base: int = 300  # steps
    adapter: int = 200
    every: int = 50  # steps between two looks at what was held back
    dim: int = 128
    layers: int = 3
    batch: int = 16
    rank: int = 8


QUICK = Settings(base=20, adapter=10, every=5, dim=32, layers=1, batch=4)


def char_gpt() -> Any:
    """The example of this name: its text, its network and its steps."""
    sys.path.append(str(ROOT / "examples"))
    return importlib.import_module("char_gpt")


def docstrings() -> str:
    """What modules of Python and the names in them say of themselves, each text once, in the order of the alphabet."""
    texts: set[str] = set()
    for name in MODULES:
        module = importlib.import_module(name)
        members = [value for key, value in vars(module).items() if not key.startswith("_")]
        inner = [value for one in members if inspect.isclass(one) for value in vars(one).values()]
        with warnings.catch_warnings(action="ignore"):  # some names are old, and say so when they are looked at
            texts.update(text for one in (module, *members, *inner) if (text := getattr(one, "__doc__", None)))
    return "\n\n".join(sorted(text for text in texts if isinstance(text, str)))


def windows(data: np.ndarray, most: int) -> np.ndarray:
    """Windows one after the other, (windows, TIME + 1)."""
    return data[: len(data) // (TIME + 1) * (TIME + 1)].reshape(-1, TIME + 1)[:most]


loss_of = px.jit(lambda model, seen: px.losses.cross_entropy(model(seen[:, :-1]), seen[:, 1:]))


def adapted(example: Any, base: Any, learn: np.ndarray, held: np.ndarray, settings: Settings) -> dict[int, float]:
    """What a base with a fresh adapter loses on what was held back, by the number of steps that the adapter took."""
    model = px.adapt.lora(px.copy(base), settings.rank, where=MAPS, key=1)
    opt, draws = px.Optimizer(px.optim.Adam(2e-3), model), np.random.default_rng(1)
    found = {0: float(loss_of(model, held))}
    for step in range(1, settings.adapter + 1):
        starts = draws.integers(0, len(learn) - TIME, settings.batch)
        example.train_step(model, opt, jnp.asarray(learn[starts[:, None] + np.arange(TIME + 1)]))
        if step % settings.every == 0:
            found[step] = float(loss_of(model, held))
    return found


@dataclass
class Results:
    perplexities: dict[str, float]  # of the bases, on the text that they know
    losses: dict[str, dict[int, float]]  # on the new text, by step
    sizes: dict[str, int]  # bytes of the bases
    trained: int  # numbers of an adapter
    notes: list[str]

    def fallen(self, name: str) -> float:
        first, *_, last = self.losses[name].values()
        return first - last

    def bars(self) -> list[Bar]:
        confused = self.perplexities[INTEGERS] / self.perplexities[FLOATS]
        fallen = self.fallen(INTEGERS) / self.fallen(FLOATS)
        return [
            Bar("perplexity of the base in int4, against float32", 1.03, confused),
            Bar("what the loss falls by on int4, against on float32", 0.95, fallen, at_most=False),
        ]

    def tables(self) -> list[Table]:
        steps = list(self.losses[FLOATS])
        rows = []
        for name, losses in self.losses.items():
            of_base = [f"{self.sizes[name] / 1e6:.2f}", f"{self.perplexities[name]:.3f}"]
            rows.append([name, *of_base, *(f"{loss:.3f}" for loss in losses.values())])
        header = ["the base", "MB", "its perplexity", *(f"step {step}" for step in steps)]
        title = f"LoRA of {self.trained / 1e3:.3g} thousand numbers: the loss of a character of docstrings, held back"
        bars = [bar.row() for bar in self.bars()]
        return [Table(title, header, rows), Table("Bars", ["", "asked", "measured", "verdict"], bars)]

    def json(self) -> dict[str, Any]:
        return asdict(self) | {"bars": [asdict(bar) | {"verdict": bar.verdict} for bar in self.bars()]}


def measure(settings: Settings, tell: Callable[[str], None]) -> Results:
    example = char_gpt()
    data, characters = example.encoded(example.english())
    known = {c: i for i, c in enumerate(characters)}
    new = np.array([known.get(c, known["?"]) for c in docstrings()], np.int32)
    mixed = windows(new, len(new))[np.random.default_rng(0).permutation(len(new) // (TIME + 1))]
    held, learn = mixed[:256], mixed[256:].reshape(-1)
    told, seen = windows(data[: len(data) // 10], 256), data[len(data) // 10 :]
    with px.seed(0):
        model = example.GPT(len(characters), settings.dim, settings.dim // 32, settings.layers)
    tell("the base")
    with contextlib.redirect_stdout(io.StringIO()):
        example.train(model, seen, settings.base, batch=settings.batch, time=TIME, rate=2e-3)
    calibration = seen[: TIME * 64].reshape(-1, TIME)
    bases = {
        FLOATS: model,
        INTEGERS: px.compress.gptq(model, calibration, 4, group=32, where=("blocks", "head")),
    }
    perplexities = {name: math.exp(float(loss_of(base, told))) for name, base in bases.items()}
    losses = {}
    for name, base in bases.items():
        tell(f"an adapter on {name}")
        losses[name] = adapted(example, base, learn, held, settings)
    sizes = {name: sum(array.nbytes for array in px.paths(base).values()) for name, base in bases.items()}
    tuned = px.adapt.lora(px.copy(model), settings.rank, where=MAPS, key=1)
    trained = sum(array.size for array in jax.tree.leaves(px.split(tuned)[0]))
    notes = [f"{len(data):,} characters of help, {len(new):,} of docstrings, {len(characters)} different ones"]
    return Results(perplexities, losses, sizes, trained, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    return command("qlora", __doc__ or "", measure, Settings(), QUICK, PACKAGES, PAGE, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
