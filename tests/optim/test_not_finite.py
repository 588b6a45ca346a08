"""NaN never looks like success, and 16-bit numbers are squared and summed in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import optim as o

torch = oracle("torch")
NAN = float("nan")


class Two(px.Module):
    def __init__(self, dtype=jnp.float32):
        self.a, self.b = jnp.zeros(2, dtype), jnp.ones(2, dtype)


def stepped(rule, a, b, model=None, **more):
    model = Two() if model is None else model
    px.Optimizer(rule, model).update(model, {"a": jnp.asarray(a), "b": jnp.asarray(b)}, **more)
    return np.asarray(model.a), np.asarray(model.b)


def torch_clipped(a, b, clip):
    p = [torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)]
    p[0].grad, p[1].grad = torch.tensor(a), torch.tensor(b)
    clip(p)
    return [q.detach().numpy() - q.grad.numpy() for q in p]


@pytest.mark.parametrize("bad", [NAN, float("inf")])
@pytest.mark.parametrize("norm", [2.0, float("inf"), 3.0])
def test_one_bad_gradient_switches_no_clipping_off(bad, norm):
    """torch's ``clip_grad_norm_``: one NaN makes all NaN; an infinite one leaves the others where they are."""
    a, b = [bad, 1.0], [1000.0, 0.0]
    want = torch_clipped(a, b, lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0, norm))
    for got, expected in zip(stepped(o.chain(o.ClipGlobalNorm(1.0, norm), o.Descent(1.0)), a, b), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    each = torch_clipped(a, b, lambda p: [torch.nn.utils.clip_grad_norm_([q], 1.0, norm) for q in p])
    for got, expected in zip(stepped(o.chain(o.ClipNorm(1.0, norm), o.Descent(1.0)), a, b), each, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    value = torch_clipped(a, b, lambda p: torch.nn.utils.clip_grad_value_(p, 1.0))
    for got, expected in zip(stepped(o.chain(o.ClipGrad(1.0), o.Descent(1.0)), a, b), value, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_fit_clips_as_the_rules_do():
    x = np.ones((2, 1), np.float32)

    class Line(px.Module):
        def __init__(self):
            self.a, self.b = jnp.zeros(1), jnp.ones(1)

        def __call__(self, x):
            return x * (jnp.sqrt(self.a) * 0 + 1000 * self.b)

    model = Line()
    px.fit(model, (x, x), loss=lambda y, _: y.mean(), optimizer=o.Descent(1.0), clip=1.0, batch_size=2, progress=False)
    assert np.isnan(np.asarray(model.b)).all()


def test_no_comparison_lets_nan_through():
    """What is scaled by a NaN norm is NaN; a maximum keeps it, as torch's does; an array beside it is untouched."""
    for rule in (
        o.AMSGrad(0.1),
        o.AdaMax(0.1),
        o.RMSProp(0.1, centred=True),
        o.Adafactor(0.1),
        o.AdaGrad(0.1),
        o.NormGrowthCap(),
    ):
        a, b = stepped(rule, [NAN, 1.0], [1.0, 1.0])
        assert np.isnan(a).any(), rule
        assert np.isfinite(b).all(), rule
    capped = px.Optimizer(o.NormGrowthCap(), model := Two())
    for bad in ([1.0, 1.0], [NAN, 1000.0]):
        capped.update(model, {"a": jnp.asarray(bad), "b": jnp.ones(2)})
    assert np.isnan(np.asarray(model.a)).all()
    matrix = px.Dense.of(jnp.ones((2, 2)), None)
    px.Optimizer(o.Muon(0.1), matrix).update(matrix, {"weight": jnp.asarray([[NAN, 1.0], [1.0, 1.0]])})
    assert np.isnan(np.asarray(matrix.weight)).all()
    fn = lambda m: (m.b**2).sum() + m.a.sum()  # noqa: E731
    _, b = stepped(o.SAM(o.Descent(0.1), 0.3), [NAN, 1.0], [1000.0, 0.0], value_fn=fn)
    assert np.isnan(b).all()
    model = Two()
    search = px.Optimizer(o.LBFGS(), model)
    search.update(model, {"a": jnp.asarray([NAN, 1.0]), "b": jnp.ones(2) * 1000}, value=jnp.float32(NAN), value_fn=fn)
    assert not (np.isfinite(np.asarray(model.b)) & (abs(np.asarray(model.b) - 1) > 1)).any()


def test_a_nan_loss_is_no_improvement():
    """Counted as torch's ``ReduceLROnPlateau`` counts it, first, in between and for a maximum."""
    for losses in ([NAN, NAN, NAN, 1.0, 1.0], [1.0, NAN, NAN, 0.5, NAN, NAN, 0.4]):
        for mode in ("min", "max"):
            theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode, 0.5, patience=1)
            opt = px.Optimizer(o.Descent(1.0), Two())
            plateau = o.ReduceOnPlateau(0.5, patience=1, maximize=mode == "max")
            for value in losses:
                scheduler.step(value)
                plateau.update(opt, value)
                assert opt.learning_rate == theirs.param_groups[0]["lr"]


def test_a_nan_gradient_leaves_the_accumulator_with_the_step_it_was_in():
    model = Two()
    opt = px.Optimizer(o.AccumGrad(o.Descent(0.0), 2), model)
    for g in (NAN, 1.0):
        opt.update(model, {"a": jnp.full(2, g), "b": jnp.ones(2)})
    assert all(bool((v == 0).all()) for v in opt.state.acc_grads.values())


# --- 16 bits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_squares_of_16_bits_are_float32(dtype):
    """Gradients of 300, whose square float16 cannot hold: steps are those that float32 takes, rounded once."""
    wide = {}
    rules = [
        o.Adam(0.1),
        o.RMSProp(0.1),
        o.AMSGrad(0.1),
        o.Lookahead(o.Adam(0.1), 2),
        o.chain(o.NormGrowthCap(), o.Descent(1e-3)),
        o.chain(o.ClipNorm(1.0), o.Momentum(0.1)),
        o.AccumGrad(o.Adam(0.1), 2),
    ]
    for kind in (jnp.float32, jnp.dtype(dtype)):
        for i, rule in enumerate(rules):
            model = Two(kind)
            opt = px.Optimizer(rule, model)
            before = {k: v.dtype for k, v in px.state_dict(opt).items()}
            for scale in (1.0, 0.5):
                g = jnp.asarray([300.0 * scale, -200.0], kind)
                opt.update(model, {"a": g, "b": g})
            got = np.asarray(model.a.astype(jnp.float32))
            assert {k: v.dtype for k, v in px.state_dict(opt).items()} == before
            if kind == jnp.float32:
                wide[i] = got
                assert np.all(got != 0)
            else:
                np.testing.assert_allclose(got, wide[i], rtol=0.03, err_msg=repr(rule))


def test_the_norm_of_a_float16_tree_and_its_gradient_at_zero():
    tree = {"a": jnp.full(2, 300.0, jnp.float16), "b": jnp.asarray([[-400.0]], jnp.float16)}
    want = torch.linalg.vector_norm(torch.tensor([300.0, 300.0, -400.0]))
    assert_close(px.global_norm(tree), want.numpy())
    assert px.global_norm(tree).dtype == jnp.float32
    assert_close(px.global_norm([jnp.asarray([3 + 4j, 0]), jnp.asarray(12.0)]), np.float32(13.0))
    zero = jax.grad(lambda z: px.global_norm({"a": z}))(jnp.zeros(3))
    np.testing.assert_array_equal(zero, torch.func.grad(torch.linalg.vector_norm)(torch.zeros(3)).numpy())
    assert_close(jax.grad(lambda z: px.global_norm([z]))(jnp.asarray([3.0, 4.0])), np.float32([0.6, 0.8]))
    assert np.isnan(float(px.global_norm([jnp.asarray([NAN, 1.0])])))
    assert not np.isfinite(np.asarray(jax.grad(lambda z: px.global_norm([z]))(jnp.asarray([NAN, 1.0])))).all()


def test_fit_clips_a_float16_model():
    """A gradient of 300 and c = 1: a step of rate 0.5 moves by 0.5, where an infinite norm would stand still."""
    x = np.ones((2, 1), np.float16)
    model = px.f16(px.Dense.of(jnp.ones((1, 1)), None))
    px.fit(
        model,
        (x, x),
        loss=lambda y, _: 300 * y.mean(),
        optimizer=o.Descent(0.5),
        clip=1.0,
        batch_size=2,
        progress=False,
    )
    assert float(model.weight[0, 0]) == 0.5
