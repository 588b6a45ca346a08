"""Pages in a browser: pictures drawn and chosen, rows filled in, texts typed; the numbers are the model's."""

import json
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

import phlox as px
from areas.browser.strokes import DIGITS, moved
from areas.browser.watching import STATE, answers, asked_again, drawn, seen, submitted
from phlox.interchange import About, Encoder
from phlox.interchange.targets._web import PAGE


@pytest.fixture(scope="session")
def page(chrome, example):
    """Go to the page of a folder."""
    opened = []

    def go(folder):
        place = example("chrome").served(folder)
        opened.append(place)
        address = place.__enter__()
        chrome.requests.clear()
        chrome.open(address + "index.html")
        assert chrome.value(f"{STATE}.dataset.state") == "ready", chrome.value(f"{STATE}.textContent")
        return address

    yield go
    for place in opened:
        place.__exit__(None, None, None)


def test_digits_drawn_with_the_mouse_are_read(page, chrome, digits, read):
    model, folder = digits
    address = page(folder)
    assert chrome.value("document.title") == "A digit"
    drawings = {7: DIGITS[7], 3: moved(DIGITS[3], 0.1, -0.1, 0.6), 0: moved(DIGITS[0], -0.15, 0.05, 0.7)}
    for digit, strokes in drawings.items():
        found = drawn(chrome, strokes)
        assert next(iter(found)) == str(digit)
        assert found[str(digit)] > 0.5
        [wanted] = read(model, seen(chrome))
        np.testing.assert_allclose([found[str(d)] for d in range(10)], wanted, atol=1e-5)
    names = {request.removeprefix(address) for request in chrome.requests if not request.startswith("data:")}
    runtime = {"ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"}
    assert names == {"index.html", "page.js", "bundle.json", "model.onnx", *runtime}


def test_most_digits_are_read_wherever_they_stand(page, chrome, digits):
    page(digits[1])
    places = [(0.0, 0.0, 1.0), (0.12, -0.1, 0.55)]
    found = [next(iter(drawn(chrome, moved(s, *place)))) for place in places for s in DIGITS.values()]
    wanted = [str(d) for _ in places for d in DIGITS]
    assert sum(a == b for a, b in zip(found, wanted, strict=True)) >= 19, found


class Shades(px.Module):
    """Scores of a picture: its mean red, green and blue, and the mean of its left half."""

    def __call__(self, image):
        return 10 * px.nn.functional.concatenate([image.mean((1, 2)), image[:, :, :8].mean((1, 2, 3))[:, None]], -1)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_picture_that_is_chosen_is_cut_and_resized(inverted, page, chrome, web, tmp_path):
    folder, spec = tmp_path / "out", {"photo": px.Spec("batch", 12, 16, 3)}
    px.export(Shades(), folder, inputs=spec, to=web(), about=About(classes=["red", "green", "blue", "left"]))
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (60, 120, 3)).astype(np.uint8))
    photo.save(tmp_path / "photo.png")
    page(folder)
    if inverted:
        chrome.value("document.querySelector('input[type=checkbox]').click()")
        answers(chrome)
    asked_again(chrome)
    chrome.choose("input[type=file]", tmp_path / "photo.png")
    found = answers(chrome)
    middle = photo.crop((20, 0, 100, 60)).resize((16, 12), Image.Resampling.BILINEAR)
    pixels = np.asarray(middle, np.float64) / 255
    pixels = 1 - pixels if inverted else pixels
    scores = 10 * np.array([*pixels.mean((0, 1)), pixels[:, :8].mean()])
    wanted = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose([found[c] for c in ("red", "green", "blue", "left")], wanted, atol=5e-3)


def table(model, numbers, colour):
    return model[1](px.nn.functional.concatenate([numbers, model[0](colour)], -1))


