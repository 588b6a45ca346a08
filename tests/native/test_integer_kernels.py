"""Integer weights and products of integers by the kernels: whole numbers exactly, by NumPy's sums.

Sums below 2^24 are exact in float32 in any order, so equality is asked for where codes, inputs and scales are whole.
"""

import os
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import AS_USERS_COMPILE, assert_close
from phlox.compress._integers import Integers, packed
from phlox.compress.layers import _product_kernel, _products, _weight_kernel
from phlox.nn import Window
from phlox.nn.functional.kernels._kernels import _all, package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)
if not package().library.phlox_cpu_integer_instructions() and "PHLOX_HELD_TO" not in os.environ:
    pytest.skip("the processor has no AVX2", allow_module_level=True)

WEIGHTS, PRODUCT = _all["phlox_integer_weights"], _all["phlox_integer_product"]
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def matrices_of_this_size_are_large(monkeypatch):
    monkeypatch.setattr(_weight_kernel, "LEAST", 1)
    monkeypatch.setattr(_product_kernel, "LEAST", 1)


def normal(*shape, shift=0.0):
    return (RNG.normal(size=shape) + shift).astype("f")


def whole(rng, *shape, most=3):
    return rng.integers(-most, most + 1, shape)


def used(kernel, run, new=True):
    """What a function gives, which calls a kernel and its plain form nowhere; ``new`` where nothing was compiled."""
    before = kernel.use
    found = run()
    assert (kernel.use.kernel > before.kernel or not new, kernel.use.reference) == (True, before.reference)
    return found


# --- few rows and integer weights -----------------------------------------------------------------------


@st.composite
def weights(draw):
    bits, axis = draw(st.sampled_from([8, 4])), draw(st.sampled_from([-2, -1]))
    most = 32 if axis == -2 else 70
    rows, ins, outs = draw(st.integers(1, most)), draw(st.integers(1, 300)), draw(st.integers(1, 300))
    group = draw(st.sampled_from([None, 32, 64])) if axis == -1 else draw(st.sampled_from([None, 2, 16, 18, 400]))
    return bits, axis, rows, ins, outs, group, draw(st.booleans())


def check_weights(case):
    """Against NumPy's sums of integers, group by group."""
    bits, axis, rows, ins, outs, group, zeros = case
    rng, most = np.random.default_rng(0), 2 ** (bits - 1) - 1
    groups = -(-ins // group) if group else 1
    x = whole(rng, rows, ins)
    codes, zero = rng.integers(-most - 1, most + 1, (ins, outs)), rng.integers(-most - 1, most + 1, (groups, outs))
    scale = 2.0 ** rng.integers(-3, 1, (groups, outs))
    of = np.arange(ins) // (group or ins)
    wanted = x @ ((codes - (zero[of] if zeros else 0)) * scale[of])
    turn = (lambda a: a) if axis == -2 else np.transpose
    stored = jnp.asarray(turn(codes), jnp.int8)
    given = Integers(
        stored if bits == 8 else packed(stored, axis), jnp.asarray(turn(scale), jnp.float32),
        jnp.asarray(turn(zero), jnp.int8) if zeros else None,
    )  # fmt: skip
    run = lambda: _weight_kernel.product(jnp.asarray(x, jnp.float32), given, bits=bits, group=group, axis=axis)  # noqa: E731
    np.testing.assert_array_equal(used(WEIGHTS, run, new=False), wanted)


SOME_WEIGHTS = [
    (8, -2, 1, 300, 200, None, False), (8, -2, 1, 33, 65, None, True), (4, -2, 1, 301, 77, 16, True),
    (4, -2, 2, 64, 130, 2, False), (8, -2, 3, 50, 64, 18, True), (4, -2, 7, 259, 83, None, True),
    (8, -2, 32, 140, 70, 16, False), (8, -2, 1, 300, 5000, None, True), (8, -1, 1, 47, 9, None, True),
    (4, -1, 5, 131, 6, 32, True),    (4, -1, 2, 33, 5, None, True),
    (4, -1, 4, 77, 33, None, False), (8, -1, 32, 300, 5, 64, True), (8, -1, 70, 47, 131, None, True),
    (4, -1, 45, 259, 70, 32, True), (8, -1, 8, 1100, 67, 16, False),
]  # fmt: skip


@pytest.mark.parametrize("case", SOME_WEIGHTS)
def test_integer_weights_give_the_sums_of_whole_numbers(case):
    check_weights(case)


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True, database=None)
@hypothesis.given(weights())
def test_integer_weights_of_any_shape(case):
    check_weights(case)


