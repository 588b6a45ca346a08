"""Small arrays packed into vectors: the same numbers as array by array, through freezing, surgery, files and stacks."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.optim import _packing

X = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)


def make(depth=4):
    keys = jax.random.split(jax.random.key(3), depth)
    return px.Chain(px.Dense(3, 5, px.tanh, key=keys[0]), *[px.Dense(5, 5, px.tanh, key=k) for k in keys[1:]])


def gradient(model):
    return px.grad(lambda m: (m(X) ** 2).mean())(model)


def train(rule, steps=3, model=None):
    model = make() if model is None else model
    opt = px.Optimizer(rule, model)
    step = px.jit(lambda model, opt: opt.update(model, gradient(model)))
    for _ in range(steps):
        step(model, opt)
    return model, opt


def same(a, b):
    assert a.keys() == b.keys()
    for path, value in a.items():
        assert_close(value, b[path], what=path)


RULES = [
    px.optim.Descent(0.1),
    px.optim.Momentum(0.1, nesterov=True),
    px.optim.Rprop(0.01),
    px.optim.Lion(1e-2, weight_decay=0.1),
    px.optim.RMSProp(1e-2, momentum=0.5, centred=True),
    px.optim.AdaGrad(0.1),
    px.optim.AdaDelta(),
    px.optim.Adam(1e-2),
    px.optim.AdamW(1e-2, weight_decay=0.1),
    px.optim.AMSGrad(1e-2),
    px.optim.AdaMax(1e-2),
    px.optim.RAdam(1e-2),
    px.optim.AdaBelief(1e-2),
    px.optim.OAdam(1e-2),
    px.optim.chain(px.optim.ClipGlobalNorm(1e-2), px.optim.ClipGrad(3e-3), px.optim.WeightDecay(0.1), px.optim.Adam()),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_packed_steps_are_the_steps_of_single_arrays(rule, monkeypatch):
    model, opt = train(rule)
    assert len(opt.form.packing.groups) == 2  # 8 arrays, six in a vector
    monkeypatch.setattr(_packing, "MOST", 0)
    alone, single = train(rule)
    assert not single.form.packing.groups
    same(px.state_dict(model), px.state_dict(alone))
    for a, b in zip(jax.tree.leaves(opt.state), jax.tree.leaves(single.state), strict=True):
        assert_close(a, b)
    assert jax.tree.structure(opt.state) == jax.tree.structure(single.state)


def test_a_step_hands_over_fewer_arrays():
    model = make(20)
    opt = px.Optimizer(px.optim.Adam(), model)
    assert len(px.state_dict(opt)) == 2 * 7 + 2  # 40 arrays in 7 vectors, m and v of each; the rate and the count
    assert len(opt.slot("m")) == 40


@pytest.mark.parametrize(
    "rule",
    [
        px.optim.AdamW(mask=px.optim.is_matrix),  # arrays are told apart
        px.optim.NAdam(),  # a number for each array
        px.optim.chain(px.optim.ClipNorm(1.0), px.optim.Adam()),
        px.optim.groups({"*.bias": px.optim.Descent(0.1), "*": px.optim.Adam()}),
        px.optim.Adam().transform(),  # optax's: nothing is known of it
    ],
    ids=["mask", "NAdam", "ClipNorm", "groups", "optax"],
)
def test_what_looks_at_whole_arrays_is_never_packed(rule):
    assert not px.Optimizer(rule, make()).form.packing.groups


def test_a_subclass_is_packed_only_where_it_says_so_itself():
    @dataclass(frozen=True, eq=False)
    class Normalised(px.optim.Adam):
        def step(self, g, w, slots, n):
            return n.learning_rate * g / jnp.sqrt((g**2).sum()), slots

    model = make()
    opt = px.Optimizer(Normalised(1.0), model)
    assert not opt.form.packing.groups
    before, grads = px.copy(model), gradient(model)
    opt.update(model, grads)
    g = px.paths(grads)["layers.1.bias"]
    assert_close(model[1].bias, before[1].bias - g / np.linalg.norm(g))


def test_arrays_without_a_gradient_stay_with_all_their_state():
    model, opt = train(px.optim.Adam(0.1))
    before, m, v = px.state_dict(model), opt.slot("m"), opt.slot("v")
    g = jnp.ones(5)
    opt.update(model, {"layers.2.bias": g})
    for path, value in px.state_dict(model).items():
        assert bool((value == before[path]).all()) == (path != "layers.2.bias")
    t = 4
    first, second = 0.9 * m["layers.2.bias"] + 0.1 * g, 0.999 * v["layers.2.bias"] + 0.001 * g * g
    step = 0.1 * (first / (1 - 0.9**t)) / (jnp.sqrt(second / (1 - 0.999**t)) + 1e-8)
    assert_close(model[2].bias, before["layers.2.bias"] - step)
    after = opt.slot("m")
    same({p: x for p, x in after.items() if p != "layers.2.bias"}, {p: m[p] for p in m if p != "layers.2.bias"})
    assert_close(after["layers.2.bias"], first)


def test_what_was_adopted_later_is_counted_apart_and_packed_apart():
    model, opt = train(px.optim.Adam(0.1))
    model.layers.append(px.Dense(5, 5, key=7))
    model.layers.append(px.Dense(5, 5, key=8))
    opt.sync(model)
    vectors = opt.form.packing.vectors()
    new = {path for path in vectors if path.startswith(("layers.4", "layers.5"))}
    assert len(new) == 4
    assert not {vectors[path] for path in new} & {vectors[path] for path in vectors if path not in new}
    before, grads = px.state_dict(model), px.paths(gradient(model))
    opt.update(model, gradient(model))
    for path in new:  # Adam's first step is the rate along the sign
        moved = before[path] - px.state_dict(model)[path]
        np.testing.assert_allclose(moved, 0.1 * np.sign(grads[path]), rtol=1e-3)


def test_gradients_of_several_dtypes_are_taken_array_by_array():
    model, other = make(), make()
    opt, plain = (px.Optimizer(px.optim.Descent(0.5), m) for m in (model, other))
    grads = {path: jnp.full_like(w, 1 / 3) for path, w in px.state_dict(model).items()}
    plain.update(other, grads | {"layers.0.bias": grads["layers.0.bias"].astype(jnp.bfloat16).astype(jnp.float32)})
    opt.update(model, grads | {"layers.0.bias": grads["layers.0.bias"].astype(jnp.bfloat16)})
    same(px.state_dict(model), px.state_dict(other))


def test_stacked_optimisers_give_their_state_stacked():
    def build(key):
        model = px.Chain(px.Dense(3, 5, key=key), px.Dense(5, 2, key=key))
        return model, px.Optimizer(px.optim.Adam(0.1), model)

    models, opts = px.vmap(build)(jax.random.split(jax.random.key(0), 3))
    px.vmap(lambda model, opt: opt.update(model, gradient(model)))(models, opts)
    alone, opt = build(jax.random.split(jax.random.key(0), 3)[1])
    opt.update(alone, gradient(alone))
    assert_close(opts.slot("m")["layers.1.weight"][1], opt.slot("m")["layers.1.weight"])
    assert_close(models[1].weight[1], alone[1].weight)
