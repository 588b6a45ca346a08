"""The first mistakes with fit and train: each is told in four parts, before training, and changes nothing."""

import re

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import phlox as px
from loop.loops import arrays, mlp

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12, dtype=np.int32) % 3
NAMES = np.array(["a", "b", "c"] * 4)
ONE_DEVICE = "leave devices out for one; there are 1 of cpu: see jax.devices()"
ENCODE = "encode them: names, y = np.unique(strings, return_inverse=True); y counts the classes from 0"
A_CALLBACK = "px.fit expects a px.Callback, or a list of them, as callbacks, got "
A_METRIC = "pass for example metrics={'accuracy': px.metrics.Accuracy()}, and a function by from_function(f)"
A_RULE = "px.fit expects a rule of px.optim, or a px.Optimizer, as optimizer, got "
PAIRS = "batches (x, y) or (x, y, weight) for a loss of prediction and target, got "
BY_NAME = "give a loss whose first parameter is named model: it gets the batch as it is"
TUPLE = f"pass data as a tuple (x, y), for a list is taken as a list of batches; or {BY_NAME}"
ROWS = "line the parts up; the first axis counts observations, and a list its items"


class Misspelt(px.Callback):
    def on_epoch_ended(self, run):
        """Never called."""


class NoLoss(px.Callback):
    def before_backward(self, loss, batch):
        """Forgets to return."""


class NoGrads(px.Callback):
    def after_backward(self, model, grads):
        """Forgets to return."""


def calls_the_net(net, x, y):
    return px.losses.cross_entropy(net(x), y)


def case(kind, message, fix, **given):
    return given, kind, f"{message}\n  fix: {fix}"


