"""Plain JAX takes Modules as they are: key paths, spec trees and masks, statics compared by type and value."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])


class Scale(px.Module):
    """A weight beside a static value of any kind."""

    def __init__(self, value):
        self.weight = jnp.ones(3)
        self.value = value

    def __call__(self, x):
        return x * self.weight


def make():
    return px.Chain(px.Dense(3, 4, px.tanh, key=0), px.Chain(last=px.Dense(4, 1, key=1)))


# --- trees ----------------------------------------------------------------------------------------


def test_key_paths_read_like_the_model():
    named, _ = jax.tree_util.tree_flatten_with_path(make())
    assert [jax.tree_util.keystr(path) for path, _ in named] == [
        ".layers.0.weight",
        ".layers.0.bias",
        ".layers.1.layers.last.weight",
        ".layers.1.layers.last.bias",
    ]


def test_spec_trees_and_masks():
    model = make()
    for value in (0, "data", type(None), 1.5, (1, 2), jax.ShapeDtypeStruct((2,), jnp.float32)):
        specs = jax.tree.map(lambda _, value=value: value, model)
        assert jax.tree.structure(specs) == jax.tree.structure(model) or isinstance(value, tuple)
        paired = jax.tree.map(lambda leaf, spec: (leaf.shape, spec), model, specs)
        assert paired[0].weight == ((3, 4), value)
        assert paired[1]["last"].bias == ((1,), value)
    mask = jax.tree.map(lambda v: v.ndim == 2, model)
    assert (mask[0].weight, mask[0].bias) == (True, False)
    shapes = jax.eval_shape(lambda m: m, model)
    assert shapes[0].weight == jax.ShapeDtypeStruct((3, 4), jnp.float32)
    assert jax.eval_shape(lambda m, x: m(x), shapes, jax.ShapeDtypeStruct((5, 3), jnp.float32)).shape == (5, 1)


def test_specs_drive_jax_functions():
    model = make()
    axes = jax.tree.map(lambda _: 0, model)
    stacked = jax.tree.map(lambda *v: jnp.stack(v), model, make())
    y = jax.vmap(lambda m, x: m(x), in_axes=(axes, None))(stacked, X)
    assert_close(y, jnp.stack([model(X), model(X)]))


def test_optax_takes_the_split_and_masks():
    model = make()
    params, state = px.split(model)
    rule = optax.masked(optax.sgd(1.0), {k: k.endswith("weight") for k in params})
    grads = jax.grad(lambda p: px.apply(model, p, state, X)[0].sum())(params)
    updates, _ = rule.update(grads, rule.init(params), params)
    assert_close(updates["layers.0.weight"], -grads["layers.0.weight"])
    assert_close(updates["layers.0.bias"], grads["layers.0.bias"])


# --- transforms -----------------------------------------------------------------------------------


def test_jit_grad_vmap_scan():
    model = make()
    y = jnp.tanh(X @ model[0].weight + model[0].bias) @ model[1]["last"].weight + model[1]["last"].bias
    assert_close(jax.jit(lambda m, x: m(x))(model, X), y)
    assert_close(jax.vmap(model)(X), y)
    assert_close(jax.vmap(lambda m, x: m(x), in_axes=(None, 0))(model, X), y)
    _, scanned = jax.lax.scan(lambda m, x: (m, m(x)), model, X)
    assert_close(scanned, y)
    ours, theirs = px.grad(lambda m: (m(X) ** 2).sum())(model), jax.grad(lambda m: (m(X) ** 2).sum())(model)
    assert jax.tree.structure(theirs) == jax.tree.structure(model) == jax.tree.structure(ours)
    jax.tree.map(lambda a, b: assert_close(a, b, kind="grad"), ours, theirs)


def test_a_module_comes_out_of_jax_jit():
    model = make()
    doubled = jax.jit(lambda m: jax.tree.map(lambda v: 2 * v, m))(model)
    assert type(doubled) is px.Chain
    assert doubled[0].act is px.tanh
    assert_close(doubled[0].weight, 2 * model[0].weight)
    doubled[0].weight = model[0].weight  # born outside a trace again: it can be written
    doubled.layers.append(px.relu)
    assert len(doubled) == 3


def test_plain_tree_map_unties():
    layer = px.Dense(3, 3, key=0)
    model = px.Chain(layer, layer)
    untied = jax.tree.map(lambda v: v, model)
    assert untied[0] is not untied[1]
    assert len(jax.tree.leaves(model)) == 4
    assert_close(untied(X), model(X))


# --- statics --------------------------------------------------------------------------------------


def str_of(value):
    """A test's name, the same in every process."""
    return getattr(value, "__name__", None) or repr(value)


