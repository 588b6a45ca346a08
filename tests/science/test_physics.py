"""Physics-informed networks: derivatives by name, terms, points, conditions that hold exactly, weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

oracle("optimistix")


@pytest.fixture(autouse=True)
def _in_64_bits():
    with jax.enable_x64(True):
        yield


POINTS = np.random.default_rng(0).uniform(0.2, 0.9, (5, 2))


def network(outputs=1, act=px.tanh, width=6):
    return px.f64(px.Chain(px.Dense(2, width, act, key=0), px.Dense(width, outputs, key=1)))


def by_jax(fn, points, *axes):
    """The derivative of a function of points by these columns, one after the other, in reverse mode at each point."""
    one = lambda p: fn(p[None]).reshape(())  # noqa: E731
    for axis in axes:
        one = lambda p, one=one, axis=axis: jax.grad(one)(p)[axis]  # noqa: E731
    return jax.jit(jax.vmap(one))(jnp.asarray(points))


# --- derivatives ---------------------------------------------------------------------------------------


def everything(p):
    """One of each kind of operation that polynomials have a rule for."""
    x, t = p[:, 0], p[:, 1]
    waves = jnp.concatenate([jnp.sin(3 * p), jnp.exp(-p)], 1) @ jnp.arange(1.0, 5.0)
    logs = jnp.log1p(x) * jax.nn.softplus(t) + x**1.5 / (1 + t**2)
    kinks = jnp.where(x > 0.5, x**3, t) + jnp.maximum(x, 0.1) + jax.nn.sigmoid(t) + jnp.stack([x, t]).sum(0)
    return jnp.tanh(waves) + logs * kinks


@pytest.mark.parametrize("names", ["xxt", *(pytest.param(n, marks=pytest.mark.soak) for n in ("x", "ttt", "xxtt"))])
def test_derivatives_of_any_order_are_those_of_jax(names):
    axes = ["xt".index(name) for name in names]
    found = px.jit(lambda p: px.science.Field(everything, p, "x t").d(names))(jnp.array(POINTS))
    np.testing.assert_allclose(found, by_jax(everything, POINTS, *axes), rtol=1e-9, atol=1e-10)


def test_an_operation_without_a_rule_is_differentiated_forward_in_forward_mode():
    angle = lambda p: jnp.arctan2(p[:, 1], p[:, 0])  # noqa: E731
    u = px.science.Field(angle, POINTS, "x t")
    np.testing.assert_allclose(u.d("xx") + u.d("tt"), 0, atol=1e-12)  # a harmonic function
    np.testing.assert_allclose(u.d("xt"), by_jax(angle, POINTS, 0, 1), rtol=1e-9)


def test_each_stream_of_a_residual_is_computed_once():
    """u, u_t, u_x and u_xx are four products a layer, where slopes of slopes, one after the other, take more."""
    pinn = px.science.PINN(network(), lambda u, x, t: u.d("t") - u.d("xx") + u * u.d("x"))
    program = jax.make_jaxpr(lambda points: pinn.loss(points)[0])(jnp.array(POINTS))
    kinds = [line.primitive.name for jaxpr in all_of(program.jaxpr) for line in jaxpr.eqns]
    first, second = 3, 4  # the second derivative of x itself is zero
    assert kinds.count("dot_general") == first + second


def all_of(jaxpr):
    """A jaxpr and those within it."""
    yield jaxpr
    for line in jaxpr.eqns:
        for value in jax.tree.leaves(list(line.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from all_of(inner)


def test_outputs_are_fields_of_their_own_which_compute_as_their_values():
    model = network(3)
    u, v, p = px.science.Field(model, POINTS, ["x", "t"])
    np.testing.assert_allclose(
        2 / u - v * p + 1 - (u - 1) / v, 2 / u.value - v.value * p.value + 1 - (u.value - 1) / v.value
    )
    np.testing.assert_allclose(v.d("x", "t"), by_jax(lambda q: model(q)[:, 1], POINTS, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(-(p**2) + 0 * u, -(model(POINTS)[:, 2] ** 2))
    moved = np.stack([np.full(5, 0.3), POINTS[:, 1] + 1], 1)
    np.testing.assert_allclose(v.at(x=0.3, t=POINTS[:, 1] + 1).d("t"), by_jax(lambda q: model(q)[:, 1], moved, 1))
    assert px.science.Field(model, POINTS, "x t").d("x").shape == (5, 3)


def test_a_whole_step_is_in_float64():
    pinn = px.f64(px.science.PINN(network(), {"a": lambda u, x, t: u.d("xxt") + u, "b": lambda u, x, t: u.d("x")}))
    points = {"a": jnp.array(POINTS), "b": jnp.array(POINTS)}
    step = lambda pinn, points: px.value_and_grad(lambda m: px.science.physics_loss(m, points), has_aux=True)(pinn)  # noqa: E731
    program = jax.make_jaxpr(step)(pinn, points)
    types = [v.aval.dtype for jaxpr in all_of(program.jaxpr) for line in jaxpr.eqns for v in line.outvars]
    assert {str(t) for t in types if jnp.issubdtype(t, jnp.inexact)} == {"float64"}
    assert len(types) > 50


# --- terms ---------------------------------------------------------------------------------------------


def test_a_loss_is_the_weighted_sum_of_mean_squares_with_arrays_that_come_with_points():
    model = network()
    terms = {"flow": lambda u, x, t: (u.d("t"), u - x), "seen": lambda u, x, t, seen: u - seen}
    pinn = px.science.PINN(model, terms, weights={"seen": 3.0})
    points = {"seen": (POINTS[:3], np.array([1.0, 2.0, 3.0])), "flow": POINTS}
    loss, parts = px.jit(lambda pinn, points: pinn.loss(points))(pinn, points)
    u, slope = model(POINTS)[:, 0], by_jax(model, POINTS, 1)
    flow = np.mean(slope**2) + np.mean((u - POINTS[:, 0]) ** 2)
    seen = np.mean((u[:3] - np.array([1.0, 2.0, 3.0])) ** 2)
    np.testing.assert_allclose(parts["flow"], flow, rtol=1e-10)
    np.testing.assert_allclose(loss, flow + 3 * seen, rtol=1e-10)
    assert pinn.residual("flow", POINTS).shape == (5, 2)
    np.testing.assert_array_equal(pinn(POINTS), model(POINTS))


def test_unknowns_of_an_equation_are_parameters_of_the_network():
    class Unknown(px.Module):
        def __init__(self):
            self.body, self.rate = network(), jnp.array(0.5)

        def __call__(self, points):
            return self.body(points)

    pinn = px.science.PINN(Unknown(), lambda u, x, t: u.d("t") - u.model.rate * u.d("xx"))
    grads = px.jit(px.grad(lambda pinn, points: pinn.loss(points)[0]))(pinn, POINTS)
    u_t, u_xx = by_jax(network(), POINTS, 1), by_jax(network(), POINTS, 0, 0)
    np.testing.assert_allclose(grads.network.rate, np.mean(-2 * u_xx * (u_t - 0.5 * u_xx)), rtol=1e-9)


# --- points --------------------------------------------------------------------------------------------


def test_sobol_points_fall_evenly_into_all_boxes_of_a_grid():
    """Of 64 points of a Sobol sequence in two coordinates each of 64 equal rectangles, of any form, has one."""
    box = px.science.Box(a=2.0, x=(-1, 1), t=(0, 3))
    points = np.asarray(box.sobol(64, seed=1))
    assert np.all(points[:, 0] == 2)
    unit = (points[:, 1:] - [-1, 0]) / [2, 3]
    for m in range(7):
        cells = np.floor(unit * [2**m, 2 ** (6 - m)]).astype(int)
        assert len({tuple(cell) for cell in cells}) == 64
    assert box.sobol(10).shape == (10, 3)
    assert not np.allclose(points, box.sobol(64, seed=2))
    drawn = np.asarray(box.uniform(4000, key=0))[:, 1:]
    np.testing.assert_allclose(drawn.mean(0), [0, 1.5], atol=0.06)
    np.testing.assert_allclose(drawn.std(0), np.array([2, 3]) / np.sqrt(12), rtol=0.03)
    assert box.at(x=-1).grid(t=3).tolist() == [[2, -1, 0], [2, -1, 1.5], [2, -1, 3]]
    assert box.uniform(1, key=0).dtype == jnp.float32


def test_adaptive_points_have_the_density_of_the_residual():
    box = px.science.Box(x=(0, 1))
    line = lambda p: jnp.stack([p[:, 0], -p[:, 0]], 1)  # noqa: E731
    plain = np.asarray(box.adaptive(1000, line, floor=0.0, pool=20_000, key=0))
    np.testing.assert_allclose([plain.mean(), (plain**2).mean()], [2 / 3, 1 / 2], rtol=0.04)  # of density 2x
    sharp = np.asarray(box.adaptive(1000, line, power=2, floor=0.0, pool=20_000, key=0))
    np.testing.assert_allclose(sharp.mean(), 3 / 4, rtol=0.04)  # of density 3x²
    mixed = np.asarray(box.adaptive(1000, line, floor=1.0, pool=20_000, key=0))
    np.testing.assert_allclose(mixed.mean(), (2 / 3 + 1 / 2) / 2, rtol=0.04)
    assert box.adaptive(20, lambda p: 0 * p[:, 0], key=0).shape == (20, 1)
    with pytest.raises(px.RangeError, match=r"Box\.adaptive expects residuals that are finite, got NaN or Inf"):
        box.adaptive(20, lambda p: jnp.log(p[:, 0] - 0.5), key=0)


# --- conditions that hold exactly, and features ----------------------------------------------------------


def test_hard_constraints_hold_whatever_the_network_says():
    lid = lambda x, t: (16 * (x - x**2) ** 2 * t**2, 0 * x)  # noqa: E731
    model = px.science.HardConstraint(network(2), lambda x, t: x * (1 - x) * t, lid)
    walls = np.array([[0.0, 0.3], [1.0, 0.4], [0.6, 0.0]])
    np.testing.assert_allclose(model(walls), 0, atol=1e-15)
    inside = np.array([[0.5, 1.0]])
    np.testing.assert_allclose(model(inside), np.array([[1, 0]]) + 0.25 * model.network(inside), rtol=1e-12)
    alone = px.science.HardConstraint(lambda p: p[:, 0], lambda x, t: (t,))
    assert alone(inside).tolist() == [0.5]
    with pytest.raises(px.ShapeError, match=r"value as \(1,\) for each output.*\n.*a tuple of 2"):
        px.science.HardConstraint(network(2), lambda x, t: t, lambda x, t: (x, x, x))(inside)


def test_periodic_features_make_a_field_periodic_with_all_its_derivatives():
    layer = px.science.PeriodicFeatures((2.0, None), harmonics=2)
    model = px.f64(px.Chain(layer, px.Dense(layer.out_size, 5, px.tanh, key=0), px.Dense(5, 1, key=1)))

    @px.jit
    def moved(model, points, x, t):
        u = px.science.Field(model, points, "x t")
        other = u.at(x=points[:, 0] + x, t=points[:, 1] + t)
        return [u.d(names) - other.d(names) for names in ("xxt", "x", "")]

    for change in moved(model, POINTS, 2.0, 0.0):
        np.testing.assert_allclose(change, 0, atol=1e-12)
    for away in ((1.0, 0.0), (0.0, 2.0)):
        assert float(jnp.abs(moved(model, POINTS, *away)[2]).min()) > 1e-3


def test_fourier_features_have_the_kernel_of_their_scale():
    """Products of features are, by Bochner's theorem, a Gaussian of the distance: exp(-2 π² σ² d²)."""
    layer = px.f64(px.science.FourierFeatures(2, 20_000, scale=0.7, key=0))
    a, b = layer(POINTS), layer(POINTS[::-1].copy())
    distance = np.square(POINTS - POINTS[::-1]).sum(1)
    np.testing.assert_allclose((a * b).mean(1) * 2, np.exp(-2 * np.pi**2 * 0.49 * distance), atol=0.02)
    assert px.grad(lambda layer: layer(POINTS).sum())(layer).waves is None


