"""Precision policies: what dtype computes, what stays float32, and the loss scale of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kit
import phlox as px
from loop.loops import arrays, batches, dropping, mlp
from phlox.loop.steps._precision import LossScale

OPTIONS = {"loss": px.losses.cross_entropy, "progress": False}


def test_bf16_computes_in_bfloat16_and_keeps_float32():
    seen = []

    class Look(px.Module):
        def __call__(self, x):
            seen.append(x.dtype)
            return x

    data = batches(3)
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.tanh), Look(), px.Dense(8, 3))
    hand = mlp()
    history = px.fit(model, data, optimizer=px.optim.Adam(1e-2), precision="bf16", **OPTIONS)
    opt = px.Optimizer(px.optim.Adam(1e-2), hand)
    losses = []
    for x, y in data:
        with px.dtypes(compute=jnp.bfloat16, output=jnp.float32):
            loss, grads = px.value_and_grad(lambda m, x=x, y=y: px.losses.cross_entropy(m(x), y))(hand)
        opt.update(hand, grads)
        losses.append(float(loss))
    assert set(seen) == {jnp.dtype("bfloat16")}
    assert {v.dtype for v in px.paths(model).values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(history.losses, losses, rtol=2e-2)


def test_the_loss_scale_moves_as_that_of_torch():
    torch = kit.oracle("torch")
    finite = [True, True, False, True, True, True, False, False, True, True, True, True]
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    p = torch.nn.Parameter(torch.zeros(()))
    sgd = torch.optim.SGD([p], 1.0)
    ours, admitted, stepped = LossScale(2.0**10, interval=3), [], []
    for ok in finite:
        before = p.detach().clone()
        theirs.scale(p).backward()
        if not ok:
            p.grad.fill_(float("inf"))
        theirs.step(sgd)
        theirs.update()
        p.grad = None
        admitted.append(bool(ours.admits(jnp.bool_(ok))))
        stepped.append(bool(before != p.detach()))
        assert float(ours.value) == theirs.get_scale()
    assert admitted == stepped == finite


def test_fp16_leaves_out_a_step_that_overflows():
    data = batches(6)
    huge = (np.full((6, 4), 1e5, np.float32), data[0][1])  # infinite in float16
    model, hand = dropping(), dropping()
    history = px.fit(model, [*data[:3], huge, *data[3:]], optimizer=px.optim.Descent(0.1), precision="fp16", **OPTIONS)
    px.fit(hand, data[:3], optimizer=px.optim.Descent(0.1), precision="fp16", **OPTIONS)
    statistics = arrays(hand)["layers.1.mean"]
    assert np.isfinite(history["loss"][0])
    assert all(np.isfinite(v).all() for v in arrays(model).values())
    assert np.abs(arrays(model)["layers.1.mean"] - statistics).max() < 1  # the bad batch left no trace


def test_fp16_gives_the_gradients_of_float32_to_rounding():
    data, model, hand = batches(8), mlp(), mlp()
    px.fit(model, data, optimizer=px.optim.Descent(0.1), precision="fp16", **OPTIONS)
    px.fit(hand, data, optimizer=px.optim.Descent(0.1), **OPTIONS)
    for path, v in arrays(hand).items():
        np.testing.assert_allclose(arrays(model)[path], v, rtol=2e-2, atol=3e-3)


def test_float64_trains_in_it_or_says_why_not():
    with pytest.raises(px.DtypeError, match="JAX's 64-bit mode for precision float64, got it switched off"):
        px.fit(mlp(), batches(1), optimizer=px.optim.Adam(), precision="float64", **OPTIONS)
    with jax.enable_x64(True):
        model = mlp()
        px.fit(model, batches(2), optimizer=px.optim.Adam(), precision="float64", **OPTIONS)
        assert {str(v.dtype) for v in px.paths(model).values()} == {"float64"}
        model = mlp()
        opt = px.Optimizer(px.optim.Adam(), model)
        with pytest.raises(px.DtypeError, match=r"a model in float64, got .* in float32, and an optimiser made for it"):
            px.fit(model, batches(1), optimizer=opt, precision="float64", **OPTIONS)
    with pytest.raises(px.RangeError, match="got 'half'"):
        px.fit(mlp(), batches(1), optimizer=px.optim.Adam(), precision="half", **OPTIONS)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"dry_run": True}, None),
        ({"validation_data": 3}, px.PhloxError),
        ({"clip": -1.0}, px.RangeError),
        ({"metrics": 3}, px.PhloxError),
        ({"class_weight": [1.0, -1.0]}, px.PhloxError),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_model_is_converted_by_a_training_alone(given, refused):
    """Neither a dry run nor a call that is refused leaves it in float64."""
    with jax.enable_x64(True):
        model = mlp()
        options = OPTIONS | {"optimizer": px.optim.Adam(), "precision": "float64"} | given
        if refused is None:
            px.fit(model, batches(1), **options)
        else:
            with pytest.raises(refused):
                px.fit(model, batches(1), **options)
        assert {str(v.dtype) for v in px.paths(model).values()} == {"float32"}
