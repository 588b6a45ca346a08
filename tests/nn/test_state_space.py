"""State-space layers and linear attention: loops in NumPy, discretisation by SciPy, causality, one step at a time."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import scipy.stats

import phlox as px
from kit import assert_close
from phlox import nn

F = nn.functional
RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("reverse", [False, True])
def test_linear_recurrence_is_the_loop(reverse):
    rng = RNG(0)
    a, b = rng.normal(size=(1, 7, 3)), rng.normal(size=(2, 7, 3))
    a, b, start = a * np.exp(1j * b[:1]), b + 1j * b[::-1], rng.normal(size=(2, 3)) + 0j
    h, want = start, np.zeros_like(b)
    for t in reversed(range(7)) if reverse else range(7):
        h = a[:, t] * h + b[:, t]
        want[:, t] = h
    ours, last = F.linear_recurrence(a, b, start, reverse=reverse)
    np.testing.assert_allclose(ours, want, rtol=1e-10)
    np.testing.assert_allclose(last, h, rtol=1e-10)


def scan_by_loop(x, delta, a, b, c, d, h):
    ys = []
    for t in range(x.shape[1]):
        h = np.exp(delta[:, t, :, None] * a) * h + (delta[:, t] * x[:, t])[..., None] * b[:, t, None, :]
        ys.append((h * c[:, t, None, :]).sum(-1) + d * x[:, t])
    return np.stack(ys, 1), h


def test_selective_scan_is_the_loop_for_every_chunk():
    rng = RNG(1)
    x, delta = rng.normal(size=(2, 7, 3)), rng.uniform(size=(2, 7, 3))
    a, b, c, d = -rng.uniform(size=(3, 4)), rng.normal(size=(2, 7, 4)), rng.normal(size=(2, 7, 4)), rng.normal(size=3)
    arrays = (x, delta, a, b, c, d, rng.normal(size=(2, 3, 4)))
    want, last = scan_by_loop(*arrays)
    found = []
    for chunk in (None, 3):
        run = jax.jit(
            lambda *v, chunk=chunk: jax.value_and_grad(
                lambda *v: ((r := F.selective_scan(*v, chunk=chunk))[0].sum() + jnp.sin(r[1]).sum(), r), range(7), True
            )(*v)
        )
        (_, (y, h)), grads = run(*map(jnp.asarray, arrays))
        assert_close(y, want)
        assert_close(h, last)
        found.append(grads)
    jax.tree.map(lambda p, q: assert_close(p, q, kind="grad"), *found)
    still = F.selective_scan(x, 0 * delta, *arrays[2:])[1]
    np.testing.assert_allclose(still, arrays[6], rtol=1e-12)


def attention_by_weights(q, k, v, causal, phi):
    weights = np.einsum("bthd,bshd->bhts", phi(q), phi(k))
    weights = np.tril(weights) if causal else weights
    return np.einsum("bhts,bshe->bthe", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("causal", [True, False])
def test_linear_attention_is_the_matrix_of_weights(causal):
    q, k, v = RNG(2).normal(size=(3, 2, 7, 2, 3))
    elu = lambda x: np.where(x > 0, x + 1, np.exp(x))  # noqa: E731
    for chunk in (1, 3, 64):
        assert_close(
            F.linear_attention(q, k, v, causal=causal, chunk=chunk)[0], attention_by_weights(q, k, v, causal, elu)
        )
    squares = F.linear_attention(q, k, v, feature_map=jnp.square, causal=causal, chunk=3)[0]
    assert_close(squares, attention_by_weights(q, k, v, causal, np.square))
    bare = F.linear_attention(q, k, v, causal=causal, normalize=False)[0]
    sums = np.einsum("bthd,bshd->bhts", elu(q), elu(k))
    assert_close(bare, np.einsum("bhts,bshe->bthe", np.tril(sums) if causal else sums, v))


def test_s4d_is_scipys_discretisation_of_the_continuous_system():
    model = px.f64(nn.S4D(1, 2, key=0))
    model.frequency, model.c = jnp.array([[1.7]]), jnp.array([[[0.8]], [[-0.6]]])
    model.log_rate = jnp.array([[math.log(0.5)]])
    model.log_dt = jnp.array([math.log(0.3)])
    rate, w, c = -0.5, 1.7, 2 * np.array([[0.8, 0.6]])  # 2 Re((0.8 - 0.6i)(p + iq)) = 2 (0.8 p + 0.6 q)
    system = (np.array([[rate, -w], [w, rate]]), np.array([[1.0], [0.0]]), c, np.array([[float(model.d[0])]]))
    a, b, c, d, _ = scipy.signal.cont2discrete(system, 0.3, method="zoh")
    x = RNG(3).normal(size=(1, 9, 1))
    h, want = np.zeros((2, 1)), []
    for u in x[0]:
        h = a @ h + b * u
        want.append((c @ h + d * u)[0])
    assert_close(model(jnp.asarray(x))[0], np.array(want))


LAYERS = {
    "LRU": lambda **o: nn.LRU(4, 5, key=0, **o),
    "S4D": lambda **o: nn.S4D(4, 6, dt_min=0.05, dt_max=0.5, key=0, **o),
    "Mamba": lambda **o: nn.Mamba(4, state_size=3, kernel_size=3, key=0, **o),
    "LinearAttention": lambda **o: nn.LinearAttention(4, 2, chunk=3, key=0, **o),
}


@pytest.mark.parametrize("name", LAYERS)
def test_one_step_at_a_time_and_in_parts_is_the_parallel_form(name):
    model = px.f64(LAYERS[name](return_state=True))
    x = jnp.asarray(RNG(4).normal(size=(2, 7, 4)))
    whole, last = px.jit(lambda m, x: m(x))(model, x)
    step = px.jit(lambda m, x, s: m.step(x, s))
    y, state = step(model, x[:, 0], None)
    ys = [y]
    for t in range(1, 7):
        y, state = step(model, x[:, t], state)
        ys.append(y)
    assert len(step.history.traces) == 2, "without a state, and with one"
    assert_close(jnp.stack(ys, 1), whole)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # noqa: E731 - complex128 has no row
    jax.tree.map(close, state, last)
    one, state = model(x[:, :3])
    two, state = model(x[:, 3:], state)
    assert_close(jnp.concatenate([one, two], 1), whole)
    jax.tree.map(close, state, last)


@pytest.mark.parametrize("name", LAYERS)
def test_no_output_sees_a_later_input(name):
    model = px.f64(LAYERS[name]())
    x = jnp.asarray(RNG(5).normal(size=(1, 6, 4)))
    w = jnp.asarray(RNG(6).normal(size=(6, 4)))
    slopes = px.jit(lambda m, x: jax.vmap(lambda t: px.grad(lambda x: (m(x)[0] * w)[t].sum())(x)[0])(jnp.arange(6)))
    seen = np.abs(np.asarray(slopes(model, x))).sum(-1)  # (output, input)
    assert not np.triu(seen, 1).any()
    assert (np.tril(seen) > 0).sum() == 21


def test_attention_to_all_steps_has_no_step():
    model = nn.LinearAttention(4, 2, causal=False, key=0)
    with pytest.raises(px.RangeError, match="expects a causal layer, to go step by step"):
        model.step(jnp.ones((2, 4), jnp.float32))


def test_models_start_where_their_papers_say():
    lru = nn.LRU(20, 2000, r_min=0.4, r_max=0.9, max_phase=1.0, key=0)
    size = np.exp(-np.exp(np.asarray(lru.nu, float)))
    assert scipy.stats.kstest((size**2 - 0.16) / (0.81 - 0.16), "uniform").pvalue > 1e-3
    assert scipy.stats.kstest(np.exp(np.asarray(lru.theta, float)), "uniform").pvalue > 1e-3
    np.testing.assert_allclose(np.exp(lru.gamma), np.sqrt(1 - size**2), rtol=1e-4)
    for weight, variance in ((lru.b, 1 / 40), (lru.c, 1 / 2000)):
        assert scipy.stats.kstest(np.asarray(weight).ravel() / math.sqrt(variance), "norm").pvalue > 1e-3
    s4d, mamba = nn.S4D(1000, 6, key=0), nn.Mamba(500, state_size=3, key=0)
    np.testing.assert_allclose(s4d.frequency[7], math.pi * np.arange(3), rtol=1e-6)
    np.testing.assert_allclose(np.exp(s4d.log_rate), 0.5, rtol=1e-6)
    low, wide = math.log(1e-3), math.log(100)
    assert scipy.stats.kstest((np.asarray(s4d.log_dt) - low) / wide, "uniform").pvalue > 1e-3
    steps = np.log(np.log1p(np.exp(np.asarray(mamba.delta.bias, float))))
    assert scipy.stats.kstest((steps - low) / wide, "uniform").pvalue > 1e-3
    np.testing.assert_allclose(np.exp(mamba.log_rate[3]), [1, 2, 3], rtol=1e-6)
    assert mamba.rank == 32


ONE = jnp.ones((1, 2, 3), jnp.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.LRU(3, r_min=0.9, r_max=0.5), px.RangeError, "0 <= r_min < r_max <= 1, got r_min=0.9, r_max=0.5"),
        (lambda: nn.S4D(3, 5), px.RangeError, "an even state_size, got 5"),
        (lambda: nn.LinearAttention(6, 4), px.RangeError, "heads that divide dim=6, got 4"),
        (lambda: nn.Mamba(3, dt_min=0.0), px.RangeError, "0 < dt_min < dt_max, got 0.0 and 0.1"),
        (lambda: F.linear_recurrence(ONE, ONE[:, :0]), px.ShapeError, "a and b (batch, time, ...)"),
        (lambda: F.linear_recurrence(ONE, ONE, ONE), px.ShapeError, "state (1, 3), got float32[1, 2, 3]"),
        (lambda: F.selective_scan(ONE, ONE, ONE[0], ONE, ONE), px.ShapeError, "a (3, 3), got float32[2, 3]"),
        (lambda: F.linear_attention(ONE, ONE, ONE), px.ShapeError, "q, k, v (batch, time, heads, size)"),
        (lambda: nn.Mamba(3, key=0).step(ONE), px.ShapeError, "(batch, 3), got float32[1, 2, 3]"),
    ],
)
def test_mistakes_are_named(call, error, text):
    with jax.enable_x64(False), pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "\n  fix: " in str(caught.value)
