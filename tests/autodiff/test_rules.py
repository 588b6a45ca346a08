"""Each rule of reverse mode against JAX's own gradient, in float64, with numbers where formulas break."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import phlox as px
from phlox.autodiff._program import _CALLS
from phlox.autodiff._rules import ABSENT, RULES, STOPS

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 4, 5))
P, Q = RNG.uniform(0.1, 0.9, size=(2, 4, 5))
TIES = np.array([[1.0, 3.0, 3.0, 0.0, -1.0], [2.0, 2.0, 2.0, 0.0, 2.0]])
Z = X + 1j * Y
WHICH = np.array([[0], [2], [0]])
IMAGE = RNG.normal(size=(2, 9, 8, 4))


def conv(*shape, **options):
    kernel = RNG.normal(size=shape)

    def apply(x, k=kernel):
        numbers = lax.conv_dimension_numbers(x.shape, k.shape, ("NHWC", "HWIO", "NHWC"))
        return lax.conv_general_dilated(x, k, dimension_numbers=numbers, **options)

    return apply, (IMAGE, kernel)


def windows(x):
    return lax.reduce_window(
        x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 3, 1), ((0, 0), (1, 2), (0, 1), (0, 0)), (1, 2, 1, 1), (1, 1, 2, 1)
    )


def scattered(write):
    numbers = lax.ScatterDimensionNumbers((1,), (0,), (0,))
    return lambda x, u: write(x, WHICH, u, numbers)


def step(constant, carry, x):
    hidden, count = carry
    return (hidden * x + constant, count + 1), hidden**2


def turn(carry, x):
    return carry * x + jnp.cos(carry), carry


def pool(reduce, start, *dilations):
    around = ((1, 3, 2, 1), (1, 2, 3, 1), ((0, 0), (1, 2), (0, 1), (0, 0)), *dilations)
    return lambda x: lax.reduce_window(x, start, reduce, *around)


def by_tree(x):
    return lax.reduce(x, np.zeros((), x.dtype), lambda a, b: a + b + a * b, (0,))


UPDATES = RNG.normal(size=(3, 5))
SQUARE = RNG.normal(size=(2, 4, 4)) + 3 * np.eye(4)
TALL, WIDE = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 5))
ELEMENTWISE = {
    **{name: (getattr(jnp, name), (X,)) for name in ("negative", "sin", "cos", "tan", "tanh", "sinh", "cosh", "exp")},
    **{name: (getattr(jnp, name), (X,)) for name in ("arctan", "arcsinh", "exp2", "expm1", "square", "cbrt")},
    **{name: (getattr(jnp, name), (P,)) for name in ("arcsin", "arccos", "arctanh", "log", "log1p", "sqrt")},
    "abs": (jnp.abs, (np.array([-2.0, 0.0, 3.0]),)),
    "abs of complex": (lambda a, b: jnp.abs(lax.complex(a, b)), (X, Y)),
    "arccosh": (jnp.arccosh, (1 + P,)),
    "rsqrt": (lax.rsqrt, (P,)),
    "log2": (jnp.log2, (P,)),
    "logistic": (lax.logistic, (X,)),
    "erf": (lax.erf, (X,)),
    "erfc": (lax.erfc, (X,)),
    "erf_inv": (lax.erf_inv, (P,)),
    "lgamma": (lax.lgamma, (P,)),
    "digamma": (lax.digamma, (P,)),
    "integer_pow": (lambda x: lax.integer_pow(x, -3), (X,)),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 8, 7), (X,)),
}
SPECIAL = {  # whose programs take long to compile
    "polygamma": (lambda x: lax.polygamma(np.full_like(P, 2.0), x), (P,)),
    "bessel": (lambda x: lax.bessel_i0e(x) + lax.bessel_i1e(x), (X,)),
    "igamma": (lax.igamma, (P, Q)),
    "igammac": (lax.igammac, (P, Q)),
    "incomplete beta": (lambda x: lax.betainc(1 + P, 1 + Q, x), (P,)),
    "random_gamma": (lambda a: jax.random.gamma(jax.random.key(0), a), (1 + P,)),
}
PAIRS = {
    "add": (lambda a, b: a + b, (X, Y)),
    "sub": (lambda a, b: a - b, (X, Y)),
    "mul": (lambda a, b: a * b, (X, Y)),
    "div": (lambda a, b: a / b, (X, P)),
    "pow": (lambda a, b: a**b, (P, Y)),
    "pow at zero": (lambda a: a ** jnp.array([2.0, 1.0]), (np.zeros(2),)),
    "pow by whole numbers": (lambda a: a ** jnp.array([2, 1, 0, -1, 3]), (np.array([-2.0, 0.0, 0.0, 2.0, 0.0]),)),
    "atan2": (jnp.arctan2, (X, Y)),
    "rem": (lax.rem, (X, P)),
    "max": (jnp.maximum, (TIES, TIES[::-1].copy())),
    "min": (jnp.minimum, (TIES, TIES[::-1].copy())),
    "clamp": (lambda a, x, b: lax.clamp(a, x, b), (-P, X, Q)),
    "clamp by numbers": (lambda x: lax.clamp(-0.3, x, 0.5), (X,)),
    "select": (lambda a, b: jnp.where(X > 0, a, b), (X, Y)),
    "select of three": (lambda a, b, c: lax.select_n(np.arange(20).reshape(4, 5) % 3, a, b, c), (X, Y, P)),
}
if hasattr(lax, "polynomial"):  # since JAX 0.12
    PAIRS["polynomial"] = (lambda x, c: lax.polynomial(x, [c, 2 * c, c * c]), (X, Y))
COMPLEX = {
    "complex": (lambda a, b: jnp.real(lax.complex(a, b) ** 2 * jnp.conj(lax.complex(b, a * 2))), (X, Y)),
    "imag": (lambda a, b: jnp.imag(jnp.exp(lax.complex(a, b))), (X, Y)),
    "a real number among complex ones": (lambda a: jnp.imag(a * Z), (X,)),
}
SHAPES = {
    "an axis of size one": (lambda a, b: a + b * X, (X[:1], Y)),
    "reshape": (lambda x: x.reshape(2, 10)[:, None], (X,)),
    "transpose": (lambda x: jnp.transpose(x, (2, 0, 3, 1)), (IMAGE,)),
    "broadcast": (lambda x: lax.broadcast_in_dim(x[:, :1], (4, 3, 5), (0, 2)), (X,)),
    "rev": (lambda x: lax.rev(x, (1,)), (X,)),
    "slice": (lambda x: lax.slice(x, (1, 0), (4, 5), (2, 3)), (X,)),
    "pad": (lambda x, v: lax.pad(x, v[0, 0], [(2, -1, 0), (-1, 3, 2)]), (X, Y)),
    "concatenate": (lambda a, b: jnp.concatenate([a, b[:, :2], a], 1), (X, Y)),
    "split": (lambda x: jnp.split(x, [1, 3], 1)[1], (X,)),
    "tile": (lambda x: lax.tile(x, (2, 3)), (X,)),
    "stack": (lambda a, b: jnp.stack([a, b, a], 1), (X, Y)),
}
REDUCTIONS = {
    "sum": (lambda x: jnp.sum(x, 0), (X,)),
    "prod": (lambda x: jnp.prod(x, (0, 2)), (np.where(np.abs(IMAGE) < 0.05, 0, IMAGE),)),
    "greatest, with ties": (lambda x: jnp.max(x, 1), (TIES,)),
    "least, with ties": (lambda x: jnp.min(x, 1), (TIES,)),
    "cumsum": (lambda x: lax.cumsum(x, 1), (X,)),
    "cumsum from the end": (lambda x: lax.cumsum(x, 0, reverse=True), (X,)),
    "cumprod": (lambda x: lax.cumprod(x, 1), (TIES,)),
    "cummax": (lambda x: lax.cummax(x, 1, reverse=True), (X,)),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, 0), (X,)),
    "windows": (windows, (IMAGE,)),
    "greatest of windows, with ties": (pool(lax.max, -np.inf), (np.round(2 * IMAGE) / 2,)),
    "least of windows, with ties": (pool(lax.min, np.inf), (np.round(2 * IMAGE) / 2,)),
    "windows that lie in the padding": (
        lambda x: jnp.exp(lax.reduce_window(x, -np.inf, lax.max, (2,), (2,), ((4, 0),))),
        (X[0],),
    ),
    "gradient of greatest of windows": (jax.grad(lambda x: jnp.sum(jnp.exp(pool(lax.max, -np.inf)(x)))), (IMAGE,)),
    "slope of least of windows": (lambda t: jax.jvp(pool(lax.min, np.inf), (IMAGE,), (t,))[1], (IMAGE,)),
    "a reduction of one's own": (by_tree, (X,)),
    "sort": (lambda x: jnp.sort(x, 0), (X,)),
    "sort of several": (lambda a, b: lax.sort([a, b], dimension=1, num_keys=1)[1], (X, Y)),
    "top_k": (lambda x: lax.top_k(x, 3)[0], (X,)),
}
PARTS = {
    "gather": (lambda x: x[np.array([2, 0, 2, -1])], (X,)),
    "gather out of bounds": (lambda x: x.at[np.array([1, 9])].get(mode="fill", fill_value=0), (X,)),
    "gather from a batch": (lambda x: jnp.take_along_axis(x, np.array([[0], [4], [4], [1]]), 1), (X,)),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 2), (2, 3)), (X,)),
    "dynamic_update_slice": (lambda x, u: lax.dynamic_update_slice(x, u[:2, :3], (1, 2)), (X, Y)),
    "scatter_add": (scattered(lax.scatter_add), (X, UPDATES)),
    "scatter_sub": (scattered(lax.scatter_sub), (X, UPDATES)),
    "scatter_mul, twice at one place": (lambda x: scattered(lax.scatter_mul)(x, UPDATES), (X,)),
    "scatter_mul": (lambda x, u: x.at[np.array([2, 0])].multiply(u[:2], unique_indices=True), (X, UPDATES)),
    "scatter, twice at one place": (scattered(lax.scatter), (X, UPDATES)),
    "scatter_max": (scattered(lax.scatter_max), (X, UPDATES)),
    "scatter_min": (scattered(lax.scatter_min), (X, UPDATES)),
}
PRODUCTS = {
    "dot": (lambda a, b: a @ b.T, (X, Y)),
    "dot over a batch": (lambda a, b: jnp.einsum("ijbc,bkcj->bki", a, b), (IMAGE, RNG.normal(size=(8, 3, 4, 9)))),
    "conv": conv(3, 2, 4, 6, window_strides=(2, 3), padding=((1, 2), (0, 1))),
    "conv, dilated": conv(3, 2, 4, 6, window_strides=(1, 2), padding="VALID", rhs_dilation=(2, 3)),
    "conv, transposed": conv(3, 2, 4, 6, window_strides=(1, 1), padding=((2, 1), (0, 3)), lhs_dilation=(2, 3)),
    "conv, grouped": conv(3, 3, 2, 6, window_strides=(2, 1), padding="SAME", feature_group_count=2),
    "conv, batches in groups": conv(3, 3, 4, 6, window_strides=(2, 1), padding="SAME", batch_group_count=2),
}
FOURIER = {
    "fft": (lambda a, b: jnp.real(jnp.fft.fft2(lax.complex(a, b)) * Z), (X, Y)),
    "ifft": (lambda a, b: jnp.imag(jnp.fft.ifft(lax.complex(a, b)) * Z), (X, Y)),
    "rfft": (lambda x: jnp.real(jnp.fft.rfft2(x) * Z[:, :3]), (X,)),
    "irfft, odd": (lambda a, b: jnp.fft.irfft2(lax.complex(a, b), (4, 9)), (X, Y)),
    "irfft, even": (lambda a, b: jnp.fft.irfft(lax.complex(a, b), 8), (X, Y)),
}
LINEAR = {
    "cholesky": (lambda a: lax.linalg.cholesky(a @ jnp.swapaxes(a, -1, -2)), (SQUARE,)),
    "cholesky, not made symmetric": (
        lambda x: lax.linalg.cholesky(np.eye(4) * 5 + x @ x.T, symmetrize_input=False),
        (X,),
    ),
    "cholesky of complex": (
        lambda a, b: jnp.real(Z[:, :4] * lax.linalg.cholesky(5 * np.eye(4) + lax.complex(a, b) @ lax.complex(a, -b).T)),
        (X, Y),
    ),
    **{
        f"triangular_solve {left, lower, turned, unit}": (
            partial(lax.linalg.triangular_solve, left_side=left, lower=lower, transpose_a=turned, unit_diagonal=unit),
            (SQUARE, RNG.normal(size=(2, 4, 2) if left else (2, 3, 4))),
        )
        for left, lower, turned, unit in ((1, 1, 0, 0), (0, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 1))
    },
    "triangular_solve of complex": (
        lambda a, b: jnp.imag(
            Z
            * lax.linalg.triangular_solve(
                lax.complex(a, b), Z, left_side=True, lower=True, transpose_a=True, conjugate_a=True
            )
        ),
        (SQUARE[0], SQUARE[1]),
    ),
    "eigh": (lambda a: [jnp.abs(jnp.linalg.eigh(a)[1]), jnp.linalg.eigh(a)[0]], (SQUARE,)),
    "eigh of complex": (
        lambda a, b: [f(jnp.linalg.eigh(lax.complex(a, b))) for f in (lambda e: jnp.abs(e[1]), lambda e: e[0])],
        (SQUARE[0], SQUARE[1]),
    ),
    "lu": (lambda a: lax.linalg.lu(a)[0], (SQUARE,)),
    "lu of more rows": (lambda a: lax.linalg.lu(a)[0], (TALL,)),
    "lu of more columns": (lambda a: lax.linalg.lu(a)[0], (WIDE,)),
    "solve, inverse, determinant": (
        lambda a, b: [jnp.linalg.solve(a, b), jnp.linalg.inv(a), jnp.linalg.slogdet(a)[1]],
        (SQUARE, SQUARE[::-1]),
    ),
    "linear solve by functions": (
        lambda a, b: lax.custom_linear_solve(
            lambda v: a[0] @ v,
            b[0, 0],
            lambda mv, v: jnp.linalg.inv(a[0]) @ v,
            lambda vm, v: jnp.linalg.inv(a[0]).T @ v,
        ),
        (SQUARE, SQUARE[::-1]),
    ),
    "tridiagonal_solve": (
        lambda dl, d, du, b: lax.linalg.tridiagonal_solve(dl, 4 + d, du, b),
        (X[0], X[1], Y[0], RNG.normal(size=(5, 2))),
    ),
    "qr": (lambda a: list(jnp.linalg.qr(a)), (TALL,)),
    "svd": (lambda a: [s := jnp.linalg.svd(a, full_matrices=False), jnp.abs(s[0]) @ jnp.abs(s[2])][1:], (TALL,)),
    "singular values": (lambda a: jnp.linalg.svd(a, compute_uv=False), (WIDE,)),
    "eig": (lambda a: jnp.abs(jnp.linalg.eigvals(a)), (SQUARE,)),
}
CONTROL = {
    "scan": (lambda c, xs: lax.scan(lambda c, x: (jnp.sin(c) * x, c * x), c[0], xs), (X, Y)),
    "scan from the end": (lambda c, xs: lax.scan(partial(step, c[1]), (c[0], 0), xs, reverse=True)[1], (X, Y)),
    "scan in scan": (lambda x: lax.scan(lambda c, row: lax.scan(turn, c, row), x[0, 0], x)[1], (X,)),
    "cond": (lambda x, y: lax.cond(x[0, 0] > 0, lambda x: x * y, lambda x: jnp.exp(x) + 2 * y, x), (X, Y)),
    "switch": (lambda x, i: lax.switch(2, [jnp.sin, jnp.cos, lambda x: x**3], x) * i, (X, Y)),
    "fori_loop": (lambda x: lax.fori_loop(0, 5, lambda i, v: jnp.tanh(v) * x + i, x), (X,)),
    "custom_jvp": (jax.nn.relu, (np.array([-1.0, 0.0, 2.0]),)),
    "custom_jvp of several": (jax.nn.logsumexp, (X,)),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sin(x) * x), (X,)),
    "stopped": (lambda x: x * lax.stop_gradient(x) + jnp.floor(x), (X,)),
    "used three times": (lambda x: x * x + x, (X,)),
}  # fmt: skip


FAMILIES = {"elementwise": ELEMENTWISE, "pairs": PAIRS, "complex": COMPLEX, "shapes": SHAPES, "reductions": REDUCTIONS}
FAMILIES |= {"parts": PARTS, "products": PRODUCTS, "fourier": FOURIER, "linear": LINEAR, "control": CONTROL}
FAMILIES |= {"special": SPECIAL}
CASES = {name: case for family in FAMILIES.values() for name, case in family.items()}


def loss_of(fn):
    def loss(*xs):
        leaves = jax.tree.leaves(fn(*xs))
        return sum(
            jnp.sum(y * np.random.default_rng(i).normal(size=y.shape))
            for i, y in enumerate(leaves)
            if jnp.issubdtype(y.dtype, jnp.floating)
        )

    return loss


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.soak) if name == "special" else name for name in FAMILIES]
)
def test_gradients_are_those_of_jax(family):
    """The cases of a family in one program: their losses are added, and each has arguments of its own."""
    cases = FAMILIES[family]

    def loss(arguments):
        return sum(loss_of(fn)(*arguments[name]) for name, (fn, _) in cases.items())

    with jax.enable_x64(True):
        arguments = {name: list(map(jnp.asarray, xs)) for name, (_, xs) in cases.items()}
        value, grads = px.autodiff.backward(loss, arguments)(arguments)
        value2, grads2 = jax.jit(jax.value_and_grad(loss))(arguments)
    np.testing.assert_allclose(value, value2, rtol=1e-10)
    for name in cases:
        for ours, theirs in zip(grads[name], grads2[name], strict=True):
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-10, atol=1e-10, err_msg=name)


def test_extremes_of_dilated_windows_have_their_slopes():
    """Which JAX knows forward alone."""
    fn = loss_of(pool(lax.max, -np.inf, (1, 2, 1, 1), (1, 1, 2, 1)))
    with jax.enable_x64(True):
        x = jnp.asarray(IMAGE[:1, :4, :3, :1])
        np.testing.assert_allclose(px.autodiff.backward(fn, x)(x)[1], jax.jit(jax.jacfwd(fn))(x), rtol=1e-12)


def test_every_rule_is_met_by_a_case_or_another_name_of_one():
    met = set()
    with jax.enable_x64(True):
        for fn, xs in CASES.values():
            met |= kinds(jax.make_jaxpr(fn)(*xs).jaxpr)
    same = {
        "add_any",
        "convert_element_type",
        "copy",
        "copy_p",
        "name",
        "optimization_barrier",
        "expand_dims",
        "unstack",
        "cummin",
        "device_put",
        "sharding_constraint",
        "layout_constraint",
        "approx_top_k",
    }
    older = {
        "scatter_add",
        "scatter_sub",
        "scatter_mul",
        "scatter_max",
        "scatter_min",
        "log2",
        "polynomial",
        "one_minus_square",
    }  # of other versions of JAX
    assert set(RULES) - met - same - older == {"while", "custom_vjp_call"}
    assert not set(RULES) & STOPS


# What JAX has a slope for and no gradient of arrays passes: callbacks and foreign calls, which refuse it; what marks a
# program; cells that are written; collectives, which shard_map holds.
NEVER_MET = {"pure_callback", "io_callback", "buffer_callback", "ffi_call", "check", "debug_print", "inspect_sharding"}
NEVER_MET |= {"dce_sink", "stage", "tie", "to_edtype", "from_edtype", "eval_jaxpr", "shard_alike", "xla_metadata_value"}
NEVER_MET |= {
    "get",
    "swap",
    "addupdate",
    "new_ref",
    "free_ref",
    "empty_ref",
    "freeze",
    "run_state",
    "accum_grad_in_ref",
}
NEVER_MET |= {
    "host_local_array_to_global_array",
    "global_array_to_host_local_array",
}  # of multihost_utils, once imported
NEVER_MET |= {"new_box", "box_get", "box_set", "new_log", "log_read", "log_extend"}
COLLECTIVES = {"psum", "psum_invariant", "ppermute", "pbroadcast", "pvary", "all_to_all", "ragged_all_to_all"}
COLLECTIVES |= {
    "all_gather",
    "all_gather_invariant",
    "all_gather_reduced",
    "reduce_scatter",
    "unreduced_reduce_scatter",
}
COLLECTIVES |= {"pbroadcast_dynamic", "reduced_vary_cast", "vary_unreduced_cast"}
COLLECTIVES |= {"unreduced_psum", "preduced", "vary_unreduced_cast_p", "reduced_vary_cast_p"}


# In a process of its own: other tests' modules, Pallas and kernels among them, bring operations of theirs.
SLOPED = """
import jax
from jax import lax
from jax.interpreters import ad

zero = ad.primitive_jvps[lax.not_p].func
print(*(p.name for p, rule in ad.primitive_jvps.items() if getattr(rule, "func", None) is not zero))
"""


def test_what_jax_differentiates_has_a_rule_or_is_named_as_absent():
    done = subprocess.run([sys.executable, "-c", SLOPED], capture_output=True, text=True, check=True, timeout=120)
    sloped = set(done.stdout.split())
    assert {"sin", "lu", "select_and_scatter_add"} <= sloped
    assert sloped - set(RULES) - STOPS - set(_CALLS) - set(ABSENT) - NEVER_MET - COLLECTIVES == set()
    assert not set(ABSENT) & set(RULES)


def kinds(jaxpr):
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for v in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            if hasattr(getattr(v, "jaxpr", v), "eqns"):
                found |= kinds(getattr(v, "jaxpr", v))
    return found
