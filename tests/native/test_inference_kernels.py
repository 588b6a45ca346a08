"""Maps and convolutions of inference by the kernels: the plain form's numbers, NaN, derivatives, and who declines."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_plain_forms, oracle
from phlox.nn.functional.kernels import _inference as K
from phlox.nn.functional.kernels._kernels import package
from phlox.nn.functional.space._window import plan_window
from phlox.nn.inference import FusedConv, PackedConv, PackedDense

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)
WIDE = b"AVX-512" in package().library.phlox_cpu_instructions()
ACTS = {
    "identity": px.identity, "relu": px.relu, "gelu": px.gelu, "silu": px.silu,
    "gelu tanh": functools.partial(px.gelu, approximate="tanh"),
}  # fmt: skip


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def torchs(name, y):
    torch = oracle("torch")
    gelu = torch.nn.functional.gelu
    by_name = {"relu": torch.relu, "gelu": gelu, "silu": torch.nn.functional.silu}
    by_name |= {"identity": lambda y: y, "gelu tanh": lambda y: gelu(y, approximate="tanh")}
    return by_name[name](y)


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("sizes", [(1, 3, 2), (5, 16, 64), (33, 100, 130), (128, 257, 65)], ids=str)
def test_a_map_is_pytorchs(name, sizes):
    rows, inputs, outputs = sizes
    torch = oracle("torch")
    layer = px.Dense.of(drawn(inputs, outputs, seed=1), drawn(outputs, seed=2), ACTS[name])
    fast, x = PackedDense.of_dense(layer), 3 * drawn(rows, inputs)
    before = K._map.use.kernel
    found = jax.jit(lambda layer, x: layer(x))(fast, x)
    want = torch.from_numpy(np.array(x)) @ torch.from_numpy(np.array(layer.weight)) + torch.from_numpy(
        np.array(layer.bias)
    )
    scale = np.abs(want.numpy()).max()
    np.testing.assert_allclose(found / scale, torchs(name, want).numpy() / scale, rtol=0, atol=2e-6)
    assert (K._map.use.kernel > before) == WIDE
    np.testing.assert_array_equal(fast.weight, layer.weight)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": "SAME"}], ids=str)
def test_a_convolution_is_the_plain_one(name, options, residual):
    with px.seed(0):
        layer = px.Conv((3, 3), 8, 12, **options)
    layer.bias, x = drawn(12, seed=1), drawn(2, 9, 8, 8)
    fast, plain = PackedConv.of_fused(FusedConv.of_conv(layer)), px.jit(layer)(x)
    assert isinstance(fast, PackedConv) == ("groups" not in options)
    more = drawn(*plain.shape, seed=3) if residual else None
    before = K._conv.use.kernel
    found = jax.jit(lambda layer, x, r: layer(x, r, ACTS[name]))(fast, x, more)
    want = ACTS[name](plain if more is None else plain + more)
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-5)
    assert K._conv.use.kernel > before or not WIDE  # oneDNN has no residual of groups in 256 bits


BLOCKS = [(outs, 0) for outs in (64, 48, 32, 24, 16, 8)]
BLOCKS += [(outs, 16) for outs in (64, 48, 32, 16)] + [(outs, 8) for outs in (32, 24, 16, 8)]


def in_blocks(cases, dtype, channels):
    """What the kernel gives for weights in blocks of (outs, ins, rank), and PyTorch in float64; ins of 0: all."""
    torch, rng = oracle("torch"), np.random.default_rng(0)
    convolutions = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)
    arrays, windows, wanted = [], [], []
    for outs, ins, rank in cases:
        kernel, (inputs, outputs) = rng.integers(1, 4, rank), map(int, rng.integers(1, channels, 2))
        stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, kernel.min()))
        x, w, bias = (
            rng.normal(size=shape).astype(dtype)
            for shape in ((2, *rng.integers(4, 8, rank), inputs), (*kernel, inputs, outputs), (outputs,))
        )
        blocks = K.packed_kernel(w, outs, ins or inputs)
        np.testing.assert_array_equal(K.unpacked_kernel(blocks, inputs, outputs), w)
        arrays.append((x, blocks, bias))
        windows.append(plan_window(x, tuple(kernel), stride, padding, 1, "conv", rank))
        given = (np.moveaxis(x, -1, 1), np.transpose(w, (rank + 1, rank, *range(rank))), bias)
        exact = (torch.from_numpy(a.astype(np.float64)) for a in given)
        y = convolutions[rank - 1](*exact, stride=stride, padding=padding)
        wanted.append(np.moveaxis(torch.relu(y).numpy(), 1, -1))
    before = K._conv.use.kernel
    calls = lambda arrays: [K.conv_act_kernel(*a, None, w, 1, px.relu) for a, w in zip(arrays, windows, strict=True)]  # noqa: E731
    found = jax.jit(calls)(arrays)
    assert K._conv.use.kernel == before + len(wanted)
    return zip(found, wanted, strict=True)


def test_weights_in_any_blocks_are_pytorchs():
    """Other channels than blocks have, one to three axes, and blocks that this processor multiplies otherwise."""
    cases = [(outs, ins, rank) for (outs, ins), rank in itertools.product(BLOCKS, (1, 2, 3))]
    for found, want in in_blocks(cases, np.float32, 40):
        np.testing.assert_allclose(found, want, rtol=0, atol=4e-6 * max(1.0, want.max()))


def test_weights_of_bfloat16_in_blocks_are_pytorchs():
    """To a rounding of the result: sums are of float32."""
    cases = [(outs, 32, rank) for outs, rank in itertools.product((64, 48, 32, 16), (1, 2, 3))]
    for found, want in in_blocks(cases, jnp.bfloat16, 100):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.asarray(found, np.float64), want, rtol=2.0**-8, atol=2.0**-12 * max(1, want.max())
        )


def test_a_convolution_of_bfloat16_is_laid_out_where_the_library_asks_for_blocks():
    layer = px.bf16(px.Conv((3, 3), 40, 70, px.relu, key=0))
    fast, x = PackedConv.of_fused(FusedConv.of_conv(layer)), drawn(2, 9, 8, 40).astype(jnp.bfloat16)
    assert isinstance(fast, PackedConv) == (package().library.phlox_cpu_integer_instructions() == 2)
    np.testing.assert_array_equal(fast.weight, layer.weight)
    found, want = (np.asarray(jax.jit(lambda f, x: f(x))(f, x), np.float32) for f in (fast, layer))
    np.testing.assert_allclose(found, want, rtol=2.0**-7, atol=1e-3)


@pytest.mark.parametrize("name", ACTS)
def test_nan_stays_where_it_is(name):
    fast = PackedDense.of_dense(px.Dense(40, 70, ACTS[name], key=0))
    x = drawn(6, 40).at[2, 3].set(jnp.nan)
    np.testing.assert_array_equal(jnp.isnan(jax.jit(lambda f, x: f(x))(fast, x)).all(1), np.arange(6) == 2)
    conv = PackedConv.of_fused(FusedConv.of_conv(px.Conv((1, 1), 16, 16, ACTS[name], key=0)))
    assert isinstance(conv, PackedConv)
    image = drawn(1, 6, 6, 16).at[0, 1, 2, 3].set(jnp.nan)
    found = jnp.isnan(jax.jit(lambda f, x: f(x))(conv, image))
    assert found[0, 1, 2].all()
    assert found.sum() == 16


def test_an_overflow_to_minus_infinity_is_nan_behind_relu():
    layer = px.Dense.of(jnp.full((16, 64), -3e38), None, px.relu)
    found = jax.jit(lambda f, x: f(x))(PackedDense.of_dense(layer), jnp.full((4, 16), 10.0))
    assert jnp.isnan(found).all() == WIDE  # the plain form says 0


def test_derivatives_are_those_of_the_plain_form():
    weight, bias, kernel = drawn(16, 20, seed=1), drawn(20, seed=2), drawn(3, 3, 4, 6, seed=3)
    blocks, x, image, two = K.packed(weight), drawn(5, 16), drawn(2, 6, 6, 4), drawn(3, 5, 16, seed=4)
    window = plan_window(image, (3, 3), 1, 0, 1, "conv", 2)

    def f(x):
        y = K.packed_map_kernel(x, blocks, bias, px.gelu)
        return px.gelu(x @ weight + bias) if y is None else y

    def g(image, r):
        y = K.conv_act_kernel(image, K.packed_kernel(kernel, 16, 4), bias[:6], r, window, 1, px.relu)
        return px.relu(px.nn.functional.conv(image, kernel, bias[:6]) + r) if y is None else y

    calls = {
        "gradient": lambda x: jax.grad(lambda x: jnp.sum(jnp.sin(f(x))))(x),
        "forward over reverse": lambda x: jax.jvp(jax.grad(lambda x: jnp.sum(f(x) ** 2)), (x,), (x,))[1],
        "vmap": lambda x: jax.vmap(f)(two) + jnp.sum(x),
        "convolution": lambda x: jax.grad(lambda i, r: jnp.sum(jnp.sin(g(i, r))), (0, 1))(
            image, x[0, 0] + drawn(2, 4, 4, 6)
        ),
    }
    against_plain_forms(calls, x, scale=10.0)


def test_over_devices_each_calls_for_its_rows():
    """Rows are the batch's; the weight is needed whole."""
    assert K._map.roles.of_inputs([np.ones((4, 2)), np.ones((1, 16, 64)), np.ones(3)]) == "rww"
    assert (
        K._conv.roles.of_inputs([np.ones((4, 2, 2, 1)), np.ones((1, 1, 1, 3)), np.ones(3), np.ones((4, 2, 2, 3))])
        == "rwwr"
    )


