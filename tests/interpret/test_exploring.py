"""What the page of px.interpret.explore stands on: data read, answers read, jobs in a thread; the page has an area."""

import threading

import numpy as np
import pytest
from scipy import special

import phlox as px
from phlox.interpret.exploring._attributing import HIDDEN, INTEGRATED, SHAP, WITHOUT, attributed, methods
from phlox.interpret.exploring._observations import Pictures, Rows, Texts
from phlox.interpret.exploring._painting import DIM, FULL, painted
from phlox.interpret.exploring._probe import Probe
from phlox.interpret.exploring._reading import Asked, read_data
from phlox.interpret.exploring._subject import Subject
from phlox.interpret.exploring._worker import Worker

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype(np.float32)


# --- data ----------------------------------------------------------------------------------------


def test_a_table_is_read_from_a_file_a_frame_or_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.5, 2.5], "city": ["Rome", "Oslo"], "sick": ["no", "yes"], "rooms": [2, 3]})
    frame.to_csv(tmp_path / "data.csv", index=False)
    frame.to_parquet(tmp_path / "data.parquet")
    columns = {name: frame[name].to_numpy() for name in frame}
    for data in (frame, columns, tmp_path / "data.csv", str(tmp_path / "data.parquet")):
        found = read_data(data, Asked("sick"))
        assert isinstance(found, Rows)
        assert list(found.columns) == ["age", "rooms"]
        assert list(found.known) == ["city"]
        assert found.target.tolist() == ["no", "yes"]
        assert found.inputs(found.whole()).tolist() == [[1.5, 2], [2.5, 3]]
        assert found.one(1) == {"age": 2.5, "rooms": 3}
    chosen = read_data(frame, Asked("sick", features=["rooms", "age"]))
    assert chosen.inputs(chosen.whole()).tolist() == [[2, 1.5], [3, 2.5]]


def test_a_prepared_frame_has_its_texts_as_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [20.0, 40.0], "city": ["Rome", "Oslo"], "sick": [0, 1]})
    encoder = px.data.TableEncoder.fit(frame[["age", "city"]])
    found = read_data(frame, Asked("sick", prepare=encoder))
    assert list(found.columns) == ["age", "city"]
    moved = found.inputs(found.some([{**found.one(0), "city": "Oslo"}]))
    assert moved["numbers"].tolist() == [[-1.0]]
    assert moved["codes"].tolist() == [[1]]


def test_pictures_and_texts_are_read_and_known_by_what_is_in_them(tmp_path):
    pixels = rng.integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, y=np.arange(5))
    for data in ((pixels, np.arange(5)), tmp_path / "data.npz"):
        found = read_data(data, Asked())
        assert isinstance(found, Pictures)
        np.testing.assert_allclose(found.known["brightness"], pixels.mean((1, 2, 3)))
        assert found.inputs(found.whole()).dtype == np.float32
    covered = found.covered(found.one(0), 0.5, 0.5, share=0.4)
    changed = np.argwhere((covered != pixels[0]).any(-1))
    assert changed.min(0).tolist() >= [3, 2]
    assert changed.max(0).tolist() <= [4, 3]
    texts = read_data({"text": ["a b", "c"], "stars": [1, 5]}, Asked("stars", text="text", prepare=list))
    assert isinstance(texts, Texts)
    assert texts.known["words"].tolist() == [2, 1]
    assert texts.inputs(texts.some(["new"])) == ["new"]


def test_pictures_are_compared_by_means_of_squares():
    pixels = rng.uniform(size=(3, 32, 48, 2)).astype(np.float32)
    squares = pixels.reshape(3, 16, 2, 16, 3, 2).sum((2, 4)).reshape(3, -1)
    np.testing.assert_allclose(Pictures(pixels, {}, None, None).features(), squares, rtol=1e-5)


def test_of_more_rows_a_sample_is_drawn_in_their_order():
    found = read_data((np.arange(100.0)[:, None], np.arange(100)), Asked(most=10, seed=3))
    assert found.count == 10
    assert found.columns["x0"].tolist() == sorted(set(found.target.tolist()))