@pytest.mark.soak
@hypothesis.settings(max_examples=400, deadline=None, database=None)
@hypothesis.given(weights())
def test_integer_weights_of_any_shape_at_length(case):
    check_weights(case)


@pytest.mark.parametrize(("bits", "options"), [(8, {}), (4, {"group": 32}), (8, {"symmetric": False, "per": "tensor"})])
def test_layers_of_integer_weights_are_those_of_floats(bits, options):
    model = px.Chain(px.Embedding(40, 64, key=0), px.Dense(64, 50, px.tanh, key=1))
    table, layer = map(px.constant, px.compress.quantize(model, bits, **options))
    few, many = normal(2, 3, 64), normal(5, 9, 64)
    scores = lambda x: np.float64(x) @ np.float64(table.weight).T  # noqa: E731
    for x, run, exact in (
        (few, lambda x: layer(x), np.tanh(np.float64(few) @ np.float64(layer.weight) + np.float64(layer.bias))),
        (few, lambda x: table.attend(x), scores(few)),
        (many, lambda x: table.attend(x), scores(many)),
    ):
        assert_close(used(WEIGHTS, lambda run=run, x=x: run(x)), exact.astype("f"), scale=4)
        assert_close(jax.jit(run)(x), exact.astype("f"), scale=4)


def test_factors_meet_what_comes_in():
    model, x = px.Chain(px.Dense(48, 30, key=0)), normal(64, 48)
    layer = px.compress.quantize(model, 4, factors=px.compress.awq(model, x, 4))[0]
    exact = np.float64(x[:3]) @ np.float64(layer.weight) + np.float64(layer.bias)
    assert_close(used(WEIGHTS, lambda: layer(x[:3])), exact.astype("f"), scale=4)


def test_derivatives_and_mapped_axes_of_integer_weights_are_those_of_the_plain_form():
    layer = px.constant(px.compress.quantize(px.Chain(px.Dense(20, 12, key=0)), symmetric=False)[0])
    x = jnp.asarray(normal(4, 20))
    f = lambda x: jnp.sum(jnp.sin(layer(x)))  # noqa: E731
    calls = {
        "gradient": lambda: jax.grad(f)(x),
        "jvp": lambda: jax.jvp(f, (x,), (x,))[1],
        "hessian": lambda: jax.hessian(f)(x[:1]),
        "mapped": lambda: jax.jit(jax.vmap(lambda x: layer(x[None])[0]))(x),
        "mapped elsewhere": lambda: jax.jit(jax.vmap(lambda x: layer(x[None])[0], 1, 1))(x.T),
    }
    for name, call in calls.items():
        ours = used(WEIGHTS, call) if name.startswith("mapped") else call()
        with reference_forms():
            assert_close(ours, call(), kind="grad", what=name)


def test_stacked_matrices_that_are_mapped_give_what_each_gives():
    codes = jnp.asarray(RNG.integers(-128, 128, (3, 20, 12)), jnp.int8)
    scale = jnp.asarray(2.0 ** RNG.integers(-3, 1, (3, 1, 12)), jnp.float32)
    x = jnp.asarray(whole(RNG, 2, 20), jnp.float32)

    def run(x, codes, scale):
        return _weight_kernel.product(x, Integers(codes, scale, None), bits=8, group=None, axis=-2)

    wanted = [np.asarray(x) @ (np.asarray(c, "f") * s) for c, s in zip(codes, scale, strict=True)]
    np.testing.assert_array_equal(jax.vmap(run, (None, 0, 0))(x, codes, scale), np.stack(wanted))
    np.testing.assert_array_equal(jax.vmap(run)(jnp.stack([x] * 3), codes, scale), np.stack(wanted))


