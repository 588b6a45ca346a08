"""The worst examples of a run, its page, and pages of several: read back from the HTML, the SVG and the PNG."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import phlox as px
from phlox.cli import main
from phlox.loop.tracking.pages._chart import Line, Scale, chart, round_numbers, thinned
from phlox.loop.tracking.pages._parts import matrix, picture, png, tree

ALONE = {"meta", "br", "img", "path", "circle", "i"}  # elements that may stand without an end


class Page(HTMLParser):
    """A page taken apart: every element ends where it should, and nothing comes from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.images, self.circles, self.sections = [], [], [], 0, []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        for name in ("src", "href"):
            assert given.get(name, "data:").startswith("data:")
        assert tag not in ("script", "link")
        if tag == "img":
            self.images.append(given["src"])
        self.circles += tag == "circle"
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in ALONE

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.sections.append(data)


def digits(count):
    """Pictures of two classes, and what they are."""
    rng = np.random.default_rng(1)
    y = np.arange(count) % 2
    x = rng.normal(size=(count, 5, 6, 1)) + y[:, None, None, None]
    return x.astype("float32"), y


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with pictures, a confusion matrix and worst examples, its model and its data."""
    folder = tmp_path_factory.mktemp("runs") / "a <run>"
    return folder, *trained(folder, 0.05)


def trained(folder, rate, epochs=3):
    x, y = digits(24)
    with px.seed(0):
        model = px.Chain(px.Flatten(), px.Chain(px.Dense(30, 8, px.relu), px.Dense(8, 2)))
    px.fit(
        model, (x[:16], y[:16]), validation_data=(x[16:], y[16:]), loss=px.losses.cross_entropy, batch_size=3,
        optimizer=px.optim.Adam(rate), epochs=epochs, metrics={"confusion": px.metrics.ConfusionMatrix(2)},
        callbacks=[px.WorstExamples(3)], log_dir=folder, progress=False,
    )  # fmt: skip
    return model, (x[16:], y[16:])


def test_the_worst_examples_are_those_with_the_largest_losses(run):
    folder, model, (x, y) = run
    logits = np.asarray(px.predict(model, x), np.float64)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(8), y]
    order = np.argsort(-losses)[:3]
    kept = np.load(folder / "worst.npz")
    np.testing.assert_allclose(kept["loss"], losses[order], rtol=1e-5)
    assert kept["row"].tolist() == order.tolist()
    np.testing.assert_array_equal(kept["x"], x[order])
    np.testing.assert_array_equal(kept["target"], y[order])
    np.testing.assert_allclose(kept["prediction"], logits[order], rtol=1e-5)


def test_a_loss_that_is_no_number_is_the_worst_and_padding_is_not_looked_at(tmp_path):
    x = np.array([[1.0], [np.nan], [3.0], [2.0], [0.5]], "float32")
    data = px.DataLoader((x, np.zeros_like(x)), batch_size=2, pad_last=True)
    worst = px.WorstExamples(9, tmp_path / "kept.npz")
    with pytest.warns(UserWarning, match="the loss of validation"):
        px.fit(
            px.Dense.of(np.ones((1, 1), "float32"), None), (x[:1], x[:1]), validation_data=data, loss=px.losses.mse,
            optimizer=px.optim.Descent(0.0), callbacks=[worst], progress=False,
        )  # fmt: skip
    kept = np.load(tmp_path / "kept.npz")
    assert kept["row"].tolist() == [1, 2, 3, 0, 4]
    assert kept["loss"].tolist() == [np.inf, 9.0, 4.0, 1.0, 0.25]


def test_worst_examples_want_validation_data(tmp_path):
    x = np.ones((4, 1), "float32")
    with pytest.raises(px.StructureError, match="WorstExamples expects a run with validation data, got one without"):
        px.fit(px.Dense(1, 1), (x, x), loss=px.losses.mse, optimizer=px.optim.Adam(), callbacks=[px.WorstExamples()],
               log_dir=tmp_path, progress=False)  # fmt: skip
    with pytest.raises(px.RangeError, match="WorstExamples expects a count of at least 1, got 0"):
        px.WorstExamples(0)


def test_the_page_of_a_run_has_all_of_it_and_needs_nothing_else(run, capsys):
    folder = run[0]
    assert main(["report", str(folder), "--classes", "cat,<dog>"]) == 0
    assert capsys.readouterr().out == f"wrote {folder / 'report.html'}\n"
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    wanted = ["Curves", "Numbers", "val confusion", "Worst examples", "Model"]
    assert page.sections == [*wanted, "Settings", "Data", "Code", "Environment"]
    assert "a <run>, finished" in page.texts
    kept, found = np.load(folder / "worst.npz"), px.read_run(folder)
    for source, image in zip(page.images, kept["x"][..., 0], strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))), float) / 255
        low, high = image.min(), image.max()
        np.testing.assert_allclose(pixels, (image - low) / (high - low), atol=0.5 / 255 + 1e-6)
    names = ["cat", "<dog>"]
    told = names[kept["prediction"][0].argmax()]
    assert f"row {kept['row'][0]}, loss {kept['loss'][0]:.4g}, is {names[kept['target'][0]]}, was taken for {told}" in (
        "".join(page.texts)
    )
    assert f"{found.last('val_loss'):.6g}" in page.texts
    assert page.circles == sum(len(points) for points in found.numbers.values())
    assert found.record["data"]["train_data"]["digest"][:16] in page.texts
    assert "266 parameters" in page.texts  # 30 · 8 + 8 + 8 · 2 + 2


def test_two_runs_beside_each_other(run, tmp_path, capsys):
    folder = run[0]
    trained(tmp_path / "other", 0.5, epochs=2)
    found = px.loop.compare(folder, tmp_path / "other")
    assert found.names == ("a <run>", "other")
    assert found.differences["epochs"] == [3, 2]
    assert [re.search(r"0\.05|0\.5", text).group() for text in found.differences["optimizer"]] == ["0.05", "0.5"]
    assert set(found.differences) == {"epochs", "optimizer"}
    ours, theirs = px.read_run(folder), px.read_run(tmp_path / "other")
    assert found.numbers["val_loss"] == [ours.last("val_loss"), theirs.last("val_loss")]
    assert found.numbers["best val_loss"] == [ours.best("val_loss")[1], theirs.best("val_loss")[1]]
    assert main(["compare", str(folder), str(tmp_path / "other"), "--out", str(tmp_path / "both.html")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^epochs +3 +2$", said, re.MULTILINE)
    page = Page((tmp_path / "both.html").read_text("utf-8"))
    assert page.circles == sum(len(p) for found in (ours, theirs) for p in found.numbers.values())
    assert page.sections == ["Curves", "Numbers", "What is not the same"]
    with pytest.raises(px.RangeError, match="two runs or more, got 1"):
        px.loop.compare(folder)


def test_a_curve_goes_through_its_numbers_and_breaks_where_there_are_none():
    points = [(0, 1.0), (5, 3.0), (10, np.nan), (15, 2.0), (20, 2.5)]
    drawn = chart("loss", [Line("training", points, "#000")])
    path = re.search(r'class="line" d="([^"]*)"', drawn).group(1)
    assert [part[0] for part in re.findall(r"[ML][^ML]*", path)] == ["M", "L", "M", "L"]
    centres = [tuple(map(float, pair)) for pair in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    across = np.array([x for x, _ in centres])
    up = np.array([y for _, y in centres])
    np.testing.assert_allclose(np.diff(across) / (across[-1] - across[0]), [0.25, 0.5, 0.25], atol=1e-3)
    slope = np.polyfit([1.0, 3.0, 2.0, 2.5], up, 1)
    np.testing.assert_allclose(np.polyval(slope, [1.0, 3.0, 2.0, 2.5]), up, atol=0.1)
    assert slope[0] < 0  # larger is higher
    assert chart("nothing", [Line("training", [(0, np.nan)], "#000")]) == ""


def test_many_decades_are_drawn_by_logarithms():
    drawn = chart("loss", [Line("training", [(0, 1000.0), (1, 10.0), (2, 0.1)], "#000")])
    up = [float(y) for y in re.findall(r'cy="([\d.]+)"', drawn)]
    assert up[1] - up[0] == pytest.approx(up[2] - up[1], abs=0.2)


def test_scales_and_ticks():
    assert Scale(2.0, 4.0, 100, 0)(3.0) == 50
    assert round_numbers(-1.0, 1.0) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert round_numbers(5.0, 5.0) == [5.0]
    assert [x for x, _ in thinned([(n, 0.0) for n in range(100)], 4)] == [0, 33, 66, 99]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4)])
def test_pictures_are_what_pillow_reads(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)
    assert picture(pixels) == "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def test_a_matrix_is_coloured_by_the_share_of_its_row():
    drawn = matrix(np.array([[3, 1], [0, 8]]), ["a", "b"])
    assert re.findall(r"rgba\(([\d,]+),([\d.]+)\)", drawn) == [
        ("46,125,79", "0.750"), ("179,55,47", "0.750"), ("179,55,47", "0.000"), ("46,125,79", "1.000"),
    ]  # fmt: skip
    assert "a taken for b: 1" in drawn


def test_a_tree_opens_by_paths():
    layers = [{"path": path, "layer": path.upper(), "arrays": {}} for path in ("", "a", "a.0", "a.b.c", "z")]
    text = re.sub(r"<(/?)(details|summary|div)[^>]*>", lambda m: f"<{m[1]}{m[2][0]}>", tree(layers))
    assert text == ("<d><d><s>model: </s><d><s>a: A</s><d>0: A.0</d><d>c: A.B.C</d></d><d>z: Z</d></d></d>")
