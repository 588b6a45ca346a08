"""Somebody at the page of px.interpret.explore, in headless Chromium: tables, pictures, texts, two models."""

import time

import numpy as np
import pytest
from sklearn import metrics

import phlox as px
from areas.explore.conftest import network
from areas.explore.person import pixels


def shares(model, x):
    """Probabilities of classes, by the model itself."""
    return np.asarray(px.softmax(model(np.asarray(x, np.float32)), -1))


@pytest.fixture(scope="module")
def page(cancer, person):
    frame, model = cancer
    with px.interpret.explore(model, frame, target="diagnosis") as explorer:
        yield explorer


def test_a_person_probes_a_table(page, person, cancer, chrome, tmp_path):
    frame, model = cancer
    x = frame.drop(columns="diagnosis").to_numpy(np.float32)
    malignant = shares(model, x)[:, 1]
    person.open(page.url)
    assert person.text("answers").count("malignant") == 2
    assert f"{malignant[0]:.4f}" in person.text("answers")

    # A point is picked: the nearest to where it was clicked.
    wide, row = np.ptp(x[:, 0]), 200
    person.click(person.point(x[row, 0], malignant[row]))
    apart = ((x[:, 0] - x[row, 0]) / wide) ** 2 + (malignant - malignant[row]) ** 2
    person.settled('get("row").value !== 0')
    picked = person.js('get("row").value')
    assert apart[picked] < 1e-3
    assert person.data("cells")["value"][1] == f"{frame.iloc[picked, 1]:.6g}"

    # A cell is edited: the answer is the model's to the changed row.
    changed = x[picked].copy()
    changed[0] = 9.5
    person.type_cell("table", 0, 1, "9.5")
    told = f"{shares(model, changed[None])[0, 1]:.4f}"
    person.settled(f'get("answers").text.includes("{told}")')
    assert f"before {malignant[picked]:.4f}" in person.text("answers")
    assert person.data("mark")["x"].tolist() == pytest.approx([x[picked, 0], 9.5], rel=1e-6)
    assert person.data("mark")["y"][1] == pytest.approx(float(told), abs=1e-4)

    # What is no number is told, and put back.
    person.type_cell("table", 1, 1, "many")
    chrome.wait('Bokeh.documents[0].get_model_by_name("status").text.includes("expects a number")')
    person.type_cell("table", 1, 1, "20")
    changed[1] = 20
    person.settled(f'get("answers").text.includes("{shares(model, changed[None])[0, 1]:.4f}")')

    # A slider moves the same feature.
    left, top, width, height = person.box("slider", ".noUi-handle")
    centre = [left + width / 2, top + height / 2]
    person.drag(centre, [centre[0] + 60, centre[1]])
    person.settled('get("slider").value !== 9.5')
    changed[0] = person.js('get("slider").value')
    person.settled(f'get("answers").text.includes("{shares(model, changed[None])[0, 1]:.4f}")')

    # Back to the data; the nearest that is answered otherwise.
    person.click_on("restore", "button")
    person.settled('!get("answers").text.includes("before")')
    person.click_on("nearest", "button")
    person.settled('get("counterfactual").text !== ""')
    scaled = x.astype(np.float64) / x.astype(np.float64).std(0)
    other = (malignant > 0.5) != (malignant[picked] > 0.5)
    nearest = np.where(other, np.abs(scaled - scaled[picked]).sum(1), np.inf).argmin()
    assert f"observation {nearest}," in person.text("counterfactual")
    assert person.cells("table")[0][3] == f"{frame.iloc[nearest, 0]:.6g}"


def test_curves_and_attributions_are_those_of_the_functions(page, person, cancer):
    frame, model = cancer
    x = frame.drop(columns="diagnosis").to_numpy(np.float32)
    person.open(page.url)
    person.choose("feature", "worst texture")
    person.settled('get("dependence").below.some((axis) => axis.axis_label === "worst texture")')
    person.settled('get("slider").title === "worst texture"')
    own, mean = person.data("own curve"), person.data("mean 0")
    moved = np.repeat(x[:1], len(own["x"]), 0)
    moved[:, 21] = own["x"]
    np.testing.assert_allclose(own["y"], shares(model, moved)[:, 1], atol=1e-5)
    assert mean["x"].tolist() == own["x"].tolist()
    assert 0.2 < mean["y"].min() < mean["y"].max() < 0.8
    found = px.interpret.integrated_gradients(
        model, x[:1], target=lambda answer: px.softmax(answer)[1], baselines=x.mean(0), progress=False
    )
    largest = np.argsort(-np.abs(found.values[0]))[:12]
    bars = person.data("attributions")
    assert bars["name"].tolist()[::-1] == [frame.columns[i] for i in largest]
    np.testing.assert_allclose(bars["value"][::-1], found.values[0][largest], atol=1e-4)


