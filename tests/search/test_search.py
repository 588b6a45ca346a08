"""What of a search needs no Optuna: ranges, trials, pruning, studies, pictures, what is refused."""

import math
import sys

import numpy as np
import pytest

import phlox as px
from phlox.search import Choice, Integer, Study, Trial, TrialResult, Uniform
from phlox.search._space import as_space
from phlox.search._trial import value_of

X = np.linspace(-1, 1, 16, dtype="float32")[:, None]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Uniform(1.0, 1.0), "Uniform expects low below high"),
        (lambda: Uniform(0.0, 1.0, log=True), "Uniform expects a positive low with log"),
        (lambda: Uniform(0.1, 1.0, log=True, step=0.1), "Uniform expects log or a step"),
        (lambda: Uniform(0.0, math.inf), "Uniform expects numbers as bounds"),
        (lambda: Uniform(0.0, 1.0, step=0.0), "Uniform expects a step above 0"),
        (lambda: Integer(0, 4, log=True), "Integer expects a positive low with log"),
        (lambda: Integer(1, 4.5), "Integer expects numbers as bounds"),
        (lambda: Integer(1, 9, log=True, step=2), "Integer expects log or a step"),
        (lambda: Choice([]), "Choice expects different options"),
        (lambda: Choice([1, 1]), "Choice expects different options, got 1, 1"),
        (lambda: Choice([px.relu, "relu"]), "Choice expects different options, got 'relu', 'relu'"),
        (lambda: as_space({}, "px.tune"), "px.tune expects a dict of what to choose from, by name"),
        (lambda: as_space({"rate": (0.1, 1.0)}, "px.tune"), r"expects a range or a list as 'rate', got \(0.1, 1.0\)"),
        (lambda: px.tune(lambda trial: 0.0, {"a": [1]}, trials=0), "px.tune expects a number of trials, at least 1"),
        (lambda: px.tune(3, {"a": [1]}), "px.tune expects a function of a trial, got 3"),
        (lambda: px.tune(abs, {"a": [1]}, mode="up"), "px.tune expects mode"),
        (lambda: px.tune(abs, {"a": [1]}, monitor="thing"), "px.tune expects mode .* a name that tells neither"),
        (lambda: Trial(0, {"a": 1})["b"], "Trial expects the name of a setting, got 'b'"),
    ],
)
def test_what_means_nothing_is_refused(make, said):
    with pytest.raises(px.RangeError, match=said):
        make()


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(px.MissingExtraError, match=r'pip install "phlox\[tune\]"'):
        px.tune(abs, {"a": [1]})


def test_options_are_kept_by_name_and_come_back_as_they_are():
    choice = Choice([px.relu, True, 1, None, "relu6"])
    assert choice.labels == ("relu", True, 1, None, "relu6")
    assert [choice.value(label) for label in choice.labels] == list(choice.options)
    assert choice.value(1) is not True


def trained(trial, **options):
    with px.seed(trial.seed):
        model = px.Dense(1, 1)
    return px.fit(
        model, (X, 2 * X), validation_data=(X, 2 * X), loss=px.losses.mse, optimizer=px.optim.Descent(0.1),
        callbacks=[trial.pruning()], progress=False, **options,
    )  # fmt: skip


def test_a_trial_reports_every_validation_and_ends_where_it_is_told_to():
    seen = []

    def report(step, value):
        seen.append((step, value))
        return step >= 2

    trial = Trial(3, {"a": 1}, report=report)
    history = trained(trial, epochs=5)
    assert seen == list(zip([1, 2], history["val_loss"], strict=True))
    assert trial.pruned
    assert history.reason.startswith("pruned at step 2: val_loss")
    assert trial.report(9, 0.0)
    assert len(seen) == 2
    within = Trial(3, {"a": 1}, report=lambda step, value: step >= 4)
    assert trained(within, steps=9, validation_every=2).reason.startswith("pruned at step 4")


def test_what_an_objective_returns(tmp_path):
    trial = Trial(0, {"a": 1})
    history = trained(trial, epochs=3)
    assert value_of(history, trial, "val_loss", "min", "px.tune") == min(history["val_loss"])
    assert value_of(history, trial, "val_loss", "max", "px.tune") == max(history["val_loss"])
    assert value_of(np.float32(2.5), trial, "", "min", "px.tune") == 2.5
    assert value_of(history["val_loss"][0] * np.nan, trial, "", "min", "px.tune") is None
    with pytest.raises(px.RangeError, match="a history with 'val_accuracy', got one with loss, val_loss"):
        value_of(history, trial, "val_accuracy", "max", "px.tune")
    for wrong in (None, "0.5", [0.5], np.zeros(1)):
        with pytest.raises(px.RangeError, match=r"an objective that returns a number, or a px\.History"):
            value_of(wrong, trial, "val_loss", "min", "px.tune")


STUDY = Study(
    [
        TrialResult(0, {"rate": 0.1, "act": px.relu}, 0.5, "done", {1: 0.9, 2: 0.5}, 1.0),
        TrialResult(1, {"rate": 0.001, "act": px.gelu}, None, "pruned", {1: 2.0}, 0.5),
        TrialResult(2, {"rate": 0.01, "act": px.gelu}, 0.25, "done", {1: 0.4, 2: 0.25}, 1.0),
        TrialResult(3, {"rate": 0.02, "act": px.relu}, None, "failed"),
    ],
    "min",
    "digits",
)


def test_a_study_knows_its_best_and_prints_as_a_table():
    assert STUDY.best.number == 2
    assert Study(STUDY.trials, "max").best.number == 0
    assert repr(STUDY).splitlines() == [
        "Study('digits': 2 done, 1 pruned, 1 failed)",
        "trial  value  rate   act",
        "    2   0.25  0.01  gelu",
        "    0    0.5   0.1  relu",
    ]
    with pytest.raises(
        px.StructureError, match=r"Study\('study'\) expects a trial that is done, got 0 pruned, 1 failed"
    ):
        _ = Study(STUDY.trials[3:], "min").best


def test_the_pictures_show_every_trial_and_mark_the_best(tmp_path):
    figure = STUDY.plot(tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    by_trial, reported, rate, act = figure.axes
    done, pruned, best = by_trial.lines
    np.testing.assert_array_equal(done.get_xydata(), [[0, 0.5], [2, 0.25]])
    np.testing.assert_array_equal(pruned.get_xydata(), [[1, 2.0]])
    np.testing.assert_array_equal(best.get_ydata(), [0.5, 0.25])
    assert len(reported.lines) == 5 + 1  # four trials, the best once more, and a dot for a curve of one number
    assert reported.get_title(loc="left") == "reported; the best is trial 2"
    np.testing.assert_allclose(rate.collections[0].get_offsets(), [[0.1, 0.5], [0.01, 0.25]])
    np.testing.assert_array_equal(rate.lines[0].get_xydata(), [[0.01, 0.25]])
    assert [label.get_text() for label in act.get_xticklabels()] == ["relu", "gelu"]
