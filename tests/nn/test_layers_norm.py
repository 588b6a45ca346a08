"""Normalisation beyond the registry's rows: statistics over steps, weights computed anew, ranges."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from phlox import nn
from registry import normal

# --- GroupNorm, InstanceNorm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7, 4), (3, 5, 6, 4)], ids=["time", "image"])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_instance_norm_moves_its_statistics_like_torch(shape, momentum):
    torch = oracle("torch")
    kind = torch.nn.InstanceNorm1d if len(shape) == 3 else torch.nn.InstanceNorm2d
    theirs = kind(4, momentum=momentum, affine=True, track_running_stats=True)
    ours = nn.InstanceNorm(4, momentum=momentum, affine=True, track=True)

    @px.jit
    def step(model, x):
        with px.training(True):
            y = model(x)
        return y, model(x)

    for t in range(3):
        x = normal(*shape, seed=t) * (t + 2) - t
        trained, inferred = step(ours, jnp.asarray(x))
        for mode, y in ((True, trained), (False, inferred)):
            want = theirs.train(mode)(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
            assert_close(y, to_numpy(want), scale=3, what=f"step {t}, train={mode}")
        assert_close(ours.mean, to_numpy(theirs.running_mean), what=f"running mean, step {t}")
        assert_close(ours.var, to_numpy(theirs.running_var), what=f"running variance, step {t}")


def test_an_untracked_instance_norm_is_the_same_in_both_modes():
    norm, x = nn.InstanceNorm(4), normal(2, 5, 4)
    y = norm(x)
    np.testing.assert_array_equal(px.trainmode(norm)(x), y)
    assert px.paths(norm) == {}


def test_the_extremes_of_group_norm_are_layer_and_instance_norm():
    x = jnp.asarray(normal(2, 5, 6, 4) * 3 + 1)
    one = nn.GroupNorm(4, 1, affine=False)(x)
    assert_close(one, px.LayerNorm((5, 6, 4), affine=False)(x))
    each = nn.GroupNorm(4, 4, affine=False)(x)
    assert_close(each, nn.InstanceNorm(4)(x))


def test_group_norm_permutes_with_its_groups():
    x, norm = jnp.asarray(normal(2, 5, 6)), nn.GroupNorm(6, 3)
    norm.scale, norm.bias = jnp.asarray(normal(6, seed=1)), jnp.asarray(normal(6, seed=2))
    order = np.array([4, 5, 0, 1, 2, 3])
    moved = nn.GroupNorm(6, 3)
    moved.scale, moved.bias = norm.scale[order], norm.bias[order]
    assert_close(moved(x[..., order]), norm(x)[..., order])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_of_half_precision_inputs_are_summed_in_float32(dtype):
    x = jnp.asarray(normal(1, 4096, 2) + 30, dtype)
    want = np.asarray(x, np.float64)
    want = (want - want.mean(1)) / want.std(1)
    for norm in (nn.GroupNorm(2, 2, affine=False), nn.InstanceNorm(2)):
        assert norm(x).dtype == dtype
        assert_close(norm(x), want.astype(np.float32))


def test_rms_norm_is_homogeneous_and_has_unit_power():
    x, norm = jnp.asarray(normal(5, 8)), nn.RMSNorm(8, eps=1e-12)
    assert_close(norm(100 * x), norm(x))
    assert_close(jnp.mean(jnp.square(norm(x)), -1), np.ones(5, np.float32))


# --- WeightNorm ------------------------------------------------------------------------------------------------


def _torch_weight_norm():
    torch = oracle("torch")
    layer = torch.nn.Linear(5, 3)
    return torch, torch.nn.utils.parametrizations.weight_norm(layer, dim=0)


def test_weight_norm_trains_like_torch():
    torch, theirs = _torch_weight_norm()
    weight, bias = to_numpy(theirs.weight).T.copy(), to_numpy(theirs.bias)
    ours = nn.WeightNorm(px.Dense.of(jnp.asarray(weight), jnp.asarray(bias)))
    opt = px.Optimizer(px.optim.Descent(0.1), ours)
    their_opt = torch.optim.SGD(theirs.parameters(), lr=0.1)

    @px.jit
    def step(model, opt, x):
        value, grads = px.value_and_grad(lambda m: jnp.sum(jnp.tanh(m(x)) ** 2))(model)
        opt.update(model, grads)
        return value

    for t in range(3):
        x = normal(4, 5, seed=t)
        value = step(ours, opt, jnp.asarray(x))
        their_opt.zero_grad()
        want = (torch.tanh(theirs(torch.tensor(x))) ** 2).sum()
        want.backward()
        their_opt.step()
        assert_close(value, to_numpy(want))
        length, direction = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
        assert_close(ours.size, to_numpy(length)[:, 0], kind="grad", what=f"length, step {t}")
        assert_close(ours.layer.weight, to_numpy(direction).T, kind="grad", what=f"direction, step {t}")
        assert_close(ours.weight(), to_numpy(theirs.weight).T, kind="grad", what=f"weight, step {t}")


def test_wrapping_changes_nothing_and_unwrapping_neither():
    plain = px.Conv((3, 3), 2, 4, px.tanh, key=0)
    x = jnp.asarray(normal(2, 6, 6, 2))
    y = plain(x)
    wrapped = nn.WeightNorm(px.copy(plain))
    assert_close(wrapped(x), y)
    assert wrapped.size.shape == (4,)
    wrapped.size = 2 * wrapped.size
    back = nn.remove_weight_norm(wrapped)
    assert type(back) is px.Conv
    assert_close(back.weight, 2 * plain.weight)


def test_the_direction_has_no_gradient_along_itself():
    layer = nn.WeightNorm(px.Dense(5, 3, key=0))
    grads = px.grad(lambda m: jnp.sum(m(jnp.asarray(normal(4, 5))) ** 3))(layer)
    along = jnp.sum(grads.layer.weight * layer.layer.weight, 0)
    assert_close(along, np.zeros(3, np.float32), scale=10)
    assert float(jnp.abs(grads.layer.weight).max()) > 1e-2


def test_weight_norm_of_another_axis_and_name():
    class Table(px.Module):
        table: px.Param

        def __init__(self):
            self.table = jnp.asarray(normal(4, 3))

        def __call__(self):
            return self.table

    wrapped = nn.WeightNorm(Table(), "table", axis=0)
    wrapped.size = jnp.arange(1.0, 5.0)
    assert_close(jnp.linalg.norm(wrapped(), axis=1), np.arange(1.0, 5.0, dtype=np.float32))
    assert wrapped._brief() == "WeightNorm(Table, 'table')"


def test_the_layer_holds_its_direction_again_after_an_error():
    layer = nn.WeightNorm(px.Dense(5, 3, key=0))
    before = layer.layer.weight
    layer.size = 7 * layer.size
    with pytest.raises(px.ShapeError, match=r"layer\.layer Dense\(5 → 3\) expects \(\.\.\., 5\), got float32\[2, 4\]"):
        layer(jnp.ones((2, 4)))
    assert layer.layer.weight is before


def test_state_of_a_wrapped_layer_moves_and_its_direction_counts_as_unwritten():
    class Noisy(px.Module):
        def __init__(self):
            self.weight = jnp.asarray(normal(3, 3))
            self.drop = px.Dropout(0.5, key=0)

        def __call__(self, x):
            return self.drop(x @ self.weight)

    model = nn.WeightNorm(Noisy())
    direction, key = model.layer.weight, model.layer.drop.key
    px.grad(lambda m: m(jnp.ones((2, 3))).sum())(model)
    assert model.layer.weight is direction
    assert not (jax.random.key_data(model.layer.drop.key) == jax.random.key_data(key)).all()


def test_wrapped_layers_inside_a_scan_are_captured():
    cell = nn.WeightNorm(px.Dense(3, 3, px.tanh, key=0))
    cell.size = 2 * cell.size

    def run(cell, xs):
        return px.scan(lambda h, x: (cell(h + x), None), jnp.zeros(3), xs)[0]

    xs = jnp.asarray(normal(6, 3))
    h = jnp.zeros(3)
    for x in xs:
        h = jnp.tanh((h + x) @ cell.weight() + cell.layer.bias)
    assert_close(run(cell, xs), h)
    assert_close(px.jit(run)(cell, xs), h)


def test_threads_take_turns_with_one_eager_model():
    layer = nn.WeightNorm(px.Dense(16, 16, key=0))
    layer.size = 3 * layer.size
    x = jnp.asarray(normal(4, 16))
    want, direction = layer(x), layer.layer.weight
    wrong = []

    def work():
        wrong.extend(1 for _ in range(50) if not np.array_equal(layer(x), want))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert layer.layer.weight is direction


def test_remove_weight_norm_reaches_lists_dicts_and_shared_parts():
    shared = nn.WeightNorm(px.Dense(3, 3, key=0))
    model = px.Chain(a=shared, b=px.Chain(shared, px.tanh, nn.SpectralNorm(px.Dense(3, 2, key=1), key=2)))
    x = jnp.asarray(normal(4, 3))
    y = model(x)
    assert nn.remove_weight_norm(model) is model
    assert [type(m).__name__ for m in px.modules(model).values()] == ["Chain", "Dense", "Chain", "Dense"]
    assert model["a"] is model["b"][0]
    assert_close(model(x), y)


# --- SpectralNorm ------------------------------------------------------------------------------------------------


def test_spectral_norm_moves_like_torch():
    torch = oracle("torch")
    theirs = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(2, 4, 3), n_power_iterations=2)
    at = theirs.parametrizations.weight
    weight = to_numpy(at.original)  # (out, in, h, w); its matrix has in·h·w columns, ours h·w·in
    columns = np.arange(18).reshape(2, 3, 3).transpose(1, 2, 0).ravel()
    conv = px.Conv.of(jnp.asarray(weight.transpose(2, 3, 1, 0)), jnp.asarray(to_numpy(theirs.bias)))
    ours = nn.SpectralNorm(conv, steps=2, key=0)
    ours.u, ours.v = jnp.asarray(to_numpy(at[0]._u)), jnp.asarray(to_numpy(at[0]._v)[columns])
    x, w = normal(2, 6, 6, 2), normal(2, 4, 4, 4, seed=1)

    @px.jit
    def step(model, x):
        value, grads = px.value_and_grad(lambda m: jnp.sum(m(x) * w))(model)
        return value, grads, model(x)

    for t in range(3):
        _, grads, inferred = step(ours, jnp.asarray(x))
        theirs.train()
        theirs.zero_grad()
        (theirs(torch.tensor(x).movedim(-1, 1)).movedim(1, -1) * torch.tensor(w)).sum().backward()
        assert_close(grads.layer.weight, to_numpy(at.original.grad).transpose(2, 3, 1, 0), kind="grad", scale=3)
        assert_close(ours.u, to_numpy(at[0]._u), scale=3, what=f"u, step {t}")
        assert_close(ours.v, to_numpy(at[0]._v)[columns], scale=3, what=f"v, step {t}")
        want = theirs.eval()(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)
        assert_close(inferred, to_numpy(want), scale=3, what=f"inference, step {t}")


def test_spectral_norm_reaches_the_largest_singular_value_and_infers_without_moving():
    layer = nn.SpectralNorm(px.Dense(7, 5, key=0), steps=5, key=1)
    x = jnp.ones((1, 7))
    for _ in range(20):
        with px.training(True):
            layer(x)
    top = np.linalg.svd(np.asarray(layer.weight()), compute_uv=False)[0]
    assert abs(top - 1) < 1e-4
    u, v = layer.u, layer.v
    layer(x)
    assert layer.u is u
    assert layer.v is v
    assert set(px.split(layer)[0]) == {"layer.weight", "layer.bias"}
    assert set(px.split(layer)[1]) == {"u", "v"}


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.GroupNorm(6, 4), r"GroupNorm expects groups that divide channels=6, got groups=4"),
        (lambda: nn.GroupNorm(6, 0), r"GroupNorm expects groups to be a whole number of at least 1, got 0"),
        (lambda: nn.GroupNorm(6, 2, eps=0), r"GroupNorm expects eps above 0, got 0"),
        (lambda: nn.InstanceNorm(0), r"InstanceNorm expects channels to be a whole number of at least 1, got 0"),
        (lambda: nn.InstanceNorm(3, momentum=1.5), r"InstanceNorm expects momentum in \[0, 1\].*, got 1.5"),
        (lambda: nn.RMSNorm(-3), r"RMSNorm expects size to be a whole number of at least 1, got -3"),
        (lambda: nn.LocalResponseNorm(0), r"LocalResponseNorm expects size to be a whole number of at least 1"),
        (lambda: nn.LocalResponseNorm(alpha=float("nan")), r"LocalResponseNorm expects a finite alpha, got nan"),
        (lambda: nn.WeightNorm(px.LayerNorm(3)), r"WeightNorm expects a layer with a floating array 'weight'"),
        (lambda: nn.WeightNorm(px.relu), r"WeightNorm expects a layer with a floating array 'weight'"),
        (lambda: nn.WeightNorm(px.LayerNorm(3), "bias"), r"WeightNorm expects a weight of two axes or more"),
        (lambda: nn.WeightNorm(px.Dense(2, 3), axis=2), r"WeightNorm expects an axis of float32\[2, 3\], got axis=2"),
        (lambda: nn.SpectralNorm(px.Dense(2, 3), steps=0), r"SpectralNorm expects steps to be a whole number of at"),
    ],
)
def test_ranges_are_refused_at_construction(build, text):
    with pytest.raises((px.RangeError, px.ShapeError), match=text) as caught:
        build()
    assert "\n  fix: " in str(caught.value)


def test_one_position_has_no_statistics_of_its_own():
    norm = nn.InstanceNorm(3)
    with pytest.raises(px.ShapeError, match=r"norm InstanceNorm\(3\) expects more than one position in space"):
        norm(jnp.ones((2, 1, 3)))


def test_complex_inputs_are_refused():
    for norm in (nn.GroupNorm(4, 2, affine=False), nn.RMSNorm(4, affine=False), nn.LocalResponseNorm()):
        with pytest.raises(px.DtypeError, match=r"expects a real array, got complex64\[2, 3, 4\]"):
            norm(jnp.ones((2, 3, 4), jnp.complex64))


def test_empty_batches_pass():
    for norm in (nn.GroupNorm(4, 2), nn.RMSNorm(4), nn.InstanceNorm(4, track=True)):
        assert norm(jnp.ones((0, 3, 4))).shape == (0, 3, 4)
