"""Every rule, step by step: NumPy formulas, torch.optim and optax, in float64, with numbers unlike the defaults."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close, oracle, to_numpy
from optim import by_hand
from phlox import optim as o

W = np.array([[1.0, -2.0, 0.7], [0.5, 3.0, -0.2]])
B = np.array([0.3, -1.0, 2.0])
SLOPE = {"w": np.array([[0.3, -1.5, 0.8], [2.0, 0.001, -0.4]]), "b": np.array([0.5, 1.1, -0.9])}
STEPS = 7


class Weights(px.Module):
    def __init__(self, dtype=jnp.float32):
        self.w, self.b = jnp.asarray(W, dtype), jnp.asarray(B, dtype)


def gradient(name, w, t):
    """A fixed function of the weights and of t, so that a wrong step shows in the next; signs change over time."""
    return SLOPE[name] * w + 0.7 * np.cos(2.1 * t + np.arange(w.size).reshape(w.shape))


@dataclass(frozen=True)
class Row:
    rule: Any
    hand: Any  # w -> a generator of by_hand
    torch: Any = None  # (torch, parameters) -> an optimiser of torch


ROWS = {
    "Descent": Row(o.Descent(0.1), lambda w: by_hand.descent(w, 0.1), lambda torch, p: torch.optim.SGD(p, lr=0.1)),
    "Momentum": Row(
        o.Momentum(0.1, 0.8),
        lambda w: by_hand.momentum(w, 0.1, 0.8),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.8),
    ),
    "Nesterov": Row(
        o.Nesterov(0.1, 0.8),
        lambda w: by_hand.momentum(w, 0.1, 0.8, nesterov=True),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "Nesterov as in Flux": Row(o.Momentum(0.1, 0.8, nesterov=True), lambda w: by_hand.flux_nesterov(w, 0.1, 0.8)),
    "Rprop": Row(
        o.Rprop(0.05, 0.4, 1.5, 0.03, 0.1),
        lambda w: by_hand.rprop(w, 0.05, 0.4, 1.5, 0.03, 0.1),
        lambda torch, p: torch.optim.Rprop(p, lr=0.05, etas=(0.4, 1.5), step_sizes=(0.03, 0.1)),
    ),
    "Lion": Row(o.Lion(0.1, 0.7, 0.9, 0.2), lambda w: by_hand.lion(w, 0.1, 0.7, 0.9, 0.2)),
    "ASGD": Row(
        o.ASGD(0.1, 0.3, 0.6, 2.0),
        lambda w: by_hand.asgd(w, 0.1, 0.3, 0.6),
        lambda torch, p: torch.optim.ASGD(p, lr=0.1, lambd=0.3, alpha=0.6, t0=2.0),
    ),
    "Adam": Row(
        o.Adam(0.1, 0.7, 0.9, 0.3),
        lambda w: by_hand.adam(w, 0.1, 0.7, 0.9, 0.3),
        lambda torch, p: torch.optim.Adam(p, lr=0.1, betas=(0.7, 0.9), eps=0.3),
    ),
    "Adam by default": Row(
        o.Adam(), lambda w: by_hand.adam(w, 1e-3, 0.9, 0.999, 1e-8), lambda torch, p: torch.optim.Adam(p)
    ),
    "AdamW": Row(
        o.AdamW(0.1, 0.7, 0.9, 0.3, 0.4),
        lambda w: by_hand.adam(w, 0.1, 0.7, 0.9, 0.3, 0.4),
        lambda torch, p: torch.optim.AdamW(p, lr=0.1, betas=(0.7, 0.9), eps=0.3, weight_decay=0.4),
    ),
    "AdamW by default": Row(
        o.AdamW(), lambda w: by_hand.adam(w, 1e-3, 0.9, 0.999, 1e-8, 0.01), lambda torch, p: torch.optim.AdamW(p)
    ),
    "AMSGrad": Row(
        o.AMSGrad(0.1, 0.7, 0.6, 0.05),
        lambda w: by_hand.amsgrad(w, 0.1, 0.7, 0.6, 0.05),
        lambda torch, p: torch.optim.Adam(p, lr=0.1, betas=(0.7, 0.6), eps=0.05, amsgrad=True),
    ),
    "AdaMax": Row(
        o.AdaMax(0.1, 0.7, 0.9, 0.05),
        lambda w: by_hand.adamax(w, 0.1, 0.7, 0.9, 0.05),
        lambda torch, p: torch.optim.Adamax(p, lr=0.1, betas=(0.7, 0.9), eps=0.05),
    ),
    "NAdam": Row(
        o.NAdam(0.1, 0.7, 0.9, 0.05, 0.5),
        lambda w: by_hand.nadam(w, 0.1, 0.7, 0.9, 0.05, 0.5),
        lambda torch, p: torch.optim.NAdam(p, lr=0.1, betas=(0.7, 0.9), eps=0.05, momentum_decay=0.5),
    ),
    "NAdam as in Flux": Row(  # psi so large that the momentum is b1 from the first step
        o.NAdam(0.1, 0.7, 0.9, 0.05, 1e4), lambda w: by_hand.flux_nadam(w, 0.1, 0.7, 0.9, 0.05)
    ),
    "RAdam": Row(
        o.RAdam(0.1, 0.7, 0.95, 0.05),
        lambda w: by_hand.radam(w, 0.1, 0.7, 0.95, 0.05),
        lambda torch, p: torch.optim.RAdam(p, lr=0.1, betas=(0.7, 0.95), eps=0.05),
    ),
    "AdaBelief": Row(o.AdaBelief(0.1, 0.7, 0.9, 0.01), lambda w: by_hand.adabelief(w, 0.1, 0.7, 0.9, 0.01)),
    "OAdam": Row(o.OAdam(0.1, 0.7, 0.9, 0.05), lambda w: by_hand.oadam(w, 0.1, 0.7, 0.9, 0.05)),
    "AdaGrad": Row(
        o.AdaGrad(0.1, 0.2, 0.05),
        lambda w: by_hand.adagrad(w, 0.1, 0.2, 0.05),
        lambda torch, p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.2, eps=0.05),
    ),
    "AdaDelta": Row(
        o.AdaDelta(0.7, 0.8, 0.01),
        lambda w: by_hand.adadelta(w, 0.7, 0.8, 0.01),
        lambda torch, p: torch.optim.Adadelta(p, lr=0.7, rho=0.8, eps=0.01),
    ),
    "RMSProp": Row(
        o.RMSProp(0.1, 0.8, 0.05),
        lambda w: by_hand.rmsprop(w, 0.1, 0.8, 0.05),
        lambda torch, p: torch.optim.RMSprop(p, lr=0.1, alpha=0.8, eps=0.05),
    ),
    "RMSProp, centred, with momentum": Row(
        o.RMSProp(0.1, 0.8, 0.05, 0.6, centred=True),
        lambda w: by_hand.rmsprop(w, 0.1, 0.8, 0.05, 0.6, centred=True),
        lambda torch, p: torch.optim.RMSprop(p, lr=0.1, alpha=0.8, eps=0.05, momentum=0.6, centered=True),
    ),
    "Adafactor": Row(
        o.Adafactor(0.5, -0.7, 0.02, 0.01, 1.0, 0.1),
        lambda w: by_hand.adafactor(w, 0.5, -0.7, 0.02, 0.01, 1.0, 0.1),
        lambda torch, p: torch.optim.Adafactor(p, lr=0.5, beta2_decay=-0.7, eps=(0.02, 0.01), d=1.0, weight_decay=0.1),
    ),
    "Muon and Descent": Row(
        o.groups([(o.is_matrix, o.Muon(0.1, 0.7, 0.2)), ("*", o.Descent(0.1))]),
        lambda w: by_hand.muon(w, 0.1, 0.7, 0.2) if w.ndim == 2 else by_hand.descent(w, 0.1),
    ),
    "WeightDecay, then Adam": Row(
        o.chain(o.WeightDecay(0.3), o.Adam(0.1, eps=0.3)),
        lambda w: by_hand.weight_decay(by_hand.adam(w, 0.1, 0.9, 0.999, 0.3), w, lambda w: 0.3 * w),
        lambda torch, p: torch.optim.Adam(p, lr=0.1, eps=0.3, weight_decay=0.3),
    ),
    "SignDecay, then Momentum": Row(
        o.chain(o.SignDecay(0.3), o.Momentum(0.1, 0.8)),
        lambda w: by_hand.weight_decay(by_hand.momentum(w, 0.1, 0.8), w, lambda w: 0.3 * np.sign(w)),
    ),
    "clipped components": Row(
        o.chain(o.ClipGrad(0.8), o.Descent(0.1)),
        lambda w: by_hand.descent(w, 0.1),
    ),
}


def clipped(name, grads):
    return {k: np.clip(g, -0.8, 0.8) for k, g in grads.items()} if name == "clipped components" else grads


@pytest.mark.parametrize("name", ROWS)
def test_steps_are_those_by_hand_and_of_torch(name):
    row = ROWS[name]
    hand = {k: row.hand(w) for k, w in (("w", W), ("b", B))}
    now = {k: next(g) for k, g in hand.items()}
    with jax.enable_x64(True):
        model = Weights(jnp.float64)
        opt = px.Optimizer(row.rule, model)
        trail = []
        for t in range(STEPS):
            grads = {k: gradient(k, w, t) for k, w in now.items()}
            opt.update(model, {k: jnp.asarray(g) for k, g in grads.items()})
            now = {k: hand[k].send(g) for k, g in clipped(name, grads).items()}
            for k, v in now.items():
                assert_close(getattr(model, k), v, what=f"{k} at step {t}")
            trail.append(now)
        assert not np.allclose(trail[-1]["w"], trail[-2]["w"], atol=1e-4)
    if row.torch is None:
        return
    torch = oracle("torch")
    params = {"w": torch.tensor(W, requires_grad=True), "b": torch.tensor(B, requires_grad=True)}
    theirs = row.torch(torch, list(params.values()))
    for t, now in enumerate(trail):
        for k, p in params.items():
            p.grad = torch.tensor(gradient(k, to_numpy(p), t))
        theirs.step()
        for k, p in params.items():  # torch's scalars are float32 here and there
            np.testing.assert_allclose(to_numpy(p), now[k], rtol=1e-6, atol=1e-7, err_msg=f"{k} at step {t}")


def test_the_average_of_asgd_is_torchs():
    torch = oracle("torch")
    row = ROWS["ASGD"]
    weight = torch.tensor(W.astype(np.float32), requires_grad=True)
    theirs = row.torch(torch, [weight])
    model = Weights()
    opt = px.Optimizer(row.rule, model)
    for t in range(STEPS):
        g = gradient("w", to_numpy(weight), t).astype(np.float32)
        opt.update(model, {"w": jnp.asarray(g), "b": jnp.zeros(3)})
        weight.grad = torch.tensor(g)
        theirs.step()
    assert_close(opt.slot("average")["w"], to_numpy(theirs.state[weight]["ax"]))
    assert not np.allclose(opt.slot("average")["w"], model.w)
    with pytest.raises(px.StructureError, match=r"a rule that keeps mean, got one that keeps average"):
        opt.slot("mean")


def test_muon_is_torchs_up_to_its_bfloat16():
    torch = oracle("torch")
    for shape, theirs_too in (((2, 3), {}), ((4, 2), {"adjust_lr_fn": "match_rms_adamw"})):
        w = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        g = [np.random.default_rng(i).normal(size=shape).astype(np.float32) for i in (1, 2, 3)]
        weight = torch.tensor(w.T.copy(), requires_grad=True)  # (out, in)
        theirs = torch.optim.Muon([weight], lr=0.1, momentum=0.7, weight_decay=0.2, **theirs_too)
        model = px.Dense.of(jnp.asarray(w), None)
        opt = px.Optimizer(px.optim.Muon(0.1, 0.7, 0.2, match_adam=bool(theirs_too)), model)
        for step in g:
            opt.update(model, {"weight": jnp.asarray(step)})
            weight.grad = torch.tensor(step.T.copy())
            theirs.step()
        np.testing.assert_allclose(model.weight, to_numpy(weight).T, atol=2e-2)  # bfloat16's tolerance


def test_apollo_scales_columns_by_adam_in_a_random_space():
    rule = px.optim.Apollo(0.1, 0.7, 0.9, 0.01, 0.2, rank=2, every=2)
    tall = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model = px.Dense.of(jnp.asarray(tall), jnp.asarray(B, jnp.float32))
    opt = px.Optimizer(rule, model)
    assert opt.slot("m")["weight"].shape == (2, 5)
    w, m, v = tall.astype(float), 0.0, 0.0
    bias = by_hand.adam(B, 0.1, 0.7, 0.9, 0.01, 0.2)
    next(bias)
    seen = []
    for t in (1, 2, 3):
        g = np.random.default_rng(t).normal(size=(5, 3)).astype(np.float32)
        opt.update(model, {"weight": jnp.asarray(g), "bias": jnp.asarray(g[0])})
        p = np.asarray(rule.projection("weight", t // 2, (3, 5)), float)
        seen.append(p)
        r = p @ g.T
        m, v = 0.7 * m + 0.3 * r, 0.9 * v + 0.1 * r**2
        hat = m / (1 - 0.7**t) / (np.sqrt(v / (1 - 0.9**t)) + 0.01)
        s = np.linalg.norm(hat, axis=0) / (np.linalg.norm(r, axis=0) + 0.01)
        w = w - 0.1 * ((g.T * s).T + 0.2 * w)
        assert_close(model.weight, w, kind="grad", what=f"step {t}")
        assert_close(model.bias, bias.send(g[0].astype(float)), kind="grad")
    assert (seen[0] != seen[1]).any()
    assert (seen[1] == seen[2]).all()
    many = np.asarray(px.optim.Apollo(rank=4).projection("a", 0, (5000, 6000)))
    assert many.shape == (4, 5000)
    assert abs(many.var() - 0.25) < 0.01  # 20 000 draws: five standard errors are 0.0125


# --- rules that change gradients -------------------------------------------------------------------


def test_clipping_by_norms_is_torchs():
    torch = oracle("torch")
    grads = {k: 3 * gradient(k, w, 0).astype(np.float32) for k, w in (("w", W), ("b", B))}
    for p in (2.0, 1.0, 3.0, float("inf")):
        for most in (0.5, 100.0):
            params = [torch.zeros(2, 3, requires_grad=True), torch.zeros(3, requires_grad=True)]
            for together in (True, False):
                for param, g in zip(params, grads.values(), strict=True):
                    param.grad = torch.tensor(g)
                for group in [params] if together else [[q] for q in params]:
                    torch.nn.utils.clip_grad_norm_(group, most, norm_type=p)
                rule = (px.optim.ClipGlobalNorm if together else px.optim.ClipNorm)(most, p)
                steps, _ = rule.part().update(grads, rule.part().init(grads))
                for k, param in zip(grads, params, strict=True):
                    assert_close(steps[k], to_numpy(param.grad), what=f"{p} {most} {together} {k}")
    zero = {"w": jnp.zeros((2, 3))}
    for rule in (px.optim.ClipNorm(1.0), px.optim.ClipGlobalNorm(1.0)):
        assert not rule.part().update(zero, rule.part().init(zero))[0]["w"].any()


def test_norm_growth_is_capped():
    part = px.optim.NormGrowthCap(1.5, smallest=0.1).part()
    state = part.init({"w": jnp.zeros(4)})
    norm = 0.0
    for g, expected in ((2.0, 2.0), (2.5, 2.5), (9.0, 3.75), (5.0, 5.0), (0.15, 0.15), (0.18, 0.18), (0.27, 0.27)):
        grads = {"w": jnp.asarray([g, 0, 0, 0])}
        steps, state = part.update(grads, state)
        norm = float(jnp.linalg.norm(steps["w"]))
        assert norm == pytest.approx(expected, rel=1e-6), g
    steps, state = part.update({"w": jnp.asarray([1.0, 0, 0, 0])}, state)  # above the bound 0.1 · √4, and capped
    assert float(steps["w"][0]) == pytest.approx(1.5 * 0.27, rel=1e-6)


def test_decay_by_masks():
    for mask, moved in (
        (px.optim.is_matrix, "w"),
        ("b", "b"),
        (("w", "b"), "wb"),
        (lambda path, array: path == "b" and array.ndim == 1, "b"),
        (None, "wb"),
    ):
        for rule in (
            px.optim.AdamW(0.1, weight_decay=0.5, mask=mask),
            px.optim.Lion(0.1, weight_decay=0.5, mask=mask),
            px.optim.chain(px.optim.WeightDecay(0.5, mask), px.optim.Descent(0.1)),
        ):
            part = rule.part()
            params = {"w": jnp.asarray(W), "b": jnp.asarray(B)}
            steps, _ = part.update({"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, part.init(params), params)
            for k, v in params.items():
                assert_close(steps[k], 0.05 * np.asarray(v) if k in moved else 0 * np.asarray(v))
    with pytest.raises(
        px.StructureError, match=r"AdamW expects a choice that matches a trained array, got '\*\.scale'"
    ):
        px.Optimizer(px.optim.AdamW(mask="*.scale"), Weights())
    with pytest.raises(px.StructureError, match="a path pattern, several in a tuple, or a predicate"):
        px.optim.WeightDecay(0.1, mask=3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (px.optim.Adam(0.1, 0.7, 0.9, 0.05), optax.adam(0.1, 0.7, 0.9, 0.05)),
        (px.optim.Lion(0.1, 0.7, 0.9, 0.2), optax.lion(0.1, 0.7, 0.9, weight_decay=0.2)),
        (px.optim.RMSProp(0.1, 0.8, 0.05), optax.rmsprop(0.1, 0.8, 0.05, eps_in_sqrt=False)),
        (px.optim.AdaDelta(0.7, 0.8, 0.01), optax.adadelta(0.7, 0.8, 0.01)),
        (px.optim.AdaMax(0.1, 0.7, 0.9, 0.05), optax.adamax(0.1, 0.7, 0.9, 0.05)),
    ],
    ids=["Adam", "Lion", "RMSProp", "AdaDelta", "AdaMax"],
)
def test_where_the_formula_is_optaxs_so_are_the_steps(ours, theirs):
    ours = ours.transform()
    a = b = {"w": jnp.asarray(W, jnp.float32)}
    states = [ours.init(a), theirs.init(b)]
    both = jax.jit(lambda g, s, t, a, b: (ours.update(g, s, a), theirs.update(g, t, b)))
    for t in range(3):
        grads = {"w": jnp.asarray(gradient("w", np.asarray(a["w"]), t), jnp.float32)}
        (u, states[0]), (v, states[1]) = both(grads, *states, a, b)
        a, b = optax.apply_updates(a, u), optax.apply_updates(b, v)
        assert_close(a["w"], b["w"])


# --- complex weights, and what is refused ------------------------------------------------------------


def test_complex_weights_move_against_the_gradient():
    class Complex(px.Module):
        def __init__(self):
            self.w = jnp.asarray([1 + 2j, -0.5j], jnp.complex64)

    def loss(m):
        return (jnp.abs(m.w - (3 - 1j)) ** 2).sum()

    @px.jit
    def step(model, opt):
        value, grads = px.value_and_grad(loss)(model)
        opt.update(model, grads)
        return value

    model = Complex()
    opt = px.Optimizer(px.optim.Descent(0.1), model)
    values = [float(step(model, opt)) for _ in range(30)]
    assert values == sorted(values, reverse=True)
    assert_close(model.w, np.full(2, 3 - 1j, np.complex64), kind="grad", scale=100)  # 0.8³⁰ of the way is left
    first = Complex()
    px.Optimizer(px.optim.Adam(0.1, eps=0.0), first).update(first, {"w": jnp.asarray([3 - 4j, 2 - 2j], jnp.complex64)})
    assert_close(first.w, np.asarray([1 + 2j - 0.1 * (1 + 1j), -0.5j - 0.1 * (1 + 1j)], np.complex64))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: px.optim.Descent(-0.1), r"Descent expects learning_rate in \[0, ∞\), got -0.1"),
        (lambda: px.optim.Momentum(0.1, 1.0), r"momentum in \[0, 1\)"),
        (lambda: px.optim.Adam(0.1, b1=1.0), "b1 in"),
        (lambda: px.optim.Adam(0.1, b2=-0.1), "b2 in"),
        (lambda: px.optim.Adam(0.1, eps=-1e-8), "eps in"),
        (lambda: px.optim.Adam(float("nan")), "learning_rate in"),
        (lambda: px.optim.AdamW(0.1, weight_decay=-1.0), "weight_decay in"),
        (lambda: px.optim.RAdam(b2=0.6), r"b2 in \(0.6, 1\)"),
        (lambda: px.optim.Rprop(grow=0.9), r"grow in \[1, ∞\)"),
        (lambda: px.optim.Rprop(lambda t: 0.1), "a number for learning_rate, got a schedule"),
        (lambda: px.optim.ClipNorm(1.0, p=0.5), r"p in \[1, ∞\]"),
        (lambda: px.optim.ClipGrad(-1.0), "max_value in"),
        (lambda: px.optim.NormGrowthCap(0.5), "growth in"),
        (lambda: px.optim.Adafactor(decay_power=0.5), "decay_power in"),
        (lambda: px.optim.Apollo(rank=0), "rank of at least 1"),
        (lambda: px.optim.LBFGS(0), "memory of at least 1"),
        (lambda: px.optim.AccumGrad(px.optim.Adam(), 0), "every of at least 1"),
        (lambda: px.optim.Lookahead(px.optim.Adam(), pull=0.0), r"pull in \(0, 1\]"),
        (lambda: px.optim.SAM(px.optim.Adam(), -1.0), "rho in"),
    ],
)
def test_ranges_are_checked_at_construction(make, text):
    with pytest.raises(px.RangeError, match=text):
        make()


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(px.ShapeError, match=r"Muon expects a matrix or a kernel at b, got float32\[3\]") as caught:
        px.Optimizer(px.optim.Muon(), Weights())
    assert "px.optim.groups" in str(caught.value)
