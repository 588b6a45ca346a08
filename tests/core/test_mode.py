"""The mode: a Module trains while it is an argument of a px differentiation, and infers everywhere else."""

import contextlib
import threading
import warnings

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from kit import assert_close
from phlox.core.context import _warning

X = jnp.array([[1.0, -2.0], [3.0, 0.5]])


class Probe(px.Module):
    """Says in which mode it ran, in its output and in ``ran``; the weight makes it differentiable."""

    count: px.State

    def __init__(self, *parts):
        self.weight = jnp.ones(())
        self.count = jnp.zeros((), jnp.int32)
        self.parts = list(parts)

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        if self.training:
            self.count = self.count + 1
        return x * self.weight * (100.0 if self.training else 1.0)


transforms = pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
TRAINS, INFERS = 100.0, 1.0


def seen(model, x=None):
    """What one call says, as a number."""
    return model(jnp.ones(()) if x is None else x)


# --- what trains, what infers ---------------------------------------------------------------------


@transforms
def test_an_argument_of_a_differentiation_trains_and_infers_outside(transform):
    model = Probe(Probe())

    def step(model):
        before = seen(model)
        value, _ = px.value_and_grad(seen)(model)
        return before, value, seen(model)

    before, value, after = transform(step)(model)
    assert (float(before), float(value), float(after)) == (1.0, TRAINS**2, 1.0)
    assert int(model.count) == int(model.parts[0].count) == 1
    assert not model.training


@transforms
def test_every_differentiated_argument_trains_and_the_others_infer(transform):
    a, b, c = Probe(), Probe(), Probe()

    def step(a, b, c):
        return px.value_and_grad(lambda a, b, c: seen(a) + 3 * seen(b) + 7 * seen(c), argnums=(0, 2))(a, b, c)[0]

    assert float(transform(step)(a, b, c)) == TRAINS + 3 * INFERS + 7 * TRAINS
    assert [int(m.count) for m in (a, b, c)] == [1, 0, 1]


@transforms
def test_a_captured_teacher_infers_inside_another_models_gradient(transform):
    model, teacher = Probe(), Probe()

    def step(model, teacher):
        return px.value_and_grad(lambda m: seen(m) + 1000 * seen(teacher))(model)[0]

    assert float(transform(step)(model, teacher)) == TRAINS + 1000 * INFERS
    assert int(teacher.count) == 0


@transforms
def test_a_gradient_with_respect_to_inputs_infers(transform):
    def saliency(model, x):
        return px.value_and_grad(lambda x: seen(model, x))(x)[0]

    model = Probe()
    assert float(transform(saliency)(model, jnp.ones(()))) == INFERS
    as_argument = transform(lambda model, x: px.value_and_grad(lambda x, m: seen(m, x))(x, model)[0])
    assert float(as_argument(model, jnp.ones(()))) == INFERS
    assert int(model.count) == 0


@transforms
@pytest.mark.parametrize("outside", ["training", "inferring"])
def test_captured_by_an_inner_gradient_it_keeps_the_mode_it_has_outside(transform, outside):
    def inner(model):
        return px.value_and_grad(lambda x: x * jax.lax.stop_gradient(model.weight) * float(model.training))(
            jnp.ones(())
        )[0]

    def step(model):
        return px.value_and_grad(inner)(model)[0] if outside == "training" else inner(model)

    assert float(transform(step)(Probe())) == (1.0 if outside == "training" else 0.0)


@transforms
def test_what_is_frozen_infers_and_its_statistics_stand_still(transform):
    model = px.Chain(px.BatchNorm(2), px.BatchNorm(2), px.Dropout(0.5, key=0))
    px.freeze(model[0])
    before = px.state_dict(model)
    transform(lambda m: px.grad(lambda m: m(X).sum())(m))(model)
    after = px.state_dict(model)
    assert_close(after["layers.0.mean"], before["layers.0.mean"])
    assert_close(after["layers.0.var"], before["layers.0.var"])
    assert bool((after["layers.1.mean"] != before["layers.1.mean"]).any())
    px.thaw(model[0])
    transform(lambda m: px.grad(lambda m: m(X).sum())(m))(model)
    assert bool((px.state_dict(model)["layers.0.mean"] != before["layers.0.mean"]).any())


