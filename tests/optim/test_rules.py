"""Every rule against torch.optim, and against steps worked by hand, over several steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy

W = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
# The gradient of step t is a fixed function of the weights and of t, so that a wrong step shows in the next.
SLOPE = np.array([[0.3, -1.5], [2.0, 0.001]], np.float32)


class Weights(px.Module):
    def __init__(self, dtype=jnp.float32):
        self.w = jnp.asarray(W, dtype)


def gradient(w, t):
    return SLOPE.astype(w.dtype) * w + (t + 1) * 0.1


CASES = {
    "Descent": (px.optim.Descent(0.1), lambda torch, p: torch.optim.SGD(p, lr=0.1)),
    "Momentum": (px.optim.Momentum(0.1, 0.9), lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "Nesterov": (
        px.optim.Momentum(0.1, 0.8, nesterov=True),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "Adam": (px.optim.Adam(0.01), lambda torch, p: torch.optim.Adam(p, lr=0.01)),
    "Adam with a large eps": (
        px.optim.Adam(0.01, 0.7, 0.9, eps=0.3),
        lambda torch, p: torch.optim.Adam(p, lr=0.01, betas=(0.7, 0.9), eps=0.3),
    ),
    "AdamW": (
        px.optim.AdamW(0.01, weight_decay=0.3),
        lambda torch, p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    ),
    "AdamW by default": (px.optim.AdamW(0.01), lambda torch, p: torch.optim.AdamW(p, lr=0.01)),
}


@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_four_steps_are_torchs(name, x64):
    torch = oracle("torch")
    rule, theirs = CASES[name]
    weight = torch.tensor(W.astype(np.float64 if x64 else np.float32), requires_grad=True)
    reference = theirs(torch, [weight])
    with jax.enable_x64(x64):
        model = Weights(jnp.float64 if x64 else jnp.float32)
        opt = px.Optimizer(rule, model)
        for t in range(4):
            opt.update(model, {"w": jnp.asarray(gradient(np.asarray(model.w), t))})
            weight.grad = torch.tensor(gradient(to_numpy(weight), t))
            reference.step()
            assert model.w.dtype == (jnp.float64 if x64 else jnp.float32)
            ours = np.asarray(model.w)
            if x64:  # the learning rate is held in float32, good to 1e-8 of each step
                np.testing.assert_allclose(ours, to_numpy(weight), rtol=1e-7, atol=1e-8)
            else:
                assert_close(ours, to_numpy(weight), what=f"step {t}")


def two_steps(rule):
    model = Weights()
    opt = px.Optimizer(rule, model)
    g = [np.asarray(gradient(W, 0))]
    opt.update(model, {"w": jnp.asarray(g[0])})
    first = np.asarray(model.w)
    g.append(np.asarray(gradient(first, 1)))
    opt.update(model, {"w": jnp.asarray(g[1])})
    return first, np.asarray(model.w), g


def test_descent_by_hand():
    first, second, g = two_steps(px.optim.Descent(0.5))
    assert_close(first, W - 0.5 * g[0])
    assert_close(second, first - 0.5 * g[1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_hand(nesterov):
    first, second, g = two_steps(px.optim.Momentum(0.5, 0.8, nesterov=nesterov))
    v1 = g[0]
    v2 = 0.8 * v1 + g[1]
    assert_close(first, W - 0.5 * (g[0] + 0.8 * v1 if nesterov else v1))
    assert_close(second, first - 0.5 * (g[1] + 0.8 * v2 if nesterov else v2))


@pytest.mark.parametrize("decay", [None, 0.25])
def test_adam_by_hand(decay):
    b1, b2, eps, rate = 0.8, 0.95, 0.1, 0.5
    rule = px.optim.Adam(rate, b1, b2, eps) if decay is None else px.optim.AdamW(rate, b1, b2, eps, decay)
    first, second, g = two_steps(rule)
    m1, v1 = (1 - b1) * g[0], (1 - b2) * g[0] ** 2
    m2, v2 = b1 * m1 + (1 - b1) * g[1], b2 * v1 + (1 - b2) * g[1] ** 2
    step1 = (m1 / (1 - b1)) / (np.sqrt(v1 / (1 - b2)) + eps) + (decay or 0) * W
    step2 = (m2 / (1 - b1**2)) / (np.sqrt(v2 / (1 - b2**2)) + eps) + (decay or 0) * first
    assert_close(first, W - rate * step1)
    assert_close(second, first - rate * step2)


# --- the learning rate ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [px.optim.Descent, px.optim.Momentum, px.optim.Adam, px.optim.AdamW])
def test_a_schedule_counts_updates(rule):
    schedule = optax.linear_schedule(0.5, 0.1, 4)
    model, twin = Weights(), Weights()
    opt = px.Optimizer(rule(schedule), model)
    fixed = px.Optimizer(rule(1.0), twin)
    for t, rate in enumerate((0.5, 0.4, 0.3, 0.2, 0.1, 0.1)):
        assert opt.learning_rate == pytest.approx(rate, rel=1e-6)
        fixed.adjust(learning_rate=rate)
        grads = {"w": jnp.asarray(gradient(W, t))}
        opt.update(model, grads)
        fixed.update(twin, grads)
        assert_close(model.w, np.asarray(twin.w), what=f"update {t}")


def test_two_schedules_are_two_rules():
    models = [Weights(), Weights(), Weights()]
    opts = [
        px.Optimizer(px.optim.Descent(lambda count, r=r: r), m) for r, m in zip((0.1, 1.0, 2.0), models, strict=True)
    ]
    for opt, model in zip(opts, models, strict=True):
        opt.update(model, {"w": jnp.ones((2, 2))})
    for rate, model in zip((0.1, 1.0, 2.0), models, strict=True):
        assert_close(model.w, W - np.float32(rate))


def test_complex_weights_move_against_the_gradient():
    class Complex(px.Module):
        def __init__(self):
            self.w = jnp.asarray([1 + 2j, -0.5j], jnp.complex64)

    model = Complex()
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    loss = lambda m: (jnp.abs(m.w - (3 - 1j)) ** 2).sum()  # noqa: E731
    values = []
    for _ in range(30):
        value, grads = px.value_and_grad(loss)(model)
        opt.update(model, px.map(jnp.conj, grads))  # JAX's gradient is the conjugate of the direction of ascent
        values.append(float(value))
    assert values == sorted(values, reverse=True)
    assert_close(model.w, np.full(2, 3 - 1j, np.complex64), kind="grad", scale=100)  # 0.8³⁰ of the way is left


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: px.optim.Descent(-0.1), "learning_rate in"),
        (lambda: px.optim.Momentum(0.1, 1.0), "momentum in"),
        (lambda: px.optim.Adam(0.1, b1=1.0), "b1 in"),
        (lambda: px.optim.Adam(0.1, b2=-0.1), "b2 in"),
        (lambda: px.optim.Adam(0.1, eps=-1e-8), "eps in"),
        (lambda: px.optim.AdamW(0.1, weight_decay=-1.0), "weight_decay in"),
    ],
)
def test_ranges_are_checked_at_construction(make, text):
    with pytest.raises(px.RangeError, match=text):
        make()