def test_windows_of_parts_add_up_to_one_and_networks_see_their_parts():
    box = px.science.Box(x=(0, 3), t=(1, 2))
    parts = px.f64(px.science.DomainDecomposition([network()] * 6, box, {"x": 3, "t": 2}, overlap=0.5))
    places = box.grid(x=25, t=9).astype(jnp.float64)
    reach, middles = np.asarray(parts.reach), np.asarray(parts.middles)
    parts.networks = [lambda p, n=n: (p * reach + middles[n]) * jnp.array([1.0, n == 4]) for n in range(6)]
    found = np.asarray(parts(places))
    np.testing.assert_allclose(found[:, 0], places[:, 0], atol=1e-12)  # each gives x back
    here = np.abs(places - parts.middles[4]) < parts.reach
    np.testing.assert_array_equal(found[:, 1] != 0, here.all(1))
    alone = np.abs(places - parts.middles[4]) <= np.array([0.25, 0.125])
    np.testing.assert_allclose(found[alone.all(1), 1], places[alone.all(1), 1])


# --- weights -------------------------------------------------------------------------------------------


def two_terms(**options):
    terms = {"b": lambda u, x, t: (u.d("t") - u.d("xx"), 0.5 * u), "a": lambda u, x, t: u - 10 * jnp.sin(x)}
    return px.f64(px.science.PINN(network(), terms, **options)), {"a": jnp.array(POINTS), "b": jnp.array(POINTS[:4])}


