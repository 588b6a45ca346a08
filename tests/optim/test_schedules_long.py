"""Schedules over ten million steps and more, against Python's integers and float64: no step early, none late."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from phlox import optim as o

LAST = 2**31 - 3  # of the steps a count of updates holds, one more may be added
AROUND = np.array([-1, 0, 1])


def near(marks):
    """Steps at each mark, one before and one after, and some beyond what float32 holds."""
    far = [2**24 + k for k in range(8)] + [2**30 + k for k in range(8)]
    steps = np.unique(np.concatenate([(np.asarray(marks, np.int64)[:, None] + AROUND).ravel(), far]))
    return steps[(steps >= 0) & (steps <= LAST)]


def swept(schedule, steps):
    """Values at all steps in one compiled call, as a training step asks: by an int32 count."""
    values = jax.jit(schedule)(jnp.asarray(steps, jnp.int32))
    assert values.dtype == jnp.float32
    return np.asarray(values, np.float64)


def cycle_of(t, steps, factor):
    """The recurrence of PyTorch's scheduler: take lengths off until less than one is left."""
    while t >= steps:
        t, steps = t - steps, steps * factor
    return t, steps


@pytest.mark.parametrize(("steps", "factor"), [(10_000, 2), (1, 2), (7, 3), (1000, 10), (9999, 1), (17, 1)])
def test_restarts_are_where_the_recurrence_has_them(steps, factor):
    starts, length = [0], steps
    while starts[-1] < LAST and len(starts) < 2000:
        starts.append(starts[-1] + length)
        length *= factor
    many = [10_000_000 // steps * steps, LAST // steps * steps] if factor == 1 else []
    at = near(starts + many)
    cycles = np.array([cycle_of(int(t) % steps if factor == 1 else int(t), steps, factor) for t in at])
    wanted = (1 + np.cos(np.pi * cycles[:, 0] / cycles[:, 1])) / 2
    np.testing.assert_allclose(swept(o.cosine_restarts(1.0, steps, factor), at), wanted, atol=1e-6)


def test_restarts_that_grow_by_a_half():
    first = [math.ceil(100 * (1.5**k - 1) / 0.5) for k in range(30)]
    values = swept(o.cosine_restarts(1.0, 100, 1.5), first)
    np.testing.assert_allclose(values, 1, atol=1e-3)  # a start between two steps
    assert swept(o.cosine_restarts(1.0, 100, 1.5), np.array(first[1:]) - 1).max() < 1e-3


MARKS = [3, 9_999_991, 10_000_000, 2**24 + 3, 2**24 + 4, 2**30 + 1]
P = 9_973  # a prime: a period that no power of two divides
# Of each schedule: the steps at which something happens, and its value in float64 and Python's integers.
EXACT = {
    "step_decay": (
        lambda: o.step_decay(1.0, 0.999, P),
        [P, 1000 * P, 1001 * P, 1683 * P, 100_000 * P],
        lambda t: 0.999 ** (t // P),
    ),
    "step_decay of a list": (
        lambda: o.step_decay(1.0, 0.5, [3, 2**24, 5, 8]),
        [3, 2**24 + 3, 2**24 + 8],
        lambda t: 0.5 ** sum(t >= m for m in (3, 2**24 + 3, 2**24 + 8)),
    ),
    "multi_step": (lambda: o.multi_step(1.0, 0.5, MARKS), MARKS, lambda t: 0.5 ** sum(t >= m for m in MARKS)),
    "sequence": (
        lambda: o.sequence([1.0, o.step_decay(2.0, 0.5, 1), 3.0], [2**24 + 3, 2, 1]),
        [2**24 + 3, 2**24 + 5],
        lambda t: 1.0 if t < 2**24 + 3 else 2.0 * 0.5 ** (t - 2**24 - 3) if t < 2**24 + 5 else 3.0,
    ),
    "warmup": (
        lambda: o.warmup(2**24 + 3, o.step_decay(1.0, 0.5, 1), 0.25),
        [2**24 + 3, 2**24 + 10],
        lambda t: 0.25 + 0.75 * t / (2**24 + 3) if t < 2**24 + 3 else 0.5 ** (t - 2**24 - 3),
    ),
    "loop": (lambda: o.loop(o.linear(0.0, 1.0, P), P), [P, 1003 * P, 200_001 * P], lambda t: t % P / P),
    "shifted": (
        lambda: o.shifted(o.multi_step(1.0, 0.5, [2**24 + 3]), 1),
        [2**24 + 2],
        lambda t: 0.5 ** (t + 1 >= 2**24 + 3),
    ),
    "stretched": (
        lambda: o.stretched(o.multi_step(1.0, 0.5, [4001, 6_000_003]), 2.5),
        [10_002, 10_003, 15_000_007, 15_000_008],
        lambda t: 0.5 ** sum(2 * t // 5 >= m for m in (4001, 6_000_003)),
    ),
    "triangle": (
        lambda: o.triangle(0.0, 1.0, P),
        [P, 1003 * P, 200_001 * P, 200_001 * P + P // 2],
        lambda t: 1 - abs(2 * (t % P) / P - 1),
    ),
    "triangle_decay2": (
        lambda: o.triangle_decay2(0.0, 1.0, 3_333_333),
        [k * 3_333_333 for k in range(9)],
        lambda t: (1 - abs(2 * (t % 3_333_333) / 3_333_333 - 1)) * 0.5 ** (t // 3_333_333),
    ),
    "sine": (lambda: o.sine(0.0, 1.0, P), [P, 1003 * P, 200_001 * P], lambda t: math.sin(math.pi * (t % P) / P)),
    "cyclic": (
        lambda: o.cyclic(0.0, 1.0, 10, 7),
        [17_000_010, 17_000_017, 17 * 60_000_000, 17 * 60_000_000 + 10],
        lambda t: t % 17 / 10 if t % 17 <= 10 else (17 - t % 17) / 7,
    ),
    "cyclic, halved": (
        lambda: o.cyclic(0.0, 1.0, 2_000_000, 1_333_333, decay="half"),
        [k * 3_333_333 for k in range(9)],
        lambda t: (
            (t % 3_333_333 / 2_000_000 if t % 3_333_333 <= 2_000_000 else (3_333_333 - t % 3_333_333) / 1_333_333)
            * 0.5 ** (t // 3_333_333)
        ),
    ),
    "cosine that restarts": (
        lambda: o.cosine_annealing(1.0, P, after="restart"),
        [P, 1003 * P, 200_001 * P],
        lambda t: math.cos(math.pi / 2 * (t % P) / P) ** 2,
    ),
    "cosine that bounces": (
        lambda: o.cosine_annealing(1.0, 7, after="bounce"),
        [7 * 1_500_001, 7 * 2_400_000, 7 * 150_000_001],
        lambda t: math.cos(math.pi / 2 * (t % 14) / 7) ** 2,
    ),
    "exponential": (lambda: o.exponential(1.0, 0.9999999), [10_000_000], lambda t: 0.9999999**t),
    "a number beyond the counts": (lambda: o.multi_step(1.0, 0.5, [5, 10**12]), [5], lambda t: 0.5 ** (t >= 5)),
}


@pytest.mark.parametrize("name", EXACT)
def test_no_step_early_and_none_late(name):
    make, marks, formula = EXACT[name]
    at = near(marks)
    wanted = [formula(int(t)) for t in at]
    np.testing.assert_allclose(swept(make(), at), wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (o.linear(1.0, 0.0, 10_000_000), lambda left: left),
        (o.polynomial(1.0, 10_000_000, 2.0), lambda left: left**2),
        (o.cosine_annealing(1.0, 10_000_000), lambda left: math.sin(math.pi / 2 * left) ** 2),
        (o.warmup(10_000_000, 0.0, 1.0), lambda left: left),
    ],
)
def test_nothing_cancels_at_the_end_of_a_long_fall(schedule, formula):
    """The last steps before zero keep their digits, where 1 - t/T has none left."""
    left = np.array([0, 1, 2, 3, 10, 1000, 5_000_000, 10_000_000])
    wanted = [formula(k / 10_000_000) for k in left.tolist()]
    np.testing.assert_allclose(swept(schedule, 10_000_000 - left), wanted, rtol=1e-6)


def test_one_cycle_ends_at_its_last_value():
    for shape in ("linear", "cosine"):
        rate = o.one_cycle(1.0, 10_000_000, shape=shape)
        values = swept(rate, [0, 2_999_999, 9_999_999, 10_000_000, 2**30])
        np.testing.assert_allclose(values, [1 / 25, 1, 1 / 25e4, 1 / 25e4, 1 / 25e4], rtol=1e-6)


def test_fractions_of_a_step_and_other_integers_are_steps_too():
    assert float(o.linear(0.0, 1.0, 4)(2.5)) == 0.625
    assert float(o.cosine_restarts(1.0, 4, 2)(4.0)) == 1.0
    assert float(o.shifted(o.linear(0.0, 1.0, 300), 100)(np.uint8(200))) == 1.0
    assert float(o.loop(lambda t: t, 3)(4)) == 1.0
    assert o.loop(lambda t: t, 3)(4).dtype == jnp.float32
    assert float(o.cosine_restarts(1.0, 1e4, 2)(149_998)) < 1e-6


def test_an_optimizer_follows_its_count():
    """The count of updates reaches the schedule as the integer it is."""
    model = px.Dense.of(jnp.zeros((1, 1)), None)
    opt = px.Optimizer(o.Descent(o.multi_step(1.0, 0.5, [2**24 + 1])), model)
    state = px.state_dict(opt)
    name = next(k for k, v in state.items() if k.endswith("step"))
    px.load_state_dict(opt, {**state, name: jnp.asarray(2**24, jnp.int32)})
    for rate in (1.0, 0.5):
        assert opt.learning_rate == rate
        opt.update(model, {"weight": jnp.ones((1, 1))})
    assert float(model.weight[0, 0]) == -1.5