@pytest.mark.parametrize(
    ("data", "asked", "message"),
    [
        ("none.csv", Asked(), "expects a file, got none.csv, which is none"),
        ("none.jpg", Asked(), "expects a table, or arrays in a .npz file, got none.jpg"),
        ({"a": np.ones(3)}, Asked("b"), "expects target among a, got 'b'"),
        ({"a": np.ones(3), "b": np.ones(2)}, Asked(), "expects a table with rows, got columns of [2, 3]"),
        ({"a": np.array(["x", "y"])}, Asked(), "expects at least one feature, got none"),
        ({"a": np.array(["x", "y"])}, Asked(features=["a"]), "expects features that are numbers, got 'a', texts"),
        (X, Asked("sick"), "expects a target (rows,) beside an array, got 'sick'"),
        (X, Asked(np.ones(3)), "expects a target (40,), got float64[3]"),
        (np.ones(3), Asked(), "expects numbers (rows, features) or pictures, got float64[3]"),
        ((X, X, X), Asked(), "expects a pair of inputs and what is right, got a tuple of 3"),
        (["a", "b"], Asked(), "expects prepare= for texts, got none"),
    ],
)
def test_data_that_is_none_is_told(data, asked, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(px.PhloxError) as caught:
        read_data(data, asked)
    assert message in str(caught.value)
    assert "fix: " in str(caught.value)


def test_a_damaged_file_is_told(tmp_path):
    for name in ("data.npz", "data.parquet"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(px.weights.CorruptFileError, match=f"expects {name} to be a"):
            read_data(tmp_path / name, Asked())


# --- answers -------------------------------------------------------------------------------------


def subject_of(output, target, reading=None, classes=0):
    table = np.arange(len(output), dtype=np.float32)[:, None]
    lookup = lambda x: np.asarray(output)[np.asarray(x)[:, 0].astype(int)]  # noqa: E731
    return Subject("model", lookup, Rows({"row": table[:, 0]}, {}, target, None, False), reading, classes)


def test_answers_are_read_as_what_they_are():
    logits = rng.normal(size=(9, 3)) * 3
    found = subject_of(logits, None)
    assert found.reading == "logits"
    np.testing.assert_allclose(found.scores, special.softmax(logits, 1), rtol=1e-12)
    assert subject_of(special.softmax(logits, 1), None).reading == "probabilities"
    one = logits[:, 0]
    binary = subject_of(one, np.arange(9) % 2)
    assert (binary.reading, binary.classes) == ("logits", 2)
    np.testing.assert_allclose(binary.scores[:, 1], special.expit(one), rtol=1e-12)
    np.testing.assert_allclose(subject_of([-800.0, 800.0], np.array([0, 1])).scores, [[1, 0], [0, 1]])
    assert subject_of(special.expit(one), np.array(["no", "yes"] * 4 + ["no"])).reading == "probabilities"
    assert subject_of(one, np.arange(9.0)).reading == "numbers"
    assert subject_of(one, None, classes=2).reading == "logits"
    assert subject_of(one, np.arange(9) % 2, "numbers").reading == "numbers"
    with pytest.raises(px.PhloxError, match="expects probabilities from 0 to 1, got"):
        subject_of(one, None, "probabilities")


def test_classes_have_names_by_the_target_or_as_given():
    logits = np.eye(3)[[0, 1, 2, 2]]
    with closed(Probe(*explored(logits, np.array(["b", "a", "c", "c"])), None)) as found:
        assert found.classes == ("a", "b", "c")
        assert found.codes.tolist() == [1, 0, 2, 2]
        assert found.column("predicted", 0).tolist() == ["a", "b", "c", "c"]
        assert found.column("right", 0).tolist() == ["wrong", "wrong", "right", "right"]
    with closed(Probe(*explored(logits, np.array([0, 1, 2, 0])), ["x", "y", "z"])) as found:
        assert found.column("target", 0).tolist() == ["x", "y", "z", "x"]
    for target, names, message in (
        (np.array([0, 1, 3, 0]), None, "expects a target among 0, 1, 2, got"),
        (np.array(["a", "b", "a", "b"]), None, "expects 3 classes, as the model has, got a, b"),
        (np.array([0, 1, 2, 0]), ["a", "b"], "expects 3 classes, as the model has, got a, b"),
    ):
        with pytest.raises(px.PhloxError) as caught:
            Probe(*explored(logits, target), names)
        assert message in str(caught.value)


class closed:  # noqa: N801 - used like a function
    """Ends the thread of an explorer that has no page."""

    def __init__(self, explorer):
        self.explorer = explorer

    def __enter__(self):
        return self.explorer

    def __exit__(self, *_):
        self.explorer.worker.stop()


def explored(output, target):
    found = subject_of(output, target)
    table = np.arange(len(output), dtype=np.float32)
    return Rows({"row": table}, {}, target, None, False), [found]


def test_slices_are_values_or_quarters():
    columns = {"few": np.array([1, 2, 1, 2] * 5), "many": np.arange(20.0)}
    observations = Rows(columns, {"city": np.array(["Rome", "Oslo"] * 10)}, None, None, False)
    model = lambda x: np.asarray(x)[:, 1]  # noqa: E731
    with closed(Probe(observations, [Subject("model", model, observations, None, 0)], None)) as found:
        assert np.unique(found.slices("few")).tolist() == ["1", "2"]
        assert np.unique(found.slices("city")).tolist() == ["Oslo", "Rome"]
        quarters = found.slices("many")
        assert [np.sum(quarters == name) for name in np.unique(quarters)] == [5, 5, 5, 5]
        assert quarters[0] == "Q1 ≤ 4.75"
        assert quarters[-1] == "Q4 > 14.25"


# --- attributions --------------------------------------------------------------------------------

MODEL = px.Chain(px.Dense(3, 6, px.tanh, key=0), px.Dense(6, 2, key=1))


def test_attributions_of_a_row_sum_to_what_is_shown_less_that_of_the_mean():
    observations = Rows({f"x{i}": X[:, i] for i in range(3)}, {}, None, None, False)
    subject = Subject("model", MODEL, observations, None, 0)
    assert methods(subject, observations) == [INTEGRATED, SHAP, WITHOUT]
    one = observations.one(4)
    here, mean = subject.score(1)[4], subject.ask_one(X.mean(0, keepdims=True), 1)[0]
    for method in (INTEGRATED, SHAP):
        found = attributed(subject, observations, one, 1, method)
        assert found.names == ("x0", "x1", "x2")
        np.testing.assert_allclose(found.values.sum(), here - mean, atol=1e-3)
    without = attributed(subject, observations, one, 1, WITHOUT).values
    changed = X[4:5].copy()
    changed[0, 1] = X[:, 1].mean()
    np.testing.assert_allclose(without[1], here - subject.ask_one(changed, 1)[0], atol=1e-6)


def test_attributions_of_words_and_pictures():
    words = ["good bad", "bad bad good"]
    count = lambda texts: np.array([[t.split().count("bad"), t.split().count("good")] for t in texts], float)  # noqa: E731
    texts = Texts(words, {}, None, count)
    found = attributed(Subject("model", lambda x: x, texts, "logits", 0), texts, "good bad x", 1, WITHOUT)
    assert found.names == ("good", "bad", "x")
    half = special.expit(0.0)
    np.testing.assert_allclose(found.values, [half - special.expit(-1), half - special.expit(1), 0], atol=1e-12)
    pixels = np.zeros((4, 14, 14, 1), np.float32)
    pixels[:, 4:6, 4:6] = np.arange(1, 5).reshape(4, 1, 1, 1)
    pictures = Pictures(pixels, {}, None, None)
    bright = Subject("model", px.Chain(px.flatten, px.Dense.of(np.ones((196, 1), np.float32), None)), pictures, None, 0)
    for method in methods(bright, pictures):
        values = attributed(bright, pictures, pictures.one(2), 0, method).values
        assert values.shape == (14, 14)
        assert values[4:6, 4:6].min() > 0.9 * values.max() > 0
        assert np.delete(values, [4, 5], 0).max() <= 0
    assert methods(bright, pictures) == [INTEGRATED, HIDDEN]


# --- the thread ----------------------------------------------------------------------------------


def test_of_jobs_that_wait_the_last_of_each_kind_is_done_and_an_error_is_told():
    worker, began, go, done, dropped = Worker(), threading.Event(), threading.Event(), [], []

    def slow():
        began.set()
        assert go.wait(60)
        return threading.current_thread().name

    def asked(key, job):
        worker.ask(key, job, lambda *found: done.append((key, *found)), lambda: dropped.append(key))

    asked("slow", slow)
    assert began.wait(60)
    for value in range(5):
        asked("slider", lambda value=value: value)
    asked("other", lambda: 1 / 0)
    go.set()
    finished = threading.Event()
    worker.ask("end", lambda: None, lambda *_: finished.set())
    assert finished.wait(60)
    worker.stop()
    assert dropped == ["slider"] * 4
    assert done[0] == ("slow", "px.interpret.explore", None)
    assert done[1] == ("slider", 4, None)
    assert isinstance(done[2][2], ZeroDivisionError)


# --- points as a picture -------------------------------------------------------------------------


def test_points_are_painted_where_they_are():
    """Each is a cross of five pixels; those that are brushed cover more; what lies outside is left out."""
    x, y = np.array([2.5, 7.5, 2.5, np.nan, 99]), np.array([1.5, 6.5, 1.5, 1, 1])
    colours = np.array([[200, 0, 0], [0, 100, 0], [0, 0, 100], [9, 9, 9], [9, 9, 9]], np.uint8)
    picture = painted(x, y, colours, None, (0, 10, 0, 8), (10, 8)).view(np.uint8).reshape(8, 10, 4)
    cross = {(1, 2), (0, 2), (2, 2), (1, 1), (1, 3), (6, 7), (5, 7), (7, 7), (6, 6), (6, 8)}
    assert {tuple(at) for at in np.argwhere(picture[..., 3]).tolist()} == cross
    assert picture[1, 2].tolist() == [100, 0, 50, round(255 * (1 - (1 - FULL) ** 2))]  # two over each other
    assert picture[6, 7].tolist() == [0, 100, 0, round(255 * FULL)]
    some = np.array([False, True, False, False, False])
    brushed = painted(x, y, colours, some, (0, 10, 0, 8), (10, 8)).view(np.uint8).reshape(8, 10, 4)
    assert brushed[1, 2, 3] == round(255 * (1 - (1 - DIM) ** 2))
    assert brushed[6, 7, 3] == round(255 * (FULL + DIM * (1 - FULL)))
