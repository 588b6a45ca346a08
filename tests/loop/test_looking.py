"""Traces, rates and pictures of a run."""

import gzip
import json
import math
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

X = np.linspace(-1, 1, 64, dtype="float32").reshape(16, 4)


def trained(callbacks=(), epochs=3, **options):
    with px.seed(0):
        model = px.Dense(4, 8)
    options = dict(batch_size=4) | options
    return px.fit(
        model, (X, X @ np.ones((4, 8), "float32")), loss=px.losses.mse, optimizer=px.optim.Descent(0.1), epochs=epochs,
        callbacks=callbacks, progress=False, **options,
    )  # fmt: skip


def events_in(path):
    """The events of a trace; it must be gzipped JSON."""
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_a_block_is_recorded(tmp_path):
    with px.profile(tmp_path) as recorded:
        px.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
    events = events_in(recorded.trace)
    assert any(event.get("ph") == "X" and event.get("dur", 0) > 0 for event in events)
    assert list(tmp_path.rglob("*.xplane.pb"))  # what TensorBoard's plugin reads


def test_some_steps_of_fit_are_recorded(tmp_path):
    profile, steps = px.profile(steps=(4, 6)), []
    trained([profile, px.LambdaCallback(on_step_end=lambda run: steps.append((run.step, profile._recording)))],
            log_dir=tmp_path, multi_step=3)  # fmt: skip
    assert events_in(profile.trace)
    assert [step for step, recording in steps if recording] == [5]
    only = px.profile(steps=(4, 6))
    assert [only.steps_until(px.Run(px.Dense(1, 1), None))] == [4]


def test_one_trace_at_a_time(tmp_path):
    with px.profile(tmp_path), pytest.raises(px.StructureError, match="a path"), px.profile():
        pass
    with px.profile(tmp_path / "a"):
        second = px.profile(tmp_path / "b")
        with pytest.raises((RuntimeError, px.StateError), match="profile"):
            second.__enter__()
    with pytest.raises(px.RangeError, match=r"steps \(first, behind the last\)"):
        px.profile(steps=(5, 5))


def test_rates_are_counted_and_mfu_is_their_share(monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 2.0))
    ours = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr("phlox.loop.logs._throughput.time", ours)
    history = trained([px.Throughput(peak=1e4)], epochs=4, multi_step=4)
    assert history["steps_per_second"] == [2.0] * 3  # 4 steps in the 2 s of our clock; the first epoch compiles
    assert history["examples_per_second"] == [8.0] * 3
    forward = 2 * 4 * 8 + 8  # products and sums of a Dense layer, and its bias
    assert history["mfu"] == [pytest.approx(3 * forward * 8.0 / 1e4)] * 3


def test_operations_may_be_given():
    history = trained([px.Throughput(peak=1e9, flops=1000.0)], multi_step=2)
    ratio = np.array(history["mfu"]) / np.array(history["examples_per_second"])
    np.testing.assert_allclose(ratio, 1000.0 / 1e9)
    assert 1e6 < px.loop.peak_flops(size=64, seconds=0.01) < 1e16
    for make in (lambda: px.Throughput(peak=0), lambda: px.loop.peak_flops(size=0)):
        with pytest.raises(px.RangeError):
            make()


def lines_of(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def test_the_picture_of_a_history_has_its_numbers(tmp_path):
    oracle("matplotlib")
    history = px.History()
    for n, validation in enumerate([4, 2, 1, 3]):
        history.add_epoch({"epoch": n, "step": 5 * n, "loss": 1 / (n + 1), "val_loss": validation, "accuracy": 0.1 * n})
    history.add_losses(np.linspace(2, 0, 20))
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    loss, accuracy = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "accuracy"]
    np.testing.assert_allclose(lines_of(loss)["training"], [[n + 1, 1 / (n + 1)] for n in range(4)])
    np.testing.assert_allclose(lines_of(loss)["validation, best 1"], [[1, 4], [2, 2], [3, 1], [4, 3]])
    assert [tuple(line.get_xydata()[0]) for line in loss.get_lines() if len(line.get_xydata()) == 1] == [(3, 1)]
    steps = next(line for line in loss.get_lines() if len(line.get_xydata()) == 20)
    assert steps.get_xdata()[-1] == 4
    assert list(lines_of(accuracy)) == ["training"]
    with pytest.raises(px.RangeError, match="a history with an epoch"):
        px.History().plot()


def test_the_best_accuracy_is_the_highest_and_nan_is_none():
    history = px.History()
    for n, value in enumerate([0.5, math.nan, 0.9, 0.7]):
        history.add_epoch({"epoch": n, "val_accuracy": value})
    (ax,) = history.plot().axes
    assert [tuple(line.get_xydata()[0]) for line in ax.get_lines() if len(line.get_xydata()) == 1] == [(3, 0.9)]


def test_the_picture_of_learning_rates(tmp_path):
    rates = np.logspace(-4, 0, 20)
    losses = np.r_[np.linspace(3, 1, 15), np.linspace(1, 9, 5)]
    found = px.loop.LearningRates(rates, losses, losses, 1e-3)
    (ax,) = found.plot(tmp_path / "rates.png").axes
    assert ax.get_xscale() == "log"
    np.testing.assert_allclose(lines_of(ax)["smoothed"], np.stack([rates, losses], 1))
    assert "suggested: 0.001" in lines_of(ax)
    assert len(px.loop.LearningRates(rates, losses, losses, None).plot().axes[0].get_lines()) == 2