def test_a_row_is_filled_in(page, chrome, web, tmp_path):
    model = px.Chain(px.Embedding(3, 2, key=0), px.Dense(4, 3, key=1))
    spec = {"numbers": px.Spec("batch", 2), "colour": px.Spec("batch", dtype="int32", below=3)}
    about = About(classes=["a", "b", "c"], encoders={"colour": Encoder(["red", "green", "blue"])})
    labels = {"numbers": ["length", "width"]}
    px.export(model, tmp_path / "out", signatures={"table": (table, spec)}, to=web(labels=labels), about=about)
    page(tmp_path / "out")
    names = chrome.value("[...document.querySelectorAll('label')].map((label) => label.firstChild.textContent)")
    assert names == ["length", "width", "colour"]
    chrome.value("[...document.querySelectorAll('input')].forEach((box, i) => (box.value = [1.5, -2][i]))")
    chrome.value("document.querySelector('select').value = 'blue'")
    submitted(chrome)
    found = answers(chrome)
    wanted = px.softmax(table(model, np.array([[1.5, -2]], np.float32), np.array([2])))[0]
    np.testing.assert_allclose([found[c] for c in "abc"], wanted, atol=1e-6)


def mean_of_words(model, words):
    return model[1](model[0](words).mean(1))


WORDS = ["?", "good", "bad", "film"]


def test_a_text_is_typed(page, chrome, web, tmp_path):
    model = px.Chain(px.Embedding(4, 3, key=0), px.Dense(3, 2, key=1))
    spec = {"words": px.Spec("batch", "time", dtype="int32", below=4)}
    about = About(classes=["no", "yes"], encoders={"words": Encoder(WORDS, unknown=0)})
    px.export(
        model, tmp_path / "out", signatures={"mean": (mean_of_words, spec)}, to=web(), about=about,
        sizes={"time": (1, 5)},
    )  # fmt: skip
    page(tmp_path / "out")
    write = lambda text: chrome.value(f"document.querySelector('textarea').value = {json.dumps(text)}")  # noqa: E731
    write("  good\nfilm, good film\t")
    submitted(chrome)
    found = answers(chrome)
    wanted = px.softmax(mean_of_words(model, np.array([[1, 0, 1, 3]])))[0]
    np.testing.assert_allclose([found["no"], found["yes"]], wanted, atol=1e-6)
    write("good good good good good good")
    submitted(chrome)
    chrome.wait(f'{STATE}.dataset.state === "failed"')
    assert chrome.value(f"{STATE}.textContent") == "time is from 1 to 5, not 6"


def test_several_functions_and_outputs(page, chrome, web, tmp_path):
    model, spec = px.Chain(px.Dense(2, 2, key=0), px.Dense(2, 3, key=1)), {"x": px.Spec("batch", 2)}
    both = lambda m, x: {"inner": m[0](x), "scores": px.softmax(m(x))}  # noqa: E731
    px.export(
        model, tmp_path / "out", inputs=spec, signatures={"both": (both, spec)}, to=web(),
        about=About(classes=["a", "b", "<b>c</b>"]),
    )  # fmt: skip
    page(tmp_path / "out")
    asked_again(chrome)
    choice = "document.querySelector('select')"
    chrome.value(f"{choice}.value = 'both'; {choice}.dispatchEvent(new Event('change'))")
    chrome.wait(f'{STATE}.dataset.state === "ready"')
    chrome.value("[...document.querySelectorAll('input')].forEach((box) => (box.value = 1))")
    submitted(chrome)
    found = answers(chrome)
    wanted = both(model, np.ones((1, 2), np.float32))
    np.testing.assert_allclose([found[c] for c in ("a", "b", "<b>c</b>")], wanted["scores"][0], atol=1e-6)
    text = chrome.value("document.querySelector('dd[data-output=inner]').textContent")
    np.testing.assert_allclose([float(n) for n in text.split(",")], wanted["inner"][0], rtol=1e-5)


# --- the script's own numbers, in Node ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """What an expression of the page's functions gives, as JSON."""
    module = tmp_path_factory.mktemp("script") / "page.mjs"
    module.write_text((PAGE / "page.js").read_text("utf-8"), "utf-8")

    def run(expression):
        code = f"import * as page from {json.dumps(module.as_uri())}; console.log(JSON.stringify({expression}))"
        done = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else re.search(r"Error: (.*)", done.stderr)[1]

    return run


