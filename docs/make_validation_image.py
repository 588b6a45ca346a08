"""Make the picture of the page on data validation: findings in headless Chromium; run it as a program."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_wine

import phlox as px

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "data_validation.png"
sys.path.insert(0, str(ROOT / "examples" / "deploy"))

from chrome import Chrome  # noqa: E402

WIDTH, HEIGHT = 1180, 1000


def findings() -> list[object]:
    """Wines as they are, and later ones: stronger, some of them unmeasured, one typed wrong."""
    data = load_wine(as_frame=True)
    names = ["alcohol", "malic_acid", "magnesium", "hue"]
    wines = data.data[names].assign(
        grape=pd.Series(data.target).map(dict(enumerate(["Barolo", "Grignolino", "Barbera"])))
    )
    rng = np.random.default_rng(0)
    later = wines.sample(140, random_state=1).reset_index(drop=True)
    later["alcohol"] = later["alcohol"] + 0.6
    later.loc[rng.choice(140, 25, replace=False), "hue"] = np.nan
    later.loc[7, "magnesium"], later.loc[11, "grape"] = 1270.0, "Barolo "
    schema = px.data.validate.schema(wines)
    return [px.data.validate.statistics(wines), schema.check(later), px.data.validate.drift(wines, later)]


def main() -> None:
    """Write the page, and keep what a browser shows of it."""
    with tempfile.TemporaryDirectory() as folder, Chrome(flags=[f"--window-size={WIDTH},{HEIGHT}"]) as chrome:
        page = Path(folder, "data.html")
        px.data.validate.write_page(page, *findings(), title="Wines")
        chrome.call("Page.navigate", url=page.as_uri())
        chrome.wait("document.readyState === 'complete' && document.querySelectorAll('table').length === 3")
        tall = int(chrome.value("document.body.getBoundingClientRect().bottom + 24"))
        chrome.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=tall, deviceScaleFactor=1, mobile=False)
        Image.open(io.BytesIO(chrome.picture())).convert("RGB").quantize(128).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
