"""Draw the pictures of docs/tracking.md and docs/search.md: the page of a run in Chromium, and a study of Optuna's.

Run by hand, in the environment of the area `tracking`: .venv-tracking/bin/python docs/make_tracking_images.py
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "examples" / "deploy")]

from chrome import Chrome  # noqa: E402

import phlox as px  # noqa: E402

IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1240, 1560


def main() -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        page = run_page(Path(folder) / "digits")
        with Chrome(flags=[f"--window-size={WIDTH},{HEIGHT}"]) as chrome:
            chrome.call(
                "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False
            )
            chrome.call("Page.navigate", url=page.as_uri())
            chrome.wait("document.readyState === 'complete'")
            (IMAGES / "run_page.png").write_bytes(chrome.picture())
    space = {}
    exec(re.search(r"```python\n(.*?)study = ", (ROOT / "docs" / "search.md").read_text("utf-8"), re.DOTALL)[1], space)
    study = px.tune(
        space["objective"],
        {
            "rate": px.search.Uniform(1e-4, 1e-1, log=True),
            "width": px.search.Integer(8, 64, log=True),
            "act": [px.relu, px.tanh],
        },
        trials=30,
    )
    print(study)
    study.plot(IMAGES / "study.png")


def run_page(folder: Path) -> Path:
    """A run on handwritten digits, and its page."""
    (x, y), (x_test, y_test) = px.data.splitobs(px.data.digits(), at=0.8, seed=0)
    with px.seed(0):
        model = px.Chain(px.Flatten(), px.Dense(64, 32, px.relu), px.Dropout(0.2), px.Dense(32, 10))
    px.fit(
        model, (x, y), validation_data=(x_test, y_test), loss=px.losses.cross_entropy, epochs=15, log_dir=folder,
        optimizer=px.optim.Adam(0.003), callbacks=[px.WorstExamples(8), px.ReduceOnPlateau("val_loss", patience=2)],
        metrics={"accuracy": px.metrics.Accuracy(), "confusion": px.metrics.ConfusionMatrix(10)}, progress=False,
    )  # fmt: skip
    return px.loop.report(folder)


if __name__ == "__main__":
    main()