@pytest.mark.parametrize("size", [(4, 5), (13, 40), (9, 9), (3, 3)])
def test_resizing_is_pillows(size, script):
    picture = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    found = script(f"Array.from(page.resized({picture.ravel().tolist()}, [9, 13, 3], {list(size)}))")
    wanted = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(np.reshape(found, (*size, 3)), np.asarray(wanted, float), atol=1.0)  # which rounds twice
    smooth = [
        np.asarray(Image.fromarray(picture[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR))
        for c in range(3)
    ]
    np.testing.assert_allclose(np.reshape(found, (*size, 3)), np.stack(smooth, -1), atol=1e-3)


def test_grey_is_pillows(script):
    colours = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)
    found = script(f"Array.from(page.channelsOf(new Uint8ClampedArray({colours.ravel().tolist()}), 1))")
    wanted = Image.fromarray(colours[None, :, :3]).convert("L")
    np.testing.assert_allclose(found, np.asarray(wanted, float)[0], atol=0.51)
    for channels in (3, 4):
        found = script(f"Array.from(page.channelsOf(new Uint8ClampedArray({colours.ravel().tolist()}), {channels}))")
        assert found == colours[:, :channels].ravel().tolist()


def test_shares_are_the_softmax_of_scores_unless_they_are_shares(script):
    scores = [3.0, -1.0, 1000.5, 1000.0]
    wanted = np.exp(np.array(scores) - 1000.5) / np.exp(np.array(scores) - 1000.5).sum()
    np.testing.assert_allclose(script(f"page.sharesOf({scores})"), wanted, atol=1e-12)
    assert script("page.sharesOf([0.25, 0.75])") == [0.25, 0.75]
    assert script("page.sharesOf([0.9, 0.8], true)") == [0.9, 0.8]
    np.testing.assert_allclose(script("page.sharesOf([0.25, 0.75], false)"), np.exp([0, 0.5]) / np.exp([0, 0.5]).sum())


REFUSED = [
    ('page.numbersOf("1 two")', "two is no number"),
    ('page.placesOf(["b"], { table: ["a"], unknown: null })', "the model does not know the word b"),
    ('page.typed([1.5], { name: "x", dtype: "int32" })', "x takes whole numbers, not 1.5"),
    ('page.typed([4], { name: "x", dtype: "int64", below: 4 })', "x takes whole numbers from 0 to 3, not 4"),
    ('page.typed([256], { name: "x", dtype: "uint8" })', "x is uint8, which has no 256"),
    ('page.sizesFor({ name: "x", shape: ["batch", 4] }, 3, {})', "x takes 4 numbers, not 3"),
    ('page.sizesFor({ name: "x", shape: ["batch", "time", 2] }, 5, {})', "x takes a multiple of 2 numbers, not 5"),
    ('page.sizesFor({ name: "x", shape: ["b", "time"] }, 5, { time: [1, 4] })', "time is from 1 to 4, not 5"),
]


@pytest.mark.parametrize(("expression", "text"), REFUSED)
def test_what_is_typed_and_cannot_be_is_refused_in_words(expression, text, script):
    assert script(expression) == text


def test_what_is_typed_becomes_arrays(script):
    assert script('page.numbersOf(" 1, 2.5;-3e2\\n true ")') == [1, 2.5, -300, 1]
    assert script('page.sizesFor({ name: "x", shape: ["batch", "time", 2] }, 6, {})') == [1, 3, 2]
    assert script('page.sizesFor({ name: "x", shape: ["batch", 4] }, 8, { batch: [2, 8] })') == [2, 4]
    assert script('Array.from(page.typed([7, -7], { name: "x", dtype: "int64" }), String)') == ["7", "-7"]
    assert (
        script('page.scoringOf({ a: { type: "int32", dims: [1, 3] }, b: { type: "float32", dims: [1, 3] } }, [])')
        == "b"
    )
    assert script('page.scoringOf({ a: { type: "float32", dims: [1, 4] } }, ["one", "two"]) ?? "none"') == "none"
