"""Every schedule against torch.optim.lr_scheduler and the formulas of ParameterSchedulers.jl, eager and compiled."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import optim as o

N = 40

# Ours at base rate 0.5, and torch's scheduler of an optimiser with that rate.
TORCH = {
    "StepLR": (o.step_decay(0.5, 0.3, 7), lambda s, opt: s.StepLR(opt, 7, 0.3)),
    "MultiStepLR": (o.multi_step(0.5, 0.3, [3, 11, 12]), lambda s, opt: s.MultiStepLR(opt, [3, 11, 12], 0.3)),
    "ConstantLR": (o.sequence([0.1, 0.5], [6]), lambda s, opt: s.ConstantLR(opt, 0.2, 6)),
    "LinearLR": (o.linear(0.1, 0.4, 9), lambda s, opt: s.LinearLR(opt, 0.2, 0.8, 9)),
    "ExponentialLR": (o.exponential(0.5, 0.9), lambda s, opt: s.ExponentialLR(opt, 0.9)),
    "PolynomialLR": (o.polynomial(0.5, 15, 2.5), lambda s, opt: s.PolynomialLR(opt, 15, 2.5)),
    "CosineAnnealingLR": (
        o.cosine_annealing(0.5, 12, 0.05, after="bounce"),
        lambda s, opt: s.CosineAnnealingLR(opt, 12, 0.05),
    ),
    "CosineAnnealingWarmRestarts": (
        o.cosine_restarts(0.5, 5, 2, 0.05),
        lambda s, opt: s.CosineAnnealingWarmRestarts(opt, 5, 2, 0.05),
    ),
    "CosineAnnealingWarmRestarts, of one length": (
        o.cosine_restarts(0.5, 6, end=0.05),
        lambda s, opt: s.CosineAnnealingWarmRestarts(opt, 6, 1, 0.05),
    ),
    "OneCycleLR": (o.one_cycle(0.5, N), lambda s, opt: s.OneCycleLR(opt, 0.5, N)),
    "OneCycleLR, linear": (
        o.one_cycle(0.5, N, rise=0.4, start_divisor=10, end_divisor=100, shape="linear"),
        lambda s, opt: s.OneCycleLR(
            opt, 0.5, N, pct_start=0.4, div_factor=10, final_div_factor=100, anneal_strategy="linear"
        ),
    ),
    "OneCycleLR, three phases": (
        o.one_cycle(0.5, N, rise=0.35, three_phases=True),
        lambda s, opt: s.OneCycleLR(opt, 0.5, N, pct_start=0.35, three_phase=True),
    ),
    "CyclicLR": (o.cyclic(0.1, 0.5, 4, 7), lambda s, opt: s.CyclicLR(opt, 0.1, 0.5, 4, 7, cycle_momentum=False)),
    "CyclicLR, triangular2": (
        o.cyclic(0.1, 0.5, 5, decay="half"),
        lambda s, opt: s.CyclicLR(opt, 0.1, 0.5, 5, mode="triangular2", cycle_momentum=False),
    ),
    "CyclicLR, exp_range": (
        o.cyclic(0.1, 0.5, 5, decay="exp", factor=0.95),
        lambda s, opt: s.CyclicLR(opt, 0.1, 0.5, 5, mode="exp_range", gamma=0.95, cycle_momentum=False),
    ),
    "LambdaLR": (
        o.product(0.5, lambda t: 1 / (1 + t)),
        lambda s, opt: s.LambdaLR(opt, lambda t: 1 / (1 + t)),
    ),
    "MultiplicativeLR": (
        o.multiplicative(0.5, lambda t: 1 - 0.5 / (t + 1)),
        lambda s, opt: s.MultiplicativeLR(opt, lambda t: 1 - 0.5 / (t + 1)),
    ),
    "ChainedScheduler": (
        o.product(o.exponential(0.5, 0.9), o.sequence([0.2, 1.0], [6])),
        lambda s, opt: s.ChainedScheduler([s.ConstantLR(opt, 0.2, 6), s.ExponentialLR(opt, 0.9)]),
    ),
    "SequentialLR": (
        o.sequence([0.1, o.exponential(0.5, 0.9)], [6]),
        lambda s, opt: s.SequentialLR(opt, [s.ConstantLR(opt, 0.2, 100), s.ExponentialLR(opt, 0.9)], [6]),
    ),
    "a warm-up before a cosine": (
        o.warmup(5, o.cosine_annealing(0.5, 30, after="bounce"), 0.05),
        lambda s, opt: s.SequentialLR(opt, [s.LinearLR(opt, 0.1, 1.0, 5), s.CosineAnnealingLR(opt, 30)], [5]),
    ),
}


def of_torch(make):
    torch = oracle("torch")
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    with warnings.catch_warnings():  # torch's own SequentialLR steps before the optimiser does, and warns
        warnings.simplefilter("ignore")
        scheduler = make(torch.optim.lr_scheduler, opt)
        values = []
        for _ in range(N):
            values.append(opt.param_groups[0]["lr"])
            opt.step()
            if len(values) < N:
                scheduler.step()
    return np.array(values)


def wave(t, period):
    return 2 / np.pi * abs(np.arcsin(np.sin(np.pi * t / period)))


def half_sine(t, period):
    return abs(np.sin(np.pi * t / period))


# The formulas of ParameterSchedulers.jl, whose steps count from 1; ours is t = step - 1.
T = np.arange(N, dtype=float)
FLUX = {
    "Constant": (o.constant(0.3), 0.3 + 0 * T),
    "Step": (o.step_decay(0.5, 0.3, [4, 6, 3]), 0.5 * 0.3 ** np.select([T < 4, T < 10], [0, 1], 2)),
    "Exp": (o.exponential(0.5, 0.9), 0.5 * 0.9**T),
    "Poly": (o.polynomial(0.5, N, 3), 0.5 * (1 - T / N) ** 3),
    "Inv": (o.inverse(0.5, 0.2, 3), 0.5 / (1 + 0.2 * T) ** 3),
    "Triangle": (o.triangle(0.1, 0.6, 8), 0.1 + 0.5 * wave(T, 8)),
    "TriangleDecay2": (o.triangle_decay2(0.1, 0.6, 8), 0.1 + 0.5 * wave(T, 8) / 2 ** (T // 8)),
    "TriangleExp": (o.triangle_exp(0.1, 0.6, 8, 0.9), 0.1 + 0.5 * wave(T, 8) * 0.9**T),
    "Sin": (o.sine(0.1, 0.6, 7), 0.1 + 0.5 * half_sine(T, 7)),
    "SinDecay2": (o.sine_decay2(0.1, 0.6, 7), 0.1 + 0.5 * half_sine(T, 7) / 2 ** (T // 7)),
    "SinExp": (o.sine_exp(0.1, 0.6, 7, 0.9), 0.1 + 0.5 * half_sine(T, 7) * 0.9**T),
    "CosAnneal": (
        o.cosine_annealing(0.6, 7, 0.1, after="restart"),
        0.1 + 0.5 * (1 + np.cos(np.pi * (T % 7) / 7)) / 2,
    ),
    "CosAnneal, once": (
        o.cosine_annealing(0.6, 7, 0.1),
        0.1 + 0.5 * (1 + np.cos(np.pi * np.minimum(T, 7) / 7)) / 2,
    ),
    "Sequence": (
        o.sequence([o.exponential(0.5, 0.9), 0.2, o.inverse(0.1, 1.0)], [5, 3, 9]),
        np.select([T < 5, T < 8], [0.5 * 0.9**T, 0.2], 0.1 / (1 + abs(T - 8))),
    ),
    "Loop": (o.loop(o.exponential(0.5, 0.9), 6), 0.5 * 0.9 ** (T % 6)),
    "Interpolator": (o.stretched(o.exponential(0.5, 0.9), 2.5), 0.5 * 0.9 ** (T // 2.5)),
    "Shifted": (o.shifted(o.exponential(0.5, 0.9), 4), 0.5 * 0.9 ** (T + 4)),
    "ComposedSchedule": (
        o.composed(lambda low, high: o.sine(low, high, 7), 0.1, o.exponential(0.5, 0.9)),
        0.1 + (0.5 * 0.9**T - 0.1) * half_sine(T, 7),
    ),
}
CASES = {**{f"torch {k}": v for k, v in TORCH.items()}, **FLUX}


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_theirs(name):
    ours, theirs = CASES[name]
    theirs = of_torch(theirs) if callable(theirs) else theirs
    with jax.enable_x64(True):
        at_once = np.asarray(jax.jit(ours)(jnp.arange(N)))
        np.testing.assert_allclose(at_once, theirs, rtol=1e-9, atol=1e-12)
        assert_close(ours(3), theirs[3])
    several = jax.jit(ours)(jnp.arange(N))  # float32 of all steps in one array, and of one traced step
    assert several.dtype == jnp.float32
    np.testing.assert_allclose(several, theirs, rtol=1e-4, atol=1e-5)


def test_what_stays_stays():
    """Past their ends, and at once, as the docstrings say."""
    for schedule, step, value in (
        (o.linear(0.1, 0.4, 9), 1000, 0.4),
        (o.polynomial(0.5, 15, 2.5, 0.1), 1000, 0.1),
        (o.cosine_annealing(0.5, 12, 0.05), 1000, 0.05),
        (o.one_cycle(0.5, N), 1000, 0.5 / 25 / 1e4),
        (o.warmup(5, 0.3), 1000, 0.3),
        (o.warmup(5, 0.3, 0.1), 0, 0.1),
        (o.sequence([0.1, 0.2], [3, 3]), 1000, 0.2),
        (o.product(2.0, 3.0), 7, 6.0),
    ):
        assert float(schedule(step)) == pytest.approx(value, rel=1e-6), schedule


def test_long_runs_keep_their_restarts():
    """In float32 too, where a logarithm decides which cycle it is: no restart comes a step early or late."""
    starts = [5 * (2**k - 1) for k in range(15)]
    values = jax.jit(o.cosine_restarts(1.0, 5, 2))(jnp.asarray(starts))
    np.testing.assert_array_equal(values, np.ones(15, np.float32))
    before = jax.jit(o.cosine_restarts(1.0, 5, 2))(jnp.asarray(starts[1:]) - 1)
    assert float(before.max()) < 0.1


def test_optax_schedules_and_plain_functions_are_parts_too():
    rate = o.sequence([optax.linear_schedule(0.0, 1.0, 4), lambda t: 1 / (1 + t)], [4])
    assert [float(rate(t)) for t in (0, 2, 4, 5, 7)] == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.25])
    assert float(o.shifted(optax.exponential_decay(1.0, 1, 0.5), 1)(1)) == pytest.approx(0.25)


def test_equal_schedules_are_equal_and_print_as_they_were_written():
    assert o.multi_step(0.5, 0.3, [3, 11]) == o.multi_step(0.5, 0.3, (3, 11)) != o.multi_step(0.5, 0.3, [3, 12])
    assert o.linear(0.0, 1.0, 5) != o.polynomial(0.0, 1, 5)
    assert hash(o.warmup(3, o.constant(1.0))) == hash(o.warmup(3, o.constant(1.0)))
    made = o.warmup(5, o.cosine_annealing(0.5, 12, after="bounce"))
    assert isinstance(made, o.Schedule)
    assert repr(made) == "warmup(5, cosine_annealing(0.5, 12, after='bounce'))"
    assert repr(o.product(0.1, o.sequence([0.1, 0.2], [3]))) == "product(0.1, sequence([0.1, 0.2], [3]))"
    space = {**vars(o)}
    assert eval(repr(made), space) == made

    @px.jit
    def step(model, opt):
        opt.update(model, {"weight": jnp.ones((1, 1))})

    for schedule in (o.linear(1.0, 0.0, 4), o.linear(1.0, 0.0, 4)):
        model = px.Dense.of(jnp.zeros((1, 1)), None)
        opt = px.Optimizer(o.Descent(schedule), model)
        for rate in (1.0, 0.75, 0.5):
            assert opt.learning_rate == rate
            step(model, opt)
        assert float(model.weight[0, 0]) == -2.25
    assert len(step.history.traces) == 1


def test_stateful_schedules_move_when_asked():
    rate = o.Stateful(o.linear(1.0, 0.0, 4), advance=lambda step: step != 2)
    assert [float(next(rate)) for _ in range(5)] == [1.0, 0.75, 0.5, 0.5, 0.5]
    assert [float(v) for _, v in zip(range(2), o.Stateful(o.linear(1.0, 0.0, 4)), strict=False)] == [1.0, 0.75]
    assert float(next(rate.reset())) == 1.0


def test_plot(monkeypatch):
    class Axes:
        def plot(self, x, y):
            self.line = list(x), list(y)

        def set_xlabel(self, text):
            self.x = text

        def set_ylabel(self, text):
            self.y = text

    ax = Axes()
    assert o.plot_schedule(o.linear(1.0, 0.0, 4), 3, ax=ax) is ax
    assert ax.line == ([0, 1, 2], [1.0, 0.75, 0.5])
    assert (ax.x, ax.y) == ("step", "linear(1.0, 0.0, 4)")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(px.MissingExtraError, match=r"plot_schedule expects matplotlib") as caught:
        o.plot_schedule(o.linear(1.0, 0.0, 4), 3)
    assert 'pip install "phlox[plots]"' in str(caught.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: o.step_decay(0.1, 0.5, 0), "step_decay expects every of at least 1, got 0"),
        (lambda: o.step_decay(0.1, 0.5, [3, 0]), "every of at least 1, got 0"),
        (lambda: o.linear(0.1, 0.5, 0), "linear expects steps of at least 1"),
        (lambda: o.polynomial(0.1, 0), "polynomial expects steps"),
        (lambda: o.cosine_annealing(0.1, 5, after="end"), '"stay", "bounce" or "restart", got \'end\''),
        (lambda: o.one_cycle(0.1, 100, rise=0.001), "rise · steps above 1"),
        (lambda: o.one_cycle(0.1, 100, rise=1.0), "1 - rise above 0"),
        (lambda: o.one_cycle(0.1, 100, shape="cos"), '"cosine" or "linear", got \'cos\''),
        (lambda: o.cyclic(0.1, 1.0, 0), "cyclic expects up above 0"),
        (lambda: o.cyclic(0.1, 1.0, 3, decay="2"), "got '2'"),
        (lambda: o.triangle(0.1, 1.0, 0), "period of at least 1"),
        (lambda: o.sequence([0.1, 0.2, 0.3], [5]), "a length for each part but the last, got 3 parts and 1 lengths"),
        (lambda: o.loop(o.constant(1.0), 0), "loop expects period"),
        (lambda: o.stretched(o.constant(1.0), 0), "stretched expects rate above 0"),
        (lambda: o.warmup(0, 0.1), "warmup expects steps"),
        (lambda: o.plot_schedule(o.constant(1.0), 0), "plot_schedule expects steps"),
    ],
)
def test_ranges_are_checked_at_construction(make, text):
    with pytest.raises(px.RangeError, match=text):
        make()
