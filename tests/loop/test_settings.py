"""What fit was asked for: one immutable object, checked, and logged as it was given."""

import dataclasses
import inspect
import json
import re

import numpy as np
import pytest

import phlox as px
from loop.loops import arrays, mlp
from phlox.loop._settings import Settings

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = (np.arange(12) % 3).astype(np.int32)
OPTIONS = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False}
LOGGED = {
    "loss": "cross_entropy", "optimizer": repr(px.optim.Adam(1e-2)), "epochs": 1, "steps": None, "batch_size": 32,
    "validation_every": 1, "metrics": None, "callbacks": [], "seed": 0, "log_dir": None, "step": None, "accumulate": 1,
    "clip": None, "precision": None, "class_weight": None, "sample_weight": None, "time_limit": None, "dry_run": False,
    "overfit_batches": 0, "limit_batches": None, "multi_step": "auto", "progress": False, "devices": None,
    "parallel": None, "checkpoint_dir": None, "checkpoint_every": "epoch", "resume": False, "memory": None,
    "loss_weights": None, "schema": None,
}  # fmt: skip


class Kept(px.Callback):
    def on_fit_start(self, run):
        self.run = run

    def __repr__(self):
        return "Kept()"


def settings(**given):
    parameters = inspect.signature(px.fit).parameters
    default = {f.name: parameters[f.name].default for f in dataclasses.fields(Settings)}
    return Settings(**(default | OPTIONS | given))


def config_of(**given):
    kept = Kept()
    px.fit(mlp(), (X, Y), callbacks=kept, **(OPTIONS | given))
    return kept.run.config


def test_the_settings_are_the_arguments_of_fit_in_their_order():
    parameters = inspect.signature(px.fit).parameters
    names = [name for name in parameters if name not in ("model", "train_data", "validation_data")]
    assert [field.name for field in dataclasses.fields(Settings)] == names == list(LOGGED)


def test_a_run_logs_them_as_they_were_given():
    config = config_of()
    assert list(config) == list(LOGGED)
    assert config == LOGGED | {"callbacks": ["Kept()"]}
    other = {
        "epochs": np.int64(2), "clip": {"value": 0.5}, "class_weight": (1.0, 2.0, 3.0), "seed": 3, "time_limit": 60.0,
        "loss": [px.losses.cross_entropy], "loss_weights": [2.0], "multi_step": 1, "sample_weight": None,
    }  # fmt: skip
    shown = {**other, "epochs": 2, "class_weight": [1.0, 2.0, 3.0], "loss": ["cross_entropy"]}
    logged = settings(**other).logged()
    assert logged == LOGGED | shown
    assert json.loads(json.dumps(logged)) == logged


def test_they_print_as_they_are_logged():
    assert repr(settings()) == f"Settings({', '.join(f'{name}={value!r}' for name, value in LOGGED.items())})"


def test_they_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().epochs = 2


def test_a_dry_run_takes_one_step_and_logs_what_it_was_asked_for(tmp_path, monkeypatch):
    runs, make = [], px.Run.__init__

    def noted(run, *args, **kwargs):
        make(run, *args, **kwargs)
        runs.append(run)

    monkeypatch.setattr(px.Run, "__init__", noted)
    model, given = mlp(), {"epochs": 7, "accumulate": 2, "log_dir": tmp_path / "logs", "time_limit": 5.0}
    before = arrays(model)
    history = px.fit(model, (X, Y), batch_size=3, callbacks=Kept(), dry_run=True, **(OPTIONS | given))
    assert history.reason == "1 steps"
    assert not list(tmp_path.iterdir())
    (run,) = runs
    assert (run.step, run.callbacks) == (1, [])
    shown = given | {"log_dir": str(given["log_dir"]), "callbacks": ["Kept()"], "batch_size": 3, "dry_run": True}
    assert run.config == LOGGED | shown
    for path, v in arrays(model).items():
        np.testing.assert_array_equal(v, before[path])