SAME = [
    (float("nan"), float("nan")),
    ([1, "a", None], [1, "a", None]),
    ({"a": (1, 2)}, {"a": (1, 2)}),
    (np.float32(1.5), np.float32(1.5)),
    (slice(1, None), slice(1, None)),
    (jnp.float32, jnp.float32),
    ({1, 2}, {2, 1}),
]
DIFFERENT = [
    (1, True),
    (1, 1.0),
    (True, 1.0),
    (0, False),
    (0.0, -0.0),
    (0.0, 0),
    ("1", 1),
    (None, 0),
    ([1], (1,)),
    ([1, 2], [2, 1]),
    ([1], [True]),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (np.float32(1), np.float64(1)),
    (px.relu, px.tanh),
    (complex(0, 0.0), complex(0, -0.0)),
    (float("nan"), None),
]


@pytest.mark.parametrize(("a", "b"), SAME, ids=str_of)
@pytest.mark.parametrize("jit", [px.jit, jax.jit], ids=["px", "jax"])
def test_equal_statics_share_a_program(a, b, jit):
    traces = []
    call = jit(lambda m, x: traces.append(0) or m(x))
    call(Scale(a), X)
    call(Scale(b), X)
    assert len(traces) == 1
    assert jax.tree.structure(Scale(a)) == jax.tree.structure(Scale(b))


@pytest.mark.parametrize(("a", "b"), DIFFERENT, ids=str_of)
@pytest.mark.parametrize("jit", [px.jit, jax.jit], ids=["px", "jax"])
def test_unequal_statics_are_traced_again(a, b, jit):
    found = []
    call = jit(lambda m, x: found.append(m.value) or m(x))
    for value in (a, b, a, b):
        call(Scale(value), X)
    assert [(type(v), repr(v)) for v in found] == [(type(v), repr(v)) for v in (a, b)]
    with pytest.raises(ValueError, match=r"[Mm]ismatch|differ"):
        jax.tree.map(lambda a, b: a, Scale(a), Scale(b))


def test_the_program_uses_its_own_statics():
    class Power(Scale):
        def __call__(self, x):
            return x * self.value

    for jit in (px.jit, jax.jit):
        call = jit(lambda m, x: m(x))
        got = [np.asarray(call(Power(v), jnp.float32(2.0))) for v in (0.0, -0.0, 0.0, 3, True)]
        assert [str(g) for g in got] == ["0.0", "-0.0", "0.0", "6.0", "2.0"]


def test_subclasses_and_dataclass_nodes():
    from typing import NamedTuple

    class Pair(NamedTuple):
        left: jax.Array
        right: str

    class Holder(px.Module):
        def __init__(self):
            self.pair = Pair(jnp.ones(2), "text")
            self.empty = []
            self.nested = {"a": [(), (jnp.zeros(1), {"b": 3})]}

    class Sub(Holder):
        pass

    holder = Holder()
    assert [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_flatten_with_path(holder)[0]] == [
        ".pair.left",
        ".nested.a.1.0",
    ]
    again = jax.tree.map(lambda v: v + 1, holder)
    assert again.pair == Pair(again.pair.left, "text")
    assert again.nested["a"][1][1] == {"b": 3}
    assert jax.tree.structure(Sub()) != jax.tree.structure(holder)


def test_no_constructor_runs_on_the_way():
    class Loud(px.Module):
        made = 0

        def __init__(self):
            Loud.made += 1
            self.weight = jnp.ones(2)

        def __call__(self, x):
            return x * self.weight

    model = Loud()
    jax.tree.map(lambda v: v, model)
    px.jit(lambda m, x: m(x))(model, jnp.ones(2))
    px.grad(lambda m: m(jnp.ones(2)).sum())(model)
    px.copy(model)
    assert Loud.made == 1