CASES = {
    "class_weight": case(
        px.ShapeError, "px.fit expects class_weight for the 3 classes of the prediction float32[6, 3], got 2 numbers",
        "give class_weight one number for each class", class_weight=[1.0, 2.0],
    ),
    "labels": case(
        px.RangeError, "px.fit(train_data) expects labels in 0 … 2, for a prediction of 3 classes, got labels in 1 … 3",
        "count classes from 0, and give the last layer as many outputs as there are classes", train_data=(X, Y + 1),
    ),
    "gpu": case(
        px.RangeError, "data_parallel expects devices as \"all\", a platform, 1 … 1, or a list of devices, got 'gpu'",
        ONE_DEVICE, devices="gpu",
    ),
    "nine devices": case(
        px.RangeError, 'data_parallel expects devices as "all", a platform, 1 … 1, or a list of devices, got 9',
        ONE_DEVICE, devices=9,
    ),
    "no validation": case(
        px.StructureError, "EarlyStopping expects a logged 'val_loss', got loss", "pass validation_data to px.fit",
        callbacks=px.EarlyStopping(),
    ),
    "monitor": case(
        px.StructureError,
        "ReduceOnPlateau expects a logged 'val_acc', got learning_rate, loss, val_accuracy, val_loss",
        "choose one of these as monitor, such as 'val_accuracy', or pass what measures it as metrics=",
        callbacks=[px.ReduceOnPlateau("val_acc", mode="max")], validation_data=(X, Y),
        metrics=px.metrics.Accuracy(), loss=lambda model, x, y: px.losses.cross_entropy(model(x), y),
    ),
    "rule by name": case(
        px.StructureError, A_RULE + "'adam'", "pass px.optim.Adam(1e-3), where 1e-3 is the learning rate",
        optimizer="adam",
    ),
    "class of a rule": case(
        px.StructureError, A_RULE + "the class Lion", "pass px.optim.Lion(1e-3), where 1e-3 is the learning rate",
        optimizer=px.optim.Lion,
    ),
    "class of a callback": case(
        px.RangeError, A_CALLBACK + "the class EarlyStopping", "make one: EarlyStopping(…)",
        callbacks=[px.EarlyStopping],
    ),
    "function as callback": case(
        px.RangeError, A_CALLBACK + "the function print",
        "derive it from px.Callback, or wrap functions in px.LambdaCallback", callbacks=print,
    ),
    "hook": case(
        px.StructureError, "px.fit expects methods on_… of Misspelt that are hooks: on_fit_start, on_fit_end, "
        "on_epoch_start, on_epoch_end, on_step_start, on_step_end, on_validation_start, on_validation_end, "
        "on_validation_logged, on_exception, got on_epoch_ended", "name it on_epoch_end", callbacks=Misspelt(),
    ),
    "time": case(
        px.RangeError, "TimeLimit expects a limit in seconds, or a timedelta, above 0, got '1h'",
        "give for example 3600, or datetime.timedelta(hours=1)", time_limit="1h",
    ),
    "strings": case(
        px.DtypeError, "px.fit(train_data) expects numbers in data[1], got strings such as 'a'", ENCODE,
        train_data=(X, NAMES),
    ),
    "a series": case(
        px.DtypeError, "px.fit(train_data) expects numbers in data['y'], got strings such as 'a'", ENCODE,
        train_data={"x": X, "y": pd.Series(NAMES)},
    ),
    "strings in a batch": case(
        px.DtypeError, "px.fit(train_data) expects numbers in data[1], got strings such as 'a'", ENCODE,
        train_data=[(X, NAMES)],
    ),
    "list of two arrays": case(
        px.ShapeError, f"px.fit expects {PAIRS}a single array float32[12, 4]", TUPLE, train_data=[X, Y],
    ),
    "list of lists": case(
        px.ShapeError, "px.fit(train_data) expects a list of batches, such as tuples (x, y) of arrays, got a list of 2 "
        "lists of numbers", "pass data that comes without batches as a tuple: (x, y)",
        train_data=[[[1, 2], [3, 4]], [0, 1]],
    ),
    "width of validation": case(
        px.ShapeError,
        "px.fit(validation_data): model.layers[0] Dense(4 → 8, tanh) expects (..., 4), got float32[6, 3]",
        "give the layer before 4 outputs, or make this one Dense(3, …)", validation_data=(X[:, :3], Y),
    ),
    "no validation batch": case(
        px.ShapeError, "px.fit(validation_data) expects at least one batch, got none",
        "look at the data; with drop_last it must hold one whole batch", validation_data=(X[:0], Y[:0]),
    ),
    "validation is a number": case(
        px.RangeError, "px.fit(validation_data) expects arrays, a tuple or dict of arrays, a px.DataLoader, or batches "
        "that can be iterated, got 5", "pass for example (x, y)", validation_data=5,
    ),
    "inputs alone": case(
        px.ShapeError, f"px.fit(validation_data) expects {PAIRS}a single array float32[6, 4]", TUPLE, validation_data=X,
    ),
    "lengths": case(
        px.ShapeError, "px.fit(train_data) expects as many observations in each part, got 0: 12, 1: 5", ROWS,
        train_data=(X, Y[:5]),
    ),
    "the name of the model": case(
        px.RangeError, "px.fit expects a loss(prediction, target), or one whose first parameter is named model, got "
        "calls_the_net(net, x, y)",
        "rename its first parameter, net, to model: a loss that calls the model is known by that name",
        loss=calls_the_net,
    ),
    "no loss": case(
        px.ShapeError, "px.fit expects a loss that returns a scalar, or a scalar and a dict of scalars, got None",
        "end it with return loss", loss=lambda prediction, target: None,
    ),
    "no loss of a step": case(
        px.ShapeError, "px.fit expects a step that returns a scalar, or a scalar and a dict of scalars, got None",
        "end it with return loss", loss=None, step=lambda model, opt, x, y: None,
    ),
    "no loss of a hook": case(
        px.StructureError, "NoLoss.before_backward expects the loss to go on with as its result, got None",
        "end it with return loss", callbacks=NoLoss(),
    ),
    "no gradients": case(
        px.StructureError, "NoGrads.after_backward expects the grads to go on with as its result, got None",
        "end it with return grads", callbacks=NoGrads(),
    ),
    "metric": case(
        px.RangeError, "px.fit expects metrics: one of px.metrics, or several by name, got the class Accuracy as acc",
        A_METRIC, metrics={"acc": px.metrics.Accuracy},
    ),
    "whole number": case(
        px.RangeError, "px.fit expects epochs to be a whole number, at least 1, got 1.5", "give for example epochs=1",
        epochs=1.5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_before_training_and_changes_nothing(name):
    given, kind, message = CASES[name]
    model = mlp()
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    before = arrays(model), arrays(opt)
    options = {"train_data": (X, Y), "loss": px.losses.cross_entropy, "optimizer": opt, "batch_size": 6}
    with pytest.raises(kind) as caught:
        px.fit(model, **(options | {"progress": False} | given))
    assert str(caught.value) == message
    for ours, theirs in zip(before, (arrays(model), arrays(opt)), strict=True):
        assert {path: v.tobytes() for path, v in ours.items()} == {path: v.tobytes() for path, v in theirs.items()}


def test_a_folder_that_is_a_file_and_a_monitor_leave_the_files_alone(tmp_path):
    file = tmp_path / "log"
    file.write_text("mine")
    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False}
    text = f"px.fit expects a folder as log_dir, got the file {str(file)!r}\n  fix: give the path of a folder; it is "
    for folder in (file, file / "run"):
        with pytest.raises(px.RangeError, match=f"^{re.escape(text)}made where it is missing$"):
            px.fit(mlp(), (X, Y), log_dir=folder, **options)
    watch = px.Checkpoint(tmp_path / "kept", monitor="val_accuracy")
    with pytest.raises(px.StructureError, match=r"^Checkpoint expects a logged 'val_accuracy', got loss\n"):
        px.fit(mlp(), (X, Y), log_dir=tmp_path / "logs", callbacks=[watch], **options)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("order", "got"),
    [
        (lambda loss, model, data, opt: (model, loss, data, opt), "a model first, then the function cross_entropy"),
        (lambda loss, model, data, opt: (loss, model, opt, data), "the optimiser third, then list"),
    ],
)
def test_train_tells_the_order_of_its_arguments(order, got):
    model = mlp()
    before, opt = arrays(model), px.Optimizer(px.optim.Adam(1e-2), model)
    text = f"px.train expects loss, model, data, opt, in this order, got {got}\n  fix: write px.train(loss, model, "
    with pytest.raises(px.StructureError, match=f"^{re.escape(text)}"):
        px.train(*order(px.losses.cross_entropy, model, [(X, Y)], opt))
    with pytest.raises(
        px.ShapeError, match=r"^px\.train expects batches, got a tuple of 2 arrays\n  fix: pass a list "
    ):
        px.train(px.losses.cross_entropy, model, (X, Y), opt)
    assert {path: v.tobytes() for path, v in arrays(model).items()} == {p: v.tobytes() for p, v in before.items()}


