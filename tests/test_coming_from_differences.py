"""What docs/coming-from.md claims in words about differences that bite, tried claim by claim."""

from __future__ import annotations

import importlib
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from peers import peer

sys.path.append(str(Path(__file__).resolve().parents[1] / "docs"))
differences = importlib.import_module("coming_from.differences")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras with NumPy 2

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def one_weight(value: float = 0.0) -> Any:
    return px.Dense.of(jnp.full((1, 1), value, jnp.float32), None)


def steps_of(rule: Any, grads: list[float], rates: list[float], begin: float = 0.0) -> list[float]:
    """Where one weight is after each step."""
    model = one_weight(begin)
    opt, places = px.Optimizer(rule, model), []
    for grad, rate in zip(grads, rates, strict=True):
        opt.adjust(learning_rate=rate)
        opt.update(model, {"weight": jnp.full((1, 1), grad, jnp.float32)})
        places.append(float(model.weight[0, 0]))
    return places


def torch_steps_of(
    make: Callable[[Any], Any], grads: list[float], rates: list[float], begin: float = 0.0
) -> list[float]:
    torch = peer("torch")
    w = torch.full((1, 1), begin, requires_grad=True)
    opt, places = make([w]), []
    for grad, rate in zip(grads, rates, strict=True):
        opt.param_groups[0]["lr"] = rate
        w.grad = torch.full((1, 1), grad)
        opt.step()
        places.append(w.item())
    return places


def keras_steps_of(make: Callable[[], Any], grads: list[float], rates: list[float], begin: float = 0.0) -> list[float]:
    w, opt, places = peer("keras").Variable(np.full((1, 1), begin, np.float32)), make(), []
    for grad, rate in zip(grads, rates, strict=True):
        opt.learning_rate = rate
        opt.apply([jnp.full((1, 1), grad, jnp.float32)], [w])
        places.append(float(np.asarray(w.value)[0, 0]))
    return places


def close(ours: list[float], theirs: list[float]) -> bool:
    return bool(np.allclose(ours, theirs, rtol=1e-5, atol=2e-6))


def flatten() -> None:
    torch = peer("torch")
    x, w = normal(2, 3, 2, 4), normal(5, 24)  # (batch, C, H, W) and PyTorch's weight (out, in)
    want = torch.tensor(x).flatten(1).numpy() @ w.T
    moved = w.reshape(5, 3, 2, 4).transpose(2, 3, 1, 0).reshape(-1, 5)
    assert ".reshape(out, C, H, W).transpose(2, 3, 1, 0).reshape(-1, out)" in differences.CLAIMS["flatten"]
    ours = px.flatten(jnp.asarray(x.transpose(0, 2, 3, 1)))
    assert_close(px.Dense.of(jnp.asarray(moved))(ours), want)
    assert not np.allclose(ours @ w.T, want, atol=0.1)


def same() -> None:
    torch, nnx = peer("torch"), peer("flax.nnx")
    x, w = normal(1, 6, 6, 2), normal(3, 3, 2, 4)
    ints = torch.nn.functional.conv2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(w).permute(3, 2, 0, 1), stride=2, padding=1
    ).permute(0, 2, 3, 1)
    theirs = nnx.Conv(2, 4, (3, 3), strides=2, use_bias=False, rngs=nnx.Rngs(0))
    theirs.kernel[...] = jnp.asarray(w)
    one, named = (px.Conv.of(jnp.asarray(w), stride=2, padding=p)(x) for p in (1, "SAME"))
    assert_close(one, ints.numpy())
    assert_close(named, np.asarray(theirs(x)))
    assert_close(named, px.Conv.of(jnp.asarray(w), stride=2, padding=((0, 1), (0, 1)))(x))
    assert one.shape == named.shape
    assert not np.allclose(one, named, atol=0.1)


def rank() -> None:
    assert px.Conv(3, 2, 4)(normal(1, 5, 2)).shape == (1, 3, 4)
    assert px.MaxPool(2)(normal(1, 6, 2)).shape == (1, 3, 2)
    for layer in (px.Conv(3, 2, 4), px.MaxPool(2)):
        with pytest.raises(px.ShapeError, match=r"\(batch, time, "):
            layer(normal(1, 6, 6, 2))


def momentum() -> None:
    nnx = peer("flax.nnx")
    x = normal(7, 3)
    theirs, ours = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), px.BatchNorm(3, momentum=0.01)
    theirs(x)
    px.grad(lambda m: m(x).sum())(ours)
    assert_close(ours.mean, np.asarray(theirs.mean[...]))
    assert_close(ours.var, 0.99 + (np.asarray(theirs.var[...]) - 0.99) * 7 / 6)
    assert not np.allclose(ours.var, theirs.var[...], rtol=1e-4)


