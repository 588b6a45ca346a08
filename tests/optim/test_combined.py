"""Rules made of rules, by hand; L-BFGS by SciPy; the plateau by torch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close, oracle
from optim import by_hand
from phlox import optim as o

W = np.array([[1.0, -2.0]])


def weights(w=W, dtype=jnp.float32, bias=None):
    return px.Dense.of(jnp.asarray(w, dtype), None if bias is None else jnp.asarray(bias, dtype))


def grads_of(t):
    return np.array([[np.cos(t), 0.3 * t - 1.0]])


def run(rule, steps, dtype=jnp.float32, grads_of=grads_of):
    """The weights after every step."""
    model = weights(dtype=dtype)
    opt = px.Optimizer(rule, model)
    trail = []
    for t in range(steps):
        opt.update(model, {"weight": jnp.asarray(grads_of(t), dtype)})
        trail.append(np.asarray(model.weight, np.float32))
    return trail


# --- one after another, and by path -----------------------------------------------------------------


def test_a_chain_runs_in_order_and_subtracts_once():
    clip_first = run(o.chain(o.ClipGrad(0.5), o.WeightDecay(0.1), o.Descent(0.2)), 1)[0]
    assert_close(clip_first, W - 0.2 * (np.clip(grads_of(0), -0.5, 0.5) + 0.1 * W))
    clip_last = run(o.chain(o.WeightDecay(0.1), o.Descent(0.2), o.ClipGrad(0.15)), 1)[0]
    assert_close(clip_last, W - np.clip(0.2 * (grads_of(0) + 0.1 * W), -0.15, 0.15))
    decoupled = run(o.chain(o.Adam(0.1, eps=0.3), o.WeightDecay(0.01)), 1)[0]  # shrinks the weights, after Adam too
    assert_close(decoupled, W - 0.1 * grads_of(0) / (abs(grads_of(0)) + 0.3) - 0.01 * W)
    assert_close(run(o.chain(), 1)[0], W - grads_of(0))
    inside = run(o.chain(o.chain(o.ClipGrad(0.5)), o.Descent(0.2)), 1)[0]
    assert_close(inside, W - 0.2 * np.clip(grads_of(0), -0.5, 0.5))
    both = optax.chain(optax.clip(0.5), o.Descent(0.2).transform())
    assert_close(run(both, 1)[0], inside)
    with pytest.raises(px.StructureError, match=r"px\.optim\.chain expects rules of px\.optim, got GradientTransf"):
        o.chain(optax.clip(0.5), o.Adam())


def three():
    return px.Chain(*[px.Dense.of(jnp.ones((1, 2)), jnp.zeros(2)) for _ in range(2)], px.LayerNorm(2))


ONES = {k: jnp.ones_like(v) for k, v in px.split(three())[0].items()}


def moved(opt, model):
    before = px.split(model)[0]
    opt.update(model, ONES)
    return {k: float((before[k] - v).ravel()[0]) for k, v in px.split(model)[0].items()}


def test_groups_by_pattern_and_predicate():
    model = three()
    opt = px.Optimizer(
        o.groups({"layers.0.*": o.Descent(0.5), "layers.2": None, "*.bias": o.Momentum(0.1, 0.5), "*": o.Descent(2.0)}),
        model,
    )
    expected = {"layers.0.weight": 0.5, "layers.0.bias": 0.5, "layers.1.weight": 2.0, "layers.1.bias": 0.1}
    none = {"layers.2.scale": 0.0, "layers.2.bias": 0.0}
    assert moved(opt, model) == pytest.approx({**expected, **none}, rel=1e-5)
    assert opt.numbers() == pytest.approx(
        {
            "layers.0.*/learning_rate": 0.5,
            "*.bias/learning_rate": 0.1,
            "*.bias/momentum": 0.5,
            "*/learning_rate": 2.0,
        }
    )
    with pytest.raises(AttributeError, match="several learning rates"):
        _ = opt.learning_rate
    opt.adjust("layers.0.*", learning_rate=0.25)
    assert moved(opt, model) == pytest.approx(
        {**expected, "layers.0.weight": 0.25, "layers.0.bias": 0.25, "layers.1.bias": 0.15, **none}, rel=1e-5
    )
    opt.adjust(learning_rate=1.0)
    assert moved(opt, model)["layers.1.weight"] == pytest.approx(1.0)
    with pytest.raises(px.StructureError, match=r"learning_rate for the group 'layers\.2' as state"):
        opt.adjust("layers.2", learning_rate=1.0)
    with pytest.raises(px.StructureError, match="got no such group"):
        opt.adjust("nowhere", learning_rate=1.0)


def test_groups_refuse_what_is_left_over():
    by_size = o.groups([((o.is_matrix, "*.scale"), o.Descent(1.0)), (lambda path, w: w.ndim < 2, o.Descent(0.0))])
    model = three()
    steps = moved(px.Optimizer(by_size, model), model)
    assert {k for k, v in steps.items() if v} == {"layers.0.weight", "layers.1.weight", "layers.2.scale"}
    with pytest.raises(
        px.StructureError, match=r"a rule for every trained array, got none for layers\.0\.bias"
    ) as caught:
        px.Optimizer(o.groups({"*.weight": o.Adam(), "layers.2": o.Adam()}), three())
    assert '("*", rule)' in str(caught.value)
    with pytest.raises(px.StructureError, match=r"px\.optim\.groups expects a choice that matches .*, got 'trunk'"):
        px.Optimizer(o.groups({"trunk": o.Adam(), "*": o.Adam()}), three())
    with pytest.raises(px.StructureError, match=r"rules of px\.optim"):
        o.groups({"*": optax.adam(0.1)})


# --- around another rule ------------------------------------------------------------------------------


def test_accumulation_steps_by_the_mean():
    trail = run(o.AccumGrad(o.Momentum(0.1, 0.5), 3), 6)
    hand = by_hand.momentum(W, 0.1, 0.5)
    next(hand)
    first = hand.send(np.mean([grads_of(t) for t in range(3)], 0))
    second = hand.send(np.mean([grads_of(t) for t in range(3, 6)], 0))
    for got, want in zip(trail, [W, W, first, first, first, second], strict=True):
        assert_close(got, want)
    model = weights()
    opt = px.Optimizer(o.AccumGrad(o.Descent(o.linear(1.0, 0.0, 4)), 2), model)
    for _ in range(4):
        opt.update(model, {"weight": jnp.ones((1, 2))})
    assert opt.learning_rate == 0.5  # two steps, not four
    assert_close(model.weight, W - 1.75)


def test_lookahead_draws_the_slow_weights():
    trail = run(o.Lookahead(o.Descent(0.5), 2, 0.25), 4)
    w, slow = W, W
    for t in range(4):
        w = w - 0.5 * grads_of(t)
        if t % 2:
            slow = slow + 0.25 * (w - slow)
            w = slow
        assert_close(trail[t], w, what=f"step {t}")


def test_sam_takes_the_gradient_at_the_worst_point_nearby():
    """L = Σ a w²/2 has the gradient a w, so the step is known; the norm is that of all arrays."""
    a, b = jnp.asarray([[3.0, 0.5]]), 2.0

    def loss_fn(model):
        return (a * model.weight**2).sum() / 2 + b * (model.bias**2).sum() / 2

    model = weights(bias=[0.5, 1.0])
    opt = px.Optimizer(o.SAM(o.Momentum(0.1, 0.5), 0.3), model)

    @px.jit
    def step(model, opt):
        opt.update(model, px.grad(loss_fn)(model), value_fn=loss_fn)

    w, c, hand = W, np.array([0.5, 1.0]), {}
    for name, start in (("w", W), ("c", c)):
        hand[name] = by_hand.momentum(start, 0.1, 0.5)
        next(hand[name])
    for rho in (0.3, 0.3, 0.05):
        opt.adjust(rho=rho)
        step(model, opt)
        gw, gc = np.asarray(a) * w, b * c
        norm = np.sqrt((gw**2).sum() + (gc**2).sum())
        w, c = hand["w"].send(np.asarray(a) * (w + rho * gw / norm)), hand["c"].send(b * (c + rho * gc / norm))
        assert_close(model.weight, w)
        assert_close(model.bias, c)
    assert len(step.history.traces) == 1
    with pytest.raises(px.StructureError, match=r"SAM expects value_fn= in opt\.update, got none") as caught:
        opt.update(model, px.grad(loss_fn)(model))
    assert "value_fn=loss_fn" in str(caught.value)


def test_mixed_precision_keeps_small_steps():
    ones = lambda t: np.ones((1, 2))  # noqa: E731
    plain = run(o.Descent(1e-3), 8, jnp.bfloat16, ones)
    precise = run(o.MixedPrecision(o.Descent(1e-3)), 8, jnp.bfloat16, ones)
    w = W.astype(np.float32)
    for t in range(8):
        w = w - np.float32(1e-3)
        want = np.asarray(jnp.asarray(w, jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_array_equal(precise[t], want, err_msg=f"step {t}")
    np.testing.assert_array_equal(plain[-1], W)  # every step was rounded away
    assert (precise[-1] != W).all()
    model = weights(dtype=jnp.bfloat16)
    kinds = {v.dtype for v in px.state_dict(px.Optimizer(o.MixedPrecision(o.Adam()), model)).values()}
    assert kinds == {jnp.dtype("float32"), jnp.dtype("int32")}


@pytest.mark.parametrize("rule", [o.AdamW(0.05, weight_decay=4.0), o.chain(o.WeightDecay(4.0), o.Descent(0.05))])
def test_mixed_precision_around_a_rule_that_reads_weights_reads_the_wide_ones(rule):
    rounded = lambda t: jnp.asarray(grads_of(t), jnp.bfloat16)  # noqa: E731
    wide = run(rule, 20, jnp.float32, lambda t: rounded(t).astype(jnp.float32))
    model = weights(dtype=jnp.bfloat16)
    opt = px.Optimizer(o.MixedPrecision(rule), model)
    for t, w in enumerate(wide):
        opt.update(model, {"weight": rounded(t)})
        kept = [v for name, v in px.state_dict(opt).items() if "weights" in name]
        np.testing.assert_array_equal(kept, [w], err_msg=f"step {t}")
        np.testing.assert_array_equal(model.weight, jnp.asarray(w, jnp.bfloat16), err_msg=f"step {t}")


# --- L-BFGS -------------------------------------------------------------------------------------------


def rosenbrock(model):
    w = model.weight.ravel()
    return jnp.sum(100.0 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def test_lbfgs_finds_the_minimum_that_scipy_finds():
    scipy = oracle("scipy.optimize")
    start = np.array([[-1.2, 1.0, 0.5]])
    with jax.enable_x64(True):
        model = weights(start, jnp.float64)
        opt = px.Optimizer(o.LBFGS(memory=5), model)

        @px.jit
        def step(model, opt):
            value, grads = px.value_and_grad(rosenbrock)(model)
            opt.update(model, grads, value=value, value_fn=rosenbrock)
            return value

        values = [float(step(model, opt)) for _ in range(70)]
        f = jax.jit(lambda w: rosenbrock(px.Dense.of(w.reshape(1, 3), None)))
        theirs = scipy.minimize(f, start.ravel(), jac=jax.jit(jax.grad(f)), method="L-BFGS-B", options={"ftol": 1e-15})
        assert len(step.history.traces) == 1
        assert values == sorted(values, reverse=True)  # Wolfe: every step lowers the loss
        np.testing.assert_allclose(np.asarray(model.weight).ravel(), theirs.x, atol=1e-5)
        np.testing.assert_allclose(np.asarray(model.weight), 1.0, atol=1e-8)


def test_lbfgs_solves_a_quadratic_in_a_dozen_steps():
    """With an exact line search it would be conjugate gradients; Wolfe's needs a few more, far fewer than descent."""
    h = np.diag([1.0, 10.0, 100.0])
    quadratic = lambda m: (m.weight.ravel() @ jnp.asarray(h, jnp.float32) @ m.weight.ravel()) / 2  # noqa: E731
    model = weights(np.ones((1, 3)))
    opt = px.Optimizer(o.LBFGS(), model)

    @px.jit
    def step(model, opt):
        value, grads = px.value_and_grad(quadratic)(model)
        opt.update(model, grads, value=value, value_fn=quadratic)

    for _ in range(12):
        step(model, opt)
    assert float(quadratic(model)) < 1e-8
    with pytest.raises(px.StructureError, match=r"LBFGS expects value= in opt\.update, got none"):
        opt.update(model, px.grad(quadratic)(model))