def test_a_mapped_axis_may_lie_anywhere():
    codes, xs = jnp.asarray(whole(RNG, 20, 12), jnp.int8), jnp.asarray(whole(RNG, 2, 20, 3), jnp.float32)
    run = lambda x: WEIGHTS(x, codes, jnp.ones((1, 12)), jnp.zeros(0), bits=8, group=None, axis=-2)[0]  # noqa: E731
    found = used(WEIGHTS, lambda: jax.vmap(run, 2)(xs))
    np.testing.assert_array_equal(found, np.einsum("rib,io->bro", xs, codes))


def test_nan_and_infinity_go_the_way_of_the_plain_form():
    x = normal(3, 20)
    x[0, 3], x[1, 4] = np.nan, np.inf
    for options in ({}, {"symmetric": False}):
        layer = px.compress.quantize(px.Chain(px.Dense(20, 12, key=0)), **options)[0]
        ours = used(WEIGHTS, lambda layer=layer: layer(x))
        with reference_forms():
            plain = layer(x)
        assert_close(ours[2], np.asarray(plain[2]), scale=4)
        for rule in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(rule(ours), rule(plain))
        assert np.isnan(ours[0]).all()
        assert np.isinf(ours[1]).any()


def test_what_is_left_to_the_plain_form():
    layer = px.compress.quantize(px.Chain(px.Dense(20, 12, key=0)))[0]
    half = px.compress.quantize(px.bf16(px.Chain(px.Dense(20, 12, key=0))))[0]
    before = WEIGHTS.use
    for run, x in ((layer, normal(33, 20)), (half, jnp.ones((2, 20), jnp.bfloat16)), (layer, normal(0, 20))):
        assert run(x).shape == (x.shape[0], 12)
    assert WEIGHTS.use == before
    odd = px.compress.quantize(px.Chain(px.Embedding(12, 60, key=0)), 4, group=20)[0]
    assert_close(odd.attend(normal(2, 60)).shape, (2, 12))
    assert WEIGHTS.use.why == "groups of 20, not of a multiple of 32"
    with jax.enable_x64(True), px.dtypes(on_mismatch="promote"):
        assert layer(jnp.ones((2, 20), "float64")).dtype == jnp.float64


def test_weights_that_were_of_another_dtype_go_the_plain_way():
    half = px.compress.quantize(px.bf16(px.Chain(px.Dense(22, 12, key=0))))[0]
    before, x = WEIGHTS.use, normal(2, 22)
    with px.dtypes(on_mismatch="promote"):
        found = half(x)  # of float32: the weight is rounded as it was, and the product is not
    assert WEIGHTS.use == before
    exact = np.float64(x) @ np.asarray(half.weight, np.float64) + np.asarray(half.bias, np.float64)
    assert_close(found, exact.astype("f"), scale=4)


# --- products of integers -------------------------------------------------------------------------------


@st.composite
def products(draw):
    rank = draw(st.integers(0, 3))
    per_axis = lambda lo, hi: draw(st.tuples(*[st.integers(lo, hi)] * rank))  # noqa: E731
    size, stride, dilation = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2)
    span = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padding = tuple(draw(st.tuples(st.integers(0, e), st.integers(0, e))) for e in span)
    space = tuple(draw(st.integers(max(1, e - sum(p)), e + 5)) for e, p in zip(span, padding, strict=True))
    window = Window(space, size, stride, dilation, padding)
    most = 70 if rank == 0 else 3
    batch, channels, outs = (draw(st.integers(1, n)) for n in (most, 70, 140))
    return window, batch, channels, outs, draw(st.sampled_from([None, 0, 100, -128])), draw(st.booleans())


def sums_of_windows(x, weight, window):
    """By NumPy, in 64 bits: x (batch, *space, in), as wide as windows reach, and weight (*kernel, in, outs)."""
    total = 0
    for offsets in np.ndindex(*window.size):
        steps = zip(offsets, window.outputs, window.stride, window.dilation, strict=True)
        places = [slice(at * d, at * d + (n - 1) * s + 1, s) for at, n, s, d in steps]
        total = total + x[(slice(None), *places)] @ weight[offsets]
    return total