def step_of(pinn, points):
    return px.value_and_grad(lambda pinn: pinn.loss(points), has_aux=True)(pinn)


def test_weights_by_gradients_make_all_gradients_of_one_length():
    pinn, points = two_terms(balance="gradient_norm", every=2, momentum=0.75)

    @px.jit
    def wanted_of(pinn):
        norms = [px.global_norm(px.grad(lambda p, n=n: p.means(points)[0][n])(pinn)) for n in range(2)]
        return sum(norms) / jnp.stack(norms)

    wanted = np.asarray(wanted_of(pinn))
    step = px.jit(step_of)
    (_, told), _ = step(pinn, points)
    np.testing.assert_allclose(pinn.weights, wanted, rtol=1e-8)
    assert set(told) == {"a", "b"}
    pinn.network[0].weight = 2 * pinn.network[0].weight
    step(pinn, points)
    np.testing.assert_allclose(pinn.weights, wanted, rtol=1e-8)  # not yet
    moved = 0.75 * wanted + 0.25 * np.asarray(wanted_of(pinn))
    step(pinn, points)
    np.testing.assert_allclose(pinn.weights, moved, rtol=1e-8)
    pinn.loss(points)  # nobody trains
    assert int(pinn.steps) == 3


def test_weights_by_the_tangent_kernel_are_those_of_its_diagonal():
    pinn, points = two_terms(balance="ntk")
    vector, restore = px.destructure(pinn)
    size = []
    for name in pinn.terms:
        slopes = jax.jit(jax.jacobian(lambda v, name=name: restore(v).residual(name, points[name])))(vector)
        size.append(float(jnp.sum(slopes**2) / points[name].shape[0]))
    (loss, told), grads = px.jit(step_of)(pinn, points)
    np.testing.assert_allclose(pinn.weights, sum(size) / np.array(size), rtol=1e-8)
    np.testing.assert_allclose(loss, pinn.weights[0] * told["b"] + pinn.weights[1] * told["a"], rtol=1e-10)
    weights, terms = pinn.weights, pinn.terms
    plain = px.grad(lambda network: weights @ px.science.PINN(network, terms).means(points)[0])(pinn.network)
    np.testing.assert_allclose(grads.network[0].weight, plain[0].weight, rtol=1e-8)  # no gradient by the weights