def mode_follows_the_gradient() -> None:
    x = jnp.asarray(normal(8, 4))
    student, teacher = px.Dense(4, 4, key=0), px.Chain(px.BatchNorm(4), px.Dropout(0.9, key=0))
    alone, seen = teacher(x), []

    def loss_fn(student: Any) -> Any:
        seen.append(px.value(teacher(x)))
        return px.losses.mse(student(x), seen[-1])

    px.grad(loss_fn)(student)
    assert_close(seen[0], np.asarray(alone))
    frozen, free = px.Chain(px.BatchNorm(4), px.Dense(4, 4, key=0)), px.Chain(px.BatchNorm(4), px.Dense(4, 4, key=0))
    px.freeze(frozen[0])
    for model in (frozen, free):
        px.grad(lambda m: m(x).sum())(model)
    assert not frozen[0].mean.any()
    assert_close(free[0].mean, 0.1 * np.asarray(x).mean(0))


def jit() -> None:
    nnx = peer("flax.nnx")
    x = normal(7, 3)
    theirs, ours = nnx.BatchNorm(3, rngs=nnx.Rngs(0)), px.trainmode(px.BatchNorm(3))
    jax.jit(lambda m, x: m(x))(theirs, x)
    assert not np.any(theirs.mean[...])  # lost
    with pytest.raises(px.StateError, match=r"fix: use px\.jit"):
        jax.jit(lambda m, x: m(x))(ours, x)
    px.jit(lambda m, x: m(x))(ours, x)
    assert_close(ours.mean, 0.1 * x.mean(0))


def key() -> None:
    drop = px.trainmode(px.Dropout(0.5, key=0))
    x = jnp.ones(64)
    first, saved = drop(x), px.state_dict(drop)
    second = drop(x)
    assert not np.array_equal(first, second)
    again = px.trainmode(px.Dropout(0.5, key=1))
    px.load_state_dict(again, saved)
    assert np.array_equal(again(x), second)
    with pytest.raises(RuntimeError, match="key"):
        peer("equinox").nn.Dropout(0.5)(x)


def tied() -> None:
    torch, nnx = peer("torch"), peer("flax.nnx")
    theirs = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    theirs[1].weight = theirs[0].weight
    assert len(list(theirs.parameters())) == 3
    of_nnx = nnx.List([nnx.Linear(2, 2, rngs=nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(1))])
    of_nnx[1].kernel = of_nnx[0].kernel
    assert len(jax.tree.leaves(nnx.state(of_nnx, nnx.Param))) == 3
    model = px.Chain(px.Dense(2, 2), px.Dense(2, 2))
    model[1].weight = model[0].weight
    with pytest.warns(UserWarning, match="which part at the first step"):
        opt = px.Optimizer(px.optim.Descent(0.1), model)
    px.tie(model, "layers.1.weight", "layers.0.weight")
    opt.sync(model)
    opt.update(model, px.grad(lambda model: model(jnp.ones((1, 2))).sum())(model))
    assert len(px.paths(model)) == 3
    assert bool((model[0].weight == model[1].weight).all())


def keras_eps() -> None:
    grads, rates = [1e-3] * 3, [0.1] * 3
    theirs = keras_steps_of(lambda: peer("keras").optimizers.Adam(epsilon=1e-4), grads, rates)
    wider = [1e-4 / math.sqrt(1 - 0.999**t) for t in (1, 2, 3)]
    places = np.cumsum([-0.1 * 1e-3 / (1e-3 + eps) for eps in wider])  # m̂ = g, v̂ = g² for a constant gradient
    assert close(theirs, list(places))
    assert close(steps_of(px.optim.Adam(eps=wider[0]), grads[:1], rates[:1]), theirs[:1])
    assert not np.allclose(steps_of(px.optim.Adam(eps=1e-4), grads, rates), theirs, rtol=0.1)
    assert round(wider[0] / 1e-4) == 32


def decay() -> None:
    adam, grads, rates = peer("torch").optim, [1.0, -0.5, 0.25], [0.1] * 3
    added = steps_of(px.optim.chain(px.optim.WeightDecay(0.3), px.optim.Adam()), grads, rates, 2.0)
    apart = steps_of(px.optim.AdamW(weight_decay=0.3), grads, rates, 2.0)
    assert close(added, torch_steps_of(lambda ps: adam.Adam(ps, weight_decay=0.3), grads, rates, 2.0))
    assert close(apart, torch_steps_of(lambda ps: adam.AdamW(ps, weight_decay=0.3), grads, rates, 2.0))
    assert not np.allclose(added, apart, atol=1e-2)


