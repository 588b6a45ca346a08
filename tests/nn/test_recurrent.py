"""RNN, LSTM, GRU and their cells against PyTorch; padding, truncation, carried states."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from recurrent_in_torch import in_torch, parts_of

F = nn.functional
LENGTHS = np.array([3, 5, 1])


def moved(model: px.Module, seed: int = 0) -> px.Module:
    """Every parameter in float64, off its start."""
    rng = np.random.default_rng(seed)
    new = {k: jnp.asarray(rng.normal(size=v.shape) * 0.5) for k, v in px.split(model)[0].items()}
    return px.merge(model, new, px.split(model)[1])


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def weighed(y, seed: int = 5):
    """A scalar that sees every element, each with a weight of its own."""
    leaves = [y] if not isinstance(y, (tuple, list)) else [leaf for part in y for leaf in jax.tree.leaves(part)]
    total = 0.0
    for i, leaf in enumerate(leaves):
        w = np.random.default_rng(seed + i).normal(size=tuple(leaf.shape))
        total = total + (leaf * (jnp.asarray(w) if isinstance(leaf, jax.Array) else oracle("torch").tensor(w))).sum()
    return total


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_packed_sequences_in_both_directions_are_pytorchs(kind):
    torch = oracle("torch")
    proj = {"proj_size": 2} if kind == "LSTM" else {}
    layer = getattr(nn, kind)
    model = moved(layer(3, 4, num_layers=2, bidirectional=True, return_state=True, key=0, **proj))
    out = 2 if proj else 4
    x, state = numbers(3, 5, 3), numbers(4, 3, out, seed=2)
    state = (state, numbers(4, 3, 4, seed=3)) if kind == "LSTM" else state

    @px.jit
    def ours(model, x, state):
        y = model(x, state, jnp.asarray(LENGTHS))
        grads = px.grad(lambda m, x, s: weighed(m(x, s, jnp.asarray(LENGTHS))), (0, 1, 2))(model, x, state)
        return y, px.paths(grads[0]), grads[1:]

    (y, last), by_path, (by_x, by_state) = ours(model, jnp.asarray(x), jax.tree.map(jnp.asarray, state))

    p = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in px.split(model)[0].items()}
    tx, ts = torch.tensor(x, requires_grad=True), jax.tree.map(lambda s: torch.tensor(s, requires_grad=True), state)
    run = in_torch(torch, kind, [parts_of(p, f"cells.{i}.") for i in range(4)], 4, bidirectional=True)
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(tx, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    ty, tlast = run(packed, ts)
    ty, _ = rnn.pad_packed_sequence(ty, batch_first=True)
    weighed((ty, tlast)).backward()
    assert_close(y, to_numpy(ty))
    jax.tree.map(lambda a, b: assert_close(a, to_numpy(b)), last, tlast)
    assert set(by_path) == set(p)
    for path, g in by_path.items():
        assert_close(g, to_numpy(p[path].grad), kind="grad", what=path)
    assert_close(by_x, to_numpy(tx.grad), kind="grad")
    jax.tree.map(lambda a, b: assert_close(a, to_numpy(b.grad), kind="grad"), by_state, ts)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_cells_are_pytorchs_and_a_layer_is_its_cell_over_time(kind):
    torch = oracle("torch")
    cell = moved(getattr(nn, kind + "Cell")(3, 4, key=0))
    x, h, c = numbers(2, 3), numbers(2, 4, seed=2), numbers(2, 4, seed=3)
    state = (h, c) if kind == "LSTM" else h
    theirs = getattr(torch.nn, kind + "Cell")(3, 4).double()
    p = {k: torch.tensor(np.asarray(v)) for k, v in px.split(cell)[0].items()}
    hn = torch.cat([torch.zeros(8, dtype=torch.float64), p["bias_hn"]]) if kind == "GRU" else 0 * p["bias"]
    named = {"weight_ih": p["weight_ih"].T, "weight_hh": p["weight_hh"].T, "bias_ih": p["bias"], "bias_hh": hn}
    want = torch.func.functional_call(theirs, named, (torch.tensor(x), jax.tree.map(torch.tensor, state)))
    out, new = cell(jnp.asarray(x), jax.tree.map(jnp.asarray, state))
    jax.tree.map(lambda a, b: assert_close(a, to_numpy(b)), new, want)
    assert out is jax.tree.leaves(new)[0]
    start = jax.tree.map(jnp.zeros_like, new)
    jax.tree.map(assert_close, cell(jnp.asarray(x))[1], cell(jnp.asarray(x), start)[1])

    layer = getattr(nn, kind)(3, 4, return_state=True, key=0)
    layer.cells[0] = cell
    series = jnp.asarray(numbers(2, 3, 3, seed=4))
    whole, last = layer(series)
    state, outs = None, []
    for t in range(3):
        out, state = cell(series[:, t], state)
        outs.append(out)
    assert_close(whole, jnp.stack(outs, 1))
    jax.tree.map(lambda a, b: assert_close(a[0], b), last, state)


# --- padding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_padding_of_any_content_changes_nothing(kind):
    model = moved(getattr(nn, kind)(3, 4, bidirectional=True, return_state=True, learn_state=True, key=0))
    x = jnp.asarray(numbers(3, 5, 3))
    spoilt = jnp.where(F.sequence_mask(LENGTHS, 5)[..., None], x, jnp.nan)

    def loss(model, x, **how):
        y, state = model(x, **how)
        return weighed((y, state)), (y, state)

    run = px.jit(lambda model, x, n: px.value_and_grad(loss, (0, 1), has_aux=True)(model, x, lengths=n))
    (_, (y, state)), (grads, by_x) = run(model, spoilt, jnp.asarray(LENGTHS))
    (_, (same, _)), (again, _) = run(model, x, jnp.asarray(LENGTHS))
    assert_close(y, same)
    for path, g in px.paths(grads).items():
        assert bool(jnp.isfinite(g).all())
        assert_close(g, px.paths(again)[path], kind="grad")
    for i, n in enumerate(LENGTHS):
        alone, last = model(x[i : i + 1, :n])
        assert_close(y[i, :n], alone[0])
        jax.tree.map(lambda a, b, i=i: assert_close(a[:, i], b[:, 0]), state, last)
        assert not y[i, n:].any()
        assert not by_x[i, n:].any()
        assert bool((by_x[i, :n] != 0).all())


def test_a_mask_may_have_holes_and_lengths_of_zero_keep_the_state():
    model = moved(nn.GRU(3, 4, bidirectional=True, return_state=True, key=0))
    x = jnp.asarray(numbers(1, 6, 3))
    real = jnp.array([[False, True, True, False, True, False]])
    y, state = model(x, mask=real)
    want, last = model(x[:, np.flatnonzero(real[0])])
    assert_close(y[real], want[0])
    assert_close(state, last)
    assert not y[~real].any()
    start = jnp.asarray(numbers(2, 1, 4))
    y, state = model(x, start, lengths=jnp.array([0]))
    np.testing.assert_array_equal(state, start)
    assert not y.any()


# --- what passes through time ------------------------------------------------------------------------


def test_truncation_is_pytorchs_detach_at_the_borders():
    torch = oracle("torch")
    model = moved(nn.LSTM(3, 4, truncate=2, key=0))
    x = numbers(2, 5, 3)
    slopes = px.jit(lambda m, x: px.grad(lambda m, x: weighed(m(x)), (0, 1))(m, x))
    grads, by_x = slopes(model, jnp.asarray(x))
    p = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in px.split(model)[0].items()}
    run, tx = in_torch(torch, "LSTM", [parts_of(p, "cells.0.")], 4), torch.tensor(x, requires_grad=True)
    state, ys = None, []
    for start in range(0, 5, 2):
        state = None if state is None else tuple(s.detach() for s in state)
        y, state = run(tx[:, start : start + 2], state)
        ys.append(y)
    weighed(torch.cat(ys, 1)).backward()
    assert_close(by_x, to_numpy(tx.grad), kind="grad")
    for path, g in px.paths(grads).items():
        assert_close(g, to_numpy(p[path].grad), kind="grad", what=path)

    def second(reverse):  # how the last step's gradient reaches each step
        end = 0 if reverse else -1
        w = jnp.ones((1, 1)) / 2
        run = lambda x: F.rnn(x, w, w, act=px.identity, truncate=2, reverse=reverse)[0][0, end, 0]  # noqa: E731
        return jax.grad(run)(jnp.ones((1, 5, 1))).ravel().tolist()

    assert second(False) == [0, 0, 0, 0, 0.5]
    assert second(True) == [0.5, 0.25, 0, 0, 0]

    cell = model.cells[0]
    general, by_x2 = slopes(nn.Recurrence(cell, truncate=2), jnp.asarray(x))
    assert_close(by_x2, by_x, kind="grad")
    assert_close(general.cell.weight_hh, grads.cells[0].weight_hh, kind="grad")


def test_a_carried_state_is_the_whole_sequence_in_parts():
    layer = moved(nn.LSTM(3, 4, num_layers=2, return_state=True, stateful=2, key=0))
    plain = nn.LSTM(3, 4, num_layers=2, return_state=True, key=0)
    plain.cells = layer.cells
    x = jnp.asarray(numbers(2, 5, 3))
    whole, last = plain(x)
    one, state = plain(x[:, :2])
    two, state = plain(x[:, 2:], state)
    assert_close(jnp.concatenate([one, two], 1), whole)
    jax.tree.map(assert_close, state, last)

    layer.carried = tuple(part.astype(jnp.float64) for part in layer.carried)
    step = px.jit(lambda layer, x: px.grad(lambda m: weighed(m(x)[0]))(layer))
    first, second = step(layer, x[:, :2]), step(layer, x[:, 2:4])
    jax.tree.map(assert_close, layer.carried, plain(x[:, :4])[1])
    before = jax.tree.map(jax.lax.stop_gradient, plain(x[:, :2])[1])
    want = px.grad(lambda m: weighed(m(x[:, 2:4], before)[0]))(plain)
    assert_close(second.cells[0].weight_hh, want.cells[0].weight_hh, kind="grad")
    layer.reset_state(jnp.array([True, False]))
    assert not layer.carried[0][:, 0].any()
    assert layer.carried[0][:, 1].any()
    layer.reset_state()
    again = step(layer, x[:, :2])
    assert_close(again.cells[1].weight_ih, first.cells[1].weight_ih, kind="grad")


def test_dropout_stands_between_layers_and_nowhere_else():
    model = nn.RNN(8, 8, px.identity, num_layers=2, dropout=0.3, bias=False, key=0)
    for cell in model.cells:
        cell.weight_ih, cell.weight_hh = jnp.eye(8), jnp.zeros((8, 8))
    x = jnp.asarray(numbers(40, 25, 8))
    assert_close(model(x), x)
    with px.training(True):
        y, again = model(x), model(x)
    ratio = np.asarray(y / x)
    zero = ratio == 0
    np.testing.assert_allclose(ratio[~zero], 1 / 0.7, rtol=1e-6)
    assert scipy.stats.binomtest(int(zero.sum()), zero.size, 0.3).pvalue > 1e-4
    assert (np.asarray(again == 0) != zero).any()
    single = moved(nn.RNN(8, 8, dropout=0.9, key=0))
    with px.training(True):
        assert_close(single(x), px.testmode(px.copy(single))(x))


# --- construction ------------------------------------------------------------------------------------


def test_gates_start_orthogonal_by_glorot_and_remember():
    cell = nn.LSTMCell(60, 40, key=0)
    blocks = np.split(np.asarray(cell.weight_hh), 4, -1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(40), atol=1e-5)
    bound = np.sqrt(6 / 100)
    sample = np.asarray(cell.weight_ih).ravel()
    assert scipy.stats.kstest(sample, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1
    np.testing.assert_array_equal(cell.bias, np.repeat([0.0, 1.0, 0.0, 0.0], 40))
    assert not nn.LSTMCell(3, 4, forget_bias=0.0, key=0).bias.any()
    assert nn.GRUCell(3, 4, bias=False, key=0).bias_hn is None


def test_an_activation_that_holds_parameters_is_trained():
    with jax.enable_x64(False):
        model = nn.RNN(3, 4, nn.PReLU(4), key=0)
        x = jnp.asarray(numbers(2, 5, 3), jnp.float32)
        grads = px.jit(lambda m: px.grad(lambda m: m(x).sum())(m))(model)
        plain = jax.jit(jax.grad(lambda slope: _prelu_by_hand(px.constant(model).cells[0], slope, x).sum()))(
            model.act.slope
        )
        assert_close(grads.act.slope, plain, kind="grad")
        assert bool(plain.any())


def _prelu_by_hand(cell, slope, x):
    h, ys = jnp.zeros((2, 4)), []
    for t in range(5):
        z = x[:, t] @ cell.weight_ih + h @ cell.weight_hh + cell.bias
        h = jnp.where(z > 0, z, slope * z)
        ys.append(h)
    return jnp.stack(ys, 1)


X = jnp.ones((2, 5, 3), jnp.float32)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.LSTM(3, 4, proj_size=4), px.RangeError, "expects a proj_size below hidden_size=4, got 4"),
        (lambda: nn.GRU(3, 4, stateful=2, bidirectional=True), px.RangeError, "stateful in one direction"),
        (lambda: nn.GRU(3, 4, dropout=1.5), px.RangeError, "dropout in [0, 1], got 1.5"),
        (lambda: nn.GRU(3, 4, key=0)(X, lengths=[6, 1]), px.RangeError, "lengths in [0, 5], got lengths from 1 to 6"),
        (lambda: nn.GRU(3, 4, key=0)(X, lengths=[1, 1, 1]), px.ShapeError, "lengths (2,), got int"),
        (lambda: nn.GRU(3, 4, key=0)(X, mask=jnp.ones((2, 5))), px.ShapeError, "mask (2, 5) of booleans, got float32"),
        (lambda: nn.GRU(3, 4, key=0)(X, jnp.ones((2, 4))), px.ShapeError, "state (1, 2, 4), got float32[2, 4]"),
        (lambda: nn.GRU(3, 4, stateful=3, key=0)(X), px.ShapeError, "state (1, 2, 4), got float32[1, 3, 4]"),
        (lambda: nn.GRU(3, 4, key=0).reset_state(), px.RangeError, "a layer that keeps its state"),
        (lambda: nn.LSTMCell(3, 4, key=0)(X[0], X[0]), px.ShapeError, "state (5, 4) and (5, 4), got float32[5, 3]"),
        (lambda: F.gru(X, jnp.ones((3, 6)), jnp.ones((3, 6))), px.ShapeError, "weight_hh (2, 6), got float32[3, 6]"),
    ],
)
def test_mistakes_are_named(call, error, text):
    with jax.enable_x64(False), pytest.raises(error, match=re.escape(text)) as caught:
        call()
    assert "\n  fix: " in str(caught.value)