def test_a_person_brushes(page, person, cancer):
    frame, model = cancer
    x = frame.drop(columns="diagnosis").to_numpy(np.float32)
    malignant = shares(model, x)[:, 1]
    person.open(page.url)
    person.drag(person.point(11, 0.25), person.point(19, 0.85))
    person.settled('get("brushed").text.includes("brushed")')
    within = (x[:, 0] > 11) & (x[:, 0] < 19) & (malignant > 0.25) & (malignant < 0.85)
    count = int(person.text("brushed").split()[0])
    assert abs(count - within.sum()) <= 2  # those on the edge, to the pixel
    assert len(person.data("chosen")["x"]) == count
    assert person.data("bars")["chosen"].sum() == count
    person.choose("counted", "mean radius")
    person.settled('get("bars").data.left[0] > 5')
    assert person.data("bars")["all"].sum() == len(x)


def test_decisions_by_slice(page, person, cancer):
    frame, model = cancer
    x = frame.drop(columns="diagnosis").to_numpy(np.float32)
    malignant, truth = shares(model, x)[:, 1], (frame.diagnosis == "malignant").to_numpy()
    person.open(page.url)
    left, top, width, height = person.box("threshold", ".noUi-handle")
    centre = [left + width / 2, top + height / 2]
    person.drag(centre, [centre[0] - 100, centre[1]])
    person.settled('get("threshold").value < 0.5 && !get("rates").data.threshold.includes("0.5")')
    threshold = person.js('get("threshold").value')
    wanted = metrics.confusion_matrix(truth, malignant >= threshold)
    shown = person.js('get("confusion").text')
    for row in wanted:
        assert "".join(f"<td>{n}</td>" for n in row) in shown
    rates = person.data("rates")
    assert rates["true_positive_rate"].tolist() == [f"{metrics.recall_score(truth, malignant >= threshold):.3f}"]

    person.choose("slices", "mean radius")
    person.settled('get("rates").data.slice.length === 4 && get("roc").data.xs.length === 4')
    assert [row[0] for row in person.cells("rates table")] == person.data("rates")["slice"].tolist()
    person.type_cell("rates table", 1, 2, "0.9")
    names = page.slices("mean radius")
    second = names == np.unique(names)[1]
    recall = metrics.recall_score(truth[second], malignant[second] >= 0.9)
    person.settled(f'get("rates").data.true_positive_rate[1] === "{recall:.3f}"')
    assert person.data("rates")["threshold"].tolist()[1] == "0.9"
    person.choose("goal", "equal opportunity")
    person.settled('get("goal").value === "equal opportunity" && get("rates").data.threshold[1] !== "0.9"')
    chosen = px.interpret.choose_thresholds(malignant, truth, names, goal="equal opportunity")
    shown = person.data("rates")["threshold"].astype(float)
    np.testing.assert_allclose(shown, np.clip(list(chosen.values()), 0, 1), rtol=1e-3)
    assert person.cells("rates table")[0][2] == person.data("rates")["threshold"][0]


def test_a_picture_is_exported_and_nothing_comes_from_the_network(page, person, chrome, tmp_path):
    person.open(page.url)
    chrome.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    left, top, width, height = person.js("""(() => {
        const find = (root) => { for (const e of root.querySelectorAll("*")) {
            if (e.matches(".bk-tool-icon-save")) return e;
            const inner = e.shadowRoot && find(e.shadowRoot); if (inner) return inner; } };
        const e = find(see("scatter").shadow_el); e.scrollIntoView({block: "center"});
        const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()""")
    person.click((left + width / 2, top + height / 2))
    end = time.monotonic() + 30
    while not (made := list(tmp_path.glob("scatter*.png"))) and time.monotonic() < end:
        chrome.value("new Promise((done) => setTimeout(done, 50))")
    picture = pixels(made[0].read_bytes())
    assert picture.shape[0] > 300
    blue = (np.abs(picture.astype(int) - [47, 111, 222]).sum(-1) < 160).sum()
    assert blue > 200  # points of the benign
    asked = {url.partition("?")[0] for url in chrome.requests if not url.startswith(("data:", "about:", "blob:"))}
    assert asked
    assert all(url.startswith(page.url) for url in asked), asked


