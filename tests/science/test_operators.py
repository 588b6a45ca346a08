"""Operators on functions: sums of waves by their formula, one meaning on every grid."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


def points(*space):
    """Places in the unit cube, (*space, axes), of a periodic grid."""
    return np.stack(np.meshgrid(*(np.arange(n) / n for n in space), indexing="ij"), -1)


def by_waves(x, weight, modes):
    """The convolution as its docstring has it: every wave that the grid can tell apart, one after the other."""
    space = x.shape[1:-1]
    at = points(*space)
    most = [min(m, (n + 1) // 2) - 1 for m, n in zip(modes, space, strict=True)]
    halves = [range(-k, k + 1) for k in most[:-1]] + [range(most[-1] + 1)]
    y = np.zeros((*x.shape[:-1], weight.shape[-1]))
    for k in itertools.product(*halves):
        wave = np.exp(2j * np.pi * (at @ np.array(k)))[..., None]
        found = (x * wave.conj()).mean(tuple(range(1, x.ndim - 1)), keepdims=True)
        y += (1 if k[-1] == 0 else 2) * np.real(wave * (found @ (weight[0] + 1j * weight[1])[k]))
    return y


@pytest.mark.parametrize(
    ("modes", "space"), [((3,), (8,)), ((4,), (5,)), ((2, 3), (6, 5)), ((2, 3), (3, 4)), ((2, 1, 2), (4, 3, 5))]
)
def test_a_spectral_convolution_is_the_sum_of_its_waves(modes, space):
    conv = px.f64(px.science.SpectralConv(modes, 3, 2, key=0))
    x = np.random.default_rng(0).normal(size=(2, *space, 3))
    np.testing.assert_allclose(conv(jnp.array(x)), by_waves(x, np.asarray(conv.weight), modes), atol=1e-13)


def test_a_spectral_weight_starts_at_the_variance_that_is_said():
    fno = px.science.FNO((8, 8), 1, 1, 12, depth=1, hidden=4, key=0)
    weight = np.asarray(fno.layers[0].spectral.weight)
    assert weight.shape == (2, 15, 8, 12, 12)
    assert abs(np.square(weight).sum(0).mean() - 2 / 24) < 0.02 * 2 / 24
    assert px.parameter_kinds(fno)["layers.0.spectral.weight"] == px.nn.ParameterKind("matrix", 2, 3)


def dense(layer, x):
    return x @ np.asarray(layer.weight) + np.asarray(layer.bias)


def by_formula(fno, x, places):
    h = dense(fno.lifting, np.concatenate([x, np.broadcast_to(places[:, None], (2, 7, 1))], -1))
    h = np.pad(h, ((0, 0), (0, {"cells": 2, "vertices": 1, "periodic": 0}[fno.grid]), (0, 0)))
    for layer in fno.layers:
        h = by_waves(h, np.asarray(layer.spectral.weight), (3,)) + dense(layer.local, h)
        h = h if layer is fno.layers[-1] else np.tanh(h)
    return dense(fno.projection[1], np.tanh(dense(fno.projection[0], h[:, :7])))


def test_an_operator_is_its_formula_with_grid_and_padding():
    options = {
        "cells": {"depth": 2, "padding": 0.3},
        "vertices": {"depth": 1, "padding": 0.4},
        "periodic": {"depth": 1},
    }
    fnos = [px.science.FNO(3, 2, 1, 4, px.tanh, hidden=5, grid=grid, key=0, **o) for grid, o in options.items()]
    x, n = np.random.default_rng(0).normal(size=(2, 7, 2)), np.arange(7)
    found = px.jit(lambda fnos, x: [fno(x) for fno in fnos])(px.f64(fnos), jnp.array(x))
    for fno, y, places in zip(px.f64(fnos), found, ((n + 0.5) / 7, n / 6, n / 7), strict=True):
        np.testing.assert_allclose(y, by_formula(fno, x, places), rtol=1e-10, err_msg=fno.grid)


def test_an_operator_says_the_same_on_every_grid():
    """Of a smooth function each finer grid tells more digits: an error that falls with the spectrum, not a power."""
    fno = px.f64(px.science.FNO(4, 1, 1, 4, px.tanh, depth=2, hidden=4, grid=None, key=0))
    ask = px.jit(lambda fno, at: fno(jnp.sin(2 * jnp.pi * at) + jnp.cos(4 * jnp.pi * at)))
    finest, odd, even = (np.asarray(ask(fno, points(n)[None])[0, :, 0]) for n in (120, 15, 40))
    off = [np.abs(y - finest[:: 120 // len(y)]).max() for y in (odd, even)]
    assert off[0] < 0.02 * np.abs(finest).max()
    assert off[1] < 0.001 * off[0]


@pytest.mark.soak
def test_an_operator_learns_by_fit_and_is_kept(tmp_path):
    """To move a function by a quarter: learned on 16 points, asked on 25, after a file."""
    with jax.enable_x64(False):
        rng = np.random.default_rng(0)
        heights = rng.normal(size=(64, 2, 3, 1))

        def moved(n, by):
            turns = 2 * np.pi * np.arange(1, 4)[:, None] * (np.arange(n) / n - by)
            both = (heights * np.stack([np.sin(turns), np.cos(turns)])).sum((1, 2))
            return both[..., None].astype(np.float32)

        fno = px.science.FNO(4, 1, 1, 8, depth=1, hidden=16, grid=None, key=0)
        data = moved(16, 0.0), moved(16, 0.25)
        px.fit(fno, data, loss=px.losses.mse, optimizer=px.optim.Adam(2e-2), epochs=60, batch_size=64, progress=False)
        px.save(fno, tmp_path / "fno.safetensors")
        again = px.load(tmp_path / "fno.safetensors")
        assert "FNO(\n  modes=4, in_channels=1, out_channels=1, width=8, grid=None,\n" in repr(again)
        for n in (16, 25):
            error = jnp.square(again(moved(n, 0.0)) - moved(n, 0.25)).mean()
            assert float(error) < 0.01 * np.square(moved(n, 0.25)).mean()


def test_a_deep_operator_network_is_its_formula_for_shared_and_for_own_points():
    rng = np.random.default_rng(0)
    branch, trunk = px.f64((px.Dense(5, 6, key=0), px.Dense(2, 6, px.tanh, key=1)))
    net = px.science.DeepONet(branch, trunk, outputs=2)
    net.bias = jnp.array([0.5, -1.0])
    u, x = rng.normal(size=(3, 5)), rng.normal(size=(3, 4, 2))
    b, t = dense(branch, u).reshape(3, 2, 3), np.tanh(dense(trunk, x)).reshape(3, 4, 2, 3)
    expected = (b[:, None] * t).sum(-1) + [0.5, -1.0]
    np.testing.assert_allclose(net(u, x), expected, rtol=1e-12)
    np.testing.assert_allclose(net(u, x[0])[0], expected[0], rtol=1e-12)


def test_numbers_stay_of_64_bits_all_through_and_16_bits_come_back():
    fno, x = px.f64(px.science.FNO((2, 2), 1, 1, 3, depth=2, padding=0.5)), jnp.ones((1, 5, 4, 1))
    program = jax.make_jaxpr(px.value_and_grad(lambda fno, x: fno(x).sum(), (0, 1)))(fno, x)
    assert set(re.findall(r":((?:f|c|bf)\d+)\[", str(program))) == {"f64", "c128"}
    low = px.bf16(px.science.FNO((2, 2), 1, 1, 3, depth=1))
    assert px.eval_shape(low, jnp.ones((1, 5, 4, 1), "bfloat16")).dtype == jnp.bfloat16


def fno(**options):
    return px.science.FNO((2, 2), 1, 1, 3, depth=1, **options)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: px.science.SpectralConv((0, 2), 1, 1), px.RangeError, "modes to be a whole number of at least 1"),
        (lambda: px.science.FNO((2,) * 4, 1, 1), px.RangeError, r"FNO expects modes for 1, 2 or 3 spatial axes, got"),
        (lambda: fno(padding=-1), px.RangeError, "padding of at least 0, or 2 such, got -1"),
        (lambda: fno(padding=(0.1,)), px.RangeError, r"padding of at least 0, or 2 such, got \(0.1,\)"),
        (lambda: fno(grid="closed"), px.RangeError, "grid as 'periodic', 'vertices', 'cells' or None, got 'closed'"),
        (lambda: fno(act="gelu"), px.RangeError, r"FNO expects act that can be called, as act\(x\), got 'gelu'"),
        (
            lambda: fno()(jnp.ones((1, 8, 8))),
            px.ShapeError,
            r"FNO\(\(2, 2\), 1 → 1, width=3\) expects \(batch, height, width, 1\), got .*\n  fix: add a channel",
        ),
        (lambda: fno()(jnp.ones((1, 1, 8, 8))), px.ShapeError, r"fix: move the channels to the last axis"),
        (lambda: fno()(jnp.ones((1, 8, 8, 3))), px.ShapeError, r"fix: give it 1 channels, or this layer in_channels=3"),
        (
            lambda: px.science.DeepONet(px.Dense(2, 4), px.Dense(1, 3))(jnp.ones((1, 2)), jnp.ones((5, 1))),
            px.ShapeError,
            r"n a multiple of 1, got float\d+\[1, 4\] and float\d+\[5, 3\]",
        ),
        (
            lambda: px.science.DeepONet(lambda u: u, lambda x: x, outputs=3)(jnp.ones((1, 4)), jnp.ones((5, 4))),
            px.ShapeError,
            r"n a multiple of 3, got",
        ),
        (
            lambda: px.science.DeepONet(lambda u: u, lambda x: x)(jnp.ones((2, 4)), jnp.ones((3, 5, 4))),
            px.ShapeError,
            "x the batch of u where it has one",
        ),
    ],
)
def test_a_mistake_is_told_with_its_cure(wrong, error, text):
    with jax.enable_x64(False), pytest.raises(error) as told:
        wrong()
    assert re.search(text, str(told.value), re.DOTALL), str(told.value)
    assert told.value.fix