def test_causal_weights_wait_for_what_is_earlier():
    causal = px.science.Causal("t", 0.0, 1.0, stretches=4, tolerance=2.0)
    time, square = POINTS[:, 1], np.arange(1.0, 6.0)
    rows = np.floor(4 * time).astype(int)
    means = [square[rows == n].mean() if (rows == n).any() else 0 for n in range(4)]
    wanted = [np.exp(-2 * sum(means[:n])) for n in range(4)]
    np.testing.assert_allclose(causal.factors(time, jnp.array(square)), np.array(wanted)[rows], rtol=1e-10)
    pinn = px.science.PINN(network(), lambda u, x, t: u - 3, causal={"equation": causal})
    loss, told = pinn.loss(POINTS)
    square = np.square(network()(POINTS)[:, 0] - 3)
    np.testing.assert_allclose(loss, np.mean(causal.factors(time, square) * square), rtol=1e-10)
    np.testing.assert_allclose(told["equation_causal"], causal.least(time, square))
    grads = px.grad(lambda pinn: pinn.loss(POINTS)[0])(pinn)
    u, factors = network()(POINTS)[:, 0], causal.factors(time, square)
    np.testing.assert_allclose(grads.network[1].bias, [np.mean(2 * factors * (u - 3))], rtol=1e-9)


# --- what is said --------------------------------------------------------------------------------------


