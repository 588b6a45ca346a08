"""What a run shows: on a terminal with a moving bar, else in plain lines; as numbers; and as a picture."""

from __future__ import annotations

import json
import logging
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from phlox.cli._digits import Images, extra
from phlox.cli._history import History
from phlox.cli._versions import version_of
from phlox.core import Module, PhloxError


class Report:
    """Tells a person how a run goes, and keeps the numbers for the file."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.numbers: dict[str, Any] = {}

    def say(self, text: str = "") -> None:
        """A line or more, as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, model: Module, train: Images, watch: Images, test: Images) -> None:
        """The model and the data."""
        self.say(f"{model!r}\n")
        self.say(f"{len(train)} images to train on, {len(watch)} to watch the training with, {len(test)} to test on")

    def epochs(self, count: int, history: History) -> Iterator[int]:
        """Count epochs, showing after each how the run goes."""
        self.say(f"compiled for {self._device()} in {history.compile_seconds:.1f} s\n")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True) as bar:
            task = bar.add_task("epoch", total=count)
            for epoch in range(count):
                yield epoch
                line = f"loss {history.losses[-1]:.4f}, validation accuracy {history.validation[-1]:6.1%}"
                bar.update(task, advance=1, description=line)
                if not self.console.is_terminal or epoch + 1 == count or (epoch + 1) % 5 == 0:
                    self.say(f"epoch {epoch + 1:>{len(str(count))}} of {count}: {line}")

    def result(self, truth: np.ndarray, told: np.ndarray, history: History) -> None:
        """The accuracy on the test images, and which digits were taken for which."""
        confusion = np.zeros((10, 10), int)
        np.add.at(confusion, (truth, told), 1)
        right = int(np.trace(confusion))
        self.numbers = {
            "test_accuracy": right / len(truth),
            "test_right": right,
            "test_images": len(truth),
            "confusion": confusion.tolist(),
        }
        table = Table(box=box.SIMPLE, title="test images, by digit and answer", title_justify="left", padding=(0, 1))
        table.add_column("digit", justify="right", style="bold")
        for answer in range(10):
            table.add_column(str(answer), justify="right")
        for digit, row in enumerate(confusion):
            colours = ["green" if answer == digit else "bold red" for answer in range(10)]
            cells = [f"[{colour}]{n}[/]" if n else "." for colour, n in zip(colours, row, strict=True)]
            table.add_row(str(digit), *cells)
        self.console.print("", table)
        self.say(f"test accuracy {right / len(truth):.2%}: {right} of {len(truth)} images that it never saw")
        self.say(f"training took {history.train_seconds:.1f} s, beside {history.compile_seconds:.1f} s of compiling")

    def reloaded(self, same: bool) -> None:
        """Whether a fresh model with the weights from the file answers as the trained one.

        Raises:
            PhloxError: it does not.
        """
        if not same:
            raise PhloxError(
                "a model loaded from its file to give the same logits, bit for bit",
                got="others",
                fix="please report this: nothing was written, and it should not happen",
                where="phlox quickstart",
            )
        self.say("loaded into a fresh model: all test predictions are identical, bit for bit")

    def written(self, folder: Path, names: tuple[str, ...]) -> None:
        """Where the files are."""
        self.say(f"wrote {', '.join(str(folder / name) for name in names)}")

    def serve_it(self, model: Path, given: str) -> None:
        """How others ask the model."""
        self.say(f"serve it: phlox serve {shlex.quote(str(model))} --input {given}")

    def write_metrics(self, path: Path, history: History, seed: int) -> None:
        """All numbers of the run as JSON; those that differ from run to run are under "seconds"."""
        numbers = {
            **self.numbers,
            "losses": history.losses,
            "validation_accuracy": history.validation,
            "epochs": len(history.losses),
            "seed": seed,
            "device": self._device(),
            "versions": {"python": platform.python_version()}
            | {name: version_of(name) for name in ("phlox", "jax", "numpy", "optax", "scikit-learn")},
            "seconds": {"compile": history.compile_seconds, "train": history.train_seconds},
        }
        path.write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")

    def _device(self) -> str:
        device = jax.devices()[0]
        return "the CPU" if device.platform == "cpu" else device.device_kind


def require_drawing() -> None:
    """Find out before the work starts whether curves can be drawn.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # silent about building its cache
    extra("matplotlib.figure", "matplotlib")


def draw_curves(path: Path, history: History) -> None:
    """Loss and validation accuracy by epoch, as a PNG picture."""
    figure = extra("matplotlib.figure", "matplotlib").Figure(figsize=(8, 3), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history.losses) + 1)
    missed = 100 * (1 - np.array(history.validation))
    for axes, values, title in ((left, history.losses, "training loss"), (right, missed, "validation error in %")):
        axes.plot(epochs, values, color="#7048a8", marker="o", markersize=3, linewidth=1.5)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#00000018")
    left.set_yscale("log")
    right.set_ylim(bottom=0)
    figure.savefig(path, format="png")
