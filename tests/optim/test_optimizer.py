"""The optimiser as an object: whose weights it moves, what it leaves alone, what it refuses and says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from core.trees import same
from kit import assert_close

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
# Off the mean, so that no gradient is zero up to rounding: Adam would step by the sign of the noise.
TARGET = jnp.array([1.0, -2.0])
RULES = [px.optim.Descent(0.1), px.optim.Momentum(0.1), px.optim.Adam(0.1), px.optim.AdamW(0.1), optax.adamw(0.1)]
rules = pytest.mark.parametrize("rule", RULES, ids=lambda r: type(r).__name__)


def make(seed=0):
    return px.Chain(px.Dense(3, 4, px.tanh, key=seed), px.BatchNorm(4), px.Dense(4, 2, key=seed + 1))


def loss(model):
    return ((model(X) - TARGET) ** 2).mean()


def memory(opt):
    """The arrays that an optimiser holds, by their place in its state."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): v
        for path, v in jax.tree_util.tree_leaves_with_path(opt.state)
    }


def gradients(model):
    return px.grad(loss)(px.copy(model))


@rules
def test_eager_compiled_and_plain_optax_agree(rule):
    eager, compiled, plain = make(), make(), make()

    def step(model, opt):
        value, grads = px.value_and_grad(loss)(model)
        opt.update(model, grads)
        return value

    jitted = px.jit(step)
    opts = [px.Optimizer(rule, eager), px.Optimizer(rule, compiled)]
    transform = rule.transform() if isinstance(rule, px.optim.Rule) else rule
    params, state = px.split(plain)
    memory = transform.init(params)
    for _ in range(3):
        assert_close(jitted(compiled, opts[1]), step(eager, opts[0]))

        def pure(params, state=state):
            y, after = px.apply(plain, params, state, X, train=True)
            return ((y - TARGET) ** 2).mean(), after

        grads, state = jax.grad(pure, has_aux=True)(params)
        updates, memory = transform.update(grads, memory, params)
        params = optax.apply_updates(params, updates)
    for path, v in px.state_dict(eager).items():
        assert_close(px.state_dict(compiled)[path], v, kind="grad", what=path)
        assert_close({**params, **state}[path], v, kind="grad", what=path)
    assert len(jitted.history.traces) == 1
    assert jax.tree.structure(opts[0].state) == jax.tree.structure(memory)
    for a, b in zip(jax.tree.leaves(opts[0].state), jax.tree.leaves(memory), strict=True):
        assert_close(jnp.asarray(a, jnp.float32), np.asarray(b, np.float32), kind="grad")


def test_adjust_needs_no_trace():
    model = make()
    opt = px.Optimizer(px.optim.Momentum(0.1, 0.0), model)

    @px.jit
    def step(model, opt):
        opt.update(model, px.grad(loss)(model))

    for rate in (0.1, 0.5, 0.0):
        opt.adjust(learning_rate=rate)
        assert opt.learning_rate == pytest.approx(rate)
        grads, before = gradients(model), model[0].weight + 0
        step(model, opt)
        assert_close(model[0].weight, before - rate * grads[0].weight, kind="grad")
    assert len(step.history.traces) == 1


def test_rules_that_differ_in_the_rate_share_a_program():
    @px.jit
    def step(model, opt):
        opt.update(model, px.grad(loss)(model))

    for rate in (0.1, 0.2):
        model = make()
        grads, before = gradients(model), model[0].weight + 0
        step(model, px.Optimizer(px.optim.Descent(rate), model))
        assert_close(model[0].weight, before - rate * grads[0].weight, kind="grad")
    assert len(step.history.traces) == 1


def test_adjust_on_a_raw_optax_rule_says_how():
    model = make()
    opt = px.Optimizer(optax.adam(0.1), model)
    with pytest.raises(px.StructureError, match="a rule that holds learning_rate as state") as caught:
        opt.adjust(learning_rate=0.5)
    assert "optax.inject_hyperparams" in str(caught.value)
    with pytest.raises(px.StructureError, match="got a learning rate that a schedule computes"):
        px.Optimizer(px.optim.Adam(optax.constant_schedule(0.1)), model).adjust(learning_rate=0.5)
    with pytest.raises(px.StructureError, match="holds b1 as state, got Adam, whose numbers are constants"):
        px.Optimizer(px.optim.Adam(0.1), model).adjust(b1=0.5)
    with pytest.raises(px.StructureError, match="holds momentum as state, got a schedule of it"):
        px.Optimizer(px.optim.Momentum(0.1, optax.constant_schedule(0.9)), model).adjust(momentum=0.5)
    with pytest.raises(px.StructureError, match="holds learning_rate as state, got Rprop"):
        px.Optimizer(px.optim.Rprop(0.1), model).adjust(learning_rate=0.5)
    with pytest.raises(px.RangeError, match=r"momentum in \[0, 1\), got 1.5"):
        px.Optimizer(px.optim.Momentum(0.1), model).adjust(momentum=1.5)
    with pytest.raises(px.RangeError, match="learning_rate of at least 0"):
        px.Optimizer(px.optim.Adam(0.1), model).adjust(learning_rate=-0.5)


