"""What a parameter is comes from its layer: masks, groups and rules treat stacked layers as they treat single ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
import registry
from kit import assert_close, oracle
from optim.test_every_rule import RULES
from phlox import optim as o

DEPTH, WIDTH = 2, 3

# --- the table -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in registry.CASES if c.name != "compact"], ids=lambda c: c.name)
def test_every_layer_tells_what_its_parameters_are(case):
    """Of a layer alone no axis is stacked; of one built under vmap, one more. A compact one has a user's arrays."""

    def build(key):
        with px.seed(key):
            return case.build(key)

    key = jax.random.key(0)
    model, models = jax.eval_shape(lambda key: (build(key), px.vmap(build)(jax.random.split(key, 3))), key)
    alone, several = px.parameter_kinds(model), px.parameter_kinds(models)
    assert list(px.split(model)[0]) == list(alone)
    for path, kind in alone.items():
        inside = ("block." in path and "share" not in case.name) or "experts." in path
        assert kind.stacked == (1 if inside else 0), path
        assert several[path] == kind._replace(stacked=kind.stacked + 1), path
        if path.endswith("bias"):
            assert kind.kind == "bias"
        if "norm" in path and path.endswith("scale"):
            assert kind.kind == "scale"


def kinds(model):
    return {path: tuple(kind) for path, kind in px.parameter_kinds(model).items()}


def test_owners_of_the_same_shape_differ():
    model = px.Chain(px.Embedding(4, 4), px.Dense(4, 4), px.DepthwiseConv((3,), 4), px.LayerNorm((4, 4)))
    assert kinds(model) == {
        "layers.0.weight": ("embedding", 2, 0),
        "layers.1.weight": ("matrix", 2, 0),
        "layers.1.bias": ("bias", 1, 0),
        "layers.2.weight": ("kernel", 3, 0),
        "layers.2.bias": ("bias", 1, 0),
        "layers.3.scale": ("scale", 2, 0),
        "layers.3.bias": ("bias", 2, 0),
    }


class Own(px.Module):
    """A user's layer: what it declares, what its names say, what its axes say, and a list."""

    parameter_kinds = {"table": "embedding", "shift": "bias", "gain": ("scale", 1)}  # noqa: RUF012

    def __init__(self):
        self.table, self.shift, self.gain = jnp.ones((6, 2)), jnp.ones((2,)), jnp.ones((2,))
        self.w, self.gamma, self.out_bias = jnp.ones((2, 2)), jnp.ones((2,)), jnp.ones((2,))
        self.several = [jnp.ones((2, 2)), jnp.ones((2,))]
        self.count = jnp.zeros((), jnp.int32)

    def __call__(self, x):
        return x


def test_a_class_of_ones_own():
    wanted = {
        "table": ("embedding", 2, 0),
        "shift": ("bias", 1, 0),
        "gain": ("scale", 1, 0),
        "w": ("matrix", 2, 0),
        "gamma": ("scale", 1, 0),
        "out_bias": ("bias", 1, 0),
        "several.0": ("matrix", 2, 0),
        "several.1": ("other", 1, 0),
    }
    assert kinds(Own()) == wanted
    twice = px.RepeatedLayer(lambda: px.RepeatedLayer(Own, 2), 3)
    assert kinds(twice) == {f"block.block.{k}": (kind, rank, 2) for k, (kind, rank, _) in wanted.items()}
    assert kinds(px.vmap(lambda _: Own())(jnp.arange(2)))["gain"] == ("scale", 1, 1)
    assert kinds(px.RepeatedLayer(Own, 3, share=True)) == {f"block.{k}": v for k, v in wanted.items()}

    class Wrong(Own):
        parameter_kinds = {"table": "table"}  # noqa: RUF012

    with pytest.raises(px.RangeError, match=r"Wrong.parameter_kinds expects one of matrix, kernel, .* got 'table'"):
        px.parameter_kinds(Wrong())


def test_choices_by_kind():
    assert o.of_kind("matrix") == o.of_kind("matrix") != o.of_kind("kernel")
    assert repr(o.of_kind("matrix", "kernel")) == "of_kind('matrix', 'kernel')"
    with pytest.raises(px.RangeError, match=r"px.optim.of_kind expects kinds among .* got 'weights'"):
        o.of_kind("matrix", "weights")
    with pytest.raises(px.RangeError, match="got none"):
        o.of_kind()
    # outside an optimiser the name and the axes decide
    assert o.is_matrix("w", jnp.ones((2, 3)))
    assert not o.is_matrix("b.bias", jnp.ones((2, 3)))


