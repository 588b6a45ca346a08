"""What px.explain tells, against costs in closed form and changes made on purpose."""

import jax
import jax.numpy as jnp
import pytest

import phlox as px


def test_a_matrix_product_by_closed_form():
    m, k, n = 32, 64, 128
    found = px.explain(lambda a, b: a @ b, jnp.ones((m, k)), jnp.ones((k, n)))
    assert found.flops == 2 * m * k * n
    assert found.argument_bytes == 4 * (m * k + k * n)
    assert found.output_bytes == 4 * m * n
    assert found.bytes_accessed == 4 * (m * k + k * n + m * n)


def test_a_model_and_its_gradient():
    batch, inner, outer = 8, 16, 4
    model, x = px.Dense(inner, outer), jnp.ones((batch, inner))
    forward = px.explain(model, x)
    products = 2 * batch * inner * outer
    assert products <= forward.flops <= products + 2 * batch * outer
    assert forward.argument_bytes == 4 * (batch * inner + inner * outer + outer)
    assert forward.name == "Dense"

    def loss(model, x):
        return (model(x) ** 2).sum()

    both = px.explain(px.value_and_grad(loss), model, x)
    assert 2 * products <= both.flops <= 2 * products + 8 * batch * outer + 4 * outer + 10
    assert both.name == "loss"


def test_nothing_runs_and_nothing_is_written():
    norm = px.BatchNorm(3)
    before = norm.mean
    called = []

    def step(norm, x):
        jax.debug.callback(lambda: called.append(1))
        return px.grad(lambda n: n(x).sum())(norm)

    px.explain(step, norm, jnp.ones((4, 3)))
    jax.effects_barrier()
    assert called == []
    assert norm.mean is before


def test_shapes_alone_will_do():
    model = px.eval_shape(lambda: px.Dense(1000, 1000))
    found = px.explain(model, jax.ShapeDtypeStruct((10, 1000), jnp.float32))
    assert found.flops >= 2 * 10 * 1000 * 1000


def test_a_loop_counts_once_as_its_field_says():
    eye = jnp.eye(16)
    once = px.explain(lambda x: x @ eye, eye).flops
    loop = px.explain(lambda x: px.scan(lambda c, _: (c @ eye, None), x, None, 10)[0], eye).flops
    assert once <= loop < 2 * once


def test_the_text():
    text = str(px.explain(px.Dense(4, 2), jnp.ones((8, 4)))).splitlines()
    assert text[0].startswith("Dense: ")
    assert "FLOPs" in text[0]
    assert text[1].startswith("memory: 168 bytes arguments, 64 bytes results, ")
    assert text[2] == "not compiled by px.jit"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m, x: (m, jnp.ones((5, 3))), "float32[4, 3] → float32[5, 3]"),
        (lambda m, x: (m, x.astype(jnp.float16)), "float32[4, 3] → float16[4, 3]"),
        (lambda m, x: (px.freeze(m), x), "automode) → Dense (automode, frozen)"),
        (lambda m, x: (px.trainmode(m), x), "Dense (automode) → Dense (trainmode)"),
        (lambda m, x: (with_act(m, px.tanh), x), "m.act relu → tanh"),
        (lambda m, x: (px.bf16(m), x), "m.weight float32[3, 2] → bfloat16[3, 2]"),
        (lambda m, x: (px.Chain(m), x), "m Dense (automode) → Chain (automode)"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_why_it_was_traced_again(change, told):
    @px.jit
    def forward(m, x):
        return m(x)

    model, x = px.Dense(3, 2, px.relu), jnp.ones((4, 3))
    assert px.explain(forward, model, x).retraces.endswith("forward: not traced yet")
    forward(model, x)
    forward(model, x)
    assert px.explain(forward, model, x).retraces.endswith("forward: traced 1 time")
    forward(*change(model, x))
    text = px.explain(forward, model, x).retraces
    head, line = text.splitlines()
    assert head.endswith("forward: traced 2 times")
    assert line.startswith("  trace 2: ")
    assert told in line


def with_act(model, act):
    model.act = act
    return model


def test_a_static_argument_that_changed_is_told():
    @px.jit
    def power(x, n):
        return x + len(n)

    power(jnp.ones(2), "a")
    power(jnp.ones(2), "b")
    assert "'a' → 'b'" in px.explain(power, jnp.ones(2), "a").retraces
