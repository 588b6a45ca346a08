"""Trials that Ray Tune runs: the objectives of px.tune, ended early by a scheduler of Ray's."""

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

import phlox as px

pytestmark = pytest.mark.filterwarnings("ignore")


def objective(trial):
    """A training that reports, in a process that imports what it needs."""
    import numpy as np

    import phlox as px

    x = np.linspace(-1, 1, 16, dtype="f")[:, None]
    with px.seed(0):
        model = px.Dense(1, 1)
    return px.fit(
        model, (x, 2 * x), validation_data=(x, 2 * x), loss=px.losses.mse, optimizer=px.optim.Descent(trial["rate"]),
        epochs=3, progress=False, callbacks=[trial.pruning()],
    )  # fmt: skip


def behind(trial):
    """A loop of its own, the worse the higher its level."""
    for step in range(1, 9):
        trial.report(step, trial["level"] + 1 / step)
    return trial["level"]


def test_trials_come_to_what_they_come_to_here(cluster, tmp_path):
    space = {"rate": px.search.Choice([0.5, 0.1, 0.01])}
    study = px.search.ray_tune(objective, space, trials=4, at_once=2, storage=tmp_path, seed=1)
    assert [trial.state for trial in study.trials] == ["done"] * 4
    for trial in study.trials:
        history = objective(px.search.Trial(0, trial.settings))
        assert trial.value == pytest.approx(min(history["val_loss"]), rel=1e-5)
        assert list(trial.curve) == [1, 2, 3]
        assert list(trial.curve.values()) == pytest.approx(history["val_loss"], rel=1e-5)
    assert study.best.value == min(trial.value for trial in study.trials)


def test_a_scheduler_ends_trials_that_lag_behind(cluster, tmp_path):
    scheduler = AsyncHyperBandScheduler(time_attr="step", grace_period=2, reduction_factor=2, max_t=100)
    space = {"level": px.search.Uniform(0.0, 1.0)}
    study = px.search.ray_tune(behind, space, trials=6, mode="min", at_once=1, scheduler=scheduler, storage=tmp_path)
    assert study.count("pruned") >= 1
    assert study.count("done") + study.count("pruned") == 6
    best = min(trial.settings["level"] for trial in study.trials)
    assert study.best.settings["level"] == study.best.value == best