def test_two_models_stand_beside_each_other(person, cancer):
    frame, model = cancer
    other = network(9, frame)
    with px.interpret.explore(model, frame, target="diagnosis", compare=other, names=("first", "second")) as page:
        person.open(page.url)
        x = frame.drop(columns="diagnosis").to_numpy(np.float32)
        said = person.text("answers")
        for one in (model, other):
            assert f"{shares(one, x[:1])[0, 1]:.4f}" in said
        assert len(person.data("roc")["xs"]) == 2
        person.choose("y", "difference of answers")
        person.settled('get("scatter").left.some((axis) => axis.axis_label === "difference of answers")')
        np.testing.assert_allclose(
            person.data("points")["y"], shares(other, x)[:, 1] - shares(model, x)[:, 1], atol=1e-5
        )


def test_numbers_have_errors(person):
    x, y = px.data.diabetes()
    model = px.Dense(10, 1, key=0)
    with px.interpret.explore(model, x, target=y) as page:
        person.open(page.url)
        found = np.asarray(model(x))[:, 0]
        said = person.text("errors")
        assert f"{metrics.mean_absolute_error(y, found):.4g}" in said
        assert f"{metrics.root_mean_squared_error(y, found):.4g}" in said
        assert f"{metrics.r2_score(y, found):.4g}" in said
        person.choose("slices", "x2")
        person.settled('get("errors").text.includes("Q4")')


def test_pictures_are_covered_and_coloured(person):
    x, y = px.data.digits()
    model = px.Chain(px.flatten, px.Dense(64, 10, key=0))
    with px.interpret.explore(model, (x, y)) as page:
        person.open(page.url)
        before = person.data("attributions")["image"]
        person.click(person.point(0.55, 0.55, "canvas"))
        person.settled('get("answers").text.includes("before")')
        covered = page.observations.covered(x[0], 0.55, 0.45)
        assert (covered != x[0]).any()
        told = shares(model, covered[None])[0].max()
        assert f"{told:.4f}" in person.text("answers")
        assert person.data("attributions")["image"] != before
        person.choose("method", "hidden squares")
        person.settled('get("attributed").text.includes("mean colour")')


class Bag(px.Module):
    """Texts as counts of two words, and the difference of these as two logits."""

    def __call__(self, counts):
        return px.nn.functional.concatenate([counts[:, :1] - counts[:, 1:], counts[:, 1:] - counts[:, :1]], -1)


def counts(texts):
    return np.array([[text.split().count("bad"), text.split().count("good")] for text in texts], np.float32)


def test_texts_are_typed_and_say_nothing_to_the_browser(person, chrome):
    texts = ["good film <img src=x onerror='window.harmed=1'>", "bad film", "good good"]
    with px.interpret.explore(Bag(), texts, target=["good", "bad", "good"], prepare=counts) as page:
        person.open(page.url)
        assert person.text("words").startswith("good film <img")
        assert chrome.value("window.harmed") is None
        left, top, width, height = person.box("text", "textarea")
        person.click((left + width / 2, top + height / 2))
        chrome.value("document.execCommand('selectAll')")
        person.type("bad bad thing")
        person.press("Tab", 9)
        person.settled('get("answers").text.includes("before")')
        assert f"{np.exp(2) / (np.exp(2) + np.exp(-2)):.4f}" in person.text("answers")
        person.settled('get("words").text.includes("thing")')
        person.click_on("nearest", "button")
        person.settled('get("counterfactual").text.includes("observation")')


# --- many rows -----------------------------------------------------------------------------------


def test_a_hundred_thousand_rows_load_and_are_brushed_at_once(person):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100_000, 30)).astype(np.float32)
    with px.interpret.explore(px.Dense(30, 2, key=0), x, target=(x[:, 0] > 0).astype(int)) as page:
        loads = [person.open(page.url) for _ in range(2)]
        assert min(loads) <= 5, loads
        person.js('document.addEventListener("pointerup", () => { window.released = performance.now(); }, true)')
        person.js('get("brushed").properties.text.change.connect(() => { window.told = performance.now(); })')
        person.js(
            'get("points").properties.data.change.connect(() => requestAnimationFrame(() => requestAnimationFrame('
            "() => { window.drawn = performance.now(); })))"
        )
        times = []
        for right in (2, 1, 0.1, 1.5, 0.5):
            places = person.point(-2, 0.2), person.point(right, 0.8)
            person.js("(window.told = window.drawn = 0)")
            person.drag(*places)
            person.chrome.wait("window.told && window.drawn")
            times.append(person.js("Math.max(window.told, window.drawn) - window.released"))
            scores, count = page.column("answer", 1), int(person.text("brushed").split()[0].replace(",", ""))
            within = (x[:, 0] > -2) & (x[:, 0] < right) & (scores > 0.2) & (scores < 0.8)
            assert abs(count - within.sum()) < 0.03 * within.sum()  # those on the edge, to the pixel
        assert min(times) <= 200, times
