"""Make the pictures of these pages: ``python docs/make_images.py``; needs Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import jax.numpy as jnp

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


if __name__ == "__main__":
    screenshot(page(notebook_model()._repr_html_()), IMAGES / "notebook.png", 1640, 366)
