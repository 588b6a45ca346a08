"""Derivatives, rules of the user's own, loops and maps: against torch.func, jax and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.core import advance


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def tied() -> px.Chain:
    """tanh(tanh(x W + b) W + b): one layer twice."""
    part = px.Dense.of(0.5 * normal(3, 3), normal(3, seed=1), px.tanh)
    return px.Chain(part, part)


X = normal(4, 3, seed=2)


def torch_twin():
    """The same function in PyTorch, of (W, b, x)."""
    torch = oracle("torch")

    def forward(params, x):
        for _ in range(2):
            x = torch.tanh(x @ params["w"] + params["b"])
        return x

    part = tied()[0]
    return forward, {n: torch.tensor(np.asarray(v)) for n, v in (("w", part.weight), ("b", part.bias))}


def as_torch(x):
    return oracle("torch").tensor(np.asarray(x))


# --- derivatives ---------------------------------------------------------------------------------------------------

forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch loads it for jvp


@forward_mode
def test_vjp_and_jvp_are_those_of_torch():
    func = oracle("torch.func")
    forward, params = torch_twin()
    model, g = tied(), normal(4, 3, seed=3)
    y, pullback = px.vjp(lambda m, x: m(x), model, X)
    want, pull = func.vjp(forward, params, as_torch(X))
    assert_close(y, want)
    (grads, dx), (theirs, their_dx) = pullback(g), pull(as_torch(g))
    assert grads[0] is grads[1]
    assert_close(grads[0].weight, theirs["w"], kind="grad")
    assert_close(grads[0].bias, theirs["b"], kind="grad")
    assert_close(dx, their_dx, kind="grad")
    direction = px.map(lambda w: jnp.cos(w), model)
    _, slope = px.jvp(lambda m, x: m(x), (model, X), (direction, g))
    along = {n: p.cos() for n, p in params.items()}
    assert_close(slope, func.jvp(forward, (params, as_torch(X)), (along, as_torch(g)))[1], kind="grad")


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_jacobian_is_that_of_torch(mode):
    forward, params = torch_twin()
    ours = px.jacobian(lambda m: m(X), mode=mode)(tied())
    theirs = oracle("torch.func").jacrev(forward)(params, as_torch(X))
    assert_close(ours[0].weight, theirs["w"], kind="grad")
    assert_close(ours[1].bias, theirs["b"], kind="grad")


@forward_mode
def test_hessian_and_its_product_with_a_vector_are_those_of_torch():
    forward, params = torch_twin()
    model = tied()
    loss = lambda m: (m(X) ** 2).sum()  # noqa: E731
    theirs = oracle("torch.func").hessian(lambda p: (forward(p, as_torch(X)) ** 2).sum())(params)
    ours = px.hessian(loss)(model)
    for a, b in (("weight", "w"), ("bias", "b")):
        for c, d in (("weight", "w"), ("bias", "b")):
            assert_close(getattr(getattr(ours[0], a)[0], c), theirs[b][d].detach(), kind="grad", scale=10)
    v = px.map(jnp.cos, model)
    value, product = px.hvp(loss, model, v)
    assert_close(value, loss(model))
    along = {n: p.cos() for n, p in params.items()}
    for a, b in (("weight", "w"), ("bias", "b")):
        sums = [(theirs[b][d].reshape(*params[b].shape, -1) * along[d].reshape(-1)).sum(-1) for d in along]
        assert_close(getattr(product[0], a), sum(sums), kind="grad", scale=10)


def test_complex_parameters_follow_jaxs_convention():
    class Wave(px.Module):
        def __init__(self):
            self.amplitude = jnp.asarray([1 + 2j, 3 - 1j])

        def __call__(self, x):
            return self.amplitude * x

    def loss(a, x):
        return (jnp.abs(a * x) ** 2).sum()

    x = jnp.asarray([2.0, 1j])
    wave = Wave()
    grads = px.grad(lambda m: (jnp.abs(m(x)) ** 2).sum())(wave)
    assert_close(grads.amplitude, jax.grad(loss)(wave.amplitude, x), kind="grad")
    assert_close(grads.amplitude, 2 * jnp.conj(wave.amplitude) * jnp.abs(x) ** 2, kind="grad")
    y, pullback = px.vjp(lambda m: m(x), wave)
    _, pull = jax.vjp(lambda a: a * x, wave.amplitude)
    assert_close(pullback(y)[0].amplitude, pull(y)[0], kind="grad")
    _, slope = px.jvp(lambda m: m(x), (wave,), ({"amplitude": jnp.asarray([1j, 1.0])},))
    assert_close(slope, jnp.asarray([2j, 1j]))


# --- rules of the user's own --------------------------------------------------------------------------------------


def scaled_rule():
    """y = W x, whose gradient is doubled for the layer and stopped for x; counts its forward passes."""

    class Counted(px.Module):
        calls: px.State

        def __init__(self):
            self.weight, self.calls = normal(3, 3), jnp.zeros(())

    @px.custom_vjp
    def product(layer, x):
        layer.calls = layer.calls + 1
        return x @ layer.weight

    def forward(layer, x):
        layer.calls = layer.calls + 1
        return x @ layer.weight, x

    product.defvjp(forward, lambda x, g: ({"weight": 2 * x.T @ g}, None))
    return Counted(), product


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_a_rule_over_a_module_with_state(wrap):
    layer, product = scaled_rule()
    loss = lambda layer, x: (product(layer, x) * jnp.arange(3.0)).sum()  # noqa: E731
    grads, dx = wrap(px.grad(loss, argnums=(0, 1)))(layer, X)
    cotangent = np.broadcast_to(np.arange(3.0, dtype=np.float32), (4, 3))
    assert_close(grads.weight, 2 * np.asarray(X).T @ cotangent, kind="grad")
    assert grads.calls is None
    assert_close(dx, np.zeros((4, 3), np.float32))
    assert float(layer.calls) == 1.0
    assert_close(wrap(lambda m, x: product(m, x))(layer, X), X @ layer.weight)
    assert float(layer.calls) == 2.0


def test_a_rule_with_a_gradient_module_and_a_wrong_number_of_cotangents():
    @px.custom_vjp
    def run(model, x):
        return model(x)

    def forward(model, x):
        return model(x), (model, x)

    def backward(kept, g):
        model, x = kept
        _, pullback = px.vjp(lambda m, x: m(x), model, x)
        grads, dx = pullback(g)
        return px.map(lambda v: -v, grads), dx

    run.defvjp(forward, backward)
    model = tied()
    got = px.grad(lambda m: run(m, X).sum())(model)
    want = px.grad(lambda m: m(X).sum())(model)
    assert_close(got[0].weight, -want[0].weight, kind="grad")
    run.defvjp(forward, lambda kept, g: (g,))
    with pytest.raises(px.StructureError, match=r"px.custom_vjp expects a backward that returns a tuple of 2 .* got 1"):
        px.grad(lambda m: run(m, X).sum())(model)


def test_stop_gradient_of_a_part_and_of_a_value():
    model = px.Chain(px.Dense(3, 3), px.Dense(3, 1))

    def loss(m):
        return (m[1](px.stop_gradient(m[0])(X)) * px.stop_gradient(m(X))).sum()

    grads = px.grad(loss)(model)
    assert not grads[0].weight.any()
    hidden = model[0](X)
    assert_close(grads[1].weight, hidden.T @ model(X), kind="grad")


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit, jax.jit], ids=["eager", "px.jit", "jax.jit"])
def test_a_hook_changes_what_flows_back(wrap):
    def loss(x):
        return (px.gradient_hook(x**2, lambda g: jnp.clip(g, -1, 1)) * jnp.asarray([5.0, 0.5, -3.0])).sum()

    slope = wrap(px.grad(loss))(jnp.asarray([1.0, 2.0, 3.0]))
    assert slope.tolist() == [2.0, 2.0, -6.0]  # 2x · clip(…)


def test_a_hook_that_looks_sees_the_gradient():
    seen = []
    px.grad(lambda x: 3 * px.gradient_hook(x**2, lambda g: seen.append(px.value(g))))(2.0)
    assert [float(g) for g in seen] == [3.0]
    with pytest.raises(px.ShapeError, match=r"px.gradient_hook expects the hook .* float32\[2\], got float32\[\]"):
        px.grad(lambda x: px.gradient_hook(x, lambda g: g.sum()).sum())(jnp.ones(2))


def test_value_of_trees_and_nested_gradients():
    found = []

    def inner(w, m):
        found.append(px.value({"w": [w], "m": m}))
        return (w * m.weight).sum()

    model = px.Dense.of(jnp.full((1, 1), 7.0), None)
    px.grad(lambda m: px.grad(inner)(jnp.asarray(2.0), m))(model)
    (tree,) = found
    assert float(np.asarray(tree["w"][0])) == 2.0
    assert np.asarray(tree["m"].weight).item() == 7.0
    for transform in (px.jit, px.vmap):
        with pytest.raises(px.StructureError, match=r"px.value expects an array with a value"):
            transform(px.value)(jnp.ones(2))


# --- loops and branches ----------------------------------------------------------------------------------------------


def step(carry, x):
    total, count = carry["total"], carry["count"]
    new = {"total": jnp.tanh(total) + x["a"], "count": count + 1}
    return new, (total * x["b"], {"count": count})


INIT = {"total": jnp.asarray([0.5, -0.5]), "count": jnp.asarray(0)}
XS = {"a": normal(6, 2), "b": jnp.arange(6)}


@pytest.mark.parametrize(
    "options", [{}, {"reverse": True}, {"unroll": 4}, {"reverse": True, "unroll": 2}, {"length": 6}]
)
@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_scan_is_jaxs(wrap, options):
    ours = wrap(lambda init, xs: px.scan(step, init, xs, **options))(INIT, XS)
    theirs = jax.lax.scan(step, INIT, XS, **options)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(assert_close, ours, theirs)
    assert [v.dtype for v in jax.tree.leaves(ours)] == [v.dtype for v in jax.tree.leaves(theirs)]


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_scan_without_xs_without_rounds_and_without_results(wrap):
    empty = {"a": jnp.zeros((0, 2)), "b": jnp.zeros((0,), jnp.int32)}
    for ours, theirs in (
        (
            lambda c: px.scan(lambda c, _: (2 * c, c), c, None, 5),
            lambda c: jax.lax.scan(lambda c, _: (2 * c, c), c, None, 5),
        ),
        (
            lambda c: px.scan(lambda c, _: (c, None), c, length=3),
            lambda c: jax.lax.scan(lambda c, _: (c, None), c, length=3),
        ),
    ):
        jax.tree.map(np.testing.assert_array_equal, wrap(ours)(jnp.asarray(3)), theirs(jnp.asarray(3)))
    ours, theirs = wrap(lambda c: px.scan(step, c, empty))(INIT), jax.lax.scan(step, INIT, empty)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert ours[1][0].shape == (0, 2)


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_a_gradient_through_a_scan_is_jaxs(wrap):
    def loss(scan, a):
        last, (ys, _) = scan(step, INIT, {"a": a, "b": XS["b"]})
        return (last["total"] ** 2).sum() + ys.sum()

    ours = wrap(px.grad(lambda a: loss(px.scan, a)))(XS["a"])
    assert_close(ours, jax.grad(lambda a: loss(jax.lax.scan, a))(XS["a"]), kind="grad")


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("start", [1, 7, 27])
def test_while_loop_and_cond_are_jaxs(wrap, start):
    def collatz(cond, while_loop):
        def body(carry):
            n = carry["n"]
            return {"n": cond(n % 2 == 0, lambda n: n // 2, lambda n: 3 * n + 1, n), "steps": carry["steps"] + 1}

        return lambda n: while_loop(lambda c: c["n"] != 1, body, {"n": n, "steps": jnp.asarray(0)})

    found = wrap(collatz(px.cond, px.while_loop))(jnp.asarray(start))
    want = collatz(jax.lax.cond, jax.lax.while_loop)(jnp.asarray(start))
    assert int(found["steps"]) == int(want["steps"]) == {1: 0, 7: 16, 27: 111}[start]


# --- vmap ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("in_axes", "out_axes"),
    [
        ((0, None, {"c": 1}), 0),
        ((1, 0, {"c": 0}), 1),
        ((-1, None, {"c": None}), (0, -1)),
        ([0, 0, 1], [1, 0]),
        ((None, 0, None), 0),
    ],
)
def test_vmap_axes_are_jaxs(wrap, in_axes, out_axes):
    a, b, c = normal(3, 3), normal(3, 3, seed=1), {"c": normal(3, 3, seed=2)}

    def fn(a, b, c):
        return a * 2 + b, jnp.sin(a).sum() * c["c"] * b

    theirs_in = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    theirs_out = tuple(out_axes) if isinstance(out_axes, list) else out_axes
    ours = wrap(px.vmap(fn, in_axes=in_axes, out_axes=out_axes))(a, b, c)
    jax.tree.map(assert_close, ours, jax.vmap(fn, in_axes=theirs_in, out_axes=theirs_out)(a, b, c))


def test_vmap_keywords_and_sizes():
    ours = px.vmap(lambda x, *, y: x + y, in_axes=(None,))(1.0, y=jnp.arange(3.0))
    assert ours.tolist() == [1.0, 2.0, 3.0]
    assert px.vmap(lambda x: x, in_axes=None, axis_size=3)(jnp.asarray(2.0)).tolist() == [2.0] * 3
    index = px.vmap(lambda x: x * jax.lax.axis_index("i"), axis_name="i")(jnp.ones(3))
    assert index.tolist() == [0.0, 1.0, 2.0]


class Mean(px.Module):
    mean: px.State

    def __init__(self):
        self.mean = jnp.zeros(3)

    def __call__(self, x):
        self.mean = 0.5 * self.mean + 0.5 * jax.lax.pmean(x, "batch")
        return x - self.mean


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_a_mean_over_the_batch_goes_into_state(wrap):
    layer = Mean()
    y = wrap(px.vmap(lambda m, x: m(x), in_axes=(None, 0), axis_name="batch"))(layer, X)
    assert_close(layer.mean, 0.5 * np.asarray(X).mean(0))
    assert_close(y, X - layer.mean)


class Noise(px.Module):
    key: px.State

    def __init__(self):
        self.key = jax.random.key(3)

    def __call__(self, x, draw=True):
        return x + jax.random.normal(advance(self)) if draw else x


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit], ids=["eager", "compiled"])
def test_keys_split_along_the_axis_and_the_callers_advances_once(wrap):
    layer, n = Noise(), 512
    before = np.array(jax.random.key_data(layer.key))
    first = wrap(px.vmap(lambda m, x: m(x), in_axes=(None, 0)))(layer, jnp.zeros(n))
    after = np.array(jax.random.key_data(layer.key))
    assert len(set(np.asarray(first).tolist())) == n
    assert abs(float(first.mean())) < 5 / n**0.5
    assert (before != after).any()
    second = wrap(px.vmap(lambda m, x: m(x), in_axes=(None, 0)))(layer, jnp.zeros(n))
    assert not set(np.asarray(first).tolist()) & set(np.asarray(second).tolist())
    still = np.array(jax.random.key_data(layer.key))
    wrap(px.vmap(lambda m, x: m(x, draw=False), in_axes=(None, 0)))(layer, jnp.zeros(n))
    assert (jax.random.key_data(layer.key) == still).all()  # nothing was drawn


def test_stacked_models_are_the_models_one_by_one():
    keys = jax.random.split(jax.random.key(0), 4)
    stack = px.vmap(lambda key: px.Chain(px.Dense(3, 2, key=key), px.BatchNorm(2)))(keys)
    singles = [px.map(lambda w, i=i: w[i], stack) for i in range(4)]
    loss = lambda m, x: (m(x) ** 3).sum()  # noqa: E731
    grads = px.vmap(px.grad(loss), in_axes=(0, None))(stack, X)
    for i, single in enumerate(singles):
        want = px.grad(loss)(single, X)
        assert_close(grads[0].weight[i], want[0].weight, kind="grad", scale=10)
        assert_close(stack[1].mean[i], single[1].mean)
    assert stack[1].mean.shape == (4, 2)
