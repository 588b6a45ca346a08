"""Repeated blocks, branches and inline models: the same as writing them out."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox import nn
from registry import normal


def block() -> px.Module:
    return px.Chain(px.Dense(4, 4), px.BatchNorm(4, px.tanh), px.Dropout(0.4))


def written_out(stack: nn.RepeatedLayer) -> px.Chain:
    return px.Chain(*[stack[t] for t in range(len(stack))])


def sizes(jaxpr) -> int:
    """All equations of a jaxpr, those of inner ones too."""
    n = 0
    for eqn in jaxpr.eqns:
        n += 1
        for value in eqn.params.values():
            for part in value if isinstance(value, (list, tuple)) else (value,):
                inner = getattr(part, "jaxpr", part)
                n += sizes(inner) if hasattr(inner, "eqns") else 0
    return n


# --- RepeatedLayer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_stack_trains_as_its_blocks_in_a_row(compiled, remat):
    stack = nn.RepeatedLayer(block, 3, remat=remat, key=0)
    chain = written_out(stack)
    x, w = jnp.asarray(normal(5, 4)), normal(5, 4, seed=1)

    def step(model, x):
        value, grads = px.value_and_grad(lambda m: jnp.sum(m(x) * w))(model)
        return value, grads, model(x)

    run = px.jit(step) if compiled else step
    for _ in range(2):
        value, grads, y = run(stack, x)
        want, theirs, y_want = run(chain, x)
        assert_close(value, want, scale=10)
        assert_close(y, y_want, scale=10)
        for t in range(3):
            for path, g in px.paths(theirs[t]).items():
                assert_close(px.paths(grads.block)[path][t], g, kind="grad", what=f"block {t}, {path}")
            for path, v in px.paths(chain[t]).items():
                mine = px.paths(stack.block)[path][t]
                if path == "layers.2.key":
                    mine, v = jax.random.key_data(mine), jax.random.key_data(v)
                assert_close(mine, v, what=f"block {t}, {path}")


def test_every_block_draws_its_own_weights_as_the_initialiser_says():
    stack = nn.RepeatedLayer(lambda: px.Dense(64, 64), 6, key=0)
    weight = np.asarray(stack.block.weight)
    assert len({w.tobytes() for w in weight}) == 6
    limit = np.sqrt(6 / 128)  # Glorot's bound
    assert np.abs(weight).max() <= limit
    np.testing.assert_allclose(weight.std(axis=(1, 2)), limit / np.sqrt(3), rtol=0.03)
    with px.seed(3):
        one = nn.RepeatedLayer(lambda: px.Dense(2, 2), 3)
    with px.seed(3):
        two = nn.RepeatedLayer(lambda: px.Dense(2, 2), 3)
    np.testing.assert_array_equal(one.block.weight, two.block.weight)


@pytest.mark.parametrize("remat", [False, True])
def test_the_program_does_not_grow_with_depth(remat):
    def program(repeats):
        model = nn.RepeatedLayer(block, repeats, remat=remat, key=0)
        params, state = px.split(model)
        loss = lambda p, s, x: jnp.sum(px.apply(model, p, s, x, train=True)[0])  # noqa: E731
        return sizes(jax.make_jaxpr(jax.grad(loss))(params, state, jnp.ones((2, 4))).jaxpr)

    assert program(2) == program(40)


def test_remat_keeps_less_and_changes_no_number():
    def residuals(remat):
        model = nn.RepeatedLayer(lambda: px.Chain(px.Dense(8, 32, px.tanh), px.Dense(32, 8)), 5, remat=remat, key=0)
        params, state = px.split(model)
        f = lambda p, x: jnp.sum(px.apply(model, p, state, x)[0] ** 2)  # noqa: E731
        x = jnp.ones((64, 8))
        kept = jax.eval_shape(lambda p, x: jax.vjp(f, p, x)[1], params, x)
        return sum(v.size for v in jax.tree.leaves(kept)), jax.grad(f)(params, x)

    (more, plain), (less, again) = residuals(False), residuals(True)
    dots, by_name = residuals("dots")
    assert less < more / 2
    assert less < dots < more
    for other in (again, by_name):
        jax.tree.map(lambda a, b: assert_close(a, b, kind="grad"), other, plain)


@pytest.mark.parametrize("remat", [False, True])
def test_every_block_reads_what_else_the_call_is_given(remat):
    class Reading(px.Module):
        def __init__(self):
            self.inner = px.Dense(3, 3, px.tanh)

        def __call__(self, h, x, gain, *, shift=None):
            return gain * self.inner(h) + x + (0 if shift is None else shift)

    stack = nn.RepeatedLayer(Reading, 3, inject=True, remat=remat, key=0)
    x, gain, shift = (jnp.asarray(normal(*shape, seed=n)) for n, shape in enumerate([(2, 3), (2, 1), (3,)]))
    h = x
    for t in range(3):
        h = stack[t](h, x, gain, shift=shift)
    assert_close(px.jit(lambda m: m(x, gain, shift=shift))(stack), h)
    assert_close(stack(x, gain, shift=shift), h)


def test_injection_gives_every_block_the_first_input():
    class Injected(px.Module):
        def __init__(self):
            self.inner = px.Dense(3, 3, px.tanh)

        def __call__(self, h, x):
            return self.inner(h) - x

    stack = nn.RepeatedLayer(Injected, 4, inject=True, key=0)
    x = h = jnp.asarray(normal(2, 3))
    for t in range(4):
        h = stack[t].inner(h) - x
    assert_close(stack(x), h)
    assert_close(px.jit(lambda m, x: m(x))(stack, x), h)


def test_a_shared_block_is_one_with_one_gradient_and_its_state_goes_on():
    shared = nn.RepeatedLayer(lambda: px.Chain(px.Dense(3, 3, px.tanh), px.BatchNorm(3)), 4, share=True, key=0)
    chain = px.copy(px.Chain(*[shared.block] * 4))
    x = jnp.asarray(normal(5, 3))
    step = px.jit(lambda m, x: px.grad(lambda m: jnp.sum(m(x) ** 3))(m))
    ours, theirs = px.paths(step(shared, x).block), px.paths(step(chain, x)[0])
    for path, g in theirs.items():
        assert_close(ours[path], g, kind="grad", what=path)
    assert_close(shared.block[1].mean, chain[0][1].mean)
    assert shared.block[0].weight.shape == (3, 3)


def test_a_stack_of_given_blocks():
    blocks = [block() for _ in range(3)]
    stack = nn.RepeatedLayer.of(blocks)
    x = jnp.asarray(normal(5, 4))
    assert_close(stack(x), px.Chain(*blocks)(x))
    assert len(stack) == 3
    np.testing.assert_array_equal(stack[-1][0].weight, blocks[2][0].weight)
    with pytest.raises(IndexError):
        stack[3]


def test_half_precision_inputs_are_promoted_once():
    stack = nn.RepeatedLayer(lambda: px.Dense(4, 4), 3, key=0)
    x = jnp.asarray(normal(2, 4), jnp.bfloat16)
    for run in (lambda m, x: m(x), px.jit(lambda m, x: m(x))):
        y = run(stack, x)
        assert y.dtype == jnp.float32
        assert_close(y, written_out(stack)(x))


def test_blocks_that_change_shape_are_refused_alike():
    stack = nn.RepeatedLayer(lambda: px.Chain(px.Dense(4, 4), lambda x: x[:, :2]), 3, key=0)
    for run in (lambda stack, x: stack(x), px.jit(lambda stack, x: stack(x))):
        with pytest.raises(
            px.ShapeError, match=r"blocks that return what they take, float32\[2, 4\], got float32\[2, 2\]"
        ):
            run(stack, jnp.ones((2, 4)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: nn.RepeatedLayer(lambda: px.Dense(2, 2), 0), r"RepeatedLayer expects repeats to be a whole number"),
        (lambda: nn.RepeatedLayer(px.Dense(2, 2), 3), r"expects a function that makes one block, got Dense\(2 → 2\)"),
        (lambda: nn.RepeatedLayer(lambda: 3, 3), r"RepeatedLayer expects a build\(\) that makes a Module, got 3"),
        (lambda: nn.RepeatedLayer.of([]), r"RepeatedLayer.of expects at least one block, got none"),
        (
            lambda: nn.RepeatedLayer.of([px.Dense(2, 2), px.Dense(2, 2, px.relu)]),
            r"RepeatedLayer.of expects blocks like the first, Dense\(2 → 2\), got Dense\(2 → 2, relu\) at 1",
        ),
        (lambda: nn.Branch(), r"Branch expects layers, all positional or all named, got none"),
        (lambda: nn.Maxout(px.relu, a=px.relu), r"Maxout expects layers, all positional or all named, got both"),
        (
            lambda: nn.PairwiseFusion(3, px.relu),
            r"PairwiseFusion expects layers and functions that can be called, got 3",
        ),
        (lambda: nn.compact(3), r"px.compact expects a function of the model and its inputs first, got 3"),
        (lambda: nn.compact(px.relu, training=1), r"px.compact expects names that a Module does not use itself"),
        (lambda: nn.WrappedFunction(3), r"WrappedFunction expects layers and functions that can be called, got 3"),
    ],
)
def test_refusals_at_construction(build, text):
    with pytest.raises(px.PhloxError, match=text) as caught:
        build()
    assert "\n  fix: " in str(caught.value)


# --- branches ----------------------------------------------------------------------------------------------------


def test_branch_passes_all_inputs_and_spreads_in_a_chain():
    model = px.Chain(nn.Branch(operator.add, operator.mul), operator.sub)
    assert model(jnp.array(3.0), jnp.array(4.0)).item() == (3 + 4) - 3 * 4
    named = nn.Branch(low=jnp.negative, high=px.relu)
    assert [v.item() for v in named(jnp.array(2.0))] == [-2.0, 2.0]
    assert named["high"] is px.relu
    assert named[0] is jnp.negative


def test_pairwise_fusion_by_hand():
    fuse = nn.PairwiseFusion(lambda y, x: 10 * y + x, lambda v: v + 1, lambda v: 2 * v, lambda v: v - 3)
    x1, x2, x3 = 1.0, 2.0, 3.0
    y1 = x1 + 1
    y2 = 2 * (10 * y1 + x2)
    y3 = 10 * y2 + x3 - 3
    assert fuse(x1, x2, x3) == (y1, y2, y3)
    assert fuse(x1)[1] == 2 * (10 * y1 + x1)
    with pytest.raises(px.RangeError, match=r"expects one input, or 3, one for each layer, got 2 inputs"):
        fuse(x1, x2)


def test_maxout_refuses_shapes_that_would_broadcast():
    model = nn.Maxout(px.Dense(2, 3), px.Dense(2, 1))
    with pytest.raises(px.ShapeError, match=r"expects results of one shape, got float32\[4, 3\], float32\[4, 1\]"):
        model(jnp.ones((4, 2)))


# --- compact -----------------------------------------------------------------------------------------------------


def test_compact_holds_parameters_modules_and_state():
    def forward(self, x):
        if self.training:
            self.state["mean"] = 0.5 * self.state["mean"] + 0.5 * jnp.mean(x, 0)
        return self.gain * self.layer(x - self.state["mean"]) ** self.power

    model = nn.compact(
        forward, layer=px.Dense(3, 2, key=0), gain=jnp.full(2, 2.0), power=2, state={"mean": jnp.zeros(3)}
    )
    assert set(px.split(model)[0]) == {"gain", "layer.weight", "layer.bias"}
    assert list(px.split(model)[1]) == ["state.mean"]
    x = jnp.asarray(normal(5, 3))
    grads = px.jit(lambda m, x: px.grad(lambda m: m(x).sum())(m))(model, x)
    assert_close(model.state["mean"], 0.5 * x.mean(0))
    assert grads.state["mean"] is None
    h = model.layer(x - model.state["mean"])
    assert_close(model(x), 2 * h**2)
    assert_close(grads.gain, jnp.sum(h**2, 0), kind="grad")


def test_compact_models_of_one_function_share_a_program():
    def forward(self, x):
        return self.w * x

    @px.jit
    def run(model, x):
        return model(x)

    for value in (1.0, 2.0, 3.0):
        assert run(nn.compact(forward, w=jnp.full(3, value)), jnp.ones(3)).tolist() == [value] * 3
    assert len(run.history.traces) == 1


# --- rearrangements ------------------------------------------------------------------------------------------------


def test_reverse_sequence_by_lengths_is_its_own_inverse():
    x, lengths = jnp.asarray(normal(3, 5, 2)), jnp.array([5, 2, 0])
    reverse = nn.ReverseSequence()
    y = reverse(x, lengths)
    want = np.asarray(x).copy()
    for b, n in enumerate([5, 2, 0]):
        want[b, :n] = want[b, :n][::-1]
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(reverse(y, lengths), x)
    with pytest.raises(px.ShapeError, match=r"ReverseSequence\(1\) expects lengths \(3,\) of integers, got int32\[2\]"):
        reverse(x, lengths[:2])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: nn.Reshape((2, -1, -1)), r"Reshape expects sizes of at least 1, or one -1, got \(2, -1, -1\)"),
        (lambda: nn.Reshape((2, 3))(jnp.ones((4, 5))), r"Reshape\(\(2, 3\)\) expects examples that make \[2, 3\]"),
        (lambda: nn.Flatten(-1), r"Flatten expects start of at least 0, got -1"),
        (lambda: nn.Flatten(3)(jnp.ones((4, 5))), r"Flatten\(3\) expects at least 3 axes, got float32\[4, 5\]"),
        (lambda: nn.SelectDim(1, 7)(jnp.ones((4, 5))), r"SelectDim\(1, 7\) expects a slice 7 along axis 1"),
        (lambda: nn.SelectDim(2, 0)(jnp.ones((4, 5))), r"SelectDim\(2, 0\) expects an input with axis 2"),
        (lambda: nn.ReverseSequence(True), r"ReverseSequence expects axis as an int, got True"),
    ],
)
def test_rearrangements_refuse(call, text):
    with pytest.raises(px.PhloxError, match=text) as caught:
        call()
    assert "\n  fix: " in str(caught.value)