def test_the_loss_elsewhere_is_that_of_training_and_its_state_is_dropped():
    modes = []

    class Model(px.Module):
        seen: px.State

        def __init__(self):
            self.w, self.seen = jnp.ones(()), jnp.zeros(())

        def __call__(self):
            modes.append(self.training)
            if self.training:
                self.seen = self.seen + 1
            return self.w**2

    model = Model()
    opt = px.Optimizer(o.SAM(o.Descent(0.1), 0.5), model)
    opt.update(model, px.grad(lambda m: m())(model), value_fn=lambda m: m())
    assert modes == [True, True]
    assert float(model.seen) == 1
    assert float(model.w) == pytest.approx(1 - 0.1 * 2 * 1.5)


# --- the plateau ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1, "cooldown": 1},
        {"patience": 0, "threshold": 0.2, "absolute": True, "lowest": 0.03},
        {"patience": 1, "maximize": True, "threshold": 0.05, "eps": 0.06},
    ],
    ids=str,
)
def test_the_plateau_is_torchs(options):
    torch = oracle("torch")
    words = {"absolute": "threshold_mode", "lowest": "min_lr", "maximize": "mode"}
    values = {"absolute": "abs", "maximize": "max"}
    translated = {words.get(k, k): values.get(k, v) for k, v in options.items()}
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.4, **translated)
    plateau, opt = o.ReduceOnPlateau(0.4, **options), px.Optimizer(o.Descent(0.5), weights())
    look = px.jit(lambda plateau, opt, value: plateau.update(opt, value))
    losses = [3.0, 2.0, 2.1, 1.95, 2.2, 2.2, 2.2, 1.0, 1.0, 1.0, 0.99, 1.0, 4.0, 4.1, 4.0, 0.5, 0.5, 0.5, 0.5]
    rates = []
    for loss in losses:
        scheduler.step(loss)
        look(plateau, opt, jnp.float32(loss))
        rates.append(opt.learning_rate)
        assert rates[-1] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6)
    assert len(set(rates)) > 2
    assert len(look.history.traces) == 1


def test_the_plateau_refuses_a_scheduled_rate():
    opt = px.Optimizer(o.Adam(o.constant(0.1)), weights())
    with pytest.raises(px.StructureError, match="an optimiser whose learning rate is state"):
        o.ReduceOnPlateau().update(opt, 1.0)
    with pytest.raises(px.RangeError, match=r"factor in \(0, 1\), got 1.5"):
        o.ReduceOnPlateau(1.5)
