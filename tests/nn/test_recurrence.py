"""Any cell over time, convolutional LSTM, and cells that keep their state."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox import nn


def numbers(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


class Leaky(px.Module):
    """A user's cell with randomness inside and a state that is a dict."""

    def __init__(self):
        self.dense, self.drop = px.Dense(3, 2, key=0), px.Dropout(0.5, key=1)

    def __call__(self, x, state=None):
        old = jnp.zeros((*x.shape[:-1], 2)) if state is None else state["level"]
        level = 0.5 * old + self.drop(self.dense(x))
        return 2 * level, {"level": level}


def test_a_cell_of_the_users_own_goes_over_time():
    model = nn.Recurrence(Leaky(), return_state=True)
    x = numbers(2, 4, 3)
    y, state = model(x)
    level, outs = jnp.zeros((2, 2)), []
    for t in range(4):
        level = 0.5 * level + x[:, t] @ model.cell.dense.weight + model.cell.dense.bias
        outs.append(2 * level)
    assert_close(y, jnp.stack(outs, 1))
    assert_close(state["level"], level)
    first, again = model(x[:, :2]), model(x[:, 2:], state=model(x[:, :2])[1])
    assert_close(jnp.concatenate([first[0], again[0]], 1), y)
    short, state = model(x, lengths=jnp.array([4, 2]))
    assert_close(short[1, :2], y[1, :2])
    assert not short[1, 2:].any()
    assert_close(state["level"][1] * 2, y[1, 1])
    back, _ = nn.Recurrence(model.cell, reverse=True, return_state=True)(x[:, ::-1])
    assert_close(back, y[:, ::-1])

    @px.jit
    def step(model, x):
        return px.grad(lambda m: m(x)[0].sum())(model)

    before = model.cell.drop.key
    one, two = step(model, x), step(model, x)
    assert model.cell.drop.key != before
    assert bool((one.cell.dense.weight != two.cell.dense.weight).any()), "the mask is new at each call"
    with px.training(True):
        masks = np.asarray(nn.Recurrence(_Drawn())(jnp.ones((2, 6, 8))))
    assert len({masks[:, t].tobytes() for t in range(6)}) == 6, "and at each step"


class _Drawn(px.Module):
    def __init__(self):
        self.drop = px.Dropout(0.5, key=1)

    def __call__(self, x, state=None):
        del state
        return self.drop(x), jnp.zeros(())


def test_the_general_loop_is_the_fast_one():
    layer = nn.LSTM(3, 4, bidirectional=True, return_state=True, learn_state=True, key=0)
    for i, cell in enumerate(layer.cells):
        cell.h0, cell.c0 = numbers(4, seed=i), numbers(4, seed=i + 2)
    both = nn.Bidirectional(*layer.cells, return_state=True, remat=True)
    x, lengths = numbers(2, 4, 3), jnp.array([4, 2])

    @px.jit
    def run(model, x):
        def loss(model, x):
            y, state = model(x, lengths=lengths)
            return jnp.sum(jnp.sin(3 * y)), (y, state)

        return px.value_and_grad(loss, (0, 1), has_aux=True)(model, x)

    (_, (y, ((h, c), (h2, _)))), (grads, by_x) = run(both, x)
    (_, (want, (hs, cs))), (theirs, by_x2) = run(layer, x)
    assert_close(y, want)
    assert_close(h, hs[0])
    assert_close(c, cs[0])
    assert_close(h2, hs[1])
    assert_close(by_x, by_x2, kind="grad")
    for ours, cell in zip((grads.forward.cell, grads.backward.cell), theirs.cells, strict=True):
        for path, g in px.paths(ours).items():
            assert_close(g, px.paths(cell)[path], kind="grad", what=path)
            assert bool(g.any())
    summed = nn.Bidirectional(*layer.cells, combine=jnp.add)(x, lengths=lengths)
    assert_close(summed, want[..., :4] + want[..., 4:])


def test_convolutional_lstm_over_images_step_by_step_and_padded():
    layer = nn.ConvLSTM((3, 3), 2, 3, return_state=True, key=0)
    cell = nn.ConvLSTMCell((3, 3), 2, 3, key=1)
    assert px.load_state_dict(cell, px.state_dict(layer)).complete
    x = numbers(2, 3, 4, 5, 2)
    whole, last = layer(x)
    state, outs = None, []
    for t in range(3):
        out, state = cell(x[:, t], state)
        outs.append(out)
    assert_close(whole, jnp.stack(outs, 1))
    jax.tree.map(assert_close, last, state)
    spoilt = x.at[1, 2].set(jnp.nan)
    y, (h, _) = layer(spoilt, lengths=[3, 2])
    assert_close(y[0], whole[0])
    assert_close(h[1], whole[1, 1])
    assert not y[1, 2].any()
    np.testing.assert_array_equal(layer.bias, np.repeat([0.0, 1.0, 0.0, 0.0], 3))


def test_convolutional_lstm_of_one_place_is_an_lstm():
    layer = nn.ConvLSTM(1, 3, 4, key=0)
    plain = nn.LSTM(3, 4, key=1)
    cell = plain.cells[0]
    cell.weight_ih, cell.weight_hh, cell.bias = layer.weight_ih[0], layer.weight_hh[0], layer.bias
    x = numbers(2, 5, 3)
    assert_close(layer(x[:, :, None])[:, :, 0], plain(x))


def test_a_stateful_cell_is_the_sequence_one_step_at_a_time():
    cell = nn.LSTMCell(3, 4, key=0)
    keeps = nn.StatefulRecurrentCell(cell, cell.initial_state(jnp.ones((2, 3))))
    x = numbers(2, 3, 3)
    want = nn.Recurrence(cell)(x)
    step = px.jit(lambda keeps, x: keeps(x))
    assert_close(jnp.stack([step(keeps, x[:, t]) for t in range(3)], 1), want)
    keeps.reset_state()
    assert_close(step(keeps, x[:, 0]), want[:, 0])
    assert len(step.history.traces) == 1
    grads = px.grad(lambda m: m(x[:, 1]).sum())(keeps)
    assert set(px.paths(grads)) == {"cell.weight_ih", "cell.weight_hh", "cell.bias"}
    assert_close(keeps.carried[0], want[:, 1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.Recurrence(Leaky())(numbers(2, 4, 3), mask=jnp.eye(2, 4, dtype=bool)), px.RangeError,
         "a state to pass over padding at the first step, got Leaky"),
        (lambda: nn.Recurrence(3), px.RangeError, "Recurrence expects a cell"),
        (lambda: nn.Recurrence(Leaky())(numbers(3)), px.ShapeError, "(batch, time, ...), got float32[3]"),
        (lambda: nn.StatefulRecurrentCell(nn.RNNCell(3, 4, key=0), jnp.zeros((1, 4)))(numbers(2, 3)), px.ShapeError,
         "state (2, 4), got float32[1, 4]"),
        (lambda: nn.StatefulRecurrentCell(Leaky(), {"level": jnp.zeros((1, 2))})(numbers(2, 3)), px.ShapeError,
         "the state to stay float32[1, 2], got float32[2, 2]"),
        (lambda: nn.ConvLSTM(3, 2, 3, key=0)(numbers(2, 4, 5, 2), (numbers(2, 5, 3), numbers(2, 4, 3))),
         px.ShapeError, "two of (2, 5, 3), got float32[2, 5, 3] and float32[2, 4, 3]"),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, error, text):
    with pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "\n  fix: " in str(caught.value)