def test_adjust_reaches_injected_hyperparameters():
    model = make()
    opt = px.Optimizer(optax.inject_hyperparams(optax.sgd)(learning_rate=0.1), model)
    opt.adjust(learning_rate=0.5)
    grads, before = gradients(model), model[0].weight + 0
    opt.update(model, grads)
    assert_close(model[0].weight, before - 0.5 * grads[0].weight, kind="grad")


# --- what stays as it is --------------------------------------------------------------------------


@rules
def test_what_has_no_gradient_stays_with_its_state(rule):
    model = make()
    opt = px.Optimizer(rule, model)
    for _ in range(2):
        opt.update(model, px.grad(loss)(model))
    px.freeze(model[0])
    weights = {k: v + 0 for k, v in px.state_dict(model).items()}
    state = {n: memory(opt)[n] + 0 for n in memory(opt)}
    opt.update(model, px.grad(loss)(model))
    for path, v in px.state_dict(model).items():
        moved = bool((v != weights[path]).any())
        assert moved == (not path.startswith("layers.0")), path
    for name in memory(opt):
        now = memory(opt)[name]
        if "layers.0" in name:
            np.testing.assert_array_equal(now, state[name], err_msg=name)
        elif "layers" in name:
            assert bool((now != state[name]).any()), name
    px.thaw(model)
    opt.update(model, px.grad(loss)(model))
    assert bool((model[0].weight != weights["layers.0.weight"]).any())


def test_none_gradients_by_path_and_a_part_of_them():
    model = make()
    opt = px.Optimizer(px.optim.Descent(1.0), model)
    before = {k: v + 0 for k, v in px.state_dict(model).items()}
    opt.update(model, {"layers.0.bias": jnp.ones(4), "layers.0.weight": None})
    after = px.state_dict(model)
    assert_close(after["layers.0.bias"], before.pop("layers.0.bias") - 1)
    same(before, {k: v for k, v in after.items() if k in before})
    opt.update(model, {})
    same(before, {k: v for k, v in px.state_dict(model).items() if k in before})


def test_state_is_never_trained():
    model = make()
    opt = px.Optimizer(px.optim.AdamW(0.1, weight_decay=0.5), model)
    assert not [n for n in memory(opt) if "mean" in n or n.endswith("layers.1.var")]
    mean, var = model[1].mean, model[1].var
    opt.update(model, gradients(model))
    assert model[1].mean is mean
    assert model[1].var is var


def test_dtypes_of_weights_and_state_stay():
    model = px.Dense.of(jnp.ones((3, 2), jnp.bfloat16), jnp.zeros(2, jnp.bfloat16))
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    kinds = [memory(opt)[n].dtype for n in memory(opt)]
    for _ in range(2):
        opt.update(model, px.grad(lambda m: m(X.astype(jnp.bfloat16)).astype(jnp.float32).sum())(model))
    assert model.weight.dtype == jnp.bfloat16
    assert [memory(opt)[n].dtype for n in memory(opt)] == kinds


# --- what changed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_a_replaced_layer_is_an_error_until_sync_adopts_it(transform):
    model = make()
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    step = transform(lambda model, opt: opt.update(model, px.grad(loss)(model)))
    step(model, opt)
    model.layers[2] = px.Dense(4, 2, key=9)
    model.layers.append(px.Dense(2, 2, bias=False, key=3))
    before = px.state_dict(model)
    for gone in ("layers.2", "layers.3.weight"):
        with pytest.raises(px.StructureError, match="the arrays it was made for") as caught:
            step(model, opt)
        text = str(caught.value)
        assert gone in text
        assert "opt.sync(model)" in text
        assert "layers.0" not in text
        assert all(px.state_dict(model)[k] is v for k, v in before.items() if k.endswith(("weight", "bias", "scale")))
        if gone == "layers.2":
            appended = model.layers.pop()
            opt.sync(model)
            step(model, opt)
            model.layers.append(appended)
            before = px.state_dict(model)
    kept = {n: memory(opt)[n] + 0 for n in memory(opt)}
    opt.sync(model)
    for name, v in kept.items():  # the counts of cohorts: what was adopted with the model, and twice since
        now = memory(opt)[name][: len(v)] if "counts" in name else memory(opt)[name]
        np.testing.assert_array_equal(now, v, err_msg=name)
    new = [n for n in memory(opt) if "layers.3" in n]
    assert len(new) == 2
    assert not any(bool(memory(opt)[n].any()) for n in new)
    step(model, opt)
    assert all(bool(memory(opt)[n].any()) for n in new)


