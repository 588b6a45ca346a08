"""Ctrl-C and exceptions without checkpoints: model, optimiser and history stay whole, those of the last whole step."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from loop.loops import arrays, assert_same_bits, batches, dropping
from phlox.core.module import _slots
from phlox.loop._interruption import BETWEEN, Interruption

DATA = batches(6)
SETTINGS = dict(loss=px.losses.cross_entropy, progress=False)


def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)


class Steps:
    """Batches that are made one by one; ``at`` is called before each, with the number of those before it."""

    def __init__(self, at=lambda n: None, count=6):
        self.at, self.count = at, count

    def __iter__(self):
        for n in range(self.count):
            self.at(n)
            yield DATA[n % len(DATA)]


def whole(steps, **options):
    """What ``steps`` steps give that nothing disturbs."""
    model = dropping()
    history = px.fit(model, DATA, optimizer=px.optim.Adam(1e-2), steps=steps, multi_step=1, **SETTINGS, **options)
    return model, history


def check_whole(model, history, steps):
    """A model, optimiser and history are those of so many steps."""
    expected, calm = whole(steps)
    assert_same_bits(model, expected)
    assert_same_bits(history.optimizer, calm.optimizer)
    np.testing.assert_array_equal(history.losses, calm.losses)
    assert history.epochs[-1]["step"] == steps
    assert history.interrupted


@pytest.fixture
def at_write_back(monkeypatch):
    """Ctrl-C between the donation of a step's arrays and their coming back, at the n-th time that this happens."""
    left = [0]
    write = _slots.Slots.write

    def interrupted(self, values):
        if left[0] and len(values) > 10:  # a training step
            left[0] -= 1
            if not left[0]:
                interrupt()
        write(self, values)

    monkeypatch.setattr(_slots.Slots, "write", interrupted)
    return left


def test_ctrl_c_between_donation_and_write_back_leaves_the_step_whole(at_write_back, capsys):
    model = dropping()
    at_write_back[0] = 4
    history = px.fit(model, DATA, optimizer=px.optim.Adam(1e-2), epochs=3, multi_step=1, **SETTINGS)
    check_whole(model, history, 4)
    assert history.reason == "Ctrl-C at step 4, in epoch 1"
    said = capsys.readouterr().err
    assert "Ctrl-C: waiting for the end of this step; Ctrl-C again stops at once\n" in said
    assert "px.fit: Ctrl-C at step 4, in epoch 1: model, optimiser and history are those of this step\n" in said
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_data_is_fetched_acts_at_once():
    model, seen = dropping(), []

    def at(n):
        if n == 3:
            interrupt()
            seen.append("not reached")

    history = px.fit(model, Steps(at), optimizer=px.optim.Adam(1e-2), multi_step=1, **SETTINGS)
    assert not seen
    check_whole(model, history, 2)  # the batch before this one waits: the loop looks whether it is the last


def test_ctrl_c_in_a_hook_and_in_validation():
    class At(px.Callback):
        def __init__(self, hook):
            setattr(self, hook, lambda run: run.step == 2 and interrupt())

    for hook in ("on_step_end", "on_validation_start", "on_validation_end", "on_validation_logged"):
        model, ema = dropping(), px.EMA(0.5)
        history = px.fit(
            model, DATA, optimizer=px.optim.Adam(1e-2), steps=6, multi_step=1, validation_data=DATA[:2],
            validation_every=2, callbacks=[ema, At(hook)], **SETTINGS,
        )  # fmt: skip
        check_whole(model, history, 2)
        assert ("val_loss" in history) == (hook in ("on_validation_end", "on_validation_logged")), hook


def test_a_second_ctrl_c_is_raised_and_has_the_history():
    class Twice(px.Callback):
        def on_step_end(self, run):
            if run.step == 2:
                interrupt()
                interrupt()

    model = dropping()
    with pytest.raises(KeyboardInterrupt) as caught:
        px.fit(model, DATA, optimizer=px.optim.Adam(1e-2), callbacks=[Twice()], **SETTINGS)
    check_whole(model, caught.value.history, 2)


def test_an_exception_has_the_history_and_it_the_optimiser():
    def at(n):
        if n == 4:
            raise OSError("the disk is gone")

    model = dropping()
    with pytest.raises(OSError, match="the disk is gone") as caught:
        px.fit(model, Steps(at), optimizer=px.optim.Adam(1e-2), multi_step=1, **SETTINGS)
    history = caught.value.history
    assert not history.interrupted
    assert history.reason == "OSError: the disk is gone"
    _, calm = whole(3)
    assert_same_bits(history.optimizer, calm.optimizer)
    assert history["loss"] == calm["loss"]


def test_what_fails_while_training_ends_masks_nothing():
    class Bad(px.Callback):
        def on_exception(self, run, error):
            raise TypeError("of the callback")

        def on_fit_end(self, run):
            raise TypeError("at the end")

    log = []
    last = px.LambdaCallback(on_fit_end=lambda run: log.append("ended"))
    with pytest.raises(OSError, match="first") as caught:
        px.fit(dropping(), Steps(raise_first), optimizer=px.optim.Adam(), callbacks=[Bad(), last], **SETTINGS)
    assert log == ["ended"]
    assert "then Bad.on_exception failed: TypeError: of the callback" in caught.value.__notes__
    log.clear()
    with pytest.raises(TypeError, match="at the end"):
        px.fit(dropping(), DATA, optimizer=px.optim.Adam(), callbacks=[Bad(), last], **SETTINGS)
    assert log == ["ended"]


