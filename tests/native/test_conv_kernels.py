"""Convolutions by the kernels of phlox-cpu against their forms in plain JAX, which are tested against PyTorch.

The tests of convolutions and pools run through the kernels too wherever phlox-cpu is installed.
"""

import concurrent.futures
import ctypes
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.nn.functional.kernels import _conv as K
from phlox.nn.functional.kernels._kernels import Kernel, asked, int64s, package, reference_forms
from phlox.nn.functional.space._window import Window

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

F = px.nn.functional

CASES = {
    "plain": dict(size=(3,), space=(9,), channels=4, out=6),
    "causal": dict(size=(3,), space=(9,), channels=4, out=6, padding="CAUSAL", dilation=2),
    "uneven": dict(size=(3, 2), space=(7, 8), channels=3, out=17, padding=((1, 0), (0, 1)), stride=(2, 1)),
    "same": dict(size=(3, 3), space=(8, 7), channels=16, out=32, padding="SAME", stride=2),
    "dilated": dict(size=(3, 3), space=(9, 9), channels=8, out=8, padding=2, dilation=2),
    "pointwise": dict(size=(1, 1), space=(5, 6), channels=16, out=16),
    "groups": dict(size=(3, 3), space=(6, 6), channels=6, out=9, padding=1, groups=3),
    "depthwise": dict(size=(3, 3), space=(6, 7), channels=16, out=16, padding=1, groups=16),
    "space": dict(size=(2, 3, 2), space=(4, 5, 6), channels=3, out=8, padding=1, stride=(1, 2, 1)),
    "phases": dict(size=(7, 4), space=(13, 11), channels=3, out=5, padding=((2, 3), (0, 1)), stride=(2, 3)),
    "phases without weights": dict(
        size=(2, 1), space=(8, 7), channels=2, out=5, padding=((1, 0), (0, 0)), stride=(3, 2)
    ),
    "patches": dict(size=(4, 4), space=(9, 8), channels=3, out=5, stride=4),
    "far padding": dict(size=(2, 2), space=(4, 4), channels=3, out=5, padding=3),
}


def operands(size, space, channels, out, groups=1, dtype=jnp.float32, batch=3, **options):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)  # noqa: E731
    conv = lambda x, w, b: F.conv(x, w, b, groups=groups, **options)  # noqa: E731
    fan_in = math.prod(size) * channels // groups
    return conv, (draw(batch, *space, channels), draw(*size, channels // groups, out) / math.sqrt(fan_in), draw(out))


def value_and_gradients(conv, *arrays):
    def loss(*arrays):
        y = conv(*arrays)
        sways = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)) / math.sqrt(y.size / y.shape[-1])
        return jnp.vdot(sways, y.astype(jnp.float32).ravel()), y

    gradients, y = jax.jit(jax.grad(loss, tuple(range(len(arrays))), has_aux=True))(*arrays)
    return y, gradients


def against_reference(conv, *arrays, scale=1.0):
    y, gradients = value_and_gradients(conv, *arrays)
    with reference_forms():
        want, references = value_and_gradients(conv, *arrays)
    assert_close(y, np.asarray(want, np.float32), scale=scale, what="value")
    for i, (g, r) in enumerate(zip(gradients, references, strict=True)):
        assert_close(g, np.asarray(r, np.float32), kind="grad", scale=scale, what=f"gradient of argument {i}")


def compiled(kernel: Kernel):
    return kernel.use.kernel


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_of_the_plain_form(case):
    before = compiled(K._with_bias), compiled(K._weight_gradient)
    conv, arrays = operands(**CASES[case])
    against_reference(conv, *arrays)
    if case not in ("far padding", "pointwise"):  # which the kernels leave to XLA
        assert (compiled(K._with_bias), compiled(K._weight_gradient)) == (before[0] + 1, before[1] + 1)


