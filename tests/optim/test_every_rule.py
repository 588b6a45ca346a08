"""What holds for every rule: eager equals compiled, no trace after adjust, saved and restored, frozen and tied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core.trees import same
from kit import assert_close
from phlox import optim as o

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32))
TARGET = jnp.array([1.0, -2.0, 0.5])
RULES = {
    "Descent": o.Descent(0.1),
    "Momentum": o.Momentum(0.1, 0.8),
    "Nesterov": o.Nesterov(0.1),
    "Rprop": o.Rprop(0.02),
    "Lion": o.Lion(0.01, weight_decay=0.1),
    "ASGD": o.ASGD(0.1, begin=0),
    "Adam": o.Adam(0.1),
    "AdamW": o.AdamW(0.1, mask=o.is_matrix),
    "AMSGrad": o.AMSGrad(0.1),
    "AdaMax": o.AdaMax(0.1),
    "NAdam": o.NAdam(0.1),
    "RAdam": o.RAdam(0.1),
    "AdaBelief": o.AdaBelief(0.1),
    "OAdam": o.OAdam(0.1),
    "AdaGrad": o.AdaGrad(0.1),
    "AdaDelta": o.AdaDelta(),
    "RMSProp": o.RMSProp(0.01, momentum=0.5, centred=True),
    "Adafactor": o.Adafactor(0.1),
    "Apollo": o.Apollo(0.1, rank=2, every=2),
    "chain": o.chain(o.ClipGlobalNorm(0.5), o.NormGrowthCap(), o.WeightDecay(0.1), o.Momentum(0.1)),
    "groups": o.groups({"norm": None, "*.bias": o.Descent(0.1), "*": o.Adam(0.1)}),
    "Muon": o.groups([(o.is_matrix, o.Muon(0.1)), ("*", o.AdamW(0.1))]),
    "AccumGrad": o.AccumGrad(o.chain(o.ClipGrad(0.5), o.Adam(0.1)), 2),
    "Lookahead": o.Lookahead(o.Adam(0.1), 2),
    "MixedPrecision": o.MixedPrecision(o.Adam(0.1)),
    "EightBit": o.EightBit(o.chain(o.ClipGlobalNorm(0.5), o.AdamW(0.1)), block=4, least=1),
    "scheduled": o.AdamW(o.cosine_annealing(0.1, 10), b1=o.linear(0.9, 0.5, 4), weight_decay=o.constant(0.1)),
}


class Tied(px.Module):
    """One Dense used twice, around a norm with State."""

    def __init__(self, seed=0):
        self.first = px.Dense(3, 3, px.tanh, key=seed)
        self.norm = px.BatchNorm(3)
        self.again = px.Chain(self.first)
        self.head = px.Dense(3, 3, key=seed + 1)

    def __call__(self, x):
        return self.head(self.again(self.norm(self.first(x))))


def loss(model):
    return ((model(X) - TARGET) ** 2).mean()


def step(model, opt):
    value, grads = px.value_and_grad(loss)(model)
    opt.update(model, grads)
    return value


def close(a, b):
    for path, value in px.state_dict(b).items():
        if jnp.issubdtype(value.dtype, jnp.floating):
            assert_close(px.state_dict(a)[path], np.asarray(value), kind="grad", what=path)
        else:
            np.testing.assert_array_equal(px.state_dict(a)[path], value, err_msg=path)


@pytest.mark.parametrize("name", RULES)
def test_the_life_of_an_optimiser(name, tmp_path):
    rule = RULES[name]
    jitted = px.jit(step)
    eager, compiled = Tied(), Tied()
    opts = [px.Optimizer(rule, eager), px.Optimizer(rule, compiled)]
    values = [float(jitted(compiled, opts[1])) for _ in range(3)]
    for value in values:
        assert float(step(eager, opts[0])) == pytest.approx(value, rel=1e-4)
    close(eager, compiled)
    close(opts[0], opts[1])
    assert min(values[1:]) < values[0] or name == "AccumGrad"

    # what holds the rate as state takes another without a new trace, and the next step feels it
    if any(n.endswith("learning_rate") for n in opts[1].form.names):
        opts[1].adjust(learning_rate=0.0)
        before = px.copy(compiled)
        for _ in range(2):
            jitted(compiled, opts[1])
        still = ("first", "again", "head") if name != "ASGD" else ()
        for path, value in px.split(compiled)[0].items():
            if path.startswith(still) and name not in ("chain", "Lookahead", "OAdam"):
                assert_close(value, np.asarray(px.state_dict(before)[path]), what=path)
        opts[1].adjust(learning_rate=0.05)
        jitted(compiled, opts[1])
        assert bool((compiled.head.weight != before.head.weight).any())
    assert len(jitted.history.traces) == 1

    # saved to files and restored into a fresh pair, which goes on alike in the same program
    px.weights.save_safetensors(compiled, tmp_path / "model.safetensors")
    px.weights.save_safetensors(opts[1], tmp_path / "opt.safetensors")
    fresh = Tied(7)
    again = px.Optimizer(rule, fresh)
    px.weights.load_safetensors(fresh, tmp_path / "model.safetensors")
    px.weights.load_safetensors(again, tmp_path / "opt.safetensors")
    for pair in ((compiled, opts[1]), (fresh, again)):
        jitted(*pair)
        jitted(*pair)
    same(px.state_dict(fresh), px.state_dict(compiled))
    same(px.state_dict(again), px.state_dict(opts[1]))
    assert len(jitted.history.traces) == 1
    assert compiled.first is compiled.again[0]

    # frozen arrays and their state stand still
    px.freeze(compiled.first)
    kept = {**px.state_dict(compiled.first), **{n: v for n, v in px.state_dict(opts[1]).items() if "/first" in n}}
    kept = {k: np.array(v) for k, v in kept.items()}
    head = np.array(compiled.head.weight)
    for _ in range(2):
        jitted(compiled, opts[1])
    now = {**px.state_dict(compiled.first), **px.state_dict(opts[1])}
    for path, value in kept.items():
        np.testing.assert_array_equal(now[path], value, err_msg=path)
    assert bool((compiled.head.weight != head).any())


def test_every_number_may_be_a_schedule():
    """A scheduled number gives at each step what the rule of that number gives."""
    w, g = jnp.asarray([1.0, -2.0]), jnp.asarray([0.3, 0.4])
    for scheduled, fixed in (
        (o.Adam(0.1, b1=o.linear(0.9, 0.5, 2)), lambda b: o.Adam(0.1, b1=b)),
        (o.Momentum(0.1, o.linear(0.9, 0.5, 2)), lambda b: o.Momentum(0.1, b)),
        (o.chain(o.WeightDecay(o.linear(0.9, 0.5, 2)), o.Descent()), lambda b: o.chain(o.WeightDecay(b), o.Descent())),
        (o.ClipNorm(o.linear(0.9, 0.5, 2)), lambda b: o.ClipNorm(b)),
        (o.RMSProp(0.1, momentum=o.linear(0.9, 0.5, 2)), lambda b: o.RMSProp(0.1, momentum=b)),
    ):  # fmt: skip
        part = scheduled.part()
        state = part.init({"w": w})
        twin = fixed(0.9).part().init({"w": w})
        for number in (0.9, 0.7, 0.5, 0.5):
            one = fixed(number).part()
            now = jax.tree.unflatten(jax.tree.structure(one.init({"w": w})), jax.tree.leaves(twin))
            now = _with_numbers(now, one.init({"w": w}))
            want, twin = one.update({"w": g}, now, {"w": w})
            got, state = part.update({"w": g}, state, {"w": w})
            assert_close(got["w"], want["w"], what=repr(scheduled))


def _with_numbers(state, fresh):
    """A state with the numbers of another."""
    if hasattr(state, "numbers"):
        return state._replace(numbers=fresh.numbers)
    return tuple(_with_numbers(a, b) for a, b in zip(state, fresh, strict=True)) if isinstance(state, tuple) else state


def test_rules_are_equal_up_to_what_is_state():
    assert o.Adam(0.1) == o.Adam(0.2)
    assert hash(o.Adam(0.1)) == hash(o.Adam(0.2))
    assert o.AdamW(0.1, weight_decay=0.1) == o.AdamW(0.2, weight_decay=0.3)
    assert o.Adam(0.1, b1=0.8) != o.Adam(0.1)
    assert o.Adam(0.1) != o.AdamW(0.1, weight_decay=0.0)
    assert o.Rprop(0.1) != o.Rprop(0.2)
    assert o.Adam(o.linear(0, 1, 5)) == o.Adam(o.linear(0, 1, 5)) != o.Adam(o.linear(0, 1, 6))
    assert o.Adam(o.linear(0, 1, 5)) != o.Adam(0.1)
    assert o.chain(o.ClipNorm(1.0), o.Adam(0.1)) == o.chain(o.ClipNorm(2.0), o.Adam(0.2)) != o.chain(o.Adam(0.1))
    assert o.groups({"a": o.Adam(0.1)}) == o.groups({"a": o.Adam(0.2)}) != o.groups({"b": o.Adam(0.1)})


def test_a_rule_of_ones_own():
    """What ``Rule`` promises to who subclasses it: slots, counts from 1, all gradients, the path."""
    from dataclasses import dataclass

    @dataclass(frozen=True, eq=False)
    class Mine(px.optim.Rule):
        learning_rate: float = 0.5
        power: float = 1.0
        ranges = {"learning_rate": (0.0, 2.0), "power": (0.0, 5.0)}  # noqa: RUF012

        def start(self, w):
            return {"sum": jnp.zeros_like(w)}

        def corrections(self, n, t):
            return {"age": t**n.power}

        def across(self, grads, n):
            return {"all": sum(jnp.sum(g) for g in grads)}

        def step(self, g, w, slots, n):
            total = slots["sum"] + g
            return n.learning_rate * total / n.age + (n.all if n.path == "bias" else 0), {"sum": total}

    model = px.Dense.of(jnp.zeros((1, 1)), jnp.zeros(1))
    opt = px.Optimizer(Mine(), model)
    grads = {"weight": jnp.asarray([[2.0]]), "bias": jnp.asarray([4.0])}
    opt.update(model, grads)
    assert (float(model.weight[0, 0]), float(model.bias[0])) == (-1.0, -2.0 - 6.0)
    opt.adjust(learning_rate=1.0)
    opt.update(model, grads)
    assert (float(model.weight[0, 0]), float(model.bias[0])) == (-1.0 - 2.0, -8.0 - 4.0 - 6.0)
    assert opt.numbers() == {"learning_rate": 1.0, "power": 1.0}
    assert opt.slot("sum")["bias"].tolist() == [8.0]
    with pytest.raises(px.RangeError, match=r"Mine expects learning_rate in \[0, 2\), got 3"):
        Mine(3)
    with pytest.raises(px.StructureError, match="holds power as state"):
        opt.adjust(power=2.0)
    with pytest.raises(NotImplementedError, match=r"Rule defines no step\(g, w, slots, n\)"):
        px.Optimizer(px.optim.Rule(), model).update(model, grads)


def test_a_new_head_starts_as_with_a_new_optimiser():
    """Also for Adam, whose first step has length η; with one count for all it would be three times as long."""
    grads = {"layers.0.weight": jnp.ones((2, 2)), "layers.1.weight": jnp.full((2, 2), -0.5)}
    adam = o.Adam(0.1, eps=0.0)
    for rule in (adam, o.groups({"*": adam}), o.NAdam(0.1), o.RAdam(0.1), o.AdaMax(0.1)):
        model = px.Chain(px.Dense(2, 2, bias=False, key=0), px.Dense(2, 2, bias=False, key=1))
        opt = px.Optimizer(rule, model)
        for _ in range(20):
            opt.update(model, grads)
        model.layers[1] = px.Dense(2, 2, bias=False, key=2)
        opt.sync(model)
        twin = px.copy(model)
        fresh = px.Optimizer(rule, twin)
        before = np.asarray(model.layers[0].weight)
        for _ in range(3):
            opt.update(model, grads)
            fresh.update(twin, grads)
        assert_close(model.layers[1].weight, np.asarray(twin.layers[1].weight))
        if rule is adam:
            assert_close(before - np.asarray(model.layers[0].weight), np.full((2, 2), 0.3), kind="grad")
        model.layers[0] = px.Dense(2, 2, bias=False, key=3)  # all new by now, twice
        opt.sync(model)
        opt.update(model, grads)
