"""Threads: two models at once are two models; one model stepped by two threads is an error that says so."""

import threading

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, -2.0, 0.5]])


def test_two_threads_on_two_models():
    @px.jit
    def step(model, opt, x):
        value, grads = px.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        opt.update(model, grads)
        return value

    def run(seed, results):
        with px.seed(seed):
            model = px.Chain(px.Dense(3, 4, px.tanh), px.BatchNorm(4), px.Dropout(0.2), px.Dense(4, 1))
            xs = jnp.asarray(np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32))
        opt = px.Optimizer(px.optim.Adam(0.01), model)
        results[seed] = [float(step(model, opt, xs)) for _ in range(20)], px.state_dict(model)["layers.0.weight"]

    alone: dict = {}
    for seed in range(3):
        run(seed, alone)
    together: dict = {}
    threads = [threading.Thread(target=run, args=(seed, together)) for seed in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in range(3):
        assert together[seed][0] == alone[seed][0]
        np.testing.assert_array_equal(together[seed][1], alone[seed][1])


def test_two_threads_stepping_one_model():
    model = px.Dense(3, 2, key=0)
    start = np.asarray(model.weight)
    inside, go = threading.Event(), threading.Event()

    @px.jit
    def step(model, x):
        if x.shape[0] == 2:  # traced while the first thread holds the model
            inside.set()
            assert go.wait(60)
        model.weight = model.weight * 2

    step(model, X)
    failed: list[BaseException] = []

    def first():
        try:
            step(model, jnp.concatenate([X, X]))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(px.StateError, match=r"two threads stepping model Dense\(3 → 2\)") as caught:
            step(model, X)
        other = px.Dense(3, 2, key=0)
        step(other, X)  # another model is free to go
    finally:
        go.set()
        thread.join()
    assert not failed
    assert "px.copy(model)" in str(caught.value)
    step(model, X)  # and the claim is gone
    assert_close(model.weight, start * 8)
    assert_close(other.weight, start * 2)
