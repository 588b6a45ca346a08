"""Early stopping, plateaus, time limits and functions as callbacks: sequences worked by hand, and PyTorch's."""

import math
from datetime import timedelta

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

CALM = "val_loss"


def a_run(**options):
    model = px.Dense.of(jnp.zeros((1, 1)), None)
    return px.Run(model, px.Optimizer(px.optim.Descent(1.0), model), validation=[1], **options)


def after_epoch(run, callback, **numbers):
    """Tell a callback that an epoch with these numbers is over."""
    run.close_row({"epoch": run.epoch, **numbers})
    callback.on_epoch_end(run)
    run.next_epoch()


def epochs_until_stop(callback, values, name=CALM):
    """The epochs that a sequence of numbers lasts, or None where nothing stops it."""
    run = a_run()
    for value in values:
        after_epoch(run, callback, **{name: value})
        if run.stopping:
            return run.epoch
    return None


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        (dict(patience=1), [3, 2, 2], 3),
        (dict(patience=2), [3, 2, 2.5, 1.9, 2, 2], 6),
        (dict(patience=2), [3, 2, 2.5, 1.9, 2], None),
        (dict(patience=2, min_delta=0.5), [3, 2.6, 2.4, 2.3, 2.2], 5),  # 2.4 is the only one better than 3 by more
        (dict(patience=2, min_delta=0.5), [3, 2.5, 2.5], 3),  # by exactly min_delta is not by more
        (dict(patience=1), [3, math.nan], 2),
        (dict(patience=2), [math.nan, 1, math.nan, 0.5, 2], None),
        (dict(patience=1, mode="max"), [1, 2, 3, 3], 4),
        (dict(patience=2, baseline=1.0), [3, 2, 0.5], 2),
        (dict(patience=2, baseline=1.0), [3, 0.5, 0.4], None),
    ],
)  # fmt: skip
def test_early_stopping_by_hand(options, values, expected):
    assert epochs_until_stop(px.EarlyStopping(CALM, **options), values) == expected


def test_accuracies_should_rise_without_being_told():
    stopping = px.EarlyStopping("val_top_5_accuracy", patience=2)
    assert epochs_until_stop(stopping, [0.5, 0.6, 0.55, 0.4], "val_top_5_accuracy") == 4
    assert stopping.best == 0.6
    assert stopping.best_epoch == 1


def test_epochs_without_validation_are_passed_over():
    run, stopping = a_run(), px.EarlyStopping(CALM, patience=1)
    for numbers in ({CALM: 1.0}, {"loss": 9.0}, {CALM: 0.5}, {"loss": 9.0}):
        after_epoch(run, stopping, **numbers)
        assert not run.stopping
    after_epoch(run, stopping, **{CALM: 0.5})
    assert run.stopping
    assert run.history.reason == "val_loss no better than 0.5 since epoch 3"


def test_the_best_weights_come_back_with_their_state():
    model = px.Chain(px.Dense.of(jnp.zeros((1, 1)), None), px.BatchNorm(1))
    run = px.Run(model, None, validation=[1])
    stopping = px.EarlyStopping(CALM, patience=2, restore_best=True)
    stopping.on_fit_start(run)
    for n, value in enumerate([3.0, 1.0, 2.0, 2.0]):
        model[0].weight, model[1].mean = jnp.full((1, 1), float(n)), jnp.array([10.0 * n])
        after_epoch(run, stopping, **{CALM: value})
    assert run.stopping
    stopping.on_fit_end(run)
    assert (model[0].weight.item(), model[1].mean.item()) == (1.0, 10.0)


def test_an_interruption_leaves_the_weights_alone():
    run, stopping = a_run(), px.EarlyStopping(CALM, restore_best=True)
    after_epoch(run, stopping, **{CALM: 1.0})
    run.model.weight = jnp.full((1, 1), 7.0)
    stopping.on_exception(run, KeyboardInterrupt())
    stopping.on_fit_end(run)
    assert run.model.weight.item() == 7.0


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_early_stopping_goes_on_after_a_resume(cut):
    values = [3, 2, 2.5, 1.9, 2, 2, 1]
    whole = px.EarlyStopping(CALM, patience=2, restore_best=True)
    expected = epochs_until_stop(whole, values)
    first = px.EarlyStopping(CALM, patience=2, restore_best=True)
    assert epochs_until_stop(first, values[:cut]) is None
    second = px.EarlyStopping(CALM, patience=2, restore_best=True)
    second.restore(first.state())
    assert cut + epochs_until_stop(second, values[cut:]) == expected
    assert second.best == whole.best


