"""Nothing outlives its model: plans, entries of compiled functions, copies and arrays go when it goes."""

import contextlib
import gc
import weakref

import jax
import jax.numpy as jnp

import phlox as px
from phlox.core.module import _layout, _plan


def make(i):
    return px.Chain(px.Dense(3, 4, px.relu, key=i), px.BatchNorm(4), px.Chain(px.Dense(4, 2, key=i)))


@px.jit
def step(model, x):
    grads = px.grad(lambda m: (m(x) ** 2).sum())(model)
    model[0].weight = model[0].weight - 0.1 * grads[0].weight
    return grads


def test_three_hundred_models_leave_nothing():
    x = jnp.ones((2, 3))
    keep = make(0)
    step(keep, x)
    gc.collect()
    plans, entries, structures = len(_plan._plans), len(step.entries), len(_plan._structures)
    layouts = len(_layout._interned)
    alive = []
    for i in range(300):
        model = make(i)
        step(model, x)
        px.split(model)
        px.freeze(model[2])
        alive.append((weakref.ref(model), weakref.ref(model[0]), weakref.ref(model[0].weight)))
        del model
    gc.collect()
    assert not [r for refs in alive for r in refs if r() is not None]
    assert len(_plan._plans) <= plans
    assert len(step.entries) == entries
    assert len(_plan._structures) <= structures
    assert len(_layout._interned) <= layouts + 3
    assert len(step.programs) == 1
    step(keep, x)


def test_a_program_does_not_hold_the_model_it_was_traced_with():
    call = px.jit(lambda m, x: m(x))
    model = make(0)
    call(model, jnp.ones((2, 3)))
    refs = [weakref.ref(model), weakref.ref(model[0]), weakref.ref(model[0].weight), weakref.ref(model[2][0].bias)]
    del model
    gc.collect()
    assert [r() for r in refs] == [None] * 4


def test_updated_arrays_are_freed():
    model = make(0)
    old = weakref.ref(model[0].weight)
    model[0].weight = model[0].weight + 1
    gc.collect()
    assert old() is None


def test_an_optimiser_does_not_hold_its_model():
    model = make(0)
    opt = px.Optimizer(px.optim.Adam(), model)
    opt.update(model, px.grad(lambda m: m(jnp.ones((2, 3))).sum())(model))
    refs = [weakref.ref(model), weakref.ref(model[0].weight)]
    del model
    gc.collect()
    assert [r() for r in refs] == [None] * 2


def test_a_failed_trace_holds_nothing():
    @px.jit
    def broken(model, x):
        model(x)
        raise ValueError("no")

    model = make(0)
    for _ in range(3):
        with contextlib.suppress(ValueError):
            broken(model, jnp.ones((2, 3)))
    refs = [weakref.ref(model), weakref.ref(model[0].weight)]
    del model
    gc.collect()
    assert [r() for r in refs] == [None] * 2


def test_gradients_leave_no_tracer_behind():
    model = make(0)
    px.grad(lambda m: m(jnp.ones((2, 3))).sum())(model)
    step(model, jnp.ones((2, 3)))
    for part in px.modules(model).values():
        assert part._px.scope is None
        assert part._px.trace is None
    assert not [v for v in px.state_dict(model).values() if isinstance(v, jax.core.Tracer)]


def test_the_read_guard_comes_off():
    step(make(0), jnp.ones((2, 3)))
    assert px.Module.__getattribute__ is object.__getattribute__
