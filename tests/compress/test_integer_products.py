"""Integers on both sides: products against sums of whole numbers in NumPy, ranges measured on data, cut four ways."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.compress.calibration._clipping import by_entropy, by_error, by_percentile

torch = oracle("torch")
RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per:UserWarning")  # on their way out of PyTorch
CONVS = {
    "plain": (lambda: px.Conv((3, 2), 3, 5, px.relu, stride=(2, 1), padding="SAME", key=0), 3),
    "groups": (lambda: px.Conv((3, 3), 4, 6, padding=1, groups=2, dilation=2, key=0), 4),
    "circular": (lambda: px.Conv((3, 3), 3, 4, padding=1, padding_mode="circular", key=0), 3),
    "depthwise": (lambda: px.DepthwiseConv((3, 3), 3, 2, padding=((1, 0), (0, 1)), key=0), 3),
}


def normal(*shape, shift=0.0):
    return (RNG.normal(size=shape) + shift).astype("f")


def measured(model, x, **options):
    return px.compress.quantize(model, inputs=px.compress.calibrate(model, x, **options))


def products(jaxpr):
    """The products of a program and of those in it."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def entering(layer, x):
    """What comes in as NumPy's integers, by the layer's scale and zero."""
    scale, zero = float(layer.input_scale), int(layer.input_zero)
    return np.clip(np.round(x / np.float32(scale)) + zero, -128, 127).astype(np.int64), scale, zero


def test_a_product_is_the_sum_of_whole_numbers_times_the_scales():
    layer, x = px.Dense(40, 7, px.tanh, key=0), normal(9, 40)
    ours = px.compress.quantize(px.Chain(layer), inputs="dynamic")[0]
    scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    total = np.round(x / scale).astype(np.int64) @ np.asarray(ours.codes, np.int64)
    assert_close(ours(x), np.tanh(total * (scale * np.asarray(ours.scale)) + np.asarray(layer.bias)))
    (found,) = products(jax.make_jaxpr(lambda x: px.constant(ours)(x))(x).jaxpr)
    assert [str(v.aval) for v in (*found.invars, *found.outvars)] == ["int8[9,40]", "int8[40,7]", "int32[9,7]"]


def test_static_ranges_have_a_zero_and_what_is_beyond_is_cut():
    layer, x = px.Dense(12, 4, key=0), normal(50, 12, shift=1)
    ours = measured(px.Chain(layer), x)[0]
    more = 2 * normal(5, 12, shift=1)
    codes, scale, zero = entering(ours, more)
    assert codes.max() == 127
    assert zero != 0
    wanted = (codes - zero) @ np.asarray(ours.codes, np.int64) * (scale * np.asarray(ours.scale))
    assert_close(ours(more), (wanted + np.asarray(layer.bias)).astype("f"), scale=4)


def test_a_product_is_that_of_pytorchs_integers():
    layer, x = px.Dense(12, 4, key=0), normal(50, 12, shift=1)
    ours = measured(px.Chain(layer), x)[0]
    xq = torch.quantize_per_tensor(torch.tensor(x), float(ours.input_scale), int(ours.input_zero), torch.qint8)
    assert np.array_equal(entering(ours, x)[0], xq.int_repr().numpy())
    wq = torch.quantize_per_channel(
        torch.tensor(np.asarray(layer.weight)), torch.tensor(np.asarray(ours.scale)[0]).double(), torch.zeros(4).long(),
        1, torch.qint8,
    )  # fmt: skip
    assert_close(ours(x), (xq.dequantize() @ wq.dequantize()).numpy() + np.asarray(layer.bias), scale=4)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        *((name, "static") for name in CONVS),
        ("plain", "dynamic"),
        *(pytest.param(name, "dynamic", marks=pytest.mark.soak) for name in ("groups", "circular", "depthwise")),
    ],
)
def test_convolutions_are_those_of_the_rounded_floats(name, inputs):
    build, channels = CONVS[name]
    layer, x = build(), normal(2, 7, 8, channels, shift=0.6)
    model = px.Chain(layer)
    ours = (measured(model, x) if inputs == "static" else px.compress.quantize(model, inputs="dynamic"))[0]
    if inputs == "static":
        codes, scale, zero = entering(ours, x)
        seen = ((codes - zero) * scale).astype("f")
    else:
        scale = np.abs(x).max((1, 2, 3), keepdims=True) / np.float32(127)
        seen = np.round(x / scale) * scale
    assert_close(ours(x), np.asarray(px.compress.dequantize(ours)(seen)), scale=10)  # sums of floats in another order
    assert_close(px.jit(lambda m, x: m(x))(ours, x), np.asarray(ours(x)))


def test_four_bits_weigh_in_integer_products_too():
    layer, x = px.Dense(13, 4, key=0), normal(3, 13)
    ours = px.compress.quantize(px.Chain(layer), 4, inputs="dynamic")[0]
    scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    assert_close(ours(x), np.round(x / scale) * scale @ np.asarray(ours.weight) + np.asarray(layer.bias), scale=4)