# --- rules: a RepeatedLayer learns as a Chain of its blocks --------------------------------------------------


def block():
    return px.Chain(px.Dense(WIDTH, WIDTH, px.tanh), px.LayerNorm(WIDTH))


class Both(px.Module):
    """The blocks beside a layer that is not stacked, so that groups have both."""

    def __init__(self, blocks):
        self.blocks, self.norm = blocks, px.LayerNorm(WIDTH)


# Of what moves each component by itself, and sees no axes, tests/optim/test_packing.py tells. Apollo draws by path, and
# paths differ.
ALL = {
    **{name: RULES[name] for name in ("AdamW", "Adafactor", "chain", "AccumGrad")},
    "by rank": o.AdamW(0.1, weight_decay=0.5, mask=lambda path, w: w.ndim >= 2),
    "groups": o.groups({"norm.*": None, "*bias": o.Descent(0.1), "*": o.Adam(0.1)}),
    "ClipNorm": o.chain(o.ClipNorm(0.01), o.WeightDecay(0.5, mask=o.is_matrix), o.Descent(0.1)),
    "Muon": o.groups([(o.is_matrix, o.Muon(0.1, match_adam=True)), ("*", o.AdamW(0.1))]),
}


def test_a_stack_of_layers_learns_as_its_layers_do():
    """Steps of every rule, with clear gradients: a RepeatedLayer against a Chain of its blocks."""
    stack = px.RepeatedLayer(block, DEPTH, key=0)
    ours, theirs = Both(stack), Both(px.Chain(*[stack[t] for t in range(DEPTH)]))
    grads = px.map(lambda w: jnp.sin(3 * jnp.arange(w.size) + 1.0).reshape(w.shape), px.split(ours)[0])
    single = {k: g for k, g in grads.items() if not k.startswith("blocks.block")}
    single |= {
        k.replace("blocks.block", f"blocks.layers.{t}"): grads[k][t]
        for k in grads.keys() - single.keys()
        for t in range(DEPTH)
    }

    @px.jit
    def learnt(model, grads):
        after = {}
        for name, rule in ALL.items():
            one = px.copy(model)
            opt = px.Optimizer(rule, one)
            for _ in range(2):
                opt.update(one, grads)
            after[name] = px.split(one)[0]
        return after

    wanted = learnt(theirs, single)
    for name, after in learnt(ours, grads).items():
        for path, value in after.items():
            if not path.startswith("blocks.block"):
                assert_close(value, np.asarray(wanted[name][path]), scale=20, what=f"{name} {path}")
                continue
            for t in range(DEPTH):
                one = path.replace("blocks.block", f"blocks.layers.{t}")
                assert_close(value[t], np.asarray(wanted[name][one]), scale=20, what=f"{name} {one}")


def test_apollo_scales_stacked_matrices_one_by_one():
    """It draws by path: a model of one block, at the same path, is moved by the same numbers."""

    class One(px.Module):
        def __init__(self, block):
            self.block = block

    stack = px.RepeatedLayer(block, DEPTH, key=0)
    grads = px.map(lambda w: jnp.sin(jnp.arange(w.size, dtype=w.dtype)).reshape(w.shape), px.split(stack)[0])
    rule = o.Apollo(0.1, rank=2, every=2, weight_decay=0.3, mask=o.is_matrix)

    @px.jit
    def learnt(model, grads):
        one = px.copy(model)
        opt = px.Optimizer(rule, one)
        for _ in range(3):
            opt.update(one, grads)
        return px.split(one)[0]

    ours = learnt(stack, grads)
    for t in range(DEPTH):
        for path, value in learnt(One(stack[t]), {path: g[t] for path, g in grads.items()}).items():
            assert_close(ours[path][t], np.asarray(value), what=path)


def test_stacked_norms_and_biases_do_not_decay():
    stack = px.RepeatedLayer(lambda: px.Chain(px.Dense(3, 3), px.LayerNorm(3)), 4)
    opt = px.Optimizer(o.AdamW(0.1, weight_decay=0.5, mask=o.is_matrix), stack)
    before = px.state_dict(stack)
    opt.update(stack, px.map(jnp.zeros_like, px.split(stack)[0]))
    for path, value in px.state_dict(stack).items():
        share = 0.95 if path.endswith("weight") else 1.0
        assert_close(value, share * np.asarray(before[path]), what=path)


