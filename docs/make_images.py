"""Make the pictures of these pages: ``python docs/make_images.py [name …]``; ``notebook`` needs Chromium."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import phlox as px

IMAGES = Path(__file__).resolve().parent / "images"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1.5",
]


class Block(px.Module):
    def __init__(self, width: int):
        self.norm = px.LayerNorm(width)
        self.mlp = px.Chain(px.Dense(width, 4 * width, px.gelu), px.Dropout(0.1), px.Dense(4 * width, width))


class Classifier(px.Module):
    scale: px.Param

    def __init__(self, width: int, classes: int, *, depth: int = 4):
        self.width, self.classes, self.depth = width, classes, depth
        self.stem = px.Chain(px.Conv((3, 3), 1, width), px.BatchNorm(width, px.relu), px.MaxPool((2, 2)))
        self.blocks = [Block(width) for _ in range(depth)]
        self.head = px.Dense(width, classes)
        self.scale = jnp.ones(())


def notebook_model() -> px.Module:
    """A model with something to fold, to freeze and to worry about."""
    px.seed(0)
    model = Classifier(64, 10)
    px.freeze(model.stem)
    model.head.weight = model.head.weight.at[0, 0].set(jnp.nan)
    return model


def page(body: str) -> str:
    """The view on a light and on a dark page, side by side."""
    halves = "".join(
        f'<div style="background:{paper};color:{ink};padding:20px 24px;flex:1">{body}</div>'
        for paper, ink in (("#ffffff", "#1f2328"), ("#111318", "#e3e6ea"))
    )
    return f'<!doctype html><meta charset="utf-8"><body style="margin:0;display:flex">{halves}</body>'


def screenshot(html: str, target: Path, width: int, height: int) -> None:
    """Render a page in Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium here: install it first")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(html, "utf-8")
        size = f"--window-size={width},{height}"
        shot = f"--screenshot={target}"
        profile = f"--user-data-dir={folder}/profile"
        command = [browser, *FLAGS, profile, size, shot, source.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


# --- real runs on scikit-learn's digits ----------------------------------------------------------


def digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Pictures of handwritten digits (8, 8, 1) and their classes, for training and for validation."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (data.images[..., None] / 16).astype(np.float32), data.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order[:1400]], y[order[:1400]]), (x[order[1400:]], y[order[1400:]])


def network() -> px.Module:
    with px.seed(0):
        return px.Chain(
            px.Conv((3, 3), 1, 16, px.relu, padding=1), px.MaxPool((2, 2)), px.flatten,
            px.Dropout(0.3), px.Dense(256, 64, px.relu), px.Dense(64, 10),
        )  # fmt: skip


def trained(epochs: int, **options: Any) -> px.History:
    training, validation = digits()
    return px.fit(
        network(), training, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(2e-3), epochs=epochs,
        batch_size=64, validation_data=validation, metrics={"accuracy": px.metrics.Accuracy()}, **options,
    )  # fmt: skip


def history() -> None:
    plateau = px.ReduceOnPlateau("val_loss", 0.5, patience=1)
    trained(20, callbacks=[plateau], progress=False).plot(IMAGES / "history.png")


def finder() -> None:
    found = px.find_learning_rate(network(), digits()[0], loss=px.losses.cross_entropy, batch_size=64)
    found.plot(IMAGES / "finder.png")


def gradient_flow() -> None:
    with px.seed(0):
        model = px.Chain(*[px.Dense(8, 8, px.sigmoid) for _ in range(8)], px.Dense(8, 1))
    x, opt = jnp.linspace(-1.0, 1.0, 32).reshape(4, 8), px.Optimizer(px.optim.Adam(1e-3), model)
    flow = px.autodiff.gradient_flow(model, lambda model, x: jnp.mean((model(x) - 1) ** 2), x, optimizer=opt)
    flow.plot(IMAGES / "gradient-flow.png")


def progress() -> None:
    """What a terminal of 120 columns shows when a run has ended."""
    script = "import sys; sys.path.insert(0, sys.argv[1]); import make_images; make_images.trained(5, progress=True)"
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    written = b""
    while chunk := _read(master):
        written += chunk
    process.wait(60)
    draw_terminal(screen_after(written.decode()), IMAGES / "progress.png")


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:  # the program has ended
        return b""


def screen_after(text: str) -> list[str]:
    """The lines that a terminal shows after a text with cursor movements, colours kept."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            rest = lines[row]
            lines[row] = ""
        elif move := re.fullmatch(r"\x1b\[(\d*)A", part):
            row = max(0, row - int(move[1] or 1))
        elif re.fullmatch(r"\x1b\[[02]?K", part):
            lines[row] = ""
        elif not re.fullmatch(r"\x1b\[[0-9;?]*[A-Za-ln-z]", part):
            lines[row] += part
        if part == "\n" and not lines[row - 1]:
            lines[row - 1] = rest  # a carriage return before the end of a line takes nothing away
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def draw_terminal(lines: list[str], target: Path) -> None:
    """Lines with colours as a picture of a dark terminal, at twice its size."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont
    from rich.style import Style
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 26)
    wide, high = font.getlength("M"), 40
    texts = [Text.from_ansi(line) for line in lines]
    size = int(60 + wide * max(text.cell_len for text in texts)), 50 + high * len(texts)
    image = Image.new("RGB", size, "#16181d")
    draw = ImageDraw.Draw(image)
    for row, text in enumerate(texts):
        for column, character in enumerate(text.plain):
            styles = [span.style for span in text.spans if span.start <= column < span.end]
            style = Style.combine([Style(), *[s for s in styles if isinstance(s, Style)]])
            colour = style.color.get_truecolor(MONOKAI) if style.color else (224, 227, 232)
            draw.text((30 + wide * column, 25 + high * row), character, tuple(colour), font)
    image.save(target)


def notebook() -> None:
    screenshot(page(notebook_model()._repr_html_()), IMAGES / "notebook.png", 1640, 366)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["notebook", "history", "finder", "gradient_flow", "progress"]:
        globals()[name]()