def test_checks_keep_their_order():
    """What is refused first stays so: a user who mends one mistake after the other sees them in this order."""
    wrong = {
        "loss_weights": ({"a": 1.0}, "losses by output for loss_weights"),
        "epochs": (0, "epochs to be a whole number"),
        "overfit_batches": (-1, "overfit_batches to be a whole number"),
        "memory": ("much", "memory as None"),
        "multi_step": (0, "multi_step to be a whole number"),
        "loss": (3, "a function as loss"),
        "step": (lambda model, opt, x, y: 0.0, "your own step alone"),
        "optimizer": ("adam", "a rule of px.optim"),
        "resume": (True, "a checkpoint_dir to resume from"),
        "devices": (1, "devices or parallel"),
        "precision": ("bf17", 'precision "bf16"'),
        "class_weight": ("even", "class_weight"),
        "sample_weight": (np.ones(3), "as many observations"),
        "metrics": (3, "metrics: one of px.metrics"),
        "clip": (-1.0, "clip"),
        "time_limit": ("1h", "a limit in seconds"),
    }
    given = {name: value for name, (value, _) in wrong.items()} | {"parallel": px.parallel.data_parallel(1)}
    good = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "step": None}
    seen = []
    while given:
        with pytest.raises(px.PhloxError) as caught:
            px.fit(mlp(), (X, Y), progress=False, **({"loss": good["loss"], "optimizer": good["optimizer"]} | given))
        told = next((name for name, (_, text) in wrong.items() if name in given and text in str(caught.value)), None)
        assert told is not None, str(caught.value)
        seen.append(told)
        del given[told]
        given.pop("parallel" if told == "devices" else "", None)
        if not given.keys() & wrong.keys():
            break
    assert seen == list(wrong)


AS_PARALLEL = "px.fit expects a strategy of px.parallel as parallel, got "


@pytest.mark.parametrize(
    ("given", "message", "fix"),
    [
        (
            {"devices": 1, "parallel": px.parallel.data_parallel(1)}, "px.fit expects devices or parallel, got both",
            "leave devices out: parallel says which they are",
        ),
        (
            {"parallel": "all"}, f"{AS_PARALLEL}'all'",
            "pass parallel=px.parallel.data_parallel('all'), or devices='all' for short",
        ),
        (
            {"parallel": px.parallel.data_parallel}, f"{AS_PARALLEL}the function data_parallel",
            'pass parallel=px.parallel.data_parallel("all"), or devices="all" for short',
        ),
    ],
)  # fmt: skip
def test_what_parallel_is_not(given, message, fix):
    text = f"{message}\n  fix: {fix}"
    with pytest.raises(px.RangeError, match=f"^{re.escape(text)}$"):
        px.fit(mlp(), (X, Y), **OPTIONS, **given)


def test_devices_are_short_for_parallel():
    models = [mlp(), mlp(), mlp()]
    runs = []
    for model, given in zip(models, ({}, {"devices": 1}, {"parallel": px.parallel.data_parallel(1)}), strict=True):
        kept = Kept()
        px.fit(model, (X, Y), callbacks=kept, epochs=2, batch_size=4, **OPTIONS, **given)
        runs.append(kept.run)
    meshes = [getattr(px.paths(model)["layers.0.weight"].sharding, "mesh", None) for model in models]
    assert [run.device_count for run in runs] == [1, 1, 1]
    assert meshes[0] is None
    assert meshes[1] == meshes[2] == px.parallel.Placement.of(px.parallel.data_parallel(1)).mesh
    assert arrays(models[1]).keys() == arrays(models[2]).keys()
    for path, v in arrays(models[1]).items():
        np.testing.assert_array_equal(v, arrays(models[2])[path])
    assert runs[1].config["devices"] == 1
    assert runs[1].config["parallel"] is None
    assert runs[2].config["parallel"] == repr(px.parallel.data_parallel(1))
