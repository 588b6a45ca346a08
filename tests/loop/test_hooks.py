"""Callbacks: their order, what they see, and those that run inside the compiled step."""

import jax.numpy as jnp
import numpy as np
import pytest

import kit
import phlox as px
from loop.loops import arrays, batches, mlp

OPTIONS = {"loss": px.losses.cross_entropy, "progress": False}
HOOKS = [name for name in vars(px.Callback) if name.startswith("on_") and name != "on_exception"]


class Recorder(px.Callback):
    def __init__(self, log, name=""):
        self.log = log
        for hook in HOOKS:
            setattr(self, hook, lambda run, hook=hook: log.append(name + hook.removeprefix("on_")))

    def steps_until(self, run):
        return 2

    def on_exception(self, run, error):
        self.log.append(f"exception {error}")


def test_the_order_of_hooks():
    log = []
    options = {"optimizer": px.optim.Adam(), "validation_data": batches(1), "multi_step": 2, **OPTIONS}
    px.fit(mlp(), batches(3), callbacks=[Recorder(log)], **options)
    steps = ["step_start", "step_end"] * 2
    validation = ["validation_start", "validation_end"]
    assert log == ["fit_start", "epoch_start", *steps, *validation, "epoch_end", "fit_end"]


def test_an_exception_reaches_every_callback_and_goes_on():
    log = []

    class Fails(px.Callback):
        def on_epoch_end(self, run):
            raise ValueError("stop")

    class Late(Recorder):
        order = 7

    callbacks = [Late(log, "late "), Fails(), Recorder(log)]
    with pytest.raises(ValueError, match="stop"):
        px.fit(mlp(), batches(1), optimizer=px.optim.Adam(), callbacks=callbacks, **OPTIONS)
    assert log[-5:] == ["late step_end", "exception stop", "exception stop", "fit_end", "late fit_end"]
    assert log[:2] == ["fit_start", "late fit_start"]


def test_what_a_callback_sees():
    seen = []

    class Look(px.Callback):
        def on_step_end(self, run):
            seen.append((run.epoch, run.step, run.batch, run.examples, len(run.losses)))

        def on_epoch_end(self, run):
            assert run.logs["loss"] == run.history.epochs[-1]["loss"] == pytest.approx(run.history.losses[-3:].mean())
            run.log("twice", 2 * run.logs["loss"])

    history = px.fit(mlp(), batches(3), epochs=2, optimizer=px.optim.Adam(), callbacks=[Look()], **OPTIONS)
    assert seen == [(n // 3, n + 1, n % 3 + 1, 6 * (n + 1), 1) for n in range(6)]
    np.testing.assert_allclose(history["twice"], 2 * np.array(history["loss"]))


def test_stop_closes_the_epoch():
    class Stop(px.Callback):
        def on_step_end(self, run):
            if run.step == 5:
                run.stop("enough")

    history = px.fit(mlp(), batches(4), epochs=9, optimizer=px.optim.Adam(), callbacks=[Stop()], **OPTIONS)
    assert history.reason == "enough"
    assert [row["step"] for row in history] == [4, 5]


class Decayed(px.Callback):
    """An L2 penalty by way of the loss, halved gradients, and a count and a mean kept inside the step."""

    modules = ("kept",)

    def __init__(self):
        self.kept = Kept()

    def before_backward(self, loss, batch):
        return loss + 0.5 * batch[0].sum() * 0

    def after_backward(self, model, grads):
        return px.map(lambda g, w: (g + 0.1 * w) / 2, grads, model)

    def after_update(self, model, opt):
        self.kept.count = self.kept.count + 1
        self.kept.bias = self.kept.bias + model.layers[0].bias


class Kept(px.Module):
    count: px.State
    bias: px.State

    def __init__(self):
        self.count, self.bias = jnp.int32(0), jnp.zeros(8)


@pytest.mark.parametrize("multi_step", [1, 4])
def test_traced_hooks_are_those_of_a_loop_by_hand(multi_step):
    data, model, hand, callback = batches(7), mlp(), mlp(), Decayed()
    px.fit(model, data, optimizer=px.optim.Descent(0.1), callbacks=[callback], multi_step=multi_step, **OPTIONS)
    total = np.zeros(8)
    for x, y in data:
        grads = px.grad(lambda m, x=x, y=y: px.losses.cross_entropy(m(x), y))(hand)
        for layer, g in zip(hand.layers, grads.layers, strict=True):
            layer.weight = layer.weight - 0.05 * (g.weight + 0.1 * layer.weight)
            layer.bias = layer.bias - 0.05 * (g.bias + 0.1 * layer.bias)
        total += np.asarray(hand.layers[0].bias)
    for path, v in arrays(hand).items():
        kit.assert_close(arrays(model)[path], v, what=path)
    assert int(callback.kept.count) == 7
    np.testing.assert_allclose(callback.kept.bias, total, rtol=1e-4, atol=1e-6)


def test_a_module_of_a_callback_moves_with_whole_steps():
    data = batches(6)
    ema = px.EMA(0.5, validate=False)
    model, hand, average = mlp(), mlp(), None
    options = {"optimizer": px.optim.Descent(0.1), "accumulate": 2, **OPTIONS}
    px.fit(model, data, callbacks=[ema], **options)
    for n in range(3):
        px.fit(hand, data[2 * n : 2 * n + 2], **options)
        bias = arrays(hand)["layers.0.bias"]
        average = bias if average is None else (average + bias) / 2
    np.testing.assert_allclose(ema.model.layers[0].bias, average, rtol=1e-5, atol=1e-7)


def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path):
    kit.oracle("orbax.checkpoint")
    x, y = (np.concatenate(part) for part in zip(*batches(5), strict=True))
    make = lambda: px.Chain(px.Dense(4, 8, px.relu), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))  # noqa: E731

    class Fails(px.Callback):
        order = 200

        def on_step_end(self, run):
            if run.step == 8:
                raise ZeroDivisionError

    def train(model, *more, **options):
        ema = px.EMA(0.9)
        metrics = {"accuracy": px.metrics.Accuracy()}
        history = px.fit(
            model, (x, y), optimizer=px.optim.Adam(1e-2), epochs=3, batch_size=7, validation_data=(x, y),
            metrics=metrics, callbacks=[ema, *more], **OPTIONS, **options,
        )  # fmt: skip
        return history, ema

    models = []
    for _ in range(3):
        with px.seed(0):
            models.append(make())
    whole, ema = train(models[0])
    with pytest.raises(ZeroDivisionError):
        train(models[1], Fails(), checkpoint_dir=tmp_path, checkpoint_every=4)
    again, other = train(models[2], checkpoint_dir=tmp_path, checkpoint_every=4, resume=True)
    for path, v in arrays(models[0]).items():
        kit.assert_close(arrays(models[2])[path], v, what=path)
    for row, same in zip(again.epochs, whole.epochs, strict=True):
        assert row == pytest.approx(same)
    np.testing.assert_allclose(again.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(other.model.layers[0].weight, ema.model.layers[0].weight, rtol=1e-5)