def test_a_number_that_is_not_logged_is_named():
    run = a_run()
    run.validation = None
    with pytest.raises(px.StructureError, match=r"EarlyStopping expects a logged 'val_f1', got loss") as caught:
        after_epoch(run, px.EarlyStopping("val_f1"), loss=1.0)
    assert "pass validation_data to px.fit" in str(caught.value)
    with pytest.raises(px.StructureError, match="choose one of these as monitor"):
        after_epoch(run, px.EarlyStopping("accuracy"), loss=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: px.EarlyStopping("score"), 'mode "min" or "max", got a name that tells neither, \'score\''),
        (lambda: px.EarlyStopping("accuracy_loss"), "a name that tells neither"),
        (lambda: px.EarlyStopping(mode="least"), "got 'least'"),
        (lambda: px.EarlyStopping(patience=0), "patience of at least 1, got 0"),
        (lambda: px.EarlyStopping(min_delta=-1), "min_delta of at least 0, got -1"),
        (lambda: px.ReduceOnPlateau(factor=1.0), "factor in \\(0, 1\\), got 1.0"),
        (lambda: px.TimeLimit(0), "a limit in seconds, or a timedelta, above 0, got 0"),
        (lambda: px.LambdaCallback(on_batch=print), "hooks of Callback by name, got on_batch"),
        (lambda: px.LambdaCallback(on_epoch_end=3), "a function as on_epoch_end, got 3"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(px.RangeError, match=message):
        make()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("cut", [None, 17])
def test_plateau_lowers_the_rate_as_pytorch_does(mode, cut):
    torch = oracle("torch")
    rng = np.random.default_rng(3)
    values = np.abs(np.cumsum(rng.normal(size=60)) / 4 + 9)
    rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        rule, mode, factor=0.7, patience=2, threshold=1e-2, cooldown=2, min_lr=1e-2
    )
    options = dict(mode=mode, patience=2, threshold=1e-2, cooldown=2, lowest=1e-2)
    ours, run, rates, taken = px.ReduceOnPlateau(CALM, 0.7, **options), a_run(), [], []
    for n, value in enumerate(values):
        if n == cut:
            kept, ours = ours.state(), px.ReduceOnPlateau(CALM, 0.7, **options)
            ours.restore(kept)
        after_epoch(run, ours, **{CALM: float(value)})
        theirs.step(float(value))
        rates.append(rule.param_groups[0]["lr"])
        taken.append(float(run.opt.learning_rate))
    assert len(set(rates)) > 4
    np.testing.assert_allclose(taken, rates, rtol=1e-6)
    logged = [row["learning_rate"] for _, row in run.history.steps]
    np.testing.assert_allclose(logged[-1], rates[-1], rtol=1e-6)


def test_a_schedule_cannot_be_lowered():
    model = px.Dense(1, 1)
    rule = px.optim.Descent(px.optim.cosine_annealing(0.1, 10))
    run = px.Run(model, px.Optimizer(rule, model), validation=[1])
    with pytest.raises(px.StructureError, match="an optimiser whose learning rate is state"):
        after_epoch(run, px.ReduceOnPlateau(CALM), **{CALM: 1.0})


def test_time_limit_counts_what_came_before_a_resume():
    run, limit = a_run(), px.TimeLimit(timedelta(hours=1))
    limit.on_step_end(run)
    assert not run.stopping
    run._seconds_before = 3600.0
    limit.on_step_end(run)
    assert run.history.reason == "time limit of 3600 s"


def test_functions_are_called_and_ask_for_steps_only_where_they_look_at_them():
    seen = []
    callback = px.LambdaCallback(on_epoch_end=lambda run: seen.append(run.epoch))
    after_epoch(a_run(), callback, loss=1.0)
    assert seen == [0]
    assert callback.steps_until(None) is None
    assert px.LambdaCallback(on_step_end=print).steps_until(None) == 1
