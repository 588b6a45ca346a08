"""Callbacks tell which numbers they log, so that a monitor of no such name is refused before training."""

import re

import numpy as np
import pytest

import phlox as px
from loop.loops import arrays, mlp

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = (np.arange(12) % 3).astype(np.int32)
OPTIONS = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False, "epochs": 3}


class Logging(px.Callback):
    """Logs a number, and says nothing about it."""

    def __init__(self, name="mine"):
        self.name = name

    def on_epoch_end(self, run):
        run.log(self.name, 1.0)


class Told(Logging):
    def logged_names(self):
        return [self.name]


class More(Told):
    """Derived from one that tells, and logs something else too."""

    def on_epoch_end(self, run):
        super().on_epoch_end(run)
        run.log("more", 2.0)


class Stops(px.EarlyStopping):
    """Derived from one of ours, and logs something."""

    order = -1

    def on_epoch_end(self, run):
        run.log("patience_left", self.patience - self.bad)
        super().on_epoch_end(run)


def trained(*callbacks, **more):
    model = mlp()
    before = arrays(model)
    try:
        return px.fit(model, (X, Y), callbacks=callbacks, **OPTIONS, **more)
    except px.PhloxError as error:
        same = all((v == arrays(model)[path]).all() for path, v in before.items())
        error.add_note("before training" if same else "behind an epoch")
        raise


def refused(name, *callbacks, **more):
    """The names that the refusal shows, and when it came."""
    with pytest.raises(px.StructureError, match=rf"^EarlyStopping expects a logged '{name}', got ") as caught:
        trained(*callbacks, px.EarlyStopping(name, mode="min"), **more)
    shown = str(caught.value).partition(", got ")[2].partition("\n")[0]
    return shown.split(", "), caught.value.__notes__[-1]


def test_a_callback_of_a_user_that_tells_its_names():
    assert refused("nine", Told()) == (["loss", "mine"], "before training")
    assert refused("mine", Told("other")) == (["loss", "other"], "before training")
    assert "mine" in trained(Told(), px.EarlyStopping("mine", mode="min"))


def test_one_that_does_not_tell_is_waited_for():
    assert refused("nine", Logging()) == (["loss", "mine"], "behind an epoch")
    assert refused("nine", Told(), Logging("other")) == (["loss", "mine", "other"], "behind an epoch")
    assert "mine" in trained(Logging(), px.EarlyStopping("mine", mode="min"))


def test_a_class_tells_for_itself_alone():
    assert "more" in trained(More(), px.EarlyStopping("more", mode="min"))
    assert refused("nine", More()) == (["loss", "mine", "more"], "behind an epoch")
    assert "patience_left" in trained(Stops("loss"), px.EarlyStopping("patience_left", mode="min"))


def test_functions_may_log_anything():
    logging = px.LambdaCallback(on_epoch_end=lambda run: run.log("mine", 1.0))
    assert "mine" in trained(logging, px.EarlyStopping("mine", mode="min"))


def test_those_of_the_library_tell(tmp_path):
    silent = [
        px.EMA(), px.SWA(batch_norm=False), px.TimeLimit(100), px.StopOnNonFinite(), px.EarlyStopping("loss"),
        px.Checkpoint(tmp_path / "c"), px.ProgressBar("plain"), px.TensorBoardLogger(tmp_path / "t"),
        px.CSVLogger(tmp_path / "h.csv"), px.JSONLinesLogger(tmp_path / "l.jsonl"), px.GradualUnfreezing({0: "*"}),
        px.loop.Profile(tmp_path / "p", steps=(0, 1)),
    ]  # fmt: skip
    for callback in silent:
        assert refused("mine", callback) == (["loss"], "before training"), callback
    assert refused("mine", px.ReduceOnPlateau("loss"))[0] == ["learning_rate", "loss"]
    rates = ["examples_per_second", "loss", "steps_per_second"]
    assert refused("mine", px.Throughput()) == (rates, "before training")
    assert refused("mine", px.Throughput(peak=1e9)) == (sorted([*rates, "mfu"]), "before training")
    every = [c for c in vars(px.loop).values() if isinstance(c, type) and issubclass(c, px.Callback)]
    untold = {c.__name__ for c in every if c.logged_names is px.Callback.logged_names}
    assert untold == {"Callback", "LambdaCallback"}


def test_names_of_validation_and_metrics_are_known_too():
    names, when = refused("nine", Told(), validation_data=(X, Y), metrics=px.metrics.Accuracy())
    assert names == ["accuracy", "loss", "mine", "val_accuracy", "val_loss"]
    assert when == "before training"


@pytest.mark.parametrize(
    ("names", "got", "fix"),
    [
        ("mine", "'mine'", "return ['mine']"),
        (3, "3", "return a list of what it gives to run.log"),
    ],
)
def test_names_that_are_no_list(names, got, fix):
    class Odd(px.Callback):
        def logged_names(self):
            return names

    text = f"Odd.logged_names expects a list of names, or None where they are not known, got {got}\n  fix: {fix}"
    with pytest.raises(px.RangeError, match=f"^{re.escape(text)}"):
        trained(Odd())


def test_a_failure_in_it_tells_whose_it_is():
    class Fails(px.Callback):
        def logged_names(self):
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        px.fit(mlp(), (X, Y), callbacks=Fails(), **OPTIONS)
    assert caught.value.__notes__ == ["raised in Fails.logged_names"]
