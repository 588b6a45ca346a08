"""More and more numbers left out in training: the curve, exactly so many at each step, movement by hand, resumes."""

import importlib
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import phlox as px
from kit import assert_close, compiled_as_users_do

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("f")
DATA = (X, np.sin(X.sum(1, keepdims=True)).astype("f"))
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def model(share=0.0):
    return px.compress.prune(px.Chain(px.Dense(6, 16, px.tanh, key=0), px.Dense(16, 1, key=1)), share)


def fit(one, *callbacks, epochs=4, rule=None, **options):
    """Three steps an epoch."""
    rule = px.optim.Adam(1e-2) if rule is None else rule
    return px.fit(
        one, DATA, loss=px.losses.mse, optimizer=rule, epochs=epochs, batch_size=16, progress=False, seed=0,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


class Watch(px.Callback):
    """The masks after each step, in one row."""

    order = 1

    def __init__(self):
        self.seen = {}

    def on_fit_start(self, run):
        self.on_step_end(run)

    def on_step_end(self, run):
        held = [np.asarray(layer.weight_mask).ravel() for layer in run.model]
        self.seen[run.step] = np.concatenate(held)


def test_the_share_rises_by_the_published_curve():
    pruning = px.compress.Pruning(0.9, start=100, stop=1100, every=100, initial=0.1)
    for step, left in ((100, 1.0), (350, 0.75), (600, 0.5), (1000, 0.1), (1100, 0.0), (2000, 0.0)):
        assert pruning.share_at(step) == pytest.approx(0.9 - 0.8 * left**3)
    assert pruning.share_at(99) == 0
    straight = px.compress.Pruning(0.6, stop=10, power=1)
    assert [straight.share_at(t) for t in (0, 5, 10)] == pytest.approx([0, 0.3, 0.6])


@pytest.mark.parametrize("by", ["magnitude", pytest.param("random", marks=pytest.mark.soak)])
def test_exactly_the_share_of_the_curve_is_left_out_and_nothing_comes_back(by):
    watch, pruning = Watch(), px.compress.Pruning(0.8, start=2, stop=9, every=3, initial=0.2, by=by)
    fit(model(), pruning, watch)
    due = {0: 0, 1: 0, 2: 2, 3: 2, 4: 2, 5: 5, 6: 5, 7: 5, 8: 8, 9: 9, 10: 9, 11: 9, 12: 9}
    for step, at in due.items():
        assert (~watch.seen[step]).sum() == (round(112 * pruning.share_at(at)) if at else 0), step
        assert not (watch.seen[step] & ~watch.seen[max(step - 1, 0)]).any(), step
    assert (~watch.seen[12]).sum() == round(0.8 * 112)


def test_an_initial_share_goes_before_the_first_step():
    watch, one = Watch(), model()
    pruning = px.compress.Pruning(0.75, stop=3, initial=0.5, scope="layer")
    wanted = px.compress.prune(one, 0.5, scope="layer")
    fit(one, pruning, watch, epochs=1)
    assert np.array_equal(watch.seen[0], np.concatenate([layer.weight_mask.ravel() for layer in wanted]))
    assert px.compress.sparsity(one).shares == {"layers.0.weight": 0.75, "layers.1.weight": 0.75}


def test_what_a_model_left_out_before_counts():
    one, watch = model(0.5), Watch()
    fit(one, px.compress.Pruning(0.7, stop=6), watch, epochs=2)
    assert (~watch.seen[0]).sum() == (~watch.seen[1]).sum() == 56  # the curve is at 0.29 after the first
    assert (~watch.seen[6]).sum() == round(0.7 * 112)


def test_layers_that_are_not_meant_keep_their_masks():
    one = model()
    fit(one, px.compress.Pruning(0.5, stop=3, where="layers.0"), epochs=1)
    assert px.compress.sparsity(one).shares == {"layers.0.weight": 0.5, "layers.1.weight": 0.0}


def test_movement_is_the_sum_of_weight_times_step_away_from_zero():
    rate, weights = 0.1, []

    class Note(px.Callback):
        order = -1  # before the last step's masks

        def on_fit_start(self, run):
            self.on_step_end(run)

        def on_step_end(self, run):
            weights.append(np.asarray(vars(run.model[0])["weight"], np.float64))

    one = px.compress.prune(px.Chain(px.Dense(6, 1, bias=False, key=2)), 0)
    pruning = px.compress.Pruning(0.5, stop=6, every=6, by="movement")
    fit(one, Note(), pruning, epochs=2, rule=px.optim.Descent(rate))
    gradients = [(before - after) / rate for before, after in pairwise(weights)]
    moved = -sum(w * g for w, g in zip(weights, gradients, strict=False))
    assert_close(pruning.movement.sums["layers.0.weight"], moved.astype("f"), kind="grad", scale=3)  # of differences
    kept = np.zeros((6, 1), bool)
    kept[np.argsort(moved[:, 0])[3:]] = True
    assert np.array_equal(one[0].weight_mask, kept)
    assert not np.array_equal(kept[:, 0], np.abs(weights[-1][:, 0]) >= np.sort(np.abs(weights[-1][:, 0]))[3])


@pytest.mark.parametrize("by", ["movement", pytest.param("random", marks=pytest.mark.soak)])
def test_a_resumed_run_is_the_whole_run(by, tmp_path):
    def pruning():
        return px.compress.Pruning(0.8, start=1, stop=11, every=2, by=by)

    def stop(run):
        if run.step == 6:
            raise KeyboardInterrupt

    whole, resumed = model(), model()
    history = fit(whole, pruning())
    folder = {"checkpoint_dir": tmp_path}
    broken = fit(model(), pruning(), px.LambdaCallback(on_epoch_start=stop), **folder)
    assert broken.interrupted
    again = fit(resumed, pruning(), resume=True, **folder)
    assert again["loss"] == history["loss"]
    for path, value in px.state_dict(whole).items():
        np.testing.assert_array_equal(px.state_dict(resumed)[path], value, err_msg=path)
    assert px.compress.sparsity(resumed).share == pytest.approx(round(0.8 * 112) / 112)


def test_masks_are_taken_off_after_training():
    """What stands behind a mask goes on by what an optimiser remembers, and is no part of the model."""
    one = model()
    fit(one, px.compress.Pruning(0.5, stop=3), rule=px.optim.Momentum(0.05, 0.9))
    assert (vars(one[0])["weight"][~one[0].weight_mask] != 0).any()
    plain = px.compress.remove_masks(one)
    assert px.compress.sparsity(plain).share == 0.5
    assert np.array_equal(plain(X), one(X))


def test_the_engine_is_asked_for_the_steps_that_matter_alone():
    pruning = px.compress.Pruning(0.5, start=4, stop=11, every=3)
    asked, run = {}, px.Run(model(), None)
    for step in range(13):
        run.step = step
        asked[step] = pruning.steps_until(run)
    assert asked == {0: 4, 1: 3, 2: 2, 3: 1, 4: 3, 5: 2, 6: 1, 7: 3, 8: 2, 9: 1, 10: 1, 11: None, 12: None}


def test_averages_of_weights_have_the_masks_too():
    one, average = model(), px.EMA(0.5)
    fit(one, px.compress.Pruning(0.5, stop=6), average, epochs=2)
    assert px.compress.sparsity(average.model).share == 0.5


def test_mistakes():
    make = px.compress.Pruning
    for options, words in (
        ({"share": 1.0, "stop": 5}, "a share in [0, 1)"),
        ({"share": 0.5, "stop": 5, "initial": 0.6}, "an initial share of at most 0.5"),
        ({"share": 0.5, "stop": 5, "initial": -1}, "an initial share in [0, 1)"),
        ({"share": 0.5, "stop": 5, "start": 5}, "a stop behind start=5"),
        ({"share": 0.5, "stop": 0}, "stop of 1 or more"),
        ({"share": 0.5, "stop": 5, "every": 0}, "every of 1 or more"),
        ({"share": 0.5, "stop": 5, "start": 1.5}, "start of 0 or more"),
        ({"share": 0.5, "stop": 5, "power": 0}, "a power above 0"),
        ({"share": 0.5, "stop": 5, "by": "size"}, "by of magnitude, movement, random"),
        ({"share": 0.5, "stop": 5, "scope": "local"}, 'scope="global" or scope="layer"'),
    ):
        with pytest.raises(px.RangeError) as caught:
            make(**options)
        assert words in str(caught.value)
        assert "px.compress.Pruning" in str(caught.value)
    with pytest.raises(px.StructureError, match=r"a model with masks(.|\n)*px.compress.prune\(model, 0\)"):
        fit(px.Chain(px.Dense(6, 1)), make(0.5, stop=3), epochs=1)
    with pytest.raises(px.StructureError, match=r"a training to step 13 at least, got step 12(.|\n)*stop=12"):
        fit(model(), make(0.5, stop=13))
    with pytest.raises(px.RangeError, match=r"layers\.9"):
        fit(model(), make(0.5, stop=3, where="layers.9"), epochs=1)


@pytest.mark.soak
def test_digits_are_still_told_apart_by_a_fifth_of_the_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("digits_cnn")
    train, (images, labels) = example.digits()
    steps = math.ceil(len(train[1]) / 64)
    px.seed(0)
    with compiled_as_users_do():
        one = px.compress.prune(example.network(), 0)
        px.fit(
            one, train, loss=px.losses.cross_entropy, epochs=40, batch_size=64, progress=False, seed=0,
            optimizer=px.optim.AdamW(px.optim.one_cycle(3e-3, 40 * steps), weight_decay=1e-3),
            callbacks=[px.compress.Pruning(0.8, start=5 * steps, stop=25 * steps, every=steps)],
        )  # fmt: skip
        plain = px.compress.remove_masks(one)
        right = float((px.jit(lambda m, x: m(x))(plain, images).argmax(-1) == labels).mean())
    zero = px.compress.sparsity(plain)
    print(f"digits with {zero.share:.4f} of the weights zero: {right:.4f}", flush=True)
    assert zero.share == pytest.approx(0.8, abs=1e-5)
    assert right >= 0.98