def raise_first(n):
    raise OSError("first")


def test_train_evaluate_predict_and_multi_step_end_behind_the_call(at_write_back):
    model = dropping()
    opt = px.Optimizer(px.optim.Adam(1e-2), model)
    at_write_back[0] = 1
    with pytest.raises(KeyboardInterrupt):
        px.train(px.losses.cross_entropy, model, DATA, opt)
    assert all(np.isfinite(v).all() for v in arrays(model).values())  # the arrays are there

    def step(model, opt, x, y):
        loss, grads = px.value_and_grad(lambda model: px.losses.cross_entropy(model(x), y))(model)
        opt.update(model, grads)
        return loss

    at_write_back[0] = 1
    before = arrays(model)["layers.0.weight"]
    stacked = tuple(np.stack(part) for part in zip(*DATA[:2], strict=True))
    with pytest.raises(KeyboardInterrupt):
        px.multi_step(step, 2)(model, opt, *stacked)
    assert not np.array_equal(arrays(model)["layers.0.weight"], before)

    class Counts(px.Module):
        seen: px.State

        def __init__(self):
            self.seen = jnp.zeros(12)

        def __call__(self, x):
            for n in range(12):  # State that inference moves
                self.seen = self.seen.at[n].add(1.0)
            return x

    counts = Counts()
    original = _slots.Slots.write

    def once(self, values):
        _slots.Slots.write = original
        interrupt()
        original(self, values)

    for call in (
        lambda: px.predict(counts, DATA[0][0]),
        lambda: px.evaluate(counts, (DATA[0][0], DATA[0][0]), loss=px.losses.mse),
    ):
        _slots.Slots.write = once
        with pytest.raises(KeyboardInterrupt):
            call()
    np.testing.assert_array_equal(counts.seen, 2.0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_fit_within_a_fit_passes_ctrl_c_on():
    inner = []

    class Nested(px.Callback):
        def on_epoch_end(self, run):
            stop = px.LambdaCallback(on_epoch_start=lambda run: interrupt())
            inner.append(px.fit(dropping(), DATA, optimizer=px.optim.Adam(), callbacks=[stop], **SETTINGS))

    outer = px.fit(dropping(), DATA, optimizer=px.optim.Adam(), epochs=5, callbacks=[Nested()], **SETTINGS)
    assert [h.interrupted for h in inner] == [True]
    assert outer.interrupted
    assert len(outer) == 1


def test_what_the_process_ignores_stays_ignored_and_a_child_is_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as with nohup, or in the background of a shell
    try:
        with Interruption().listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    interruption = Interruption()
    interruption.start()
    interruption.before_saving()
    with interruption.at(BETWEEN):
        interruption._process += 1  # as a child sees it
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert interruption.number is None
    interruption.end()


@pytest.mark.parametrize("hook", ["on_fit_end", "on_epoch_end"])
def test_sigterm_behind_the_last_step_ends_the_process(tmp_path, hook):
    term = px.LambdaCallback(**{hook: lambda run: interrupt(signal.SIGTERM)})
    with pytest.raises(SystemExit) as caught:
        px.fit(dropping(), DATA, optimizer=px.optim.Adam(), callbacks=[term], checkpoint_dir=tmp_path, **SETTINGS)
    assert caught.value.code == 128 + signal.SIGTERM
    assert [s.step for s in px.CheckpointStore(tmp_path).checkpoints()] == [6]


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_forty_interruptions_at_random_moments():
    """One that falls into a collection of garbage is swallowed by Python, and acts at the next step."""
    rng = np.random.default_rng(int(time.time()))
    x, y = (np.concatenate(part) for part in zip(*batches(40), strict=True))
    interrupted = 0
    for round in range(40):
        model = dropping(round)
        loader = px.DataLoader((x, y), 6, shuffle=True, seed=round)
        callbacks = [px.EMA(0.9)] if round % 4 == 0 else []  # without hooks the program is that of the round before
        timer = threading.Timer(float(rng.uniform(0.0, 1.0)), interrupt)
        try:
            timer.start()
            history = px.fit(
                model, loader, optimizer=px.optim.Adam(1e-3), epochs=100_000, validation_data=(x, y),
                callbacks=callbacks, **SETTINGS,
            )  # fmt: skip
        except KeyboardInterrupt:  # before the training listened
            continue
        interrupted += 1
        steps = history.epochs[-1]["step"] if len(history) else 0
        assert len(history.losses) == steps
        again = dropping(round)
        if steps:
            loader = px.DataLoader((x, y), 6, shuffle=True, seed=round)
            calm = px.fit(again, loader, optimizer=px.optim.Adam(1e-3), steps=steps, callbacks=callbacks, **SETTINGS)
            np.testing.assert_array_equal(history.losses, calm.losses)
            assert_same_bits(history.optimizer, calm.optimizer)
        assert_same_bits(model, again)
        jax.block_until_ready(list(px.paths(model).values()))
    assert interrupted >= 30
