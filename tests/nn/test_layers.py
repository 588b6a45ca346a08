"""What the registry's rows do not show: statistics over many steps, options, distributions, ranges, containers."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import phlox as px
from kit import assert_close, oracle, to_numpy
from registry import normal

# --- BatchNorm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 3), (2, 5, 3), (2, 3, 4, 3)], ids=["rows", "time", "image"])
@pytest.mark.parametrize("momentum", [0.1, 0.6])
def test_batch_norm_trains_like_torch_over_several_steps(shape, momentum):
    torch = oracle("torch")
    kind = [torch.nn.BatchNorm1d, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d][len(shape) - 2]
    theirs, ours = kind(3, momentum=momentum, eps=1e-3), px.BatchNorm(3, momentum=momentum, eps=1e-3)
    opt = px.Optimizer(px.optim.Momentum(0.1, 0.9), ours)
    their_opt = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    weight = normal(*shape, seed=9)

    @px.jit
    def step(model, opt, x):
        value, grads = px.value_and_grad(lambda m: (m(x) * weight).sum())(model)
        opt.update(model, grads)
        return value, model(x)

    for t in range(5):
        x = normal(*shape, seed=t) * (t + 1) + t
        value, inferred = step(ours, opt, jnp.asarray(x))
        theirs.train()
        their_opt.zero_grad()
        want = (theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1) * torch.tensor(weight)).sum()
        want.backward()
        their_opt.step()
        theirs.eval()
        assert_close(value, to_numpy(want), scale=10, what="sum of many terms")
        assert_close(ours.mean, to_numpy(theirs.running_mean), what=f"running mean, step {t}")
        assert_close(ours.var, to_numpy(theirs.running_var), what=f"running variance, step {t}")
        assert_close(ours.scale, to_numpy(theirs.weight), kind="grad", what=f"scale, step {t}")
        assert_close(ours.bias, to_numpy(theirs.bias), kind="grad", what=f"bias, step {t}")
        want = theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
        assert_close(inferred, to_numpy(want), kind="grad", what=f"inference, step {t}")


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_batch_norm_at_the_ends_of_momentum(momentum):
    norm, x = px.trainmode(px.BatchNorm(3, momentum=momentum)), normal(7, 3) * 2 + 1
    norm(x)
    want = (np.zeros(3), np.ones(3)) if momentum == 0 else (x.mean(0), x.var(0, ddof=1))
    assert_close(norm.mean, np.asarray(want[0], np.float32))
    assert_close(norm.var, np.asarray(want[1], np.float32))


def test_batch_norm_without_tracking_uses_the_batch_in_inference_too():
    torch = oracle("torch")
    norm, x = px.BatchNorm(3, track=False), normal(7, 3)
    assert list(px.state_dict(norm)) == ["scale", "bias"]
    want = torch.nn.BatchNorm1d(3, track_running_stats=False).eval()(torch.tensor(x))
    assert_close(norm(x), to_numpy(want))
    with px.training(True):
        assert_close(norm(x), to_numpy(want))


def test_batch_norm_refuses_a_batch_that_has_no_variance():
    norm = px.BatchNorm(3)
    with px.training(True), pytest.raises(px.ShapeError, match=r"norm BatchNorm\(3\)"):
        norm(normal(1, 3))
    norm(normal(1, 3))


def test_no_gradient_flows_into_the_statistics():
    norm = px.BatchNorm(3)
    x = jnp.asarray(normal(5, 3))

    def loss(norm, x):
        norm(x)
        return norm.mean.sum() + norm.var.sum()

    grads, by_input = px.grad(loss, argnums=(0, 1))(norm, x)
    assert grads.mean is None
    assert not by_input.any()


# --- Dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_zeroes_a_share_of_p_and_keeps_the_mean(p):
    drop, x = px.Dropout(p, key=0), jnp.full((200, 500), 3.0)
    with px.training(True):
        y = np.asarray(drop(x))
    zeros, n = int((y == 0).sum()), y.size
    assert stats.binomtest(zeros, n, p).pvalue > 1e-4
    np.testing.assert_allclose(np.unique(y[y != 0]), 3.0 / (1 - p), rtol=1e-6)
    rows = (y == 0).mean(1)  # independent along both axes: the shares of rows and columns spread as binomials do
    columns = (y == 0).mean(0)
    for shares, size in ((rows, 500), (columns, 200)):
        expected = np.sqrt(p * (1 - p) / size)
        assert 0.8 < shares.std() / expected < 1.25
    assert_close(drop(x), x)


@pytest.mark.parametrize("axis", [0, (0, 2), -1])
def test_dropout_shares_its_mask_along_the_other_axes(axis):
    drop = px.Dropout(0.5, axis=axis, key=1)
    with px.training(True):
        y = np.asarray(drop(jnp.ones((20, 6, 20))))
    varies = {a % 3 for a in ((axis,) if isinstance(axis, int) else axis)}
    for other in {0, 1, 2} - varies:
        assert (y == np.take(y, [0], other)).all()
    for own in varies:
        assert not (y == np.take(y, [0], own)).all()


def test_dropout_at_its_ends_and_its_gradient():
    x = jnp.asarray(normal(50, 4))
    with px.training(True):
        assert_close(px.Dropout(0.0, key=0)(x), x)
        assert not px.Dropout(1.0, key=0)(x).any()
    drop = px.Dropout(0.3, key=0)

    def loss(drop, x):
        y = drop(x)
        return y.sum(), y

    (_, y), (_, by_input) = px.value_and_grad(loss, (0, 1), has_aux=True)(drop, x)
    assert_close(by_input, np.where(np.asarray(y) == 0, 0, 1 / 0.7).astype(np.float32), kind="grad")


@pytest.mark.parametrize("p", [-0.1, 1.5, 2.0, True])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(px.RangeError, match=r"p in \[0, 1\]"):
        px.Dropout(p)


# --- initialisers of the layers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda: px.Dense(60, 90, key=0), np.sqrt(6 / (60 + 90))),
        (lambda: px.Conv((3, 3), 16, 32, key=0), np.sqrt(6 / (9 * 16 + 9 * 32))),
        (lambda: px.Conv(5, 32, 32, groups=4, key=0), np.sqrt(6 / (5 * 8 + 5 * 32))),
    ],
    ids=["Dense", "Conv", "Conv in groups"],
)
def test_weights_start_uniform_by_glorot(make, bound):
    weight = np.asarray(make().weight).ravel()
    assert np.abs(weight).max() <= bound * 1.0001
    assert stats.kstest(weight, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
    assert not make().bias.any()


def test_embedding_starts_standard_normal():
    weight = np.asarray(px.Embedding(100, 60, key=0).weight).ravel()
    assert stats.kstest(weight, "norm").pvalue > 1e-3


def test_norms_start_as_the_identity_on_standard_input():
    for norm in (px.BatchNorm(3), px.LayerNorm(3)):
        np.testing.assert_array_equal(norm.scale, 1)
        np.testing.assert_array_equal(norm.bias, 0)
    np.testing.assert_array_equal(px.BatchNorm(3).mean, 0)
    np.testing.assert_array_equal(px.BatchNorm(3).var, 1)


def test_an_initialiser_of_ones_own():
    layer = px.Dense(3, 2, init=lambda key, shape, dtype: jnp.full(shape, 0.5, dtype), key=0)
    np.testing.assert_array_equal(layer.weight, 0.5)


# --- from arrays ----------------------------------------------------------------------------------


def test_dense_of():
    weight, bias, x = normal(3, 2), normal(2, seed=1), normal(4, 3, seed=2)
    layer = px.Dense.of(jnp.asarray(weight), jnp.asarray(bias), px.tanh)
    assert_close(layer(x), np.tanh(x @ weight + bias))
    assert_close(px.Dense.of(jnp.asarray(weight))(x), x @ weight)
    assert (layer.in_size, layer.out_size) == (3, 2)
    with pytest.raises(px.ShapeError, match=r"Dense\.of expects weight \(in, out\)"):
        px.Dense.of(jnp.asarray(weight), jnp.ones(3))


def test_conv_of():
    weight, bias, x = normal(3, 2, 4), normal(4, seed=1), normal(2, 7, 4, seed=2)
    layer = px.Conv.of(jnp.asarray(weight), jnp.asarray(bias), groups=2, stride=2)
    want = np.zeros((2, 3, 4), np.float32)
    for out in range(4):
        group = slice(0, 2) if out < 2 else slice(2, 4)
        for t in range(3):
            want[:, t, out] = (x[:, 2 * t : 2 * t + 3, group] * weight[:, :, out]).sum((1, 2)) + bias[out]
    assert_close(layer(x), want)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CAUSAL", ((2, 1),)])
def test_conv_padding_by_name_and_by_pair(padding):
    x, layer = normal(2, 8, 3), px.Conv(4, 3, 2, padding=padding, key=0)
    low, high = {"SAME": (1, 2), "VALID": (0, 0), "CAUSAL": (3, 0)}.get(padding, (2, 1))
    padded = np.pad(x, ((0, 0), (low, high), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 4, axis=1)  # (batch, time, in, kernel)
    want = np.einsum("btik,kio->bto", windows, np.asarray(layer.weight)) + np.asarray(layer.bias)
    assert_close(layer(x), want)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_conv_padding_modes(mode):
    torch = oracle("torch")
    x, ours = normal(2, 8, 3), px.Conv(3, 3, 2, padding=2, padding_mode=mode, key=0)
    theirs = torch.nn.Conv1d(3, 2, 3, padding=2, padding_mode=mode)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(np.asarray(ours.weight)).permute(2, 1, 0))
        theirs.bias.copy_(torch.tensor(np.asarray(ours.bias)))
    assert_close(ours(x), to_numpy(theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)))


# --- Embedding ------------------------------------------------------------------------------------


def test_embedding_attends_with_its_own_weight():
    layer, x = px.Embedding(7, 3, key=0), normal(2, 4, 3)
    assert_close(layer.attend(jnp.asarray(x)), x @ np.asarray(layer.weight).T)
    with pytest.raises(px.DtypeError, match=r"layer Embedding\(7, 3\) expects integer indices, got float32"):
        layer(x)


def test_embedding_gradient_adds_up_repeats():
    layer = px.Embedding(5, 2, key=0)
    grads = px.grad(lambda m: m(jnp.array([1, 3, 1, 1])).sum())(layer)
    assert_close(grads.weight, np.array([[0, 0], [3, 3], [0, 0], [1, 1], [0, 0]], np.float32), kind="grad")


# --- containers -----------------------------------------------------------------------------------


def test_chain_indexes_slices_and_spreads_tuples():
    a, b = px.Dense(3, 3, key=0), px.Dense(3, 3, key=1)
    chain = px.Chain(a, px.relu, b)
    assert (chain[0], chain[-1], len(chain), list(chain)) == (a, b, 3, [a, px.relu, b])
    assert chain[1:].layers == [px.relu, b]
    named = px.Chain(first=a, second=b)
    assert named["second"] is named[1] is b
    assert named[:1].layers == {"first": a}
    x = jnp.asarray(normal(2, 3))
    assert_close(chain[:2](x), jax.nn.relu(a(x)))
    assert_close(px.Chain()(x), x)
    two = px.Chain(lambda x: (x, 2 * x), operator.add)
    assert_close(two(x), 3 * x)
    assert_close(px.Chain(operator.mul)(x, x), x * x)
    chain[1] = px.tanh
    assert_close(chain(x), b(jnp.tanh(a(x))))


def test_parallel_routes_its_inputs():
    x, y = jnp.asarray(normal(2, 3)), jnp.asarray(normal(2, 3, seed=1))
    a, b = px.Dense(3, 2, key=0), px.Dense(3, 2, key=1)
    assert_close(px.Parallel(operator.sub, a, b)(x), a(x) - b(x))
    assert_close(px.Parallel(operator.sub, a, b)(x, y), a(x) - b(y))
    assert_close(px.Parallel(operator.sub, a)(x, y), a(x) - a(y))
    assert_close(px.Parallel(operator.sub, left=a, right=b)(x, y), a(x) - b(y))
    with pytest.raises(px.RangeError, match="one input, or 2, one for each layer, got 3 inputs"):
        px.Parallel(operator.sub, a, b)(x, y, x)


def test_skip_connection_gives_result_then_input():
    x = jnp.asarray(normal(2, 3))
    layer = px.Dense(3, 3, key=0)
    assert_close(px.SkipConnection(layer, operator.sub)(x), layer(x) - x)
    assert_close(px.SkipConnection(px.SkipConnection(layer, operator.add), operator.mul)(x), (layer(x) + x) * x)


def test_an_activation_that_is_a_module_trains_with_its_layer():
    class Slope(px.Module):
        def __init__(self):
            self.slope = jnp.asarray(0.25)

        def __call__(self, x):
            return jnp.where(x > 0, x, self.slope * x)

    torch = oracle("torch")
    x, layer = normal(5, 3), px.Dense(3, 2, Slope(), key=0)
    grads = px.grad(lambda m: m(x).sum())(layer)
    theirs = torch.nn.PReLU()
    theirs(torch.tensor(x @ np.asarray(layer.weight))).sum().backward()
    assert_close(grads.act.slope, to_numpy(theirs.weight.grad)[0], kind="grad")


# --- refusals at construction ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: px.Dense(0, 2), "Dense expects in_size to be a whole number of at least 1, got 0"),
        (lambda: px.Dense(3, 2.5), "Dense expects out_size .* got 2.5"),
        (lambda: px.Conv((3, 0), 1, 2), "Conv expects kernel .* got 0"),
        (lambda: px.Conv((3,) * 4, 1, 2), "1, 2 or 3 spatial axes"),
        (lambda: px.Conv(3, 4, 6, groups=3), "groups that divide in_channels=4 and out_channels=6, got 3"),
        (lambda: px.Conv((3, 3), 4, 6, stride=(1, 2, 3)), "one stride, or one for each of 2 spatial axes"),
        (lambda: px.BatchNorm(3, momentum=1.5), r"momentum in \[0, 1\]"),
        (lambda: px.BatchNorm(3, eps=0), "eps above 0"),
        (lambda: px.LayerNorm((3, 0)), "LayerNorm expects size"),
        (lambda: px.Embedding(0, 3), "Embedding expects num"),
        (lambda: px.Chain(px.relu, 3), "Chain expects layers and functions that can be called, got 3"),
        (lambda: px.Chain(px.relu, b=px.relu), "all positional or all named"),
        (lambda: px.Parallel(operator.add), "got none"),
        (lambda: px.MaxPool(0), "MaxPool expects window"),
        (lambda: px.MeanPool((2, 2), stride=(1, 0)), "MeanPool expects stride"),
    ],
)
def test_ranges_are_checked_at_construction(make, text):
    with pytest.raises(px.RangeError, match=text):
        make()
