"""The loop over time under every derivative: the same numbers as a plain loop, and no sum of weights inside."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox import nn
from phlox.nn.functional.kernels._kernels import reference_forms
from phlox.nn.functional.recurrence._loop import _plain

F = nn.functional
IN, SIZE, OUT, TIME = 3, 5, 4, 4


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=s) * 0.5) for s in shapes]


def shapes(gates, out=SIZE):
    return (IN, gates * SIZE), (out, gates * SIZE), (gates * SIZE,)


# name: the form of (x, state, *weights), its weights, the sizes of its state
FORMS = {
    "rnn": (lambda x, s, *w: F.rnn(x, *w, s[0]), shapes(1), (SIZE,)),
    "lstm": (lambda x, s, *w: F.lstm(x, *w, s), shapes(4), (SIZE, SIZE)),
    "lstm-projected": (
        lambda x, s, *w: F.lstm(x, *w[:3], s, weight_hr=w[3], lengths=jnp.array([4, 2]), truncate=2),
        (*shapes(4, OUT), (SIZE, OUT)),
        (OUT, SIZE),
    ),
    "gru": (lambda x, s, *w: F.gru(x, *w[:3], s[0], bias_hn=w[3]), (*shapes(3), (SIZE,)), (SIZE,)),
    "gru-before": (lambda x, s, *w: F.gru(x, *w, s[0], reset_after=False, reverse=True), shapes(3), (SIZE,)),
}


def forms(name):
    form, weights, states = FORMS[name]
    x, *rest = arrays((2, TIME, IN), *[(2, n) for n in states], *weights)
    return form, (x, tuple(rest[: len(states)]), *rest[len(states) :])


def plainly(monkeypatch):
    """Let JAX differentiate the loops as they stand."""
    monkeypatch.setattr("phlox.nn.functional.recurrence._loop._loop", _plain)


def derivatives(form, at):
    """Reverse, forward, forward over reverse, and reverse over reverse mode."""
    rng = np.random.default_rng(3)
    way = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape)), at)

    def value(at):
        y, last = form(*at)
        leaves = enumerate(jax.tree.leaves((y, last)), 1)
        return sum(jnp.sum(jnp.sin(i * v) * jnp.arange(1.0, v.size + 1).reshape(v.shape)) for i, v in leaves)

    def along(at):
        return sum(map(jnp.vdot, jax.tree.leaves(jax.grad(value)(at)), jax.tree.leaves(way)))

    def all_modes(at):
        return jax.value_and_grad(value)(at), jax.jvp(jax.grad(value), (at,), (way,))[1], jax.grad(along)(at)

    (y, first), forward, backward = jax.jit(all_modes)(at)
    slope = jax.jit(lambda at: jax.jvp(value, (at,), (way,))[1])(at)
    return y, first, slope, forward, backward


@pytest.mark.parametrize("name", ["lstm-projected", *[pytest.param(n, marks=pytest.mark.soak) for n in FORMS]])
def test_all_modes_give_the_plain_loops_numbers(name, monkeypatch):
    with jax.enable_x64(True):
        form, at = forms(name)
        ours = derivatives(form, at)
        plainly(monkeypatch)
        jax.tree.map(functools.partial(assert_close, kind="grad"), ours, derivatives(form, at))
        jax.tree.map(functools.partial(assert_close, kind="grad"), ours[3], ours[4])  # a Hessian is symmetric


def loops(jaxpr):
    """All scans, at any depth, each as the shapes that it carries and its own products of matrices."""
    for eqn in jaxpr.eqns:
        inner = [v for v in eqn.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
        if eqn.primitive.name == "scan":
            consts, carry = sizes(eqn.params)
            body = eqn.params["jaxpr"].jaxpr
            yield [v.aval.shape for v in body.invars[consts : consts + carry]], products(body)
        for part in inner:
            yield from loops(getattr(part, "jaxpr", part))


def sizes(params):
    """How many constants and how many carried arrays a scan has; since JAX 0.12 by their trees."""
    if "ft_in" in params:
        consts, carry, _ = params["ft_in"].unpack()
        return len(consts), len(carry)
    return params["num_consts"], params["num_carry"]


def products(jaxpr):
    """The shapes of what matrix products and convolutions give."""
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            found.append(eqn.outvars[0].aval.shape)
        for part in eqn.params.values():
            if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                found += products(getattr(part, "jaxpr", part))
    return found


def gradient_loops(form, at):
    grad = jax.grad(lambda at: sum(jnp.sum(v) for v in jax.tree.leaves(form(*at))))
    with reference_forms():  # the loops that kernels for the CPU would take the place of
        return list(loops(jax.make_jaxpr(grad)(at).jaxpr))


CONV = (lambda x, s, *w: F.conv_lstm(x, *w, s), ((2, 4, 6, 1), (2, 6, 2), (2, 6, 2), (3, 1, 8), (3, 2, 8), (8,)))


@pytest.mark.parametrize("name", [*FORMS, "conv-lstm"])
def test_the_weights_gradient_is_one_product_after_the_loop(name, monkeypatch):
    if name == "conv-lstm":
        x, h, c, *weights = arrays(*CONV[1])
        form, at = CONV[0], (x, (h, c), *weights)
    else:
        form, at = forms(name)
    weights = {w.shape for w in at[2:]} | {(at[3].shape[0], n * SIZE) for n in (1, 2)}

    def inside(found):
        return [s for carried, made in found for s in (*carried, *made) if tuple(s) in weights or s[::-1] in weights]

    found = gradient_loops(form, at)
    assert len(found) == 2, "one loop ahead, one back"
    assert not inside(found)
    plainly(monkeypatch)
    assert inside(gradient_loops(form, at)), "JAX's own loop sums inside: this test can fail"


def test_the_tangent_of_a_frozen_weight_costs_nothing():
    form, (x, s, ih, hh, b) = forms("rnn")
    value = lambda hh, ih: jnp.sum(form(x, s, ih, hh, b)[0])  # noqa: E731
    both = products(jax.make_jaxpr(jax.grad(value, (0, 1)))(hh, ih).jaxpr)
    frozen = products(jax.make_jaxpr(jax.grad(value, 1))(hh, ih).jaxpr)
    assert len(both) == len(frozen) + 1


def test_px_transforms_differentiate_a_layer():
    model = nn.GRU(3, 4, key=0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)), jnp.float32)
    way = jax.tree.map(jnp.ones_like, x)

    @px.jit
    def both(model, x):
        value = lambda x: jnp.sum(jnp.square(model(x)))  # noqa: E731
        return px.jvp(value, (x,), (way,))[1], px.hvp(value, x, way)[1], px.grad(value)(x)

    slope, curved, grad = both(px.copy(model), x)
    assert_close(slope, jnp.vdot(grad, way), kind="grad")
    step = 1e-2
    ahead, behind = both(model, x + step * way)[2], both(model, x - step * way)[2]
    np.testing.assert_allclose(curved, (ahead - behind) / (2 * step), rtol=1e-2, atol=1e-3)  # differences in float32