def test_an_exception_of_a_callback_tells_whose_it_is():
    class Fails(px.Callback):
        def on_step_end(self, run):
            raise KeyError("mine")

    class FailsInTheStep(px.Callback):
        def after_update(self, model, opt):
            raise KeyError("mine")

    options = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False}
    with pytest.raises(KeyError) as caught:
        px.fit(mlp(), (X, Y), callbacks=Fails(), **options)
    assert caught.value.__notes__ == ["raised in Fails.on_step_end, epoch 1, step 1"]
    with pytest.raises(KeyError) as caught:
        px.fit(mlp(), (X, Y), callbacks=FailsInTheStep(), **options)
    assert "raised in FailsInTheStep.after_update" in caught.value.__notes__


def test_a_loss_that_is_not_finite_is_told_once_by_its_step():
    data = [(X, Y), (X + 1000, Y), (X, Y)]

    def loss(model, x, y):
        spoiled = jnp.where(x.sum() > 1000, jnp.nan, 0.0)
        return px.losses.cross_entropy(model(x), y) + spoiled

    text = r"px\.fit: the loss of step 2, in epoch 1, is nan\. Lower the learning rate.*StopOnNonFinite.*classes - 1"
    with pytest.warns(UserWarning, match=text) as warned:
        px.fit(mlp(), data, loss=loss, optimizer=px.optim.Adam(1e-2), epochs=2, progress=False)
    assert len(warned) == 1
    assert warned[0].filename == __file__


@pytest.mark.parametrize(("bad", "cut"), [(3, 2), (5, 2), (5, 4), (8, 6), (8, 7)])
@pytest.mark.parametrize("multi_step", [1, 2])
def test_the_step_of_a_loss_that_is_not_finite_counts_what_came_before_a_resume(tmp_path, bad, cut, multi_step):
    calm = [(X + step, Y) for step in range(6)]
    data = [(X + 1000 if step == (bad - 1) % 6 else x, y) for step, (x, y) in enumerate(calm)]

    def loss(model, x, y):
        return px.losses.cross_entropy(model(x), y) + jnp.where(x.sum() > 1000, jnp.nan, 0.0)

    options = {"loss": loss, "optimizer": px.optim.Adam(1e-2), "progress": False, "multi_step": multi_step}
    px.fit(mlp(), calm, steps=cut, checkpoint_dir=tmp_path, **options)
    with pytest.warns(UserWarning, match=rf"px\.fit: the loss of step {bad}, in epoch {1 + bad // 7}, is nan"):
        px.fit(mlp(), data, epochs=2, resume=True, checkpoint_dir=tmp_path, **options)


def test_what_looks_like_a_mistake_and_is_none():
    options = {"loss": px.losses.cross_entropy, "progress": False}
    with px.seed(0):
        nets = [px.Chain(px.Dense(2, 3)) for _ in range(2)]
    nets[1] = px.copy(nets[0])
    inputs, labels = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 2, 1]
    stop = px.EarlyStopping("loss")
    px.fit(nets[0], (inputs, labels), optimizer=px.optim.Adam(1e-2), callbacks=stop, batch_size=100, **options)
    data = np.array(inputs, np.float32), np.array(labels)
    history = px.fit(nets[1], data, optimizer=px.optim.Adam(1e-2), batch_size=np.int64(3), **options)
    assert stop.best == history["loss"][0]
    assert history.epochs[-1]["step"] == 1
    for path, v in arrays(nets[0]).items():
        assert v.tobytes() == arrays(nets[1])[path].tobytes()
    ignored = np.where(Y == 1, -100, Y)
    px.fit(mlp(), (X, ignored), optimizer=px.optim.Adam(1e-2), **options)
