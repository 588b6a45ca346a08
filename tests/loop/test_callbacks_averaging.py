"""Averages of weights against PyTorch's and closed forms, and statistics of BatchNorm for them."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle


def weights_over_time(steps=7, shape=(3, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(steps, *shape)).astype("float32")


def their_average(weights, function):
    torch = oracle("torch")
    model = torch.nn.Linear(*weights.shape[1:], bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=function)
    for weight in weights:
        model.weight.data = torch.tensor(weight.T)
        averaged.update_parameters(model)
    return averaged.module.weight.detach().numpy().T


def our_average(weights, *args, update=px.AveragedModel.update, **kwargs):
    model = px.Dense.of(jnp.zeros(weights.shape[1:]), None)
    average = px.AveragedModel(model, *args, **kwargs)
    for weight in weights:
        model.weight = jnp.asarray(weight)
        update(average, model)
    return average.applied_to(model).weight


@pytest.mark.parametrize("update", [px.AveragedModel.update, px.jit(px.AveragedModel.update)], ids=["eager", "jit"])
@pytest.mark.parametrize("decay", [None, 0.9, 0.0])
def test_averages_are_those_of_pytorch(decay, update):
    torch = oracle("torch")
    weights = weights_over_time()
    utils = torch.optim.swa_utils
    function = utils.get_swa_multi_avg_fn() if decay is None else utils.get_ema_multi_avg_fn(decay)
    ours = our_average(weights, decay, update=update)
    np.testing.assert_allclose(ours, their_average(weights, function), rtol=1e-5, atol=1e-6)


def test_warmup_in_closed_form():
    weights = weights_over_time(steps=5, shape=(1, 1))
    expected = weights[0].astype(float)
    for n in range(1, 5):
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * weights[n]
    np.testing.assert_allclose(our_average(weights, 0.3, warmup=True), expected, rtol=1e-5)


def test_small_moves_of_short_weights_are_not_lost():
    model = px.bf16(px.Dense.of(jnp.ones((1, 1)), None))
    average = px.AveragedModel(model, 0.999)
    for weight in (1.0, *[2.0] * 700):
        model.weight = jnp.full((1, 1), weight, jnp.bfloat16)
        average.update(model)
    held = average.applied_to(model).weight
    assert held.dtype == jnp.bfloat16
    np.testing.assert_allclose(float(held[0, 0]), 2 - 0.999**700, rtol=2**-8)


def test_what_is_frozen_is_averaged_and_state_is_not():
    model = px.Chain(px.freeze(px.Dense(2, 2)), px.BatchNorm(2), px.Dropout(0.5))
    average = px.AveragedModel(model)
    assert sorted(average.weights) == ["layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.scale"]
    before = px.state_dict(model)
    average.write_to(model)
    assert all(px.state_dict(model)[path] is v for path, v in before.items())  # no update yet


def test_statistics_of_batch_norm_are_those_of_pytorch():
    torch = oracle("torch")
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=(n, 5)).astype("float32") for n in (8, 8, 4)]
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3), torch.nn.Tanh(), torch.nn.BatchNorm1d(3)
    )
    weight, bias = (v.detach().numpy() for v in theirs[0].parameters())
    ours = px.Chain(px.Dense.of(jnp.asarray(weight.T), jnp.asarray(bias)), px.BatchNorm(3, px.tanh), px.BatchNorm(3))
    torch.optim.swa_utils.update_bn([torch.tensor(b) for b in batches], theirs)
    px.update_batch_norm(ours, [(b, None) for b in batches])
    for mine, other in ((ours[1], theirs[1]), (ours[2], theirs[3])):
        np.testing.assert_allclose(mine.mean, other.running_mean.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mine.var, other.running_var.numpy(), rtol=1e-4, atol=1e-6)
        assert mine.momentum == 0.1


def test_a_frozen_batch_norm_keeps_its_statistics():
    model = px.Chain(px.freeze(px.BatchNorm(1)), px.BatchNorm(1))
    px.update_batch_norm(model, [jnp.array([[1.0], [3.0]])])
    assert model[0].mean.item() == 0.0
    assert model[1].mean.item() == pytest.approx(2.0, abs=1e-4)


def test_batches_of_another_form_need_to_be_told():
    with pytest.raises(px.StructureError, match="batches that are arrays or tuples, got a dict of x"):
        px.update_batch_norm(px.BatchNorm(1), [{"x": jnp.ones((2, 1))}])
    with pytest.raises(px.ShapeError, match="at least one batch"):
        px.update_batch_norm(px.BatchNorm(1), [])


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_outside_its_range(decay):
    for make in (px.EMA, lambda decay: px.AveragedModel(px.Dense(1, 1), decay)):
        with pytest.raises(px.RangeError, match=r"decay in \[0, 1\)"):
            make(decay)


def test_the_rate_of_swa_is_that_of_pytorch():
    torch = oracle("torch")
    rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    theirs = torch.optim.swa_utils.SWALR(rule, swa_lr=0.1, anneal_epochs=3, anneal_strategy="cos")
    model = px.Dense(1, 1)
    run = px.Run(model, px.Optimizer(px.optim.Descent(0.4), model), epochs=8)
    swa, rates, expected = px.SWA(2, learning_rate=0.1, anneal=3), [], []
    swa.on_fit_start(run)
    for run.epoch in range(8):
        if run.epoch == 4:  # as after a resume
            kept, swa = swa.state(), px.SWA(2, learning_rate=0.1, anneal=3)
            swa.on_fit_start(run)
            swa.restore(kept)
        swa.on_epoch_start(run)
        rates.append(run.opt.learning_rate)
        expected.append(rule.param_groups[0]["lr"])
        if run.epoch >= 2:
            rule.step()
            theirs.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
