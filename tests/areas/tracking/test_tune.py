"""px.tune over Optuna: what it finds, prunes and keeps; killed and gone on; two processes on one study."""

import statistics
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import phlox as px
from areas.tracking.conftest import trained
from areas.tracking.searched import SPACE, search
from phlox.search import Choice, Integer, Uniform

PROGRAM = Path(__file__).with_name("searched.py")


def told(study):
    """All that a study says, but for its seconds."""
    return [(t.number, t.settings, t.value, t.state, t.curve) for t in study.trials]


def test_a_search_finds_what_is_known_to_be_best():
    """The minimum of (log₁₀ rate + 2)² + (width − 12)² / 50, and 1 more for one of the options: at 0.01, 12, gelu."""

    def objective(trial):
        import math

        penalty = 0.0 if trial["act"] is px.gelu else 1.0
        return (math.log10(trial["rate"]) + 2) ** 2 + (trial["width"] - 12) ** 2 / 50 + penalty

    space = {"rate": Uniform(1e-5, 1.0, log=True), "width": Integer(4, 64), "act": Choice([px.relu, px.gelu])}
    study = px.tune(objective, space, trials=80, mode="min", seed=3)
    random = px.tune(objective, space, trials=80, mode="min", seed=3, sampler="random")
    assert study.best.settings["act"] is px.gelu
    assert study.best.value < 0.1 < random.best.value
    assert study.best.value == min(t.value for t in study.trials)
    assert len(study.trials) == 80
    again = px.tune(objective, space, trials=80, mode="min", seed=3)
    assert told(again) == told(study)


def test_trials_that_lag_behind_are_ended_by_the_rule_of_the_median():
    ended = {}

    def objective(trial):
        for step in range(1, 6):
            if trial.report(step, trial["level"] / step):
                ended[trial.number] = step
                break
        return trial["level"] / 5

    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    study = px.tune(objective, {"level": Uniform(0.0, 1.0)}, trials=25, mode="min", pruner=pruner, sampler="random")
    finished, wanted = [], {}
    for trial in study.trials:  # worked out anew, from the levels alone
        level = trial.settings["level"]
        enough = len(finished) >= 4
        behind = [s for s in range(2, 6) if enough and level / s > statistics.median(x / s for x in finished)]
        if behind:
            wanted[trial.number] = min(behind)
        else:
            finished.append(level)
    assert ended == wanted
    assert 0 < len(ended) == study.count("pruned")
    assert study.best.value == min(finished) / 5


def test_a_killed_search_goes_on_as_if_it_had_not_been_killed(tmp_path):
    whole = search(tmp_path / "whole.db", tmp_path / "whole", 7)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "killed.db"), str(tmp_path / "killed"), "7"]
    assert subprocess.run([*command, "3"], timeout=600).returncode == -9
    cut = px.search.read_study(tmp_path / "killed.db", SPACE)
    assert [t.state for t in cut.trials][3:] == ["running"]
    study = search(tmp_path / "killed.db", tmp_path / "killed", 7)
    assert (tmp_path / "killed" / "trial-0003" / "killed").exists()
    assert [t[:4] for t in told(study)] == [t[:4] for t in told(whole)]
    redone = study.trials[3].curve
    assert redone.items() <= whole.trials[3].curve.items()  # what the first process reported is not trained again
    assert 1 not in redone
    assert told(search(tmp_path / "killed.db", tmp_path / "killed", 7)) == told(study)  # nothing is left to do
    assert not list(tmp_path.glob("killed.db.workers/*"))


def test_two_processes_share_a_study(tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path / "shared.db"), str(tmp_path / "logs"), "8"]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait(timeout=600) for one in both] == [0, 0]
    study = px.search.read_study(tmp_path / "shared.db", SPACE)
    assert 8 <= len(study.trials) <= 9
    assert study.count("running") == study.count("failed") == 0
    settings = [(t.settings["rate"], t.settings["width"]) for t in study.trials]
    assert len(set(settings)) == len(settings)
    workers = {t.user_attrs["phlox:worker"] for t in study.source.trials}
    assert len(workers) == 2


def test_ctrl_c_in_a_training_ends_the_search_and_the_trial_is_done_again(tmp_path):
    stops = [2]

    def objective(trial):
        def stop(run):
            if trial.number in stops:
                stops.remove(trial.number)
                raise KeyboardInterrupt

        return trained(trial.pruning(), px.LambdaCallback(on_epoch_end=stop), epochs=2, seed=trial.seed)

    space = {"a": Uniform(0.0, 1.0)}
    study = px.tune(objective, space, trials=4, storage=tmp_path / "study.db")
    assert [t.number for t in study.trials] == [0, 1]
    study = px.tune(objective, space, trials=4, storage=tmp_path / "study.db")
    assert [(t.number, t.state) for t in study.trials] == [(n, "done") for n in range(4)]


def test_errors_end_a_search_unless_they_are_to_be_caught(tmp_path, capsys):
    def objective(trial):
        if trial.number == 1:
            raise ValueError("as asked for")
        return float("nan") if trial.number == 2 else trial["a"]

    space = {"a": Uniform(0.0, 1.0)}
    with pytest.raises(ValueError, match="as asked for"):
        px.tune(objective, space, trials=4, mode="max", storage=tmp_path / "study.db")
    study = px.tune(objective, space, trials=4, mode="max", catch=(ValueError,))
    assert [t.state for t in study.trials] == ["done", "failed", "failed", "done"]
    assert study.best.value == max(study.trials[0].value, study.trials[3].value)
    assert "trial 1 failed: ValueError: as asked for" in capsys.readouterr().out
    with pytest.raises(px.RangeError, match="a study 'other', got study"):
        px.search.read_study(tmp_path / "study.db", name="other")
    with pytest.raises(px.RangeError, match="one of tpe, random, got 'best'"):
        px.tune(objective, space, sampler="best")
