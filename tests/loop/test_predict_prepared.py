"""px.predict by a copy made ready for inference: whose numbers it gives, when it is made anew, and who has none."""

import gc
import weakref

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox.loop import _prepared
from phlox.loop._prepared import prepared

X = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)


def network():
    """A convolution with a trained norm behind it, dropout, and a head."""
    with px.seed(0):
        model = px.Chain(
            px.Conv((3, 3), 3, 16, bias=False), px.BatchNorm(16, px.relu), px.Dropout(0.5), px.GlobalMeanPool(),
            px.flatten, px.Dense(16, 4),
        )  # fmt: skip
    norm, rng = model[1], np.random.default_rng(1)
    norm.mean, norm.var = (
        jnp.asarray(rng.normal(size=16), jnp.float32),
        jnp.asarray(rng.uniform(0.5, 2, 16), jnp.float32),
    )
    return model


@pytest.fixture
def made(monkeypatch):
    """How many copies were made."""
    count, make = [], _prepared.optimize_for_inference
    monkeypatch.setattr(_prepared, "optimize_for_inference", lambda *a, **k: count.append(1) or make(*a, **k))
    return count


def test_its_numbers_are_the_models_and_it_is_made_once(made):
    model = network()
    want = px.testmode(px.copy(model))(X)
    for _ in range(2):
        np.testing.assert_allclose(px.predict(model, X, batch_size=2), want, rtol=0, atol=1e-6)
    assert made == [1]
    assert prepared(model)[1] is px.identity  # the norm is folded
    assert isinstance(model[1], px.BatchNorm)  # the model stays
    assert np.isnan(px.predict(model, X * np.float32("nan"))).all()


def test_it_follows_the_weights_and_what_else_is_changed(made):
    model = network()
    before, held = px.predict(model, X), model[5].weight  # which lives on
    model[5].weight = 2 * held
    np.testing.assert_allclose(px.predict(model, X), 2 * before, rtol=1e-5)
    model[5].act = px.relu
    np.testing.assert_allclose(px.predict(model, X), np.maximum(2 * before, 0), rtol=1e-5)
    px.fit(
        model,
        (X, np.zeros(5, int)),
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Descent(0.1),
        epochs=1,
        progress=False,
    )
    np.testing.assert_allclose(px.predict(model, X), px.testmode(px.copy(model))(X), rtol=0, atol=1e-6)
    assert len(made) == 4


def test_it_goes_with_the_weights_and_with_the_model():
    model = network()
    px.predict(model, X)
    fast = weakref.ref(prepared(model))
    model[0].weight = 0 * model[0].weight
    gc.collect()
    assert fast() is None
    px.predict(model, X)
    key = id(model)
    assert key in _prepared._kept
    del model
    gc.collect()
    assert key not in _prepared._kept


class Counts(px.Module):
    """A call leaves something behind."""

    calls: px.State

    def __init__(self):
        self.inner, self.calls = px.Dense(3, 2, key=0), jnp.zeros((), jnp.int32)

    def __call__(self, x):
        self.calls = self.calls + 1
        return self.inner(x)


class Looks(px.Module):
    """Looks into a layer whose place is taken."""

    def __init__(self):
        self.chain = px.Chain(px.Conv((1, 1), 3, 4, key=0), px.BatchNorm(4))

    def __call__(self, x):
        return self.chain(x) + self.chain[1].mean


def test_who_has_none():
    counts = Counts()
    px.predict(counts, X[:, 0, 0], batch_size=2)
    assert counts.calls == 3
    looks = Looks()
    np.testing.assert_allclose(px.predict(looks, X), px.testmode(px.copy(looks))(X), rtol=0, atol=1e-6)
    assert prepared(looks) is looks
    noisy = network()
    px.trainmode(noisy[2])
    assert prepared(noisy) is noisy
    carries = px.Chain(px.LSTM(3, 4, stateful=5), px.Dense(4, 2))
    first, second = (px.predict(carries, X[:, 0], batch_size=5) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    plain = px.Chain(px.LayerNorm(3))
    assert prepared(plain) is plain