def test_the_gradient_is_that_of_floats_and_stops_beyond_the_range():
    layer = px.Dense(3, 2, px.tanh, key=0)
    ours = measured(px.Chain(layer), jnp.array([[-1.0, 0.5, 1.0]]))[0]
    x = jnp.array([[0.3, -0.2, 5.0]])  # the last is beyond 1
    got = jax.grad(lambda x: px.constant(ours)(x).sum())(x)
    seen = jnp.array([[0.3, -0.2, 1.0]])
    slope = 1 - jnp.tanh(seen @ ours.weight + layer.bias) ** 2
    np.testing.assert_allclose(got[0, :2], (slope @ ours.weight.T)[0, :2], rtol=0.02)
    assert float(got[0, 2]) == 0
    dynamic = px.compress.quantize(px.Chain(layer), inputs="dynamic")[0]
    assert bool((jax.grad(lambda x: px.constant(dynamic)(x).sum())(x) != 0).all())


def test_a_row_does_not_hear_of_the_others():
    ours = px.compress.quantize(px.Chain(px.Dense(6, 4, key=0)), inputs="dynamic")
    x = normal(3, 6)
    loud = x.copy()
    loud[1] *= 1000
    assert np.array_equal(ours(x)[0], ours(loud)[0])
    image = px.compress.quantize(px.Chain(px.Conv((3, 3), 2, 4, key=0)), inputs="dynamic")
    x = normal(2, 5, 5, 2)
    assert_close(image(x)[0], np.asarray(image(x[:1])[0]))


def test_a_token_of_zeros_gives_the_bias():
    layer = px.Dense(6, 4, key=0)
    layer.bias = jnp.arange(4.0)
    ours = px.compress.quantize(px.Chain(layer), inputs="dynamic")
    assert ours(jnp.zeros((1, 6))).tolist() == [[0, 1, 2, 3]]


@pytest.mark.soak
def test_it_travels_with_its_ranges(tmp_path):
    model = px.Chain(px.Conv((3, 3), 1, 4, px.relu, key=0), px.flatten, px.Dense(36, 3, key=1))
    small, x = measured(model, normal(20, 5, 5, 1)), normal(2, 5, 5, 1)
    px.save(small, tmp_path / "small.safetensors")
    assert np.array_equal(px.load(tmp_path / "small.safetensors")(x), small(x))
    px.export(small, tmp_path / "out", inputs={"x": px.Spec("batch", 5, 5, 1)}, to=["stablehlo"])
    assert_close(px.load_exported(tmp_path / "out")(x), np.asarray(small(x)))
    assert "static inputs" in small[0]._brief()


# --- ranges -----------------------------------------------------------------------------------------


def test_ranges_are_of_all_batches_and_the_model_stays_as_it_was():
    model = px.Chain(px.Dense(4, 5, px.relu, key=0), px.BatchNorm(5), px.Dense(5, 2, key=1))
    x = normal(70, 4)
    before = [np.asarray(array) for array in px.paths(model).values()]
    found = px.compress.calibrate(model, (x, np.zeros(70, "f")), batch_size=32)
    hidden = np.asarray(px.Chain(*model.layers[:2])(x))
    for path, seen in (("layers.0", x), ("layers.2", hidden)):
        np.testing.assert_allclose(found.ranges[path], (seen.min(), seen.max()), rtol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(before, px.paths(model).values(), strict=True))
    assert type(model[0]) is px.Dense
    assert "layers.2" in str(found)
    loader = px.DataLoader((x, np.zeros(70, "f")), batch_size=16, pad_last=True)
    for name in ("layers.0", "layers.2"):
        np.testing.assert_allclose(px.compress.calibrate(model, loader).ranges[name], found.ranges[name], rtol=1e-6)


def histogram(values, bins=2048):
    low, high = float(values.min()), float(values.max())
    return np.histogram(values, bins, (low, high))[0].astype(float), low, high


def test_percentiles_are_those_of_the_numbers():
    values = np.concatenate([RNG.normal(size=20_000), [40.0]])
    counts, low, high = histogram(values)
    ends = by_percentile(counts, low, high, 99)
    np.testing.assert_allclose(ends, np.quantile(values, [0.005, 0.995]), atol=(high - low) / 2048)
    relu = np.maximum(values, 0)
    assert by_percentile(*histogram(relu), 99)[0] < 0.03
    assert by_percentile(counts, low, high, 100) == (low, high)