@transforms
def test_frozen_whole_infers_also_by_pattern(transform):
    model = Probe(Probe(), Probe())
    px.freeze(model, "parts.0.*")
    value = transform(lambda m: px.value_and_grad(seen)(m)[0])(model)
    assert float(value) == TRAINS * INFERS * TRAINS


# --- pins and blocks ------------------------------------------------------------------------------


@transforms
def test_pins_beat_everything(transform):
    model = Probe(px.testmode(Probe()), px.trainmode(Probe()))

    def modes(model):
        value = px.value_and_grad(seen)(model)[0]
        with px.training(True):
            on = seen(model)
        with px.training(False):
            off = seen(model)
        return seen(model), value, on, off

    want = (TRAINS, TRAINS * TRAINS, TRAINS * TRAINS, TRAINS)
    assert tuple(map(float, transform(modes)(model))) == want
    px.freeze(model)
    assert float(transform(lambda m: seen(m))(model)) == TRAINS, "a pinned part trains though it is frozen"
    px.thaw(model)
    px.automode(model)
    assert float(transform(lambda m: seen(m))(model)) == INFERS


@transforms
def test_training_sets_the_automatic_answer_for_a_block(transform):
    call = transform(lambda m: seen(m))
    model = Probe()
    for mode, want in ((True, TRAINS), (False, INFERS), (None, INFERS), (True, TRAINS)):
        with px.training(mode):
            assert float(call(model)) == want
        assert float(call(model)) == INFERS
    value = transform(lambda m: px.value_and_grad(seen)(m)[0])
    with px.training(False):
        assert float(value(model)) == INFERS
        with px.training(True):
            assert float(value(model)) == TRAINS
        assert float(value(model)) == INFERS
        with px.training(None):
            assert float(value(model)) == TRAINS
    assert float(value(model)) == TRAINS


def test_training_is_restored_after_an_exception():
    with contextlib.suppress(ZeroDivisionError), px.training(True):
        _ = 1 / 0
    assert float(seen(Probe())) == INFERS


def test_training_holds_for_one_thread():
    found = []
    with px.training(True):
        thread = threading.Thread(target=lambda: found.append(float(seen(Probe()))))
        thread.start()
        thread.join()
        assert float(seen(Probe())) == TRAINS
    assert found == [INFERS]


# --- the mode in every cache ----------------------------------------------------------------------


@pytest.mark.parametrize("jit", [px.jit, jax.jit], ids=["px.jit", "jax.jit"])
def test_a_program_of_one_mode_never_runs_in_the_other(jit):
    class Pure(px.Module):
        def __init__(self):
            self.weight = jnp.ones(())

        def __call__(self, x):
            return x * self.weight * (100.0 if self.training else 1.0)

    model, call = Pure(), jit(lambda m, x: m(x))
    for _ in range(2):
        assert float(call(model, 1.0)) == INFERS
        with px.training(True):
            assert float(call(model, 1.0)) == TRAINS
        with px.training(False):
            assert float(call(model, 1.0)) == INFERS
        assert float(call(px.trainmode(model), 1.0)) == TRAINS
        px.automode(model)


def test_layers_own_compiled_parts_know_the_mode():
    drop = px.Dropout(0.5, key=0)
    x = jnp.ones((4, 4))
    assert_close(drop(x), x)
    with px.training(True):
        assert set(drop(x).ravel().tolist()) == {0.0, 2.0}
    assert_close(drop(x), x)


# --- plain jax.grad -------------------------------------------------------------------------------


def test_plain_grad_infers_and_warns_once(monkeypatch):
    monkeypatch.setattr(_warning, "_warned", set())
    model = px.Chain(px.Dense(2, 2, key=0), px.BatchNorm(2))
    before = px.state_dict(model)
    with pytest.warns(UserWarning, match=r"BatchNorm\(2\) infers under plain jax\.grad") as caught:
        grads = jax.grad(lambda m: m(X).sum())(model)
    assert len(caught) == 1
    assert "px.grad" in str(caught[0].message)
    want = px.grad(lambda m: px.testmode(px.copy(m))(X).sum())(model)
    assert_close(grads[0].weight, want[0].weight, kind="grad")
    assert all(px.state_dict(model)[k] is v for k, v in before.items())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.grad(lambda m: m(X).sum())(model)
        jax.grad(lambda x: px.BatchNorm(2)(x).sum())(X)  # by inputs: rightly infers