def test_a_replaced_layer_starts_afresh():
    model = make()
    opt = px.Optimizer(px.optim.Momentum(0.1), model)
    opt.update(model, px.grad(loss)(model))
    before = {n: memory(opt)[n] + 0 for n in memory(opt)}
    model.layers[2] = px.Dense(4, 2, key=9)
    opt.sync(model)
    for name in memory(opt):
        now = memory(opt)[name]
        if "layers.2" in name:
            assert not now.any(), name
            assert bool(before[name].any())
        else:
            np.testing.assert_array_equal(now, before[name], err_msg=name)


def test_sync_drops_what_is_gone_and_keeps_the_rate():
    model = make()
    opt = px.Optimizer(px.optim.Momentum(0.1), model)
    opt.adjust(learning_rate=0.25)
    opt.update(model, px.grad(loss)(model))
    model[2].bias = None
    velocity = [n for n in memory(opt) if "layers" in n]
    opt.sync(model)
    assert [n for n in memory(opt) if "layers" in n] == [n for n in velocity if not n.endswith("layers.2.bias")]
    assert opt.learning_rate == pytest.approx(0.25)
    opt.update(model, px.grad(loss)(model))
    same_again = {n: memory(opt)[n] + 0 for n in memory(opt)}
    opt.sync(model)
    same(same_again, {n: memory(opt)[n] for n in memory(opt)})


def test_a_thawed_part_is_new():
    model = make()
    px.freeze(model[0])
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    opt.update(model, px.grad(loss)(model))
    px.thaw(model[0])
    with pytest.raises(px.StructureError, match=r"layers\.0\.weight"):
        opt.update(model, px.grad(loss)(model))
    opt.sync(model)
    opt.update(model, px.grad(loss)(model))


@pytest.mark.parametrize(
    ("grads", "text"),
    [
        (lambda: px.grad(lambda m: m(X).sum())(px.Dense(3, 2, key=0)), "gradients of this Chain"),
        (lambda: px.grad(lambda m: m(X).sum())(px.Chain(*make().layers, px.Dense(2, 2, key=0))), r"layers\.3\.weight"),
        (
            lambda: px.grad(lambda m: m(X).sum())(px.Chain(px.Dense(3, 2, key=0))),
            r"float32\[3, 4\] at layers\.0\.weight, got float32\[3, 2\]",
        ),
        (lambda: {"layers.7.weight": X}, "unknown path 'layers.7.weight'"),
        (lambda: X, "a gradient Module, or a dict"),
        (lambda: {"layers.0.bias": jnp.ones(3)}, r"float32\[4\] at layers\.0\.bias, got float32\[3\]"),
    ],
    ids=["class", "more layers", "other sizes", "unknown path", "array", "shape"],
)
def test_gradients_of_another_model_are_refused(grads, text):
    model = make()
    opt, before = px.Optimizer(px.optim.Adam(0.1), model), px.state_dict(model)
    with pytest.raises(px.StructureError, match=text):
        opt.update(model, grads())
    assert all(px.state_dict(model)[k] is v for k, v in before.items())


def test_copies_and_resuming():
    model = make()
    opt = px.Optimizer(px.optim.Adam(0.1), model)
    opt.update(model, px.grad(loss)(model))
    twin, twin_opt = px.copy((model, opt))
    fresh = make(5)
    fresh_opt = px.Optimizer(px.optim.Adam(0.1), fresh)
    px.load_state_dict(fresh, px.state_dict(model))
    px.load_state_dict(fresh_opt, px.state_dict(opt))
    for m, o in ((model, opt), (twin, twin_opt), (fresh, fresh_opt)):
        o.update(m, px.grad(loss)(m))
    same(px.state_dict(twin), px.state_dict(model))
    same(px.state_dict(fresh), px.state_dict(model))
    same(px.state_dict(fresh_opt), px.state_dict(opt))