def test_another_activation_comes_behind_the_kernel_and_blocks_of_another_dtype_are_not_taken():
    layer = px.Dense(8, 8, px.tanh, key=0)
    fast, before = PackedDense.of_dense(layer), K._map.use.kernel
    np.testing.assert_allclose(fast(jnp.ones((2, 8))), layer(jnp.ones((2, 8))), rtol=1e-6)
    assert (K._map.use.kernel > before) == WIDE
    assert K.packed_map_kernel(jnp.ones((2, 8), jnp.bfloat16), fast.blocks, jnp.zeros(8), px.relu) is None


def test_maps_are_packed_where_the_kernel_takes_them():
    assert K.maps_packed() == WIDE


def test_activations_that_kernels_know():
    def gelu(x):
        return x

    sigmoid, by_erf = (functools.partial(px.gelu, approximate=kind) for kind in ("sigmoid", "none"))
    assert [K.activation_code(act) for act in (px.tanh, gelu, sigmoid, by_erf, lambda x: x)] == [None] * 5
    assert [K.activation_code(act) for act in ACTS.values()] == [0, 1, 2, 4, 3]


def test_the_library_refuses_what_does_not_fit():
    call = jax.ffi.ffi_call("phlox_cpu_packed_map", jax.ShapeDtypeStruct((2, 70), jnp.float32))
    with pytest.raises(Exception, match=r"takes .*float32\[2, 16, 64\]|float32"):
        jax.block_until_ready(call(jnp.ones((2, 3)), jnp.ones((1, 16, 64)), jnp.ones(70), activation=np.int64(0)))
    conv = jax.ffi.ffi_call("phlox_cpu_conv_act", jax.ShapeDtypeStruct((1, 5, 5, 20), jnp.float32))
    options = K.conv_call_options(plan_window(jnp.ones((1, 5, 5, 3)), (1, 1), 1, 0, 1, "conv", 2), 1)
    for shape, why in (
        ((1, 1, 1, 1, 3, 16), "blocks that do not fit"),
        ((2, 1, 1, 1, 3, 13), "no weights in blocks of 13 and 3"),
        ((2, 2, 1, 1, 2, 16), "no weights in blocks of 16 and 2"),
        ((2, 1, 1, 3, 16), "shapes of other ranks|blocks of one group"),
    ):
        arrays = jnp.ones((1, 5, 5, 3)), jnp.ones(shape), jnp.ones(20)
        with pytest.raises(Exception, match=why):
            jax.block_until_ready(conv(*arrays, **options, activation=np.int64(0)))
    with pytest.raises(Exception, match="an activation that it does not know"):
        jax.block_until_ready(call(jnp.ones((2, 3)), jnp.ones((2, 16, 64)), jnp.ones(70), activation=np.int64(9)))
