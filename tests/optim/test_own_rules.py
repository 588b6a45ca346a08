"""Rules that users write: numbers read from ``self``, without ranges, no dataclass; each its own program."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close


@dataclass(frozen=True, eq=False)
class FromSelf(px.optim.Rule):
    learning_rate: float = 0.1
    ranges = {"learning_rate": (0.0, 9.0)}  # noqa: RUF012

    def step(self, g, w, slots, n):
        return self.learning_rate * g, slots


@dataclass(frozen=True, eq=False)
class WithoutRanges(px.optim.Rule):
    learning_rate: float = 0.1

    def step(self, g, w, slots, n):
        return n.learning_rate * g, slots


class Plain(px.optim.Rule):
    def __init__(self, size):
        self.size = size

    def step(self, g, w, slots, n):
        return self.size * g, slots


class PlainByName(Plain):
    def step(self, g, w, slots, n):
        return n.size * g, slots


@dataclass(frozen=True)  # eq=False left out
class ByValue(px.optim.Rule):
    learning_rate: float = 0.1

    def step(self, g, w, slots, n):
        return self.learning_rate * g, slots


class OfClass(px.optim.Rule):
    scale = 2.0

    def __init__(self, rates):
        self.rates = rates  # a list: no number, and cannot be hashed

    def step(self, g, w, slots, n):
        return n.scale * self.rates[0] / 2 * g, slots


class InCorrections(px.optim.Rule):
    def __init__(self, learning_rate):
        self.learning_rate = learning_rate

    def corrections(self, n, t):
        return {"rate": self.learning_rate * t / t}

    def across(self, grads, n):
        return {"half": self.learning_rate / 2}

    def step(self, g, w, slots, n):
        return (n.rate / 2 + n.half) * g, slots


KINDS = [FromSelf, WithoutRanges, Plain, PlainByName, ByValue, lambda r: OfClass([r]), InCorrections]


def weight():
    return px.Dense.of(jnp.ones((1, 1)), None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: getattr(k, "__name__", "OfClass").strip("<>"))
def test_each_rule_steps_by_its_own_numbers(kind):
    jitted = px.jit(lambda model, opt, g: opt.update(model, {"weight": g}))
    for rate in (0.1, 0.3, 0.1):
        for step in (lambda model, opt, g: opt.update(model, {"weight": g}), jitted):
            model = weight()
            step(model, px.Optimizer(kind(rate), model), jnp.full((1, 1), 2.0))
            assert float(model.weight[0, 0]) == pytest.approx(1 - 2 * rate)


def test_what_is_state_is_told_to_self_too():
    model = weight()
    step = px.jit(lambda model, opt: opt.update(model, {"weight": jnp.ones((1, 1))}))
    for rule in (FromSelf(0.1), WithoutRanges(0.1), InCorrections(0.1)):
        opt = px.Optimizer(rule, model)
        assert opt.learning_rate == pytest.approx(0.1)
        for rate in (0.25, 0.5):
            opt.adjust(learning_rate=rate)
            before = float(model.weight[0, 0])
            step(model, opt)
            assert before - float(model.weight[0, 0]) == pytest.approx(rate)
    assert len(step.history.traces) == 3
    scheduled = px.Optimizer(WithoutRanges(px.optim.linear(1.0, 0.0, 2)), model)
    assert scheduled.learning_rate == 1.0
    before = float(model.weight[0, 0])
    for _ in range(3):
        scheduled.update(model, {"weight": jnp.ones((1, 1))})
    assert before - float(model.weight[0, 0]) == pytest.approx(1.5)


def test_a_rule_stays_as_it_is_and_says_what_it_lacks():
    model, rule = weight(), Plain(0.1)
    rule.size = 0.2
    opt = px.Optimizer(rule, model)
    opt.update(model, {"weight": jnp.ones((1, 1))})
    with pytest.raises(px.StructureError, match=r"Plain expects size to stay as it was .*\n  fix: make a new rule"):
        rule.size = 0.3
    rule = InCorrections(0.1)
    px.Optimizer(rule, model).update(model, {"weight": jnp.ones((1, 1))})
    with pytest.raises(px.StructureError, match=r"fix: call opt\.adjust\(learning_rate=…\)"):
        rule.learning_rate = 0.3

    class Lacking(Plain):
        def step(self, g, w, slots, n):
            return n.momentum * g, slots

    with pytest.raises(
        AttributeError, match=r"Lacking has no number momentum, only size, path, dtype\n  fix: set self"
    ):
        px.Optimizer(Lacking(0.1), model).update(model, {"weight": jnp.ones((1, 1))})


class Halving:
    """A schedule that a user writes as a class."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start * 0.5**step


def test_schedules_masks_and_transformations_of_ones_own_are_told_apart():
    """What a program is shared across never has another's closure in it."""
    import optax

    def by_mask(part):
        return px.optim.chain(px.optim.WeightDecay(1.0, mask=lambda path, w: path == part), px.optim.Descent(0.5))

    def steps(rule):
        model = px.Dense.of(jnp.ones((1, 1)), jnp.ones(1))
        opt = px.Optimizer(rule, model)
        for _ in range(2):
            opt.update(model, {"weight": jnp.ones((1, 1)), "bias": jnp.ones(1)})
        return [float(model.weight[0, 0]), float(model.bias[0])]

    for start in (0.1, 0.2):
        assert_close(np.float32(steps(px.optim.Descent(Halving(start)))), np.float32([1 - 1.5 * start] * 2))
        assert_close(np.float32(steps(px.optim.Descent(lambda t, s=start: s))), np.float32([1 - 2 * start] * 2))
        assert_close(np.float32(steps(optax.sgd(start))), np.float32([1 - 2 * start] * 2))
    assert steps(by_mask("weight"))[0] == steps(by_mask("bias"))[1] == -0.5
    assert steps(by_mask("weight"))[1] == steps(by_mask("bias"))[0] == 0.0


class Scaled:
    """A loss as an instance of a class."""

    def __init__(self, by):
        self.by = by

    def __call__(self, prediction, target):
        return self.by * px.losses.mse(prediction, target)


def test_losses_given_as_instances_are_told_apart():
    x = np.ones((4, 1), np.float32)
    for by in (1.0, 3.0):
        model = weight()
        px.fit(model, (x, 0 * x), loss=Scaled(by), optimizer=px.optim.Descent(0.1), batch_size=4, progress=False)
        assert float(model.weight[0, 0]) == pytest.approx(1 - 0.2 * by)