def check_product(case):
    window, batch, channels, outs, zero, bias = case
    rng = np.random.default_rng(0)
    codes, weight = rng.integers(-128, 128, (batch, *window.inputs, channels)), whole(rng, *window.size, channels, outs)
    row, column = 2.0 ** rng.integers(-2, 1, batch), 2.0 ** rng.integers(-2, 1, outs)
    pads = ((0, 0), *window.padding, (0, 0))
    sums = sums_of_windows(np.pad(codes - (zero or 0), pads), weight, window)
    added = whole(rng, outs, most=50).astype("f") if bias else None
    of_row = row.reshape(-1, *[1] * (window.rank + 1)) if zero is None else 1
    wanted = sums * of_row * column + (0 if added is None else added)
    run = lambda: _products._by_kernel(  # noqa: E731
        jnp.ones(1), jnp.asarray(codes, jnp.int8), jnp.asarray(weight.reshape(-1, outs), jnp.int8),
        jnp.asarray(row, jnp.float32) if zero is None else None, jnp.asarray(column, jnp.float32),
        None if zero is None else jnp.asarray(zero, jnp.int8), None if added is None else jnp.asarray(added), window,
    )  # fmt: skip
    np.testing.assert_array_equal(used(PRODUCT, run, new=False), wanted)


def plane(space, size, stride=1, padding=0, dilation=1):
    return Window((space, space), (size, size), (stride, stride), (dilation, dilation), ((padding, padding),) * 2)


SOME_PRODUCTS = [
    (_products._FEATURES, 1, 64, 64, None, False), (_products._FEATURES, 70, 67, 130, 100, True),
    (_products._FEATURES, 33, 128, 32, -128, False), (plane(9, 3, 1, 1), 2, 16, 20, 100, True),
    (plane(12, 7, 2, 3), 1, 3, 64, -128, False), (plane(6, 1), 2, 64, 65, 0, True),
    (plane(7, 1, 2), 2, 70, 10, None, True), (plane(9, 3, 1, 2, 2), 1, 33, 40, 100, False),
    (Window((11,), (3,), (1,), (1,), ((2, 0),)), 3, 20, 17, None, True),
    (Window((4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 1, 2), ((1, 0), (0, 1), (1, 1))), 2, 5, 9, 100, True),
]  # fmt: skip


@pytest.mark.parametrize("case", SOME_PRODUCTS)
def test_products_of_integers_are_exact(case):
    check_product(case)


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True, database=None)
@hypothesis.given(products())
def test_products_of_integers_of_any_shape(case):
    check_product(case)


@pytest.mark.soak
@hypothesis.settings(max_examples=400, deadline=None, database=None)
@hypothesis.given(products())
def test_products_of_integers_of_any_shape_at_length(case):
    check_product(case)


def test_the_largest_codes_do_not_run_over():
    codes, weight = jnp.full((1, 3000), -128, jnp.int8), jnp.full((3000, 5), -127, jnp.int8)
    (found,) = PRODUCT(
        codes, weight, jnp.zeros(0), jnp.ones(5), jnp.full(1, 127, jnp.int8), jnp.zeros(0), window=_products._FEATURES
    )
    assert found.tolist() == [[float(3000 * 255 * 127)] * 5]


LAYERS = {
    "dense": (lambda: px.Dense(70, 40, px.relu, key=0), (5, 9, 70)),
    "conv": (lambda: px.Conv((3, 3), 5, 12, px.relu, stride=2, padding="SAME", key=0), (2, 8, 9, 5)),
    "circular": (lambda: px.Conv((3,), 5, 12, padding=1, padding_mode="circular", key=0), (2, 8, 5)),
}


