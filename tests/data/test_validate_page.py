"""The page of findings of px.data.validate in a browser: drawn, readable, and complete without a network."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import phlox as px

validate = px.data.validate


CHROME = Path(__file__).parents[2] / "examples" / "deploy"


@pytest.fixture
def chrome(monkeypatch):
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))):
        pytest.skip("there is no Chromium")
    monkeypatch.syspath_prepend(str(CHROME))
    with importlib.import_module("chrome").Chrome() as browser:
        yield browser


def findings():
    rng = np.random.default_rng(0)
    before = {"age": rng.normal(40, 10, 900), "port": rng.choice(["Cork", "Kiel", "Oslo"], 900)}
    after = {"age": rng.normal(48, 10, 700), "port": rng.choice(["Cork", "Kiel", "Rome"], 700)}
    schema = validate.schema(before)
    return [validate.statistics(before), schema, schema.check(after), validate.drift(before, after)]


@pytest.mark.soak
def test_the_page_is_drawn_and_asks_for_nothing(chrome, tmp_path):
    path, found = tmp_path / "data.html", findings()
    validate.write_page(path, *found, title="Passengers")
    chrome.requests.clear()
    chrome.call("Page.navigate", url=path.as_uri())
    chrome.wait("document.readyState === 'complete' && document.querySelectorAll('table').length === 4")
    assert chrome.requests in ([], [path.as_uri()])
    assert chrome.value("document.title") == "Passengers"
    heads = chrome.value("[...document.querySelectorAll('h2')].map((e) => e.innerText)")
    assert heads == ["What is in it", "What is expected", "What is against the schema", "What has drifted"]
    bars = chrome.value("[...document.querySelectorAll('svg')].map((e) => [...e.children].map("
                        "(r) => r.getBoundingClientRect()).map((b) => [b.width, b.height]))")  # fmt: skip
    ages = np.array(bars[0])
    counts = np.array(found[0]["age"].histogram)
    np.testing.assert_allclose(ages[:, 1] / ages[:, 1].max(), counts / counts.max(), atol=0.01)
    assert (ages[:, 0] > 2).all()
    assert [len(b) for b in bars] == [24, 3, 2 * 10, 2 * 4]
    told = chrome.value("[...document.querySelectorAll('tr.bad')].map((e) => e.cells[0].innerText)")
    assert told == [p.column for p in found[2].problems] + list(found[3].drifted)
    assert chrome.value("document.documentElement.scrollWidth <= Math.max(innerWidth, 1100)")
    colours = chrome.value(
        "[...new Set([...document.querySelectorAll('svg')[2].children].map((r) => r.getAttribute('fill')))]"
    )
    assert len(colours) == 2
