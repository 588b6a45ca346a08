"""The model server's page in a browser: numbers typed, pictures chosen and drawn; the answers are the model's."""

import json

import numpy as np
import pytest
from PIL import Image

import phlox as px
from areas.browser.strokes import DIGITS


class Shades(px.Module):
    """The mean of a picture's red, green and blue, and that of its upper half."""

    def __call__(self, image):
        return px.nn.functional.concatenate([image.mean((1, 2)), image[:, :6].mean((1, 2, 3))[:, None]], -1)


class Ink(px.Module):
    """The mean of a grey picture, and of its left half."""

    def __call__(self, image):
        return px.nn.functional.concatenate([image.mean((1, 2)), image[:, :, :14].mean((1, 2))], -1)


@pytest.fixture(scope="module")
def models():
    return {"net": px.Chain(px.Dense(4, 8, px.tanh, key=0), px.Dense(8, 3, key=1)), "ink": Ink(), "shades": Shades()}


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    shapes = {"net": {"x": px.Spec("batch", 4)}, "ink": {"image": px.Spec("batch", 28, 28, 1)}}
    shapes["shades"] = {"image": px.Spec("batch", 12, 16, 3)}
    for name, model in models.items():
        (folder / name).mkdir()
        px.export(model, folder / name / "1", inputs=shapes[name])
    with px.serving.Server(folder, port=0) as running:
        yield running


@pytest.fixture
def page(server, chrome):
    """Go to the page of a model."""

    def go(name, field):
        chrome.call("Page.navigate", url="about:blank")
        chrome.requests.clear()
        chrome.call("Page.navigate", url=f"{server.url}/#{name}")
        chrome.wait(f"document.querySelector('#inputs {field}')")
        assert chrome.value("document.getElementById('model').value") == name

    return go


def asked(chrome):
    """What the page shows when the model was asked: its outputs by name."""
    chrome.value("document.getElementById('answer').replaceChildren()")
    chrome.value("document.getElementById('ask').click()")
    chrome.wait("document.querySelector('#answer pre, #answer .error')")
    error = chrome.value("document.querySelector('#answer .error')?.textContent ?? ''")
    return error or json.loads(chrome.value("document.querySelector('#answer pre').textContent"))


def output(found):
    [values] = found.values()
    return np.asarray(values, np.float64).reshape(-1)


def test_numbers_are_typed(page, chrome, models, server):
    page("net", "textarea")
    assert chrome.value("[...document.querySelectorAll('option')].map((o) => o.value)") == ["ink", "net", "shades"]
    chrome.value("document.querySelector('textarea').value = '[0.5, -1, 2, 3]'")
    wanted = models["net"](np.array([[0.5, -1, 2, 3]], np.float32))[0]
    np.testing.assert_allclose(output(asked(chrome)), wanted, atol=1e-5)
    assert {request.split("/")[2] for request in chrome.requests if request.startswith("http")} == {
        server.url.removeprefix("http://")
    }


def test_what_does_not_fit_is_told_on_the_page(page, chrome):
    page("net", "textarea")
    chrome.value("document.querySelector('textarea').value = '[0.5, -1]'")
    assert "expects" in asked(chrome)


def test_a_picture_is_chosen(page, chrome, models, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    page("shades", "input[type=file]")
    chrome.choose("input[type=file]", tmp_path / "photo.png")
    wanted = models["shades"](pixels[None].astype(np.float32) / 255)[0]
    np.testing.assert_allclose(output(asked(chrome)), wanted, atol=1e-5)


def test_a_picture_is_drawn(page, chrome):
    page("ink", "canvas")
    np.testing.assert_array_equal(output(asked(chrome)), [0, 0])
    chrome.draw(DIGITS[1])
    whole, left = output(asked(chrome))
    assert 0.01 < whole < 0.5
    assert left < whole  # a one leans to the right
    chrome.value("document.querySelector('#inputs button').click()")
    np.testing.assert_array_equal(output(asked(chrome)), [0, 0])