def plain(u, x, t):
    return u.d("t")


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (
            lambda: field().d("y"),
            px.RangeError,
            r"Field.d expects derivatives by x, t, got 'y'\n  fix: write u.d\('xx'",
        ),
        (lambda: field().at(y=1.0), px.RangeError, "Field.at expects coordinates x, t, got 'y'"),
        (lambda: field()[1], px.RangeError, "Field expects one of 1 outputs, got 1"),
        (lambda: px.science.Field(network(), POINTS, "x"), px.ShapeError, "2 names of coordinates, got 'x'"),
        (lambda: px.science.Field(network(), POINTS[0], "x"), px.ShapeError, r"points as floating \(batch, coord"),
        (
            lambda: px.science.Field(lambda p: p[:3], POINTS, "x t"),
            px.ShapeError,
            r"a field of \(5,\) or \(5, outputs\)",
        ),
        (lambda: px.science.Box(), px.RangeError, "Box expects a coordinate or more, got none"),
        (
            lambda: px.science.Box(x=(1, 0)),
            px.RangeError,
            r"Box expects x as \(lowest, highest\) or a number, got \(1, 0",
        ),
        (lambda: px.science.Box(x=(0, 1)).at(t=0), px.RangeError, "Box expects coordinates x, got 't'"),
        (
            lambda: px.science.Box(x=(0, 1)).grid(),
            px.RangeError,
            "Box.grid expects a count for each coordinate, got none",
        ),
        (lambda: px.science.Box(x=(0, 1)).sobol(0), px.RangeError, "n to be a whole number of at least 1, got 0"),
        (lambda: px.science.Causal("t", 1.0, 0.0), px.RangeError, "Causal expects a start before the end, got 1.0 and"),
        (
            lambda: px.science.PINN(network(), plain, balance="grad"),
            px.RangeError,
            "balance as one of None, 'gradient_n",
        ),
        (lambda: px.science.PINN(network(), plain, weights={"a": 1}), px.RangeError, "weights by the names equation"),
        (lambda: px.science.PINN(network(), plain, momentum=1.0), px.RangeError, "momentum of at least 0 and below 1"),
        (lambda: px.science.PINN(px.Chain, plain), px.RangeError, "PINN expects network that can be called"),
        (
            lambda: px.science.PINN(network(), plain).loss(POINTS[:, :1]),
            px.ShapeError,
            r"\(u, x, t\), and points of 1 col",
        ),
        (
            lambda: px.science.PINN(network(), lambda u, x, t: u.value[:, None] - x).loss(POINTS),
            px.ShapeError,
            r"PINN term 'equation' expects a residual of \(5,\), got float64\[5, 5\]\n  fix: take outputs apart",
        ),
        (
            lambda: two_terms()[0].loss(POINTS),
            px.RangeError,
            r"a dict of points by the names of terms.*{'b': points, 'a'",
        ),
        (lambda: two_terms()[0].loss({"a": POINTS}), px.RangeError, "points for b, a, got a"),
        (lambda: two_terms()[0].residual("c", POINTS), px.RangeError, "a term of b, a, got 'c'"),
        (
            lambda: px.science.PINN(network(), plain, causal={"equation": px.science.Causal("s", 0, 1)}).loss(POINTS),
            px.RangeError,
            "a coordinate for causal weights, one of x, t, got 's'",
        ),
        (lambda: px.science.PeriodicFeatures((-1.0,)), px.RangeError, "periods above 0, got -1.0"),
        (
            lambda: px.science.FourierFeatures(2, 3)(jnp.ones(3, "float32")),
            px.ShapeError,
            r"FourierFeatures\(2, 3\) expects \(..., 2",
        ),
        (
            lambda: px.science.DomainDecomposition([network()], px.science.Box(x=(0, 1)), {"x": 2}),
            px.RangeError,
            "DomainDecomposition expects 2 networks, got 1",
        ),
        (
            lambda: px.science.minimise(len, network(), method="newton"),
            px.RangeError,
            "method as one of 'bfgs', 'lbfgs'",
        ),
        (lambda: px.science.minimise(network(), len), px.RangeError, "expects a Module whose parameters move"),
    ],
)
def test_a_mistake_is_told_with_its_cure(wrong, error, text):
    with pytest.raises(error) as told:
        wrong()
    assert re.search(text, str(told.value), re.DOTALL), str(told.value)
    assert told.value.fix


def field():
    return px.science.Field(network(), POINTS, "x t")


def test_a_residual_may_be_the_field_itself():
    network = px.f64(px.Chain(px.Dense(1, 4, px.tanh, key=0), px.Dense(4, 1, key=1)))
    points = jnp.linspace(0, 1, 5)[:, None]
    pinn = px.science.PINN(network, {"ends": lambda u, x: u})
    np.testing.assert_allclose(pinn.residual("ends", points), network(points)[:, 0], rtol=1e-12)
