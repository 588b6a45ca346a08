"""A number is seen by all who look, wherever it was logged; NaN is never an improvement."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import phlox as px
from kit import oracle
from loop.loops import batches, mlp
from loop.test_callbacks_stopping import a_run, after_epoch, epochs_until_stop
from phlox.loop.steps._precision import LossScale

X, Y = (np.concatenate(part) for part in zip(*batches(4, size=8), strict=True))
SETTINGS = dict(loss=px.losses.cross_entropy, progress=False)
MSE = {"loss": px.losses.mse}


def stream():
    while True:
        yield X[:8], Y[:8]


def scored(values, name="val_loss"):
    """A callback that gives validations these numbers, one after another."""
    left = list(values)
    return px.LambdaCallback(on_validation_end=lambda run: run.logs.update({name: left.pop(0)}))


def test_validation_inside_an_epoch_reaches_everybody(tmp_path, capsys):
    rates = []
    history = px.fit(
        mlp(), stream(), validation_data=(X, Y), steps=100, validation_every=2, optimizer=px.optim.Adam(1e-2),
        callbacks=[
            scored([5.0, 3.0, 4.0, 4.0, 4.0, 4.0]), px.ReduceOnPlateau("val_loss", 0.5, patience=1),
            px.EarlyStopping("val_loss", patience=4),
            px.LambdaCallback(on_validation_logged=lambda run: rates.append(run.opt.learning_rate)),
            px.ProgressBar("plain"),
        ],
        log_dir=tmp_path, checkpoint_dir=tmp_path / "saved", **SETTINGS,
    )  # fmt: skip
    assert history.reason == "val_loss no better than 3 since epoch 1"
    assert history.logged("val_loss") == [(2, 5.0), (4, 3.0), (6, 4.0), (8, 4.0), (10, 4.0), (12, 4.0)]
    assert history.epochs[-1]["step"] == 12
    assert history["val_loss"] == [4.0]
    np.testing.assert_allclose(history["learning_rate"], [history.optimizer.learning_rate])
    torch = oracle("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-2)
    plateau, theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1), []
    for value in (5.0, 3.0, 4.0, 4.0, 4.0, 4.0):
        plateau.step(value)
        theirs.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates, [1e-2, *theirs[:-1]], rtol=1e-6)  # it runs before the plateau
    assert pd.read_csv(tmp_path / "history.csv")["val_loss"].tolist() == [4.0]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["val_loss"] for line in lines if "val_loss" in line] == [5.0, 3.0, 4.0, 4.0, 4.0, 4.0]
    said = capsys.readouterr().err
    assert said.count("val_loss") == 6 + 1  # six validations and the reason
    assert "epoch 1  step 4  val_loss 3  learning_rate 0.01\n" in said
    assert "stopped: val_loss no better than 3 since epoch 1\n" in said
    assert "nan" not in said
    assert px.CheckpointStore(tmp_path / "saved").best().step == 4


@pytest.mark.parametrize(
    "hook",
    ["on_fit_start", "on_epoch_start", "on_step_end", "on_validation_start", "on_validation_end", "on_epoch_end"],
)
def test_a_number_logged_from_any_hook_is_in_the_row_and_watched(tmp_path, hook):
    numbers = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5])
    stopping = px.EarlyStopping("mine", patience=2, mode="min")
    history = px.fit(
        mlp(), [(X, Y)], validation_data=(X, Y), epochs=6 if hook != "on_fit_start" else 1, log_dir=tmp_path,
        optimizer=px.optim.Adam(1e-2),
        callbacks=[stopping, px.LambdaCallback(**{hook: lambda run: run.log("mine", next(numbers))})], **SETTINGS,
    )  # fmt: skip
    expected = [3.0] if hook == "on_fit_start" else [3.0, 2.0, 2.5, 2.5]
    assert history["mine"] == expected
    assert stopping.best == min(expected)
    assert pd.read_csv(tmp_path / "history.csv")["mine"].tolist() == expected


def test_a_validation_at_the_end_of_an_epoch_is_looked_at_once():
    history = px.fit(
        mlp(), [(X, Y)] * 2, validation_data=(X, Y), steps=20, validation_every=2, optimizer=px.optim.Adam(),
        callbacks=[scored([1.0, 2.0, 2.0]), px.EarlyStopping("val_loss", patience=2)], **SETTINGS,
    )  # fmt: skip
    assert [row["step"] for row in history] == [2, 4, 6]


def test_what_is_logged_at_the_end_is_in_the_last_row(tmp_path):
    end = px.LambdaCallback(on_fit_end=lambda run: run.log("test", 0.5))
    history = px.fit(
        mlp(), [(X, Y)], epochs=2, log_dir=tmp_path, optimizer=px.optim.Adam(), callbacks=[end], **SETTINGS
    )
    assert history.epochs[-1]["test"] == 0.5
    assert "test" not in history.epochs[0]
    assert pd.read_csv(tmp_path / "history.csv")["test"].tolist()[1] == 0.5


def test_arrays_are_kept_and_told_in_words_and_metrics_have_their_order(tmp_path, capsys):
    metrics = {"z": px.metrics.Accuracy(), "confusion": px.metrics.ConfusionMatrix(3), "a": px.metrics.Accuracy()}
    model = mlp()
    history = px.fit(
        model, (X, Y), optimizer=px.optim.Descent(1e-30), metrics=metrics, validation_data=(X, Y), log_dir=tmp_path,
        checkpoint_dir=tmp_path / "saved", **{**SETTINGS, "progress": "plain"},
    )  # fmt: skip
    said = np.asarray(model(X)).argmax(-1)
    by_hand = np.zeros((3, 3))
    np.add.at(by_hand, (Y, said), 1)
    for name in ("confusion", "val_confusion"):
        np.testing.assert_array_equal(history[name][0], by_hand)
    assert history.names[2:6] == ["loss", "z", "confusion", "a"]
    assert pd.read_csv(tmp_path / "history.csv")["confusion"].tolist() == ["array 3 × 3"]
    assert "array 3 × 3" in repr(history)
    assert "confusion array 3 × 3/array 3 × 3" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["confusion"] for line in lines if "confusion" in line] == [by_hand.tolist()]
    again = px.fit(
        mlp(1), (X, Y), optimizer=px.optim.Descent(1e-30), metrics=metrics, validation_data=(X, Y), resume=True,
        checkpoint_dir=tmp_path / "saved", epochs=2, **SETTINGS,
    )  # fmt: skip
    np.testing.assert_array_equal(again["confusion"][0], by_hand)
    with pytest.raises(px.StructureError, match="a number logged as 'val_confusion', got"):
        px.fit(mlp(), (X, Y), optimizer=px.optim.Adam(), metrics=metrics, validation_data=(X, Y),
               callbacks=[px.EarlyStopping("val_confusion", mode="min")], **SETTINGS)  # fmt: skip


# --- NaN ----------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("mode", "values", "best", "lasts"),
    [
        ("min", [NAN, NAN], None, 2),
        ("min", [NAN, 2.0, NAN, NAN], 2.0, 4),
        ("max", [NAN, 2.0, NAN, NAN], 2.0, 4),
        ("min", [3.0, -INF, -INF], 3.0, 3),
        ("max", [3.0, INF, INF], 3.0, 3),
        ("max", [INF, 1.0, NAN, 2.0, 2.0, NAN], 2.0, 6),
    ],
)
def test_nan_and_infinity_never_improve(mode, values, best, lasts):
    stopping = px.EarlyStopping("val_loss", patience=2, mode=mode, restore_best=True)
    assert epochs_until_stop(stopping, values) == lasts
    assert stopping.best == best
    run, plateau = a_run(), px.ReduceOnPlateau("val_loss", 0.5, patience=1, mode=mode, threshold=0.0)
    for value in values[:lasts]:
        after_epoch(run, plateau, val_loss=value)
    found = plateau.state()["best"]
    assert found == best
    assert run.opt.learning_rate < 1.0


def test_the_best_weights_are_not_those_of_nan():
    model = px.Dense.of(jnp.zeros((1, 1)), None)
    run, stopping = px.Run(model, None, validation=[1]), px.EarlyStopping("val_loss", patience=9, restore_best=True)
    stopping.on_fit_start(run)
    for n, value in enumerate([NAN, 2.0, NAN, -INF, 3.0]):
        model.weight = jnp.full((1, 1), float(n))
        after_epoch(run, stopping, val_loss=value)
    stopping.on_fit_end(run)
    assert model.weight.item() == 1.0


@pytest.mark.parametrize(("mode", "odd"), [("min", -INF), ("max", INF), ("min", NAN)])
def test_no_checkpoint_of_nan_or_infinity_is_the_best(tmp_path, mode, odd):
    values = [2.0, odd, 1.0 if mode == "min" else 3.0, odd]
    px.fit(
        mlp(), [(X, Y)], epochs=4, validation_data=(X, Y), optimizer=px.optim.Adam(),
        callbacks=[scored(values), px.Checkpoint(tmp_path, monitor="val_loss", mode=mode)], **SETTINGS,
    )  # fmt: skip
    assert px.CheckpointStore(tmp_path).best().step == 3


def test_a_loss_scale_never_grows_to_infinity():
    torch = oracle("torch")
    scale = LossScale(2.0**127, interval=1)
    theirs, tracker = torch.full((1,), 2.0**127), torch.zeros(1, dtype=torch.int32)
    for _ in range(3):
        scale.admits(jnp.bool_(True))
        torch._amp_update_scale_(theirs, tracker, torch.zeros(1), 2.0, 0.5, 1)
    assert float(scale.value) == theirs.item() == 2.0**127


def test_an_average_with_nan_starts_anew():
    model, ema = px.Dense.of(jnp.ones((1, 1)), None), px.EMA(0.5, write=True)
    settings = dict(loss=px.losses.mse, optimizer=px.optim.Descent(0.0625), callbacks=[ema], progress=False)
    with pytest.warns(UserWarning, match="is nan"):
        px.fit(model, [(np.full((1, 1), np.nan, "float32"), np.ones((1, 1), "float32"))], **settings)
    assert np.isnan(ema.model.weight).all()
    model.weight = jnp.full((1, 1), 3.0)
    px.fit(model, [(np.ones((1, 1), "float32"), np.ones((1, 1), "float32"))], **settings)
    assert model.weight.item() == 3.0 - 0.0625 * 2 * 2.0  # an average of one


def test_a_training_in_fp16_that_takes_no_step_says_so():
    x = np.full((4, 1), 6e4, np.float32)
    model = px.Dense.of(jnp.full((1, 1), 6e4), None)  # overflows in float16
    with pytest.warns(UserWarning, match=r"no step of epoch 1 was taken: the gradients of all 2 are not finite"):
        px.fit(
            model, [(x, x)] * 2, loss=px.losses.mse, optimizer=px.optim.Descent(0.1), precision="fp16", progress=False
        )
    assert model.weight.item() == 6e4


def test_a_loss_that_is_nan_behind_a_resume_is_named_by_its_step(tmp_path):
    good, bad = (X[:8], Y[:8]), (np.full_like(X[:8], np.nan), Y[:8])
    model, settings = mlp(), dict(optimizer=px.optim.Adam(), checkpoint_dir=tmp_path, multi_step=1, **SETTINGS)
    px.fit(model, [good] * 5, steps=3, **settings)
    changed = pytest.warns(UserWarning, match=r"goes on with something else than it was saved with: train_data was")
    named = r"the loss of step 5, in epoch 1, is nan\. train_data\[4\]\[0\] has NaN or infinity in columns 0, 1, 2, 3"
    with changed, pytest.warns(UserWarning, match=named):
        px.fit(mlp(), [good, good, good, good, bad], steps=5, resume=True, **settings)


def test_a_loss_of_validation_that_is_nan_is_told():
    x = X.copy()
    x[5, 2] = np.nan
    message = (
        r"the loss of validation behind step 1 is nan\. validation_data\[0\] has NaN or infinity in column 2, in 1"
    )
    with pytest.warns(UserWarning, match=message):
        px.fit(mlp(), [(X, Y)], validation_data=(x, Y), optimizer=px.optim.Adam(), **SETTINGS)
