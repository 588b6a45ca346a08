"""Adam and AdamW by the kernel against PyTorch, and against the plain form in every way of asking."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox.nn.functional.kernels._kernels import package, reference_forms
from phlox.optim import _packing
from phlox.optim.rules import _adam_kernel as K

pytest.importorskip("phlox_cpu", reason="phlox-cpu is not installed")
if package().library is None:
    pytest.skip(f"kernels are out of use: {package().reason}", allow_module_level=True)

LEAST = K.LEAST
SHAPE = (3, 5477)  # two blocks of a thread, the second not whole
RULES = {
    "Adam": px.optim.Adam(0.05, eps=1e-3),
    "AdamW": px.optim.AdamW(0.05, b1=0.8, weight_decay=0.3),
    "masked": px.optim.AdamW(0.05, weight_decay=0.3, mask="bias"),
    "schedules": px.optim.AdamW(px.optim.linear(0.1, 0.0, 5), b1=px.optim.linear(0.9, 0.5, 5), weight_decay=0.2),
    "after clipping": px.optim.chain(px.optim.ClipGlobalNorm(1.0), px.optim.WeightDecay(0.1), px.optim.Adam(0.05)),
}


@pytest.fixture(autouse=True)
def arrays_of_this_size_are_large(monkeypatch):
    monkeypatch.setattr(K, "LEAST", 8192)


def draw(seed, shape=SHAPE):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def model():
    return px.Dense.of(draw(0), draw(1, SHAPE[1:]))  # the bias is small: by its steps


def gradients(n):
    return {"weight": draw(2 + n), "bias": draw(20 + n, SHAPE[1:])}


def train(rule, steps=3, step=lambda model, opt, grads: opt.update(model, grads)):
    """The arrays after some steps, and the whole state."""
    trained = model()
    opt = px.Optimizer(rule, trained)
    for n in range(steps):
        step(trained, opt, gradients(n))
    return trained.weight, trained.bias, opt


def same(ours, theirs, **options):
    for a, r in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert_close(a, np.asarray(r), kind="grad", **options)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_steps_are_pytorchs(name):
    torch = oracle("torch")
    rule = RULES[name]
    weight = torch.tensor(np.asarray(model().weight), requires_grad=True)
    options = {"weight_decay": rule.weight_decay} if name == "AdamW" else {}
    theirs = getattr(torch.optim, name)(
        [weight], lr=rule.learning_rate, betas=(rule.b1, rule.b2), eps=rule.eps, **options
    )
    for n in range(3):
        weight.grad = torch.tensor(np.asarray(gradients(n)["weight"]))
        theirs.step()
    ours, _, opt = train(rule)
    state = theirs.state[weight]
    moments = (opt.slot(slot)["weight"] for slot in "mv")
    for a, r in zip((ours, *moments), (weight.detach(), state["exp_avg"], state["exp_avg_sq"]), strict=True):
        assert_close(a, r.numpy(), kind="grad")


@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_of_the_plain_form_eager_and_in_a_program(name):
    jitted = px.jit(lambda model, opt, grads: opt.update(model, grads))
    used = K._adam.use.kernel
    eager, compiled = train(RULES[name]), train(RULES[name], step=jitted)
    assert K._adam.use.kernel > used
    with reference_forms():
        plain = train(RULES[name], step=px.jit(lambda model, opt, grads: opt.update(model, grads)))
    same(eager, plain)
    same(compiled, plain)


def test_a_donated_array_is_changed_in_its_place():
    trained, grads = model(), gradients(0)
    opt = px.Optimizer(px.optim.Adam(), trained)
    opt.update(trained, grads)
    places = lambda: {a.unsafe_buffer_pointer() for a in (trained.weight, *(opt.slot(s)["weight"] for s in "mv"))}  # noqa: E731
    before = places()
    opt.update(trained, grads)
    assert places() == before


def test_a_deep_model_is_trained_without_copies_of_its_weights():
    width = 96
    with px.seed(0):
        deep = px.Chain(*[px.Dense(width, width, px.tanh, bias=False) for _ in range(5)])
    opt = px.Optimizer(px.optim.Adam(), deep)
    (weights, none), (empty, state) = px.split(deep), px.split(opt)

    def step(weights, state, x):
        trained, with_opt = px.merge(deep, weights, none), px.merge(opt, empty, state)
        with_opt.update(trained, px.grad(lambda model: jnp.sum(model(x) ** 2))(trained))
        return px.split(trained)[0], px.split(with_opt)[1]

    program = jax.jit(step, donate_argnums=(0, 1)).lower(weights, state, jnp.ones((4, width))).compile().as_text()
    assert program.count('custom_call_target="phlox_cpu_adam"') == 5
    assert not re.search(rf"f32\[{width},{width}\]\S* copy\(", program)


def test_what_a_program_reads_after_the_step_is_what_was_before_it():
    @jax.jit
    def step(w, m, v, g):
        after = K._adam(w, m, v, g, jnp.array([0.1, 0.9, 0.1, 0.9, 0.1, 1e-8, 0.1, 0.1, 0.0]), decays=False)
        return after, jnp.sum(after[0] * w), w + m

    w, m, v, g = (draw(n) for n in range(4))
    after, product, total = step(w, m, jnp.square(v), g)
    assert_close(product, np.sum(np.asarray(after[0]) * np.asarray(w)), scale=100)
    np.testing.assert_array_equal(total, np.asarray(draw(0)) + np.asarray(draw(1)))
    np.testing.assert_array_equal(w, draw(0))


def test_derivatives_and_mapped_axes_are_those_of_the_plain_form():
    numbers = jnp.array([0.1, 0.9, 0.1, 0.9, 0.1, 1e-2, 0.5, 0.4, 0.3])
    w, m, v, g = (draw(n, (2, K.LEAST)) for n in range(4))

    calls = {
        "gradient": lambda f: jax.grad(f, (0, 1, 2, 3, 4)),
        "jvp": lambda f: lambda *a: jax.jvp(f, a, a)[1],
        "vmap": lambda f: jax.vmap(f, (0, None, None, 0, None)),
    }
    for name, call in calls.items():
        found = []
        for step in (K._adam, K._plain):
            f = lambda w, m, v, *a, step=step: sum(jnp.mean(jnp.sin(x)) for x in step(w, m, v * v, *a, decays=True))  # noqa: E731
            found.append(jax.jit(call(f))(w, m, v, g, numbers))
        same(*found, what=name)


def test_models_that_are_mapped_step_as_each_alone():
    def run(w, g):
        trained = px.Dense.of(w, None)
        px.Optimizer(px.optim.Adam(0.1), trained).update(trained, {"weight": g})
        return trained.weight

    ws, gs = jnp.stack([draw(0), draw(1)]), jnp.stack([draw(2), draw(3)])
    same(jax.vmap(run)(ws, gs), jnp.stack([run(w, g) for w, g in zip(ws, gs, strict=True)]))


def test_nan_and_infinity_stay_where_they_are():
    trained = px.Dense.of(jnp.zeros(SHAPE).at[0, 1].set(jnp.inf), None)
    opt = px.Optimizer(px.optim.Adam(0.1), trained)
    opt.update(trained, {"weight": jnp.ones(SHAPE).at[0, 0].set(jnp.nan)})
    assert np.argwhere(np.isnan(trained.weight)).tolist() == [[0, 0]]
    assert np.argwhere(np.isinf(trained.weight)).tolist() == [[0, 1]]


def test_small_arrays_other_dtypes_and_descendants_take_steps():
    assert LEAST > _packing.PARTS * _packing.MOST  # a vector of small arrays is never moved
    used = K._adam.use
    for rule, dtype, width in (
        (px.optim.Adam(), "bfloat16", SHAPE[1]),
        (px.optim.Adam(), "float32", 7),
        (px.optim.AMSGrad(), "float32", SHAPE[1]),
        (px.optim.Lookahead(px.optim.Adam()), "float32", SHAPE[1]),
    ):
        trained = px.Dense.of(jnp.zeros((3, width), dtype), None)
        px.Optimizer(rule, trained).update(trained, {"weight": jnp.ones((3, width), dtype)})
        assert trained.weight.dtype == dtype
    assert K._adam.use == used
