"""Complex weights: a real loss falls, by the steps that torch takes, for every rule; and which layers take them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from core.trees import same
from kit import assert_close, oracle
from phlox import optim as o

torch = oracle("torch")
T = torch.optim
R = np.random.default_rng(0)
W, A, B = ((R.normal(size=(2, 3)) + 1j * R.normal(size=(2, 3))).astype(np.complex64) for _ in range(3))
V = R.normal(size=3).astype(np.float32)


class Both(px.Module):
    """A complex and a real array."""

    def __init__(self):
        self.w, self.v = jnp.asarray(W), jnp.asarray(V)


def loss(model):
    return (jnp.abs(model.w * A - model.v) ** 2).sum() + jnp.real(model.w * B).sum()


def torch_loss(w, v):
    return (torch.abs(w * torch.tensor(A) - v) ** 2).sum() + (w * torch.tensor(B)).real.sum()


@px.jit
def step(model, opt):
    value, grads = px.value_and_grad(loss)(model)
    opt.update(model, grads)
    return value


def theirs(make, steps, clip=None):
    w, v = torch.tensor(W, requires_grad=True), torch.tensor(V, requires_grad=True)
    opt = make([w, v])
    for _ in range(steps):
        opt.zero_grad()
        torch_loss(w, v).backward()
        if clip is not None:
            clip([w, v])
        opt.step()
    return w.detach().numpy(), v.detach().numpy()


def nothing(p):
    return T.SGD(p, 0.1)


PAIRS = {
    "Descent": (o.Descent(0.1), lambda p: T.SGD(p, 0.1)),
    "optax": (optax.sgd(0.1, 0.8), lambda p: T.SGD(p, 0.1, 0.8)),
    "Momentum": (o.Momentum(0.1, 0.8), lambda p: T.SGD(p, 0.1, 0.8)),
    "Nesterov": (o.Nesterov(0.1, 0.8), lambda p: T.SGD(p, 0.1, 0.8, nesterov=True)),
    "WeightDecay": (o.chain(o.WeightDecay(0.2), o.Descent(0.1)), lambda p: T.SGD(p, 0.1, weight_decay=0.2)),
    "Adam": (o.Adam(0.1), lambda p: T.Adam(p, 0.1)),
    "AdamW": (o.AdamW(0.1, weight_decay=0.2, mask="*"), lambda p: T.AdamW(p, 0.1, weight_decay=0.2)),
    "AMSGrad": (o.AMSGrad(0.1), lambda p: T.Adam(p, 0.1, amsgrad=True)),
    "AdaMax": (o.AdaMax(0.1), lambda p: T.Adamax(p, 0.1)),
    "NAdam": (o.NAdam(0.1), lambda p: T.NAdam(p, 0.1)),
    "RAdam": (o.RAdam(0.1), lambda p: T.RAdam(p, 0.1)),
    "AdaGrad": (o.AdaGrad(0.1), lambda p: T.Adagrad(p, 0.1)),
    "AdaDelta": (o.AdaDelta(), lambda p: T.Adadelta(p, 1.0)),
    "RMSProp": (
        o.RMSProp(0.1, centred=True, momentum=0.5),
        lambda p: T.RMSprop(p, 0.1, centered=True, momentum=0.5),
    ),
    "Rprop": (o.Rprop(0.1), lambda p: T.Rprop(p, 0.1)),
    "ASGD": (o.ASGD(0.1), lambda p: T.ASGD(p, 0.1, lambd=1e-4)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_torchs(name):
    rule, make = PAIRS[name]
    model = Both()
    opt = px.Optimizer(rule, model)
    for _ in range(4):
        step(model, opt)
    for ours, want in zip((model.w, model.v), theirs(make, 4), strict=True):
        assert_close(ours, want, kind="grad", scale=3)  # RAdam's first steps have no root to divide by


@pytest.mark.parametrize(
    ("rule", "clip"),
    [
        (o.ClipGlobalNorm(1.0), lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0)),
        (o.ClipGlobalNorm(1.0, float("inf")), lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0, float("inf"))),
        (o.ClipNorm(1.0), lambda p: [torch.nn.utils.clip_grad_norm_([q], 1.0) for q in p]),
        (o.ClipGrad(0.5), lambda p: [torch.view_as_real(p[0].grad).clamp_(-0.5, 0.5), p[1].grad.clamp_(-0.5, 0.5)]),
    ],
    ids=["global", "largest", "each", "value"],
)
def test_clipping_is_torchs(rule, clip):
    model = Both()
    opt = px.Optimizer(o.chain(rule, o.Descent(0.1)), model)
    for _ in range(2):
        step(model, opt)
    for ours, want in zip((model.w, model.v), theirs(nothing, 2, clip), strict=True):
        assert_close(ours, want, kind="grad")


def test_fit_goes_down_with_and_without_clipping():
    """Σ|x w|²/n with x = 1 and SGD of rate 0.1: w shrinks by 1 - 0.2 a step, as in torch."""

    class Line(px.Module):
        def __init__(self):
            self.w = jnp.asarray([3 + 4j], jnp.complex64)

        def __call__(self, x):
            return x * self.w

    x = np.ones((4, 1), np.float32)
    for clip, after in ((None, 0.8), ({"value": 0.5}, None), (1.0, 0.98)):
        model = Line()
        px.fit(
            model, (x, x), loss=lambda y, _: (jnp.abs(y) ** 2).mean(), optimizer=o.Descent(0.1), clip=clip,
            batch_size=4, progress=False,
        )  # fmt: skip
        want = (3 + 4j) * after if after else 3 + 4j - 0.05 * (1 + 1j)
        assert_close(model.w, np.complex64([want]))


def test_rules_that_torch_has_not_go_down_too():
    """SAM and L-BFGS look at the loss elsewhere; Muon's step is U Vᴴ of the singular values; Lookahead and others."""

    @px.jit
    def searched(model, opt):
        value, grads = px.value_and_grad(convex)(model)
        opt.update(model, grads, value=value, value_fn=convex)
        return value

    def convex(model):
        return (jnp.abs(model.w * A - 1) ** 2).sum() + (jnp.abs(model.w) ** 4).sum() + (model.v**2).sum()

    w, v = torch.tensor(W, requires_grad=True), torch.tensor(V, requires_grad=True)
    best = T.LBFGS([w, v], max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        best.zero_grad()
        value = (torch.abs(w * torch.tensor(A) - 1) ** 2).sum() + (torch.abs(w) ** 4).sum() + (v**2).sum()
        value.backward()
        return value

    best.step(closure)
    for rule in (o.LBFGS(),):
        model = Both()
        opt = px.Optimizer(rule, model)
        for _ in range(15):
            searched(model, opt)
        assert_close(model.w, w.detach().numpy(), kind="grad", scale=3)
    for rule in (o.SAM(o.Descent(0.05)), o.Lookahead(o.Descent(0.05), 2), o.AccumGrad(o.Adam(0.1), 2), o.Lion(0.02)):
        model = Both()
        opt = px.Optimizer(rule, model)
        first = float(convex(model))
        for _ in range(10):
            searched(model, opt)
        assert float(convex(model)) < 0.9 * first, rule
    matrix = px.Dense.of(jnp.asarray(W), None)
    before = np.asarray(matrix.weight)
    rule = o.Muon(1.0, 0.0, 0.0, nesterov=False, steps=5)
    px.Optimizer(rule, matrix).update(matrix, {"weight": jnp.asarray(A)})
    u, _, vh = np.linalg.svd(np.conj(A), full_matrices=False)
    turned = (before - np.asarray(matrix.weight)) / np.sqrt(3 / 2)
    sizes = np.linalg.svd(turned, compute_uv=False)
    assert np.all((sizes > 0.6) & (sizes < 1.3))
    half = np.complex64(u.conj().T @ turned @ vh.conj().T)  # diagonal and positive: the same singular vectors
    assert_close(half, np.diag(np.real(np.diag(half))).astype(np.complex64), kind="grad", scale=10)


def test_sam_steps_from_the_worst_point_nearby():
    """L = Σ a|w|²: the way up is 2aw, and the step from w is that at w + ρ 2aw/‖2aw‖."""
    a = jnp.asarray([1.0, 3.0, 0.5])

    class One(px.Module):
        def __init__(self):
            self.w = jnp.asarray(W[0])

    model = One()
    opt = px.Optimizer(o.SAM(o.Descent(0.1), 0.3), model)
    fn = lambda m: (a * jnp.abs(m.w) ** 2).sum()  # noqa: E731
    opt.update(model, px.grad(fn)(model), value_fn=fn)
    up = 2 * np.asarray(a) * W[0]
    assert_close(model.w, W[0] - 0.2 * np.asarray(a) * (W[0] + 0.3 * up / np.linalg.norm(up)))


def test_decay_by_sign_is_of_the_modulus_and_averages_are_linear():
    model = Both()
    opt = px.Optimizer(o.chain(o.SignDecay(0.1), o.Descent(1.0)), model)
    opt.update(model, {"w": jnp.zeros((2, 3), jnp.complex64), "v": jnp.zeros(3)})
    assert_close(model.w, W - np.float32(0.1) * W / abs(W))
    average = px.AveragedModel(model, 0.75)
    average.update(model)
    before = np.asarray(model.w)
    model.w = model.w * 1j
    average.update(model)
    assert_close(average.weights["w"], 0.75 * before + 0.25 * np.asarray(model.w))


def test_state_is_of_the_weights_dtype_packs_and_goes_on_from_a_file(tmp_path):
    class Small(px.Module):
        def __init__(self):
            self.a, self.b = jnp.asarray(W[0]), jnp.asarray(W[1])

    def fn(m):
        return (jnp.abs(m.a * m.b - 1) ** 2).sum()

    model = Small()
    opt = px.Optimizer(o.Adam(0.1), model)
    opt.update(model, px.grad(fn)(model))
    assert {k: v.dtype for k, v in opt.slot("v").items()} == dict.fromkeys("ab", jnp.dtype("complex64"))
    twin = px.copy(model)
    again = px.Optimizer(o.Adam(0.1), twin)
    px.weights.save_safetensors(opt, tmp_path / "opt.safetensors")
    px.weights.load_safetensors(again, tmp_path / "opt.safetensors")
    for m, one in ((model, opt), (twin, again)):
        px.jit(lambda m, one: one.update(m, px.grad(fn)(m)))(m, one)
    same(px.state_dict(twin), px.state_dict(model))


# --- which layers take complex numbers: the table of docs/optimisers.md -------------------------------

X = jnp.asarray((R.normal(size=(2, 5, 4)) + 1j * R.normal(size=(2, 5, 4))).astype(np.complex64))
LAYERS = {
    "Dense": lambda: px.Dense(4, 3),
    "Conv": lambda: px.Conv((3,), 4, 3),
    "ConvTranspose": lambda: px.ConvTranspose((3,), 4, 3),
    "Embedding": lambda: px.Chain(lambda x: jnp.arange(3), px.Embedding(4, 2)),
    "Scale": lambda: px.Scale(4),
    "RNN": lambda: px.RNN(4, 3),
    "LSTM": lambda: px.LSTM(4, 3),
    "GRU": lambda: px.GRU(4, 3),
    "MeanPool": lambda: px.MeanPool((2,)),
    "GlobalMeanPool": px.GlobalMeanPool,
    "Dropout": lambda: px.Dropout(0.5),
}
REFUSE = {
    "BatchNorm": lambda: px.BatchNorm(4),
    "LayerNorm": lambda: px.LayerNorm(4),
    "GroupNorm": lambda: px.GroupNorm(4, 2),
    "InstanceNorm": lambda: px.InstanceNorm(4),
    "RMSNorm": lambda: px.RMSNorm(4),
    "MultiHeadAttention": lambda: px.MultiHeadAttention(4, 2),
    "MaxPool": lambda: px.MaxPool((2,)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", [*LAYERS, *REFUSE])
def test_layers_take_complex_numbers_or_say_that_they_do_not(name):
    with px.dtypes(param="complex64"), px.seed(0):
        model = {**LAYERS, **REFUSE}[name]()
    if name in REFUSE:
        with pytest.raises(px.DtypeError, match="real"):
            model(X)
        return
    assert {v.dtype for v in px.split(model)[0].values()} <= {jnp.dtype("complex64")}
    y = model(X)
    assert y.dtype == jnp.complex64 or name == "Dropout"
    assert bool(jnp.isfinite(jnp.abs(y)).all())
    if px.split(model)[0]:
        fn = lambda m: (jnp.abs(m(X) - 1) ** 2).mean()  # noqa: E731
        opt = px.Optimizer(o.Descent(0.01), model)
        first = float(fn(model))
        opt.update(model, px.grad(fn)(model))
        assert float(fn(model)) < first


def test_the_table_tells_the_same():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "optimisers.md").read_text("utf-8")
    takes, refuses = (
        set(line.split("|")[2].replace("`", " ").split())
        for line in text.splitlines()
        if line.startswith(("| take complex", "| refuse them"))
    )
    assert takes == set(LAYERS)
    assert refuses == set(REFUSE)


def test_complex_layers_compute_what_torchs_do():
    with px.dtypes(param="complex64"), px.seed(0):
        dense, conv = px.Dense(4, 3), px.Conv((3,), 4, 3)
    linear = torch.nn.functional.linear(torch.tensor(np.asarray(X)), torch.tensor(np.asarray(dense.weight).T))
    assert_close(dense(X), linear.numpy() + np.asarray(dense.bias))
    weight = torch.tensor(np.asarray(conv.weight).transpose(2, 1, 0))
    y = torch.nn.functional.conv1d(torch.tensor(np.asarray(X).transpose(0, 2, 1)), weight)
    assert_close(conv(X), y.numpy().transpose(0, 2, 1) + np.asarray(conv.bias), scale=3)
    draw = np.asarray(px.nn.init.glorot_uniform(jax.random.key(0), (300, 200), jnp.complex64))
    np.testing.assert_allclose(np.mean(abs(draw) ** 2), 2 / 500, rtol=0.02)  # a disc: E|z|² is R²/2
    assert abs(draw).max() <= np.sqrt(2 * 2 / 500) * 1.0001
    np.testing.assert_allclose(np.mean(abs(draw) < np.sqrt(2 / 500)), 0.5, atol=0.02)  # half the area
    assert abs(draw.mean()) < 1e-3