@pytest.mark.parametrize("inputs", ["dynamic", "static"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_integer_products_are_those_of_the_plain_form(name, inputs):
    build, shape = LAYERS[name]
    model, x = px.Chain(build()), normal(*shape, shift=0.5)
    model[0].bias = jnp.asarray(normal(model[0].bias.size))
    layer = px.compress.quantize(model, inputs=px.compress.calibrate(model, x) if inputs == "static" else inputs)[0]
    call = px.jit(lambda layer, x: layer(x))
    ours, compiled = used(PRODUCT, lambda: layer(x)), call(layer, x)
    with reference_forms():
        plain = layer(x)
    assert_close(ours, np.asarray(plain))
    assert_close(compiled, np.asarray(plain))


def test_gradients_of_integer_products_reach_bias_and_input():
    model, x = px.Chain(px.Dense(20, 12, key=0)), jnp.asarray(normal(4, 20))
    layer = px.compress.quantize(model, inputs="dynamic")[0]

    def loss(bias, x):
        here = px.copy(layer)
        here.bias = bias
        return jnp.sum(jnp.sin(here(x)))

    of_bias, of_x = jax.grad(loss, (0, 1))(layer.bias, x)
    slopes = jnp.cos(layer(x))
    assert_close(of_bias, np.asarray(slopes.sum(0)), kind="grad")
    assert_close(of_x, np.asarray(slopes @ layer.weight.T), kind="grad")


def test_mapped_examples_become_rows_and_mapped_weights_the_plain_form():
    for inputs in ("dynamic", "static"):
        model, x = px.Chain(px.Conv((3,), 6, 8, key=0)), jnp.asarray(normal(3, 2, 9, 6))
        given = px.compress.calibrate(model, x[0]) if inputs == "static" else inputs
        layer = px.constant(px.compress.quantize(model, inputs=given)[0])
        ours = used(PRODUCT, lambda layer=layer, x=x: jax.jit(jax.vmap(layer, 1, 1))(jnp.moveaxis(x, 0, 1)))
        assert_close(ours, np.stack([layer(one) for one in x], 1))
    codes, weight = (jnp.asarray(RNG.integers(-128, 128, s), jnp.int8) for s in ((3, 4, 20), (3, 20, 6)))
    none = jnp.zeros(0)
    run = lambda c, w: PRODUCT(c, w, none, jnp.ones(6), jnp.zeros(0, jnp.int8), none, window=_products._FEATURES)[0]  # noqa: E731
    wanted = np.einsum("bri,bio->bro", *(np.asarray(a, np.int64) for a in (codes, weight)))
    np.testing.assert_array_equal(jax.vmap(run)(codes, weight), wanted)


def test_a_token_that_is_not_finite_gives_nan_and_the_others_do_not_hear_of_it():
    layer = px.compress.quantize(px.Chain(px.Dense(21, 12, key=0)), inputs="dynamic")[0]
    x = normal(4, 21)
    x[0, 3], x[2, 5] = np.nan, -np.inf
    ours = used(PRODUCT, lambda: layer(x))
    with reference_forms():
        plain = layer(x)
    for found in (ours, plain):
        assert np.isnan(found).all(1).tolist() == [True, False, True, False]
        assert_close(found[1::2], np.asarray(layer(x[1::2])))


def test_exported_programs_hold_plain_forms():
    x = jnp.asarray(normal(2, 20))
    for options in ({}, {"inputs": "dynamic"}):
        layer = px.constant(px.compress.quantize(px.Chain(px.Dense(20, 12, key=0)), **options)[0])
        exported = jax.export.export(jax.jit(lambda x, layer=layer: layer(x)))(x)
        assert "phlox_cpu" not in exported.mlir_module()
        assert "phlox_cpu_integer" in jax.jit(lambda x, layer=layer: layer(x)).lower(x).as_text()
        assert_close(exported.call(x), np.asarray(layer(x)), scale=4)


def call_weights(x, codes, scale, zero, outs, bits=8, group=64, transposed=False):
    call = jax.ffi.ffi_call("phlox_cpu_integer_weights", jax.ShapeDtypeStruct((x.shape[0], outs), jnp.float32))
    return call(x, codes, scale, zero, bits=np.int64(bits), group=np.int64(group), transposed=transposed)


def call_product(codes, weight, row, column, zero, bias, out, **options):
    given = {name: np.array(options.get(name, []), np.int64) for name in ("kernel", "stride", "dilation", "low")}
    call = jax.ffi.ffi_call("phlox_cpu_integer_product", jax.ShapeDtypeStruct(out, jnp.float32))
    return call(codes, weight, row, column, zero, bias, **given)


def test_arrays_that_do_not_fit_are_errors_that_name_them():
    """Nothing in Phlox asks for such calls; the library checks what it is given all the same."""
    x, none = jnp.ones((2, 64)), jnp.zeros(0)
    int8 = lambda *shape: jnp.zeros(shape, jnp.int8)  # noqa: E731
    ones = lambda *shape: jnp.ones(shape)  # noqa: E731
    cases = [
        (lambda: call_weights(x, int8(63, 8), ones(1, 8), none, 8), r"codes of 8 bits that fit float32\[2, 64\]"),
        (lambda: call_weights(x, int8(64, 8), ones(1, 8), none, 8, bits=4), "codes of 4 bits"),
        (lambda: call_weights(x, int8(64, 8), ones(1, 8), ones(1, 7), 8), r"float32\[1, 8\], got float32\[1, 7\]"),
        (lambda: call_weights(x, int8(64, 8), ones(3, 8), none, 8, group=32), "multiple of 1, got 32 of 64"),
        (lambda: call_weights(x, int8(8, 64), ones(8, 8), none, 8, group=8, transposed=True), "multiple of 16, got 8"),
        (lambda: call_product(int8(2, 64), int8(63, 8), none, ones(8), int8(0), none, (2, 8)), "got weights"),
        (lambda: call_product(int8(2, 64), int8(64, 8), ones(3), ones(8), int8(0), none, (2, 8)), r"float32\[2\], got"),
        (lambda: call_product(int8(2, 64), int8(64, 8), none, ones(8), int8(2), none, (2, 8)), "one zero of int8"),
        (lambda: call_product(int8(2, 64), int8(64, 8), none, ones(8), int8(0), ones(7), (2, 8)), r"float32\[8\], got"),
        (lambda: call_product(int8(2, 64), int8(64, 8), none, ones(8), int8(0), none, (3, 8)), "do not fit"),
        (
            lambda: call_product(
                int8(1, 5, 4), int8(12, 8), none, ones(8), int8(0), none, (1, 3, 8), kernel=[3], stride=[0],
                dilation=[1], low=[0],
            ),
            r"do not fit: input \[1, 5, 4\], kernel \[3\], output \[1, 3, 8\], stride \[0\]",
        ),
    ]  # fmt: skip
    for call, text in cases:
        with pytest.raises(Exception, match=text):
            jax.block_until_ready(call())


# --- other processors -----------------------------------------------------------------------------------

PROGRAM = """
import os, sys
import jax
sys.path.insert(0, "tests")
from native import test_integer_kernels as T
library = T.package().library
held_to = os.environ["PHLOX_HELD_TO"]
wanted = {"AVX512_CORE_VNNI": (1, 512), "AVX512_CORE": (3, 512), "AVX2": (3, 256), "SSE41": (0, 0)}[held_to]
assert (library.phlox_cpu_integer_instructions(), library.phlox_cpu_vector_bits()) == wanted
T._weight_kernel.LEAST = T._product_kernel.LEAST = 1
if wanted[0]:
    for case in T.SOME_WEIGHTS:
        T.check_weights(case)
    for case in T.SOME_PRODUCTS:
        T.check_product(case)
    T.test_the_largest_codes_do_not_run_over()
else:
    model, x = T.px.Chain(T.px.Dense(20, 12, key=0)), T.normal(2, 20)
    T.px.compress.quantize(model, inputs="dynamic")[0](x)
    T.px.compress.quantize(model)[0](x)
    assert T.PRODUCT.use == T.WEIGHTS.use == (0, 1, "the processor has no AVX2"), (T.PRODUCT.use, T.WEIGHTS.use)
"""


LESS = [("AVX512_CORE_VNNI", "5"), ("AVX2", "1"), ("AVX512_CORE", "2"), ("SSE41", "1")]


@pytest.mark.parametrize(
    ("held_to", "threads"), [LESS[1], *(pytest.param(*one, marks=pytest.mark.soak) for one in (LESS[0], *LESS[2:]))]
)
def test_processors_that_have_less(held_to, threads):
    env = os.environ | AS_USERS_COMPILE | {
        "ONEDNN_MAX_CPU_ISA": held_to, "PHLOX_HELD_TO": held_to, "OMP_NUM_THREADS": threads,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