def test_the_smallest_error_is_found_by_trying_on_the_numbers_themselves():
    values = RNG.standard_t(3, size=200_000)
    counts, low, high = histogram(values, 8192)

    def error(share):
        least, most = share * low, share * high
        scale = (most - least) / 255
        zero = np.round(-least / scale)
        back = (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * scale
        return np.mean((values - back) ** 2)

    share = by_error(counts, low, high)[1] / high
    best = min(error(i / 100) for i in range(1, 101))
    assert share < 0.9
    assert error(share) <= 1.02 * best


def test_the_threshold_of_least_divergence_by_its_definition():
    values = np.concatenate([np.abs(RNG.normal(size=4000)), [12.0]])
    counts = np.histogram(values, 512, (0, 12))[0].astype(float)

    def divergence(i):
        p = counts[:i].copy()
        p[-1] += counts[i:].sum()
        q = np.zeros(i)
        levels = np.arange(i) * 128 // i
        for level in range(128):
            there = (levels == level) & (counts[:i] > 0)
            q[there] = counts[:i][there].sum() / max(there.sum(), 1)
        if not q.any():
            return math.inf
        for one in (p, q):
            none = one == 0
            one[~none] -= 1e-4 * none.sum() / (~none).sum()
            one[none] = 1e-4
        return sum(a * math.log((a / p.sum()) / (b / q.sum())) for a, b in zip(p, q, strict=True)) / p.sum()

    best = min([*range(128, 260), 512], key=divergence)
    assert 128 < best < 260
    np.testing.assert_allclose(by_entropy(counts, 0.0, 12.0), (0, 12 * best / 512))


@pytest.mark.parametrize("method", [pytest.param("percentile", marks=pytest.mark.soak), "entropy"])
def test_an_outlier_is_cut_and_the_rest_is_nearer(method):
    model = px.Chain(px.Dense(16, 8, key=0))
    x = normal(400, 16)
    x[0, 0] = 100
    cut = px.compress.calibrate(model, x, method=method, percentile=99.9)
    assert cut.ranges["layers.0"][1] < 10
    assert cut.ranges["layers.0"][0] == pytest.approx(x.min(), rel=0.35)
    wanted = np.asarray(model(x[1:]))
    near, far = (
        np.abs(np.asarray(px.compress.quantize(model, inputs=found)(x[1:])) - wanted).mean()
        for found in (cut, px.compress.calibrate(model, x))
    )
    assert near < 0.8 * far


def test_a_range_by_error_is_that_of_the_histogram_of_all_batches():
    model, x = px.Chain(px.Dense(16, 8, key=0)), RNG.standard_t(3, size=(300, 16)).astype("f")
    x[200:] *= 0.02
    found = px.compress.calibrate(model, x, method="mse", batch_size=100).ranges["layers.0"]
    np.testing.assert_allclose(found, by_error(*histogram(x)), rtol=1e-5)


def test_what_calibration_refuses():
    model = px.Chain(px.Dense(4, 5, px.relu, key=0), px.Dense(5, 2, key=1))
    dead = px.Chain(lambda x: 0 * x, px.Dense(4, 2))
    unused = px.Chain(px.Dense(4, 4))
    unused.spare = px.Dense(4, 4)
    cases = [
        (model, None, {}, "expects data, got None"),
        (model, [], {}, "batch"),
        (model, normal(4, 4), {"method": "mean"}, 'expects method "minmax", "percentile", "mse", "entropy"'),
        (model, normal(4, 4), {"method": "percentile", "percentile": 0.99}, "expects a percentile above 50"),
        (model, normal(4, 4), {"where": "layers.5"}, "expects where= to mean"),
        (dead, normal(4, 4), {}, "expects inputs of layers.1 in a range of finite numbers, got zeros alone"),
        (model, normal(4, 4) * np.nan, {}, "got NaN or infinite numbers"),
        (unused, normal(4, 4), {}, "inputs of spare in a range of finite numbers, got none"),
        (px.Chain(px.Embedding(4, 4)), jnp.arange(3), {}, "expects a Dense or Conv among the layers"),
    ]
    for one, data, options, text in cases:
        with pytest.raises(px.PhloxError) as error:
            px.compress.calibrate(one, data, **options)
        assert text in str(error.value), str(error.value)
        assert "fix: " in str(error.value)
    found = px.compress.calibrate(model, normal(4, 4), where="layers.0")
    with pytest.raises(px.StructureError, match=r"a range of what comes into layers\.1, got none"):
        px.compress.quantize(model, inputs=found)
    with pytest.raises(px.StructureError, match="of several layers, stacked"):
        px.compress.quantize(px.RepeatedLayer(lambda: px.Dense(4, 4), 2), inputs="dynamic")


def test_dicts_go_by_a_function():
    model = px.Chain(px.Dense(4, 2, key=0))
    batches = [{"x": normal(3, 4)} for _ in range(2)]
    with pytest.raises(px.StructureError, match="forward="):
        px.compress.calibrate(model, batches)
    found = px.compress.calibrate(model, batches, forward=lambda model, batch: model(batch["x"]))
    every = list(itertools.chain(*(batch["x"].ravel() for batch in batches)))
    np.testing.assert_allclose(found.ranges["layers.0"], (min(every), max(every)), rtol=1e-6)
