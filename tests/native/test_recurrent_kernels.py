"""LSTM and GRU by the kernels against PyTorch, and against the loops in plain JAX in every way of asking."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.nn import functional as F
from phlox.nn.functional.kernels import _recurrent as K
from phlox.nn.functional.kernels._kernels import package, reference_forms

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

LENGTHS = jnp.array([5, 0, 2])
RUNS = {"whole": {}, "reverse": {"reverse": True}, "lengths": {"lengths": LENGTHS, "reverse": True}}
FORMS = {"lstm": 4, "gru": 3}


def arrays(blocks, batch=3, time=5, size=3, hidden=6, seed=0):
    """x, weight_ih, weight_hh, bias, h, and c or bias_hn."""
    rng = np.random.default_rng(seed)
    draw = lambda *s: jnp.asarray(rng.normal(size=s).astype("float32"))  # noqa: E731
    last = (batch, hidden) if blocks == 4 else (hidden,)
    shapes = (
        (batch, time, size),
        (size, blocks * hidden),
        (hidden, blocks * hidden),
        (blocks * hidden,),
        (batch, hidden),
    )
    return [draw(*shape) for shape in (*shapes, last)]


def run(form, x, ih, hh, b, h, last, **how):
    """Everything that a form gives, as a list."""
    if form == "lstm":
        y, (h, c) = F.lstm(x, ih, hh, b, (h, last), **how)
        return [y, h, c]
    return list(F.gru(x, ih, hh, b, h, bias_hn=last, **how))


def both(fn, *args):
    """By the kernels, and in plain JAX."""
    fast = jax.jit(lambda *a: fn(*a))(*args)
    with reference_forms():
        return jax.tree.leaves(fast), jax.tree.leaves(jax.jit(lambda *a: fn(*a))(*args))


def same(fn, *args, scale=1.0):
    for ours, theirs in zip(*both(fn, *args), strict=True):
        size = max(1.0, float(jnp.abs(theirs).max()))
        assert_close(ours / size, theirs / size, kind="grad", scale=scale)


def score(form, **how):
    return lambda *a: sum(jnp.sum(jnp.sin(part) * n) for n, part in enumerate(run(form, *a, **how), 1))


@pytest.mark.parametrize("how", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("form", FORMS)
def test_values_and_every_derivative_are_those_of_the_loops_in_plain_jax(form, how):
    given, f = arrays(FORMS[form]), score(form, **how)
    used = {"lstm": K._lstm, "gru": K._gru}[form].use.kernel
    gradient = jax.grad(f, tuple(range(6)))
    same(lambda *a: run(form, *a, **how), *given)
    assert {"lstm": K._lstm, "gru": K._gru}[form].use.kernel == used + 1
    same(gradient, *given)
    if "lengths" not in how:
        return  # further derivatives, which compile slowly, of the case that has all in it
    same(lambda *a: jax.jvp(f, a, a)[1], *given)
    same(lambda *a: jax.jvp(gradient, a, a)[1], *given)
    same(jax.grad(lambda *a: sum(jnp.sum(g * g) for g in gradient(*a)), (0, 2, 5)), *given)


@pytest.mark.parametrize("form", FORMS)
def test_the_layer_is_pytorchs(form):
    torch = oracle("torch")
    size, hidden = 7, 33  # an odd size, for what is left over of a vector
    theirs = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[form](size, hidden, batch_first=True, bidirectional=True)
    ours = {"lstm": px.LSTM, "gru": px.GRU}[form](size, hidden, bidirectional=True)
    for n, end in enumerate(("", "_reverse")):
        w = {
            k: getattr(theirs, f"{k}_l0{end}").detach().numpy()
            for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        cell, bias = ours.cells[n], w["bias_ih"] + w["bias_hh"]
        cell.weight_ih, cell.weight_hh = jnp.asarray(w["weight_ih"].T), jnp.asarray(w["weight_hh"].T)
        if form == "gru":
            bias[-hidden:] = w["bias_ih"][-hidden:]
            cell.bias_hn = jnp.asarray(w["bias_hh"][-hidden:])
        cell.bias = jnp.asarray(bias)
    x = np.random.default_rng(1).normal(size=(9, 11, size)).astype("float32")
    given = torch.tensor(x, requires_grad=True)
    want = theirs(given)[0]
    want.square().sum().backward()
    y, grad = jax.jit(lambda m, x: jax.value_and_grad(lambda x: (m(x) ** 2).sum())(x))(ours, jnp.asarray(x))
    assert_close(y, want.square().sum().detach().numpy())
    assert_close(grad, given.grad.numpy(), kind="grad")
    weights = px.grad(lambda m: (m(x) ** 2).sum())(ours)
    assert_close(weights.cells[1].weight_hh, theirs.weight_hh_l0_reverse.grad.numpy().T, kind="grad", scale=5)


@pytest.mark.parametrize("form", FORMS)
def test_a_mapped_axis_is_more_rows_and_mapped_weights_are_models_of_their_own(form):
    given = arrays(FORMS[form])
    x = jnp.stack([given[0], 2 * given[0]], 1)
    gradient = jax.grad(score(form), (0, 2))
    same(jax.vmap(gradient, (1, *[None] * 5)), x, *given[1:])
    same(jax.vmap(gradient, (None, None, 0, *[None] * 3)), *given[:2], jnp.stack([given[2], -given[2]]), *given[3:])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("hidden", [1, 16, 37])
def test_any_size(batch, hidden):
    for form, blocks in FORMS.items():
        given = arrays(blocks, batch=batch, time=3, hidden=hidden)
        same(jax.grad(score(form), tuple(range(6))), *given)


def test_gates_far_out_saturate_and_nan_stays():
    given = arrays(4)
    same(lambda *a: run("lstm", *a), 100 * given[0], *given[1:])
    y = jax.jit(lambda *a: run("lstm", *a)[0])(given[0].at[1, 2, 0].set(jnp.nan), *given[1:])
    bad = np.isnan(np.asarray(y)).any(-1)
    assert bad.tolist() == [[False] * 5, [False, False, True, True, True], [False] * 5]


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_computed_in_float32_and_rounded_once(form):
    half = [a.astype(jnp.bfloat16) for a in arrays(FORMS[form], time=30)]
    kernel = K._lstm if form == "lstm" else K._gru

    def all_of(*arrays):
        out, back = jax.vjp(lambda *a: run(form, *a), *arrays)
        return out, back([jnp.cos(jnp.arange(y.size)).reshape(y.shape).astype(y.dtype) for y in out])

    before = kernel.use.kernel
    ours, slopes = jax.jit(all_of)(*half)
    assert kernel.use.kernel == before + 1
    with reference_forms():
        theirs, wanted = jax.jit(lambda *a: all_of(*a))(*(a.astype(jnp.float32) for a in half))
    for a, r in zip(ours, theirs, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), r, rtol=2.0**-8, atol=1e-5)  # bfloat16 has 8 bits
    for a, r in zip(slopes, wanted, strict=True):
        assert a.dtype == jnp.bfloat16
        assert float(jnp.abs(a - r).max()) < 2.0**-6 * float(jnp.abs(r).max())


def test_other_activations_and_truncation_keep_the_plain_loop():
    given = arrays(4)
    used = K._lstm.use
    jax.jit(lambda *a: run("lstm", *a, act=F.relu))(*given)
    jax.jit(lambda *a: run("lstm", *a, truncate=2))(*given)
    jax.jit(lambda *a: run("lstm", *a))(*[a.astype(jnp.float16) for a in given])
    assert K._lstm.use == used


def test_an_exported_program_has_no_call_of_this_process():
    given = arrays(4)
    exported = jax.export.export(jax.jit(lambda *a: run("lstm", *a)[0]))(*given)
    assert "phlox_cpu" not in exported.mlir_module()
    assert_close(exported.call(*given), run("lstm", *given)[0])


def test_threads_at_once_get_their_own_numbers():
    f = jax.jit(jax.grad(score("gru"), (0, 2)))
    cases = [arrays(3, batch=5, seed=n) for n in range(8)]
    want = [f(*case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: f(*cases[n % 8]), range(40)))
    for n, got in enumerate(found):
        for a, b in zip(got, want[n % 8], strict=True):
            np.testing.assert_array_equal(a, b)
