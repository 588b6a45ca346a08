"""Make the pictures of the page on exploring: somebody probes a network in headless Chromium; run it as a program."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_breast_cancer

import phlox as px

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images"
sys.path[:0] = [str(ROOT / "examples" / "deploy"), str(ROOT / "tests")]

from chrome import Chrome  # noqa: E402

from areas.explore.person import Person  # noqa: E402

WIDTH = 1280


def main() -> None:
    """Train two networks, and keep what the browser shows of each page."""
    with Chrome(flags=["--enable-unsafe-swiftshader", f"--window-size={WIDTH},900"]) as chrome:
        person = Person(chrome)
        _tumours(person)
        _digits(person)


def _tumours(person: Person) -> None:
    data = load_breast_cancer(as_frame=True)
    frame = data.data.assign(diagnosis=np.where(data.target == 1, "benign", "malignant"))
    x, y = data.data.to_numpy(np.float32), (data.target == 0).to_numpy(np.int32)
    with px.seed(0):
        model = px.Chain(px.data.Standardize.fit(x), px.Dense(30, 16, px.tanh), px.Dense(16, 2))
    px.fit(model, (x, y), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(0.01), epochs=5, seed=0, progress=False)
    with px.interpret.explore(model, frame, target="diagnosis", names=["tumours"]) as page:
        person.open(page.url)
        person.click(person.point(17.4, 0.66))
        person.settled('get("row").value !== 0')
        person.choose("feature", "worst texture")
        person.settled('get("slider").title === "worst texture"')
        left, top, width, height = person.box("slider", ".noUi-handle")
        centre = [left + width / 2, top + height / 2]
        person.drag(centre, [centre[0] - 70, centre[1]])
        person.settled('get("answers").text.includes("before")')
        person.choose("slices", "mean radius")
        person.settled('get("roc").data.xs.length === 4')
        person.choose("goal", "equal opportunity")
        person.settled('get("rates").data.threshold[0] !== "0.5"')
        _keep(person, "explore.jpg")


def _digits(person: Person) -> None:
    x, y = px.data.digits()
    models = []
    for seed, epochs in ((0, 5), (1, 1)):
        with px.seed(seed):
            model = px.Chain(px.Conv((3, 3), 1, 8, px.relu), px.MaxPool((2, 2)), px.flatten, px.Dense(72, 10))
        rule = px.optim.Adam(0.003)
        px.fit(model, (x, y), loss=px.losses.cross_entropy, optimizer=rule, epochs=epochs, seed=seed, progress=False)
        models.append(model)
    with px.interpret.explore(models[0], (x, y), compare=models[1], names=("five epochs", "one epoch")) as page:
        person.open(page.url)
        person.click(person.point(0.6, 0.55, "canvas"))
        person.settled('get("answers").text.includes("before")')
        person.click_on("nearest", "button")
        person.settled('get("counterfactual").text !== ""')
        _keep(person, "explore_digits.jpg", 860)


def _keep(person: Person, name: str, height: int | None = None) -> None:
    """Write what the page shows, to its end or a height."""
    chrome = person.chrome
    chrome.value("document.activeElement?.blur()")
    tall = height or int(chrome.value("document.documentElement.scrollHeight"))
    chrome.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=tall, deviceScaleFactor=1, mobile=False)
    chrome.value("scrollTo(0, 0)")
    chrome.value("new Promise((done) => setTimeout(done, 1000))")
    Image.open(io.BytesIO(chrome.picture())).convert("RGB").save(TARGET / name, quality=82)
    chrome.call("Emulation.clearDeviceMetricsOverride")


if __name__ == "__main__":
    main()