def velocity() -> None:
    torch, keras = peer("torch"), peer("keras")
    grads, rates = [1.0, -0.5, 0.25], [0.1, 0.1, 0.01]
    ours = steps_of(px.optim.Momentum(0.1, 0.9), grads, rates)
    assert close(ours, torch_steps_of(lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9), grads, rates))
    theirs = keras_steps_of(lambda: keras.optimizers.SGD(0.1, momentum=0.9), grads, rates)
    assert close(ours[:2], theirs[:2])
    assert not np.allclose(ours[2], theirs[2], atol=1e-2)


def logits() -> None:
    keras = peer("keras")
    z, y = normal(5, 3), RNG.integers(0, 3, 5)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    of_probabilities = keras.losses.SparseCategoricalCrossentropy()(y, p)
    assert_close(px.losses.cross_entropy(z, y), np.asarray(of_probabilities))
    assert_close(
        px.losses.binary_cross_entropy(p, p), px.losses.binary_cross_entropy_with_logits(np.log(p / (1 - p)), p)
    )


def kl() -> None:
    torch = peer("torch")
    p, t = (np.exp(a) / np.exp(a).sum(-1, keepdims=True) for a in (normal(5, 3), normal(5, 3)))
    want = torch.nn.functional.kl_div(torch.tensor(p).log(), torch.tensor(t), reduction="batchmean")
    assert_close(px.losses.kl_divergence(p, t), want.numpy())


def shapes() -> None:
    torch = peer("torch")
    with pytest.raises(px.ShapeError):
        px.losses.mse(normal(3), normal(3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns, and goes on
        got = torch.nn.functional.mse_loss(torch.zeros(3), torch.ones(3, 1), reduction="none")
    assert got.shape == (3, 3)


def gru_biases() -> None:
    """Numbers: test_gates_of_recurrent_cells beside the defaults, whose biases are all random."""
    ours, theirs = px.nn.GRUCell(3, 4, key=0), peer("torch").nn.GRUCell(3, 4)
    assert (ours.bias.shape, ours.bias_hn.shape) == ((12,), (4,))
    assert (tuple(theirs.bias_ih.shape), tuple(theirs.bias_hh.shape)) == ((12,), (12,))


def flip() -> None:
    """SciPy's convolution flips, as Flux's ``Conv`` does; its correlation does not, as ``CrossCor``."""
    signal = importlib.import_module("scipy.signal")
    x, w = normal(6, 5, 2), normal(3, 2, 2, 4)  # (width, height, channel), and Flux's weight (w, h, in, out)
    turned = w[::-1, ::-1].transpose(1, 0, 2, 3)  # as flux.jl does, to (h, w, in, out)
    for theirs, kernel in ((signal.convolve2d, turned), (signal.correlate2d, w.transpose(1, 0, 2, 3))):
        want = [sum(theirs(x[..., i], w[..., i, o], mode="valid") for i in range(2)) for o in range(4)]
        ours = px.Conv.of(jnp.asarray(kernel))(x.transpose(1, 0, 2)[None])[0]
        assert_close(ours, np.stack(want, -1).transpose(1, 0, 2))


def recurrent_layers_give_outputs_alone() -> None:
    x = jnp.asarray(normal(2, 4, 2))
    layer = px.GRU(2, 3, key=0)
    y, h = px.GRU(2, 3, return_state=True, key=0)(x)
    assert layer(x).shape == y.shape == (2, 4, 3)
    assert_close(h[0], np.asarray(layer(x)[:, -1]))


def lists_are_joined_as_numpy_does() -> None:
    a, b = normal(2, 3), normal(2, 3)
    np.testing.assert_array_equal(px.concatenate(a, b), np.concatenate([a, b], -1))
    np.testing.assert_array_equal(px.concatenate([a, b]), np.concatenate([a, b]))
    np.testing.assert_array_equal(px.concatenate((a, b), 1), np.concatenate((a, b), 1))


CLAIMS: dict[str, Callable[[], None]] = {
    "flatten": flatten,
    "same": same,
    "rank": rank,
    "momentum": momentum,
    "mode": mode_follows_the_gradient,
    "jit": jit,
    "key": key,
    "tied": tied,
    "keras-eps": keras_eps,
    "decay": decay,
    "velocity": velocity,
    "logits": logits,
    "kl": kl,
    "shapes": shapes,
    "gru-biases": gru_biases,
    "state": recurrent_layers_give_outputs_alone,
    "concatenate": lists_are_joined_as_numpy_does,
    "flip": flip,
}


@pytest.mark.parametrize("claim", differences.CLAIMS)
def test_what_is_claimed_is_so(claim):
    CLAIMS[claim]()
