"""Pages of runs in headless Chromium: all is drawn, nothing is fetched, nothing runs over the edge."""

import json

import numpy as np
import pytest

import phlox as px

SIZES = """JSON.stringify({
  charts: [...document.querySelectorAll("svg.chart")].map(e => e.getBoundingClientRect().width),
  lines: [...document.querySelectorAll("svg.chart path.line")].map(e => e.getBBox().width),
  images: [...document.querySelectorAll("img")].map(e => [e.complete, e.naturalWidth, e.naturalHeight]),
  cells: [...document.querySelectorAll(".matrix td")].map(e => getComputedStyle(e).backgroundColor),
  heads: [...document.querySelectorAll("h2")].map(e => e.innerText),
  over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  title: document.title,
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on pictures of digits."""
    return digits(tmp_path_factory.mktemp("runs") / "digits", 0.005)


def digits(folder, rate):
    train, test = px.data.splitobs(px.data.digits(), at=0.8, seed=0)
    (x, y), (x_test, y_test) = train, test
    with px.seed(0):
        model = px.Chain(px.Flatten(), px.Dense(64, 32, px.relu), px.Dense(32, 10))
    metrics = {"accuracy": px.metrics.Accuracy(), "confusion": px.metrics.ConfusionMatrix(10)}
    px.fit(
        model, (x, y), validation_data=(x_test, y_test), loss=px.losses.cross_entropy, optimizer=px.optim.Adam(rate),
        epochs=4, metrics=metrics, callbacks=[px.WorstExamples(8)], log_dir=folder, progress=False,
    )  # fmt: skip
    return folder


def seen(chrome, path):
    chrome.requests.clear()
    chrome.call("Page.navigate", url=path.as_uri())
    chrome.wait("document.readyState === 'complete'")
    return json.loads(chrome.value(SIZES))


@pytest.mark.parametrize("width", [1240, 420])
def test_the_page_of_a_run_is_drawn_whole(folder, chrome, width):
    chrome.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    found = seen(chrome, px.loop.report(folder))
    assert found["title"] == "digits, finished"
    assert len(found["charts"]) >= 2
    assert min(found["charts"]) >= 300
    assert min(found["lines"]) > 100
    assert found["images"] == [[True, 8, 8]] * 8
    assert found["over"] <= 0
    matrix = np.asarray(px.read_run(folder).arrays["val_confusion"])
    strong = [n for n, colour in enumerate(found["cells"][-100:]) if "46, 125, 79" in colour]
    assert strong == [11 * n for n in range(10)]
    assert matrix.sum() == 360 or matrix.sum() == 359
    assert [url for url in chrome.requests if not url.startswith(("file:", "data:"))] == []


def test_the_page_of_two_runs_is_drawn_whole(folder, chrome, tmp_path):
    other = digits(tmp_path / "slower", 0.0005)
    found = seen(chrome, px.loop.compare(folder, other).to_html(tmp_path / "both.html"))
    assert found["title"] == "digits, slower"
    assert len(found["lines"]) == 2 * len(px.read_run(folder).numbers)
    assert found["over"] <= 0
