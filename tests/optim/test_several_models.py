"""An optimiser of several models: a list, a tuple or a dict of Modules, as if they were parts of one."""

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core.trees import same
from kit import assert_close
from phlox import optim as o

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
FORMS = {"list": list, "tuple": tuple, "dict": lambda ms: dict(zip("GD", ms, strict=True))}
SEVERAL = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def pair(seed=0):
    return px.Dense(3, 2, px.tanh, key=seed), px.Chain(px.BatchNorm(2), px.Dense(2, 1, key=seed + 1))


def both(models):
    return [models[at] for at in "GD"] if isinstance(models, dict) else list(models)


def loss(models):
    first, second = both(models)
    return ((second(first(X)) - 1) ** 2).mean()


def step(models, opt):
    value, grads = px.value_and_grad(loss)(models)
    opt.update(models, grads)
    return value


@SEVERAL
def test_it_is_as_one_model_of_parts(form, tmp_path):
    rule = o.chain(o.ClipGlobalNorm(0.1), o.Adam(0.1))
    eager, compiled, whole = form(pair()), form(pair()), px.Chain(*pair())
    opts = [px.Optimizer(rule, m) for m in (eager, compiled, whole)]
    jitted = px.jit(step)

    def as_one(model, opt):
        _, grads = px.value_and_grad(lambda m: ((m(X) - 1) ** 2).mean())(model)
        opt.update(model, grads)

    for _ in range(3):
        assert float(step(eager, opts[0])) == pytest.approx(float(jitted(compiled, opts[1])), rel=1e-5)
        as_one(whole, opts[2])
    assert len(jitted.history.traces) == 1
    for ours, alike, part in zip(both(eager), both(compiled), whole.layers, strict=True):
        for path, value in px.state_dict(part).items():
            assert_close(px.state_dict(ours)[path], value, kind="grad", what=path)
            assert_close(px.state_dict(alike)[path], value, kind="grad", what=path)
    names = sorted(eager) if isinstance(eager, dict) else ["0", "1"]
    assert {p.split(".")[0] for p in opts[0].form.paths} == set(names)

    px.weights.save_safetensors(opts[1], tmp_path / "opt.safetensors")
    fresh = px.copy(compiled)
    again = px.Optimizer(rule, fresh)
    px.weights.load_safetensors(again, tmp_path / "opt.safetensors")
    for models, opt in ((compiled, opts[1]), (fresh, again)):
        jitted(models, opt)
    for ours, alike in zip(both(compiled), both(fresh), strict=True):
        same(px.state_dict(alike), px.state_dict(ours))
    assert len(jitted.history.traces) == 1


def test_groups_freezing_and_gradients_given_otherwise():
    models = dict(zip("GD", pair(), strict=True))
    opt = px.Optimizer(o.groups({"G": o.Descent(1.0), "D.layers.0": None, "*": o.Descent(0.0)}), models)
    before = {at: px.split(m)[0] for at, m in models.items()}
    grads = px.grad(loss)(models)
    opt.update(models, {"G": grads["G"], "D": None})
    assert_close(models["G"].weight, before["G"]["weight"] - grads["G"].weight)
    opt.update(models, grads)
    same(before["D"], px.split(models["D"])[0])
    opt.adjust("*", learning_rate=1.0)
    opt.update(models, {"D.layers.1.bias": jnp.ones(1)})
    assert_close(models["D"][1].bias, before["D"]["layers.1.bias"] - 1)
    listed = px.Optimizer(o.Descent(1.0), both(models))
    twin = px.copy(both(models))
    listed.update(both(models), px.grad(lambda g, d: loss([g, d]), argnums=(0, 1))(*both(models)))
    listed.update(twin, px.grad(loss)(twin))
    for a, b in zip(both(models), twin, strict=True):
        for path, v in px.split(a)[0].items():
            assert_close(v, px.split(b)[0][path], kind="grad")
    with pytest.raises(px.StructureError, match="a gradient for each of D, G, got those of G"):
        opt.update(models, {"G": grads["G"]})
    with pytest.raises(px.StructureError, match=r"unknown path 'G\.nothing'"):
        opt.update(models, {"G.nothing": X})


def test_what_two_of_them_share_is_one():
    trunk = px.Dense(3, 3, bias=False, key=0)
    models = [px.Chain(trunk, px.Dense(3, 1, key=1)), px.Chain(trunk, px.Dense(3, 1, key=2))]
    opt = px.Optimizer(o.Momentum(1.0), models)
    assert sorted(opt.form.paths) == [
        "0.layers.0.weight",
        "0.layers.1.bias",
        "0.layers.1.weight",
        "1.layers.1.bias",
        "1.layers.1.weight",
    ]
    fn = lambda ms: ms[0](X).sum() + 2 * ms[1](X).sum()  # noqa: E731
    before, grads = np.asarray(trunk.weight), px.grad(fn)(models)
    opt.update(models, grads)
    want = np.asarray(X).sum(0)[:, None] * (np.asarray(models[0][1].weight) + np.asarray(grads[0][1].weight)).T
    want = (
        want + 2 * np.asarray(X).sum(0)[:, None] * (np.asarray(models[1][1].weight) + np.asarray(grads[1][1].weight)).T
    )
    assert_close(trunk.weight, before - want, kind="grad")
    own = [px.grad(lambda m: m(X).sum())(m) for m in models]
    with pytest.raises(px.StructureError, match=r"one gradient for the shared 0\.layers\.0\.weight"):
        opt.update(models, own)


def test_a_replaced_model_is_refused_until_sync_adopts_it():
    models = list(pair())
    opt = px.Optimizer(o.Momentum(0.1), models)
    step(models, opt)
    kept = np.asarray(opt.slot("velocity")["0.weight"])
    models[1] = px.Chain(px.BatchNorm(2), px.Dense(2, 1, key=9))
    with pytest.raises(px.StructureError, match=r"new or changed ones at 1 \(another Module\)"):
        step(models, opt)
    opt.sync(models)
    np.testing.assert_array_equal(opt.slot("velocity")["0.weight"], kept)
    assert not bool(opt.slot("velocity")["1.layers.1.weight"].any())
    step(models, opt)
    models[1].layers[1] = px.Dense(2, 1, key=10)
    with pytest.raises(px.StructureError, match=r"1\.layers\.1 \(another Module\)"):
        px.jit(step)(models, opt)
    models.append(px.Dense(1, 1, key=11))
    opt.sync(models)
    assert "2.weight" in opt.form.paths


def test_a_search_over_several_models():
    models = {"a": px.Dense.of(jnp.zeros((1, 1)), None), "b": px.Dense.of(jnp.ones((1, 1)), None)}
    fn = lambda m: (m["a"].weight - 3).sum() ** 2 + 5 * (m["b"].weight + 2).sum() ** 2  # noqa: E731
    opt = px.Optimizer(o.LBFGS(), models)

    @px.jit
    def search(models, opt):
        value, grads = px.value_and_grad(fn)(models)
        opt.update(models, grads, value=value, value_fn=fn)

    for _ in range(5):
        search(models, opt)
    assert float(models["a"].weight[0, 0]) == pytest.approx(3, abs=1e-3)
    assert float(models["b"].weight[0, 0]) == pytest.approx(-2, abs=1e-3)
