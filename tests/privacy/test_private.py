"""Private training: each example's part is bounded and hidden, as loops, distributions and theorems have it."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.core import is_key
from phlox.privacy.private._noise import gaussian, with_noise

oracle("dp_accounting")
stats = oracle("scipy.stats")

RNG = np.random.default_rng(0)
X, Y = np.float32(RNG.normal(size=(10, 3))), np.float32(3 * RNG.normal(size=(10, 3)))


def twice():
    """One layer in two places, so that its gradient is to be counted once."""
    layer = px.Dense(3, 3, px.tanh, key=0)
    return px.Chain(layer, px.Dense(3, 3, key=1), layer)


def optimizer(model, *, rule=None, clip=0.5, noise_multiplier=0.0, batch_size=8, **more):
    rule = px.optim.Descent(1.0) if rule is None else rule
    given = dict(clip=clip, noise_multiplier=noise_multiplier, batch_size=batch_size, seed=0) | more
    return px.privacy.PrivateOptimizer(rule, model, **given)


def by_a_loop():
    """The gradient of each example by PyTorch, one after the other, and its length."""
    torch = oracle("torch")
    model = twice()
    first, second = model.layers[0], model.layers[1]
    weights = [torch.tensor(np.asarray(a), requires_grad=True) for m in (first, second) for a in (m.weight, m.bias)]
    w, b, v, c = weights
    found = []
    for x, y in zip(torch.tensor(X), torch.tensor(Y), strict=True):
        hidden = torch.tanh(x @ w + b) @ v + c
        loss = ((torch.tanh(hidden @ w + b) - y) ** 2).mean()
        grads = [g.double().numpy() for g in torch.autograd.grad(loss, weights)]
        found.append((grads, np.sqrt(sum((g**2).sum() for g in grads))))
    return found


@pytest.mark.parametrize("microbatch", [4, pytest.param(None, marks=pytest.mark.soak)])
def test_a_step_without_noise_is_that_of_a_loop_over_examples(microbatch):
    model, expected = twice(), by_a_loop()
    clip = float(np.median([norm for _, norm in expected]))
    before = px.paths(model)
    opt = optimizer(model, clip=clip, batch_size=8)  # fewer than came
    loss, told = px.jit(opt.step(px.losses.mse, microbatch=microbatch))(model, opt, X, Y)
    names = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias")
    for n, path in enumerate(names):
        theirs = sum(grads[n] * min(1, clip / norm) for grads, norm in expected)
        assert_close(8 * (before[path] - px.paths(model)[path]), theirs, kind="grad", what=path)
    assert float(told["clipped"]) == 0.5
    assert float(loss) == pytest.approx(float(px.losses.mse(twice()(X), Y)), rel=1e-5)


def test_rows_that_fill_up_and_examples_that_are_not_finite_count_as_none():
    wild = X.copy()
    wild[3] = np.nan
    real = np.arange(10) < 7
    kept = np.array([0, 1, 2, 4, 5, 6])
    whole = np.resize(kept, 10)
    ours, theirs = twice(), twice()
    opt, other = optimizer(ours, examples=100), optimizer(theirs, examples=100)
    step = px.jit(opt.step(px.losses.mse, microbatch=3))
    loss, _ = step(ours, opt, px.privacy.Sampled((wild, Y), real, 8.0, 100))
    step(theirs, other, px.privacy.Sampled((X[whole], Y[whole]), np.arange(10) < 6, 8.0, 100))
    for path, value in px.paths(theirs).items():
        assert_close(px.paths(ours)[path], value, what=path)
    assert np.isnan(loss)  # whoever trains shall see it


def test_noise_is_gaussian_of_the_size_that_was_asked_for_and_independent():
    model = px.Chain(px.Dense.of(jnp.zeros((100, 100)), jnp.zeros(100)), px.Dense.of(jnp.zeros((100, 100)), None))
    opt = optimizer(model, clip=0.5, noise_multiplier=3.0, batch_size=4, examples=40)
    nothing = px.privacy.Sampled((jnp.zeros((2, 100)), jnp.zeros((2, 100))), np.zeros(2, bool), 4.0, 40)
    step = px.jit(opt.step(px.losses.mse))
    loss, told = step(model, opt, nothing)
    assert (float(loss), float(told["clipped"]), int(opt.steps)) == (0, 0, 1)
    scale = 0.5 * 3.0 / 4
    first, second = (np.asarray(model.layers[i].weight).ravel() for i in (0, 1))
    assert stats.kstest(first / scale, "norm").pvalue > 1e-3
    assert stats.kstest(second / scale, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert np.std(first) == pytest.approx(scale, rel=0.03)
    step(model, opt, nothing)
    again = np.asarray(model.layers[0].weight).ravel() - first
    assert abs(np.corrcoef(first, again)[0, 1]) < 0.05
    complex_noise = gaussian(jax.random.key(0), jnp.zeros(10_000, jnp.complex64))
    for part in (complex_noise.real, complex_noise.imag):
        assert np.std(part) == pytest.approx(1, rel=0.03)


def test_the_tail_of_the_noise_has_as_many_values_as_draws():
    """One draw in float32 has 23 random bits: some ten thousand values beyond 2.5, and none beyond 5.42."""
    noise = np.asarray(gaussian(jax.random.key(1), jnp.zeros(1 << 19, jnp.float32)))
    for bound in (2.5, 3.5):
        expected = stats.norm.sf(bound) * noise.size
        assert abs((noise > bound).sum() - expected) < 5 * np.sqrt(expected)
    tail = noise[noise > 2.5]
    assert len(np.unique(tail)) > 0.99 * len(tail)


def test_unseeded_noise_is_drawn_anew_and_seeded_noise_is_not():
    like, models = {"a": jnp.zeros(8)}, [px.Dense(2, 2, key=0) for _ in range(4)]
    seeds = [None, None, 7, 7]
    drawn = [with_noise(like, optimizer(m, seed=s).key, 1.0)["a"].tolist() for m, s in zip(models, seeds, strict=True)]
    assert drawn[0] != drawn[1]
    assert drawn[2] == drawn[3]


# --- sampling --------------------------------------------------------------------------------------------


def test_poisson_batches_have_each_example_by_a_coin_of_its_own():
    n, b = 200, 20
    loader = px.privacy.PoissonLoader({"x": np.arange(n)}, b, seed=0)
    batches = [drawn for _ in range(60) for drawn in loader]
    seen = np.zeros((len(batches), n))
    for row, drawn in zip(seen, batches, strict=True):
        rows = drawn.batch["x"][drawn.real]
        assert len(set(rows.tolist())) == len(rows)
        row[rows] = 1
    assert len(loader) == 10
    counts, q = seen.sum(0), b / n  # of each example, and below of each batch
    assert stats.kstest((counts - 600 * q) / np.sqrt(600 * q * (1 - q)), "norm").pvalue > 1e-3
    sizes = seen.sum(1)
    assert np.var(sizes) == pytest.approx(n * q * (1 - q), rel=0.25)  # a sampler of fixed size has none
    assert np.mean(sizes) == pytest.approx(b, rel=0.05)
    assert {len(drawn.real) for drawn in batches} == {loader.rows}
    a, c = seen[:-1] - q, seen[1:] - q
    assert abs((a * c).mean()) < 4 * q * (1 - q) / np.sqrt(a.size)  # no memory from batch to batch


def test_a_batch_larger_than_its_room_is_drawn_whole_and_an_empty_one_is_a_step():
    loader = px.privacy.PoissonLoader(np.arange(300), 60, seed=1)
    loader.rows = 16
    for drawn in loader:
        assert len(drawn.real) % 16 == 0
        assert drawn.real.sum() > 30
    empty = next(iter(px.privacy.PoissonLoader((X, Y), 1e-6, seed=0)))
    model = twice()
    opt = optimizer(model, batch_size=1e-6, examples=10, noise_multiplier=1.0)
    loss, _ = opt.step(px.losses.mse)(model, opt, empty)
    assert not empty.real.any()
    assert float(loss) == 0
    assert int(opt.steps) == 1


def test_a_loader_goes_on_where_it_stood():
    def numbers(loader):
        return [drawn.batch[drawn.real].tolist() for drawn in loader]

    whole = px.privacy.PoissonLoader(np.arange(50), 10, seed=3)
    first, second = numbers(whole), numbers(whole)
    assert first != second
    cut = px.privacy.PoissonLoader(np.arange(50), 10, seed=3)
    for _, _ in zip(range(2), cut, strict=False):
        state = cut.state()
    resumed = px.privacy.PoissonLoader(np.arange(50), 10, seed=3)
    resumed.restore(state)
    assert numbers(resumed) == first[2:]
    assert numbers(resumed) == second
    with pytest.raises(px.StructureError, match=r"the state of a loader of \{'examples': 50, 'batch_size': 12"):
        px.privacy.PoissonLoader(np.arange(50), 12, seed=3).restore(state)
    unseeded = [numbers(px.privacy.PoissonLoader(np.arange(50), 10)) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


# --- in px.fit -------------------------------------------------------------------------------------------


def network():
    model = px.Chain(px.Dense(3, 8, px.tanh, key=0), px.GroupNorm(8, 2), px.Dropout(0.2), px.Dense(8, 3, key=1))
    px.freeze(model.layers[0])
    return model


def trained(folder, epochs, *, resume=False):
    with px.seed(0):
        model = network()
    data = px.privacy.PoissonLoader((X, Y), 4, seed=0)
    opt = optimizer(model, rule=px.optim.Adam(1e-2), batch_size=4, examples=10, noise_multiplier=0.5)
    step = opt.step(px.losses.mse, microbatch=4)
    history = px.fit(
        model, data, optimizer=opt, step=step, epochs=epochs, checkpoint_dir=folder, resume=resume, progress=False
    )
    return model, opt, history


def test_fit_trains_privately_and_a_resumed_run_is_the_same_bit_for_bit(tmp_path):
    frozen = np.asarray(network().layers[0].weight)
    whole, opt, history = trained(tmp_path / "whole", 3)
    trained(tmp_path / "cut", 1)
    resumed, again, _ = trained(tmp_path / "cut", 3, resume=True)
    assert int(opt.steps) == int(again.steps) == 3 * 2
    for path, value in px.paths((whole, opt)).items():
        ours, theirs = (jax.random.key_data(v) if is_key(v) else v for v in (value, px.paths((resumed, again))[path]))
        np.testing.assert_array_equal(ours, theirs, err_msg=path)
    np.testing.assert_array_equal(whole.layers[0].weight, frozen)
    assert not np.array_equal(whole.layers[3].weight, network().layers[3].weight)
    assert {"loss", "clipped"} <= set(history.epochs[0])
    spent = px.privacy.account(0.5, 1e-2, sample_rate=0.4, steps=6)
    assert again.epsilon(1e-2) == spent


def test_gradients_that_are_not_private_are_refused():
    model = twice()
    opt = optimizer(model, examples=10)
    with pytest.raises(px.StructureError, match=r"gradients by example.*\n.*step=opt.step\(loss\)"):
        px.fit(model, (X, Y), loss=px.losses.mse, optimizer=opt, progress=False)
    step = opt.step(px.losses.mse)
    with pytest.raises(px.RangeError, match="8 of 10 examples on average, got a batch of another loader"):
        px.fit(model, (X, Y), step=step, optimizer=opt, progress=False)
    with pytest.raises(px.RangeError, match="8 of 10 examples on average, got 4 of 10"):
        px.fit(model, px.privacy.PoissonLoader((X, Y), 4), step=step, optimizer=opt, progress=False)
    with pytest.raises(px.StructureError, match="the PrivateOptimizer that it is a step of, got Optimizer"):
        px.fit(model, (X, Y), step=step, optimizer=px.optim.Adam(1e-3), progress=False)
    assert int(opt.steps) == 0


def test_layers_that_mix_examples_are_refused_with_their_path():
    model = px.Chain(px.Dense(3, 3), px.BatchNorm(3))
    opt = optimizer(model)
    step = px.jit(opt.step(lambda model, x: (model(x) ** 2).mean()))
    x = np.float32(RNG.normal(size=(4, 5, 3)))
    with pytest.raises(px.StructureError, match=r"one example at a time.*model\.layers\[1\]\.mean.*\n.*px.GroupNorm"):
        step(model, opt, x)
    with pytest.raises(px.ShapeError, match=r"model\.layers\[1\] BatchNorm\(3\) expects more than one value"):
        step(model, opt, X)
    px.testmode(model.layers[1])
    step(model, opt, x)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (dict(clip=0), "clip above 0, got 0"),
        (dict(clip=float("inf")), "clip above 0, got inf"),
        (dict(noise_multiplier=-1.0), "noise_multiplier of at least 0, got -1.0"),
        (dict(noise_multiplier=float("nan")), "noise_multiplier of at least 0, got nan"),
        (dict(batch_size=20, examples=10), "batch_size above 0 and at most 10, got 20"),
        (dict(examples=0), "examples to be a whole number of at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, text):
    with pytest.raises(px.RangeError) as failure:
        optimizer(px.Dense(2, 2), **wrong)
    assert f"PrivateOptimizer expects {text}" in str(failure.value)


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(px.MissingExtraError, match=r'pip install "phlox\[privacy\]"'):
        px.privacy.account(1.0, 1e-5, sample_rate=0.1, steps=10)