def test_the_optimiser_keeps_to_it_when_it_is_synchronised():
    make = lambda: px.RepeatedLayer(lambda: px.Chain(px.Dense(3, 3), px.LayerNorm(3)), 4, key=0)  # noqa: E731
    stack = make()
    opt = px.Optimizer(o.AdamW(0.1, weight_decay=0.5, mask=o.is_matrix), px.Chain(make().block))
    opt.sync(stack)
    opt = px.copy(opt)
    opt.update(stack, px.map(jnp.zeros_like, px.split(stack)[0]))
    assert_close(stack.block.layers[1].scale, np.ones((4, 3)))
    assert_close(stack.block.layers[0].weight, 0.95 * np.asarray(make().block.layers[0].weight))


# --- Muon ------------------------------------------------------------------------------------------------


def test_muon_moves_kernels_as_the_matrices_they_are():
    """torch.optim.Muon, which takes matrices alone, on (out, in · kernel); it computes in bfloat16."""
    torch = oracle("torch")
    model = px.Conv((3, 2), 3, 5, key=0)
    rule = o.groups([(o.of_kind("matrix", "kernel"), o.Muon(0.1, 0.7, 0.2, match_adam=True)), ("*", None)])
    opt = px.Optimizer(rule, model)
    flat = lambda w: torch.tensor(np.asarray(w).reshape(-1, 5).T.copy())  # noqa: E731
    weight = torch.nn.Parameter(flat(model.weight))
    theirs = torch.optim.Muon([weight], lr=0.1, momentum=0.7, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for seed in range(3):
        g = jnp.asarray(np.random.default_rng(seed).normal(size=model.weight.shape).astype(np.float32))
        opt.update(model, {"weight": g})
        weight.grad = flat(g)
        theirs.step()
    np.testing.assert_allclose(np.asarray(model.weight).reshape(-1, 5).T, weight.detach().numpy(), atol=0.02)


def test_muons_recipe_takes_a_model_with_every_kind():
    class Net(px.Module):
        def __init__(self):
            self.embed, self.conv = px.Embedding(5, 4), px.Conv((3,), 4, 4, padding="same")
            self.blocks, self.head = px.RepeatedLayer(block, 2), px.Dense(4, 4)

        def __call__(self, x):
            return self.head(self.blocks(self.conv(self.embed(x))))

    recipes = [
        o.groups([(o.is_matrix, o.Muon()), ("*", o.AdamW())]),
        o.groups([(o.of_kind("matrix", "kernel"), o.Muon()), ("*", o.AdamW())]),
    ]
    for recipe in recipes:
        model = Net()
        before = px.state_dict(px.copy(model))
        opt = px.Optimizer(recipe, model)
        opt.update(model, px.map(jnp.ones_like, px.split(model)[0]))
        assert all(bool((v != before[k]).any()) for k, v in px.state_dict(model).items())
    for model, text in (
        (px.Dense(2, 2), r"at bias, got float32\[2\], a bias"),
        (px.RepeatedLayer(lambda: px.RMSNorm(3), 2), r"block.scale, got float32\[2, 3\], the scale of a norm of each"),
        (px.PReLU(3), r"at slope, got float32\[3\], no weight"),
    ):
        with pytest.raises(px.ShapeError, match=r"Muon expects a matrix or a kernel .*" + text) as caught:
            px.Optimizer(o.Muon(), model)
        assert 'px.optim.of_kind("matrix", "kernel")' in str(caught.value)


def test_a_norm_of_stacked_weights_is_refused():
    stack = px.RepeatedLayer(lambda: px.Dense(3, 3), 4)
    for wrap, name in ((px.nn.SpectralNorm, "weight"), (px.nn.WeightNorm, "weight"), (px.nn.SpectralNorm, "bias")):
        with pytest.raises(px.ShapeError, match=rf"expects the {name} of one layer, got .* stacked") as caught:
            wrap(stack.block, name)
        assert f"RepeatedLayer(lambda: {wrap.__name__}(…), …)" in str(caught.value)


def test_initialisers_see_one_layer_of_a_stack():
    """The deviation of stacked weights is that of one layer, by its own fans."""
    stack = px.RepeatedLayer(lambda: px.Dense(64, 64), 64, key=0)
    assert float(stack.block.weight.std()) == pytest.approx(float((2 / 128) ** 0.5), rel=0.02)
