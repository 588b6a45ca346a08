"""A Module inside a solver: modes, keys, State, errors, and all that layers do anywhere else."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import oracle

oracle("diffrax")
LATER = pytest.mark.soak  # a program of Diffrax's takes a second to compile
Y0 = jnp.array([[0.5, -1.0], [1.5, 0.3]])


class Model(px.Module):
    """A layer before an equation, so that paths have a way to go."""

    def __init__(self, field, **options):
        self.first = px.Dense(2, 2, key=5)
        self.ode = px.science.NeuralODE(field, solver="euler", step=0.25, **options)

    def __call__(self, x):
        return self.ode(self.first(x))


def by_euler(field, y, steps=4, h=0.25):
    for _ in range(steps):
        y = y + h * field(y)
    return y


def network():
    return px.Chain(px.Dense(2, 3, px.tanh, key=0), px.Dense(3, 2, key=1))


@LATER
def test_it_means_the_same_under_every_transform():
    field = network()
    ode = px.science.NeuralODE(field, solver="euler", step=0.25)
    stack = px.map(lambda a, b: jnp.stack([a, b]), ode, px.map(lambda w: 2 * w, ode))
    once = by_euler(field, Y0)
    expected = {
        "jit": once,
        "remat": once,
        "cond": once,
        "scan": by_euler(field, once),
        "vmap": jnp.stack([once, by_euler(px.map(lambda w: 2 * w, field), Y0)]),
    }
    params, state = px.split(ode)

    @px.jit
    def compiled(ode, stack, y):
        return {
            "jit": ode(y),
            "remat": px.remat(ode)(y),
            "cond": px.cond(y[0, 0] > 0, ode, lambda y: y, y),
            "scan": px.scan(lambda y, _: (ode(y), None), y, length=2)[0],
            "vmap": px.vmap(lambda ode, y: ode(y), in_axes=(0, None))(stack, y),
        }

    found = compiled(ode, stack, Y0)
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(ode(Y0), once, rtol=1e-5)
    np.testing.assert_allclose(px.apply(ode, params, state, Y0)[0], once, rtol=1e-5)


def test_a_compiled_program_is_found_again_and_holds_no_weights():
    ode = px.science.NeuralODE(network(), solver="euler", step=0.25)
    calls = []
    ode.field[0].act = lambda x: calls.append(1) or jnp.tanh(x)
    first = ode(Y0)
    seen = len(calls)
    other = px.copy(ode)
    other.field[1].bias = jnp.ones(2)
    assert seen
    assert float(jnp.abs(other(Y0) - first).max()) > 0.5
    np.testing.assert_array_equal(ode(Y0), first)
    assert len(calls) == seen


def test_keys_of_a_field_stay_for_a_solve_and_move_on_once_after_it():
    """With a share of 0.5 and these numbers, a mask that changed within a solve would give another end."""
    model = px.trainmode(Model(px.Chain(px.Dropout(0.5, key=3), px.Dense.of(jnp.eye(2), None))))
    x, compiled, once = model.first(Y0), px.jit(lambda model, y: model(y)), px.copy(model)
    ends = [np.asarray(compiled(model, Y0) / x) for _ in range(8)]
    for rates in ends:
        assert np.all(np.isclose(rates, 1.0, atol=1e-4) | np.isclose(rates, 1.5**4, atol=1e-4)), (
            "one mask for all steps"
        )
    assert len({tuple(np.isclose(rates, 1.0, atol=1e-4).ravel().tolist()) for rates in ends}) > 1, (
        "another in each solve"
    )
    np.testing.assert_allclose(once(Y0) / x, ends[0], rtol=1e-4)
    kept = once.ode.field[0].key
    expected = jax.random.split(px.Dropout(0.5, key=3).key)[0]
    np.testing.assert_array_equal(jax.random.key_data(kept), jax.random.key_data(expected))


def test_a_fields_parts_train_where_the_layer_is_differentiated_and_state_may_not_be_written():
    norm = px.BatchNorm(2)
    model = Model(px.Chain(norm, px.Dense.of(jnp.eye(2), None)))
    calls = [px.grad(lambda m: m(Y0).sum()), px.jit(px.grad(lambda m: m(Y0).sum())), px.trainmode]
    calls[2] = lambda m: px.trainmode(px.copy(m))(Y0)
    for call in calls:
        with pytest.raises(px.StateError) as told:
            call(model)
        text = str(told.value)
        assert re.match(
            r"m(odel)?.ode NeuralODE\(Chain, solver='euler'\) expects a function that reads State and writes none", text
        )
        assert "got a write to field.layers.0.mean\n  fix: normalise by LayerNorm" in text
    assert px.eval_shape(lambda model: model(Y0), model).shape == (2, 2)
    px.testmode(norm)
    assert px.eval_shape(lambda m: px.grad(lambda m: m(Y0).sum())(m), model).first.weight.shape == (2, 2)


@LATER
def test_arguments_of_the_field_may_be_arrays_numbers_and_modules():
    scale = px.Dense(1, 2, key=2)
    ode = px.science.NeuralODE(lambda y, args: -args["rate"] * y + args["push"](args["u"]), solver="euler", step=0.25)
    args = {"rate": 0.5, "push": scale, "u": jnp.ones((2, 1)), "name": "text"}
    expected = by_euler(lambda y: -0.5 * y + scale(jnp.ones((2, 1))), Y0)
    np.testing.assert_allclose(ode(Y0, None, args), expected, rtol=1e-5)
    grads = px.grad(lambda push: ode(Y0, None, {**args, "push": push}).sum())(scale)
    np.testing.assert_allclose(
        grads.bias, jax.grad(lambda b: by_euler(lambda y: -0.5 * y + b, Y0).sum())(jnp.zeros(2)), rtol=1e-5
    )


@LATER
def test_states_are_saved_at_times_forwards_backwards_and_for_each_example():
    decay = px.science.NeuralODE(lambda y: jax.tree.map(lambda v: -v, y), solver="dopri5", rtol=1e-6, atol=1e-6)
    ts = jnp.array([0.5, 1.0, 3.0])
    y0 = {"a": jnp.ones((2, 1)), "b": jnp.array([2.0, 3.0])}
    ys = decay(y0, ts)
    expected = np.exp(-(ts - 0.5))
    np.testing.assert_allclose(ys["a"][:, :, 0], [expected] * 2, rtol=1e-5)
    np.testing.assert_allclose(ys["b"], [2 * expected, 3 * expected], rtol=1e-5)
    np.testing.assert_allclose(decay(jnp.ones((1, 1)), jnp.array([1.0, 0.0]))[0, 1, 0], np.e, rtol=1e-5)
    alone = px.science.NeuralODE(lambda y: -y, separate=True, solver="dopri5", rtol=1e-6, atol=1e-6)
    own = jnp.array([[0.0, 1.0], [1.0, 3.0]])
    found = alone.solve(jnp.ones((2, 1)), own)
    np.testing.assert_allclose(found.states[:, :, 0], [[1, np.exp(-1.0)], [1, np.exp(-2.0)]], rtol=1e-5)
    assert found.steps.shape == (2,)
    assert int(found.steps[1]) > int(found.steps[0])
    with pytest.raises(px.ShapeError, match="separate=True"):
        decay(jnp.ones((2, 1)), own)


@LATER
def test_an_event_ends_a_solve_where_its_number_is_zero_with_the_gradient_of_that_time():
    def falls(y):
        return jnp.stack([y[:, 1], jnp.full_like(y[:, 1], -9.81)], 1)

    ball = px.science.NeuralODE(
        falls, span=(0.0, 9.0), event=px.science.Event(lambda y: y[:, 0], "falling"), solver="bosh3"
    )
    heights = jnp.array([1.0, 4.0])

    def landing(heights):
        found = ball.solve(jnp.stack([heights, 0 * heights], 1))
        return found.times.sum(), found

    slope, found = px.grad(landing, has_aux=True)(heights)
    np.testing.assert_allclose(found.times, np.sqrt(2 * heights / 9.81), rtol=1e-4)
    np.testing.assert_allclose(found.states[:, 1], -np.sqrt(2 * 9.81 * heights), rtol=1e-4)
    np.testing.assert_allclose(slope, 1 / np.sqrt(2 * 9.81 * heights), rtol=1e-3)
    assert np.all(found.stopped)
    assert np.all(found.finished)


@LATER
def test_a_model_with_an_equation_in_it_is_printed_summed_up_saved_and_fitted(tmp_path):
    model = Model(network())
    assert "ode=NeuralODE(" in repr(model)
    assert "Dense(2, 3, tanh)" in repr(model)
    rows = {row.path: row for row in px.summary(model, (8, 2)).rows}
    assert rows["ode.field.layers.0"].output == ((8, 3),)
    assert rows["ode"].output == ((8, 2),)
    px.save(model.ode, tmp_path / "ode.safetensors")
    again = px.load(tmp_path / "ode.safetensors")
    np.testing.assert_array_equal(again(Y0), model.ode(Y0))
    assert (again.solver, again.step, again.span) == ("euler", 0.25, (0.0, 1.0))
    x = jax.random.normal(jax.random.key(0), (64, 2))
    y = by_euler(lambda y: jnp.stack([y[:, 1], -y[:, 0]], 1), x)
    opt = px.Optimizer(px.optim.Adam(0.05), model)
    history = px.fit(model, (x, y), loss=px.losses.mse, optimizer=opt, epochs=150, batch_size=64, progress=False)
    assert history["loss"][-1] < 0.05 * history["loss"][0]


# --- what is said ------------------------------------------------------------------------------------


def make(field=None, **options):
    return px.science.NeuralODE(network() if field is None else field, **options)


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: make(solver="rk4"), px.RangeError, "NeuralODE expects solver as 'euler', 'heun', .* got 'rk4'"),
        (lambda: make(solver="Dopri5"), px.RangeError, "fix: write solver='dopri5'"),
        (lambda: make(adjoint="BacksolveAdjoint"), px.RangeError, "fix: write adjoint='backsolve'"),
        (lambda: make(solver="euler"), px.RangeError, "expects step, as Euler has no estimate .* got None"),
        (lambda: make(solver="kvaerno5", step=0.1), px.RangeError, "expects no step, as Kvaerno5 .* got step=0.1"),
        (lambda: make(step=-1), px.RangeError, "expects step above 0, got -1"),
        (lambda: make(max_steps=0), px.RangeError, "expects max_steps to be a whole number of at least 1, got 0"),
        (lambda: make(span=(1, 1)), px.RangeError, r"expects span as two times that differ, got \(1, 1\)"),
        (lambda: make(event="rest"), px.RangeError, "event as a function, an Event or 'steady_state', got 'rest'"),
        (lambda: make(event="steady_state", step=0.1), px.RangeError, "expects no step, as a steady state"),
        (lambda: px.science.Event(len, "up"), px.RangeError, "Event expects direction as None, 'rising', 'falling'"),
        (lambda: make(px.Dense), px.RangeError, r"expects field that can be called, as field\(y\), got Dense"),
        (
            lambda: make()(jnp.ones(2)),
            px.ShapeError,
            r"expects \(batch, ...\), got float32\[2\]\n  fix: add a batch axis",
        ),
        (lambda: make()({"a": Y0, "b": Y0[:1]}), px.ShapeError, r"one batch size.*float32\[2, 2\], float32\[1, 2\]"),
        (lambda: make()(Y0.astype("bfloat16")), px.DtypeError, r"states of 32 or 64 bits.*got bfloat16\[2, 2\]"),
        (lambda: make()(Y0, jnp.array([0, 2, 1])), px.RangeError, "times that rise, or fall"),
        (
            lambda: make()(Y0, jnp.ones(())),
            px.ShapeError,
            r"expects ts as \(times,\), two times or more, got float32\[\]",
        ),
        (lambda: make(px.Dense(2, 3))(Y0), px.ShapeError, r"like the state, float32\[2, 2\], got float32\[2, 3\]"),
        (
            lambda: make(separate=True)(Y0, None, jnp.ones(())),
            px.ShapeError,
            r"expects args whose arrays are \(batch, ...\)",
        ),
        (
            lambda: make(event=lambda y: y)(Y0),
            px.ShapeError,
            r"an event that gives one floating number or boolean, got float32\[1, 2\]",
        ),
    ],
)
def test_a_mistake_is_told_with_its_cure(wrong, error, text):
    with pytest.raises(error) as told:
        wrong()
    assert re.search(text, str(told.value), re.DOTALL), str(told.value)
    assert told.value.fix


def test_a_wrong_layer_in_a_field_is_named_by_its_way_from_the_root():
    model = Model(px.Chain(px.Dense(2, 3), px.Dense(5, 2)))
    calls = [lambda: model(Y0), lambda: px.jit(model)(Y0), lambda: px.grad(lambda model: model(Y0).sum())(model)]
    for call in calls:
        with pytest.raises(px.ShapeError, match=r"^model.ode.field.layers\[1\] Dense\(5 → 2\) expects \(..., 5\)"):
            call()


def test_running_out_of_steps_is_told_in_compiled_code_too():
    grows = px.Chain(px.Dense.of(jnp.eye(2), None), px.science.NeuralODE(lambda y: y**2, solver="heun", max_steps=20))
    text = r"^grows.layers\[1\] NeuralODE\(<lambda>, solver='heun'\) expects to reach the last time within max_steps=20"
    with pytest.raises(px.science.SolverError, match=text) as told:
        grows(jnp.ones((1, 2)))
    assert "got 20 steps before the last time\n  fix: give more max_steps" in str(told.value)
    compiled = px.jit(lambda grows, y: grows(y))
    assert compiled(grows, 0.1 * jnp.ones((1, 2))).shape == (1, 2)
    for _ in range(2):
        with pytest.raises(px.science.SolverError, match=text):
            compiled(grows, jnp.ones((1, 2)))


@LATER
def test_an_example_that_runs_out_of_steps_is_nan_where_it_may_and_the_others_are_what_they_are():
    calm = px.science.NeuralODE(lambda y: y**2, solver="heun", max_steps=20, throw=False, separate=True)
    found = calm.solve(jnp.array([[0.1, 0.1], [1.0, 1.0]]))
    assert found.finished.tolist() == [True, False]
    np.testing.assert_allclose(found.states[0], 0.1 / 0.9, rtol=1e-3)
    assert np.all(np.isnan(found.states[1]))