def test_bfloat16_multiplies_in_bfloat16_and_sums_in_float32():
    conv, arrays = operands(**CASES["same"], dtype=jnp.bfloat16)
    y, gradients = value_and_gradients(conv, *arrays)
    want, references = value_and_gradients(conv, *(a.astype(jnp.float32) for a in arrays))
    assert {a.dtype for a in (y, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    for ours, exact in zip((y, *gradients), (want, *references), strict=True):  # one rounding to 8 bits, no sum of them
        np.testing.assert_allclose(np.asarray(ours, np.float32), exact, rtol=2**-7, atol=2**-6)


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"stride": 3, "output_padding": 1}, {"groups": 2}]
)
def test_transposed_convolution(options):
    before = compiled(K._input_gradient)
    groups = options.get("groups", 1)
    x, w, _ = operands((3, 3), (5, 4), 8, 12 // groups)[1]
    against_reference(lambda x, w, b: F.conv_transpose(x, w, b, **options), x, w, jnp.ones(12))
    assert compiled(K._input_gradient) > before


def test_every_derivative_of_a_derivative():
    conv, (x, w, b) = operands((3,), (5,), 2, 3, padding=1)
    f = lambda x, w, b: jnp.sum(jnp.tanh(conv(x, w, b)))  # noqa: E731
    penalty = lambda x, w, b: jnp.sum(jax.grad(f)(x, w, b) ** 2)  # noqa: E731
    calls = {
        "grad of grad": lambda: jax.jit(jax.grad(penalty, (0, 1, 2)))(x, w, b),
        "forward over reverse": lambda: jax.jit(lambda x, w, b: jax.jvp(jax.grad(f, (0, 1)), (x, w, b), (x, w, b))[1])(
            x, w, b
        ),
        "jvp": lambda: jax.jit(lambda x, w, b: jax.jvp(f, (x, w, b), (w.sum() * x, w, b)))(x, w, b),
        "hessian": lambda: jax.jit(jax.hessian(f, 1))(x, w, b),
        "remat": lambda: jax.jit(jax.grad(jax.checkpoint(f), (0, 1, 2)))(x, w, b),
    }
    for name, call in calls.items():
        ours = call()
        with reference_forms():
            theirs = call()
        for a, r in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            assert_close(a, r, kind="grad", what=name)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mapped", [(0, None), (None, 1), (2, 0)])
def test_mapped_axes_become_axes_of_one_convolution(mapped, groups):
    rng = np.random.default_rng(1)
    add = lambda shape, axis: shape if axis is None else (*shape[:axis], 3, *shape[axis:])  # noqa: E731
    x = jnp.asarray(rng.normal(size=add((2, 6, 5, 4), mapped[0])), jnp.float32)
    w = jnp.asarray(rng.normal(size=add((3, 2, 4 // groups, 6), mapped[1])), jnp.float32)

    def run(x, w):
        y, back = jax.vjp(lambda x, w: F.conv(x, w, padding=1, stride=2, groups=groups), x, w)
        return y, *back(jnp.cos(y))

    call = lambda: jax.jit(jax.vmap(run, mapped))(x, w)  # noqa: E731
    ours = call()
    with reference_forms():
        theirs = call()
    for a, r in zip(ours, theirs, strict=True):
        assert_close(a, r, kind="grad")


def test_mapped_bias():
    conv, (x, w, b) = operands((3,), (5,), 2, 3)
    for axes in ((0, None, None), (None, None, 0), (0, 0, 0)):
        args = [jnp.stack([a, 2 * a]) if d == 0 else a for a, d in zip((x, w, b), axes, strict=True)]
        ours = jax.jit(jax.vmap(conv, axes))(*args)
        with reference_forms():
            assert_close(ours, jax.jit(jax.vmap(conv, axes))(*args))


def test_eagerly_and_line_by_line_too():
    conv, (x, w, b) = operands(**CASES["same"])
    eager = conv(x, w, b)
    assert_close(eager, jax.jit(conv)(x, w, b))
    gradient = jax.grad(lambda w: jnp.sum(conv(x, w, b) ** 2))
    assert_close(gradient(w), jax.jit(gradient)(w), kind="grad")


def test_exported_programs_hold_the_plain_form():
    from jax import export

    conv, arrays = operands(**CASES["same"])
    exported = export.export(jax.jit(conv))(*arrays)
    assert "phlox_cpu" not in exported.mlir_module()
    assert "phlox_cpu" in jax.jit(conv).lower(*arrays).as_text()
    assert_close(exported.call(*arrays), jax.jit(conv)(*arrays))


def test_summary_counts_the_operations_of_the_plain_form():
    found = px.nn.summary(px.Conv((3, 3), 4, 8), (2, 8, 8, 4))
    assert found.rows[0].flops == 2 * (2 * 6 * 6 * 8) * (3 * 3 * 4) + 2 * 6 * 6 * 8


def test_many_threads_at_once():
    conv, (x, w, b) = operands(**CASES["uneven"])
    calls = [jax.jit(lambda x, w, b, k=k: conv(x[:k], w, b)) for k in (1, 2, 3)]
    want = [np.asarray(f(x, w, b)) for f in calls]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        jobs = [(i % 3, pool.submit(lambda i=i: np.asarray(calls[i % 3](x, w, b)))) for i in range(60)]
        for which, job in jobs:
            np.testing.assert_array_equal(job.result(), want[which])


def test_shapes_that_do_not_fit_are_an_error_that_names_them():
    """Nothing in Phlox asks for such a call; the library checks what it is given all the same."""
    options = {name: np.array([1], np.int64) for name in ("stride", "dilation")}
    options |= {name: np.array([0], np.int64) for name in ("low", "high")}
    call = jax.ffi.ffi_call("phlox_cpu_conv", jax.ShapeDtypeStruct((1, 5, 3), jnp.float32))
    x, w = jnp.ones((1, 5, 2)), jnp.ones((3, 2, 3))
    with pytest.raises(Exception, match=r"do not fit: input \[1, 5, 2\], weight \[3, 2, 3\], output \[1, 5, 3\]"):
        jax.jit(lambda x, w: call(x, w, **options, groups=np.int64(1)))(x, w).block_until_ready()


@st.composite
def convolutions(draw):
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    per_axis = lambda lo, hi: draw(st.tuples(*[st.integers(lo, hi)] * rank))  # noqa: E731
    size, stride, dilation = per_axis(1, 4), per_axis(1, 3), per_axis(1, 3)
    span = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padding = tuple(draw(st.tuples(st.integers(0, e - 1), st.integers(0, e - 1))) for e in span)
    space = tuple(draw(st.integers(max(1, e - sum(p)), e + 5)) for e, p in zip(span, padding, strict=True))
    channels, out = (
        groups * draw(st.sampled_from([1, 2, 3, 5, 8, 16])),
        groups * draw(st.sampled_from([1, 3, 4, 16, 20])),
    )
    window = Window(space, size, stride, dilation, padding)
    return window, groups, draw(st.integers(1, 3)), channels, out


def check_against_reference(case):
    window, groups, batch, channels, out = case
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.integers(-4, 5, shape), jnp.float32)  # noqa: E731  - sums are exact
    x, y = draw(batch, *window.inputs, channels), draw(batch, *window.outputs, out)
    w, form = draw(*window.size, channels // groups, out), {"window": window, "groups": groups}
    calls = {K._forward: (x, w), K._input_gradient: (y, w), K._weight_gradient: (x, y), K._with_bias: (x, w, draw(out))}
    for kernel, arrays in calls.items():
        if kernel.declines(package().library, *arrays, **form) is None:
            ours, theirs = kernel.call(*arrays, **form), kernel.reference(*arrays, **form)
            np.testing.assert_array_equal(ours, theirs, err_msg=kernel.name)


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True, database=None)
@hypothesis.given(convolutions())
def test_any_shape(case):
    check_against_reference(case)


@pytest.mark.soak
@hypothesis.settings(max_examples=400, deadline=None, database=None)
@hypothesis.given(convolutions())
def test_any_shape_at_length(case):
    check_against_reference(case)


def test_the_library_says_why_it_declines():
    numbers, one, none = int64s(1, 5, 2, 3, 2, 3, 1, 9, 3, 1, 1, 0, 0), ctypes.c_int64(1), ctypes.c_int64(0)
    why = asked(package().library.phlox_cpu_conv_plan, 0, 0, 11, 1, numbers, one, none, 0, none, none)
    assert "do not fit: input [1, 5, 2], weight [3, 2, 3], output [1, 9, 3], stride [1]" in (why or "")
