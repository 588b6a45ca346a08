"""Maps, paths and norms over trees of Modules: against JAX and optax where nothing is shared, by hand where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import phlox as px
from kit import assert_close


def untied() -> px.Chain:
    with px.seed(0):
        return px.Chain(px.Dense(3, 4, px.relu), px.LayerNorm(4), px.Dense(4, 2, bias=False))


def tied() -> px.Chain:
    part = px.Dense.of(jnp.array([[3.0]]), jnp.array([4.0]))
    return px.Chain(part, px.tanh, px.Chain(part, part))


def test_map_is_jaxs_where_nothing_is_shared():
    model = untied()
    ours, theirs = px.map(lambda w: 2 * w + 1, model), jax.tree.map(lambda w: 2 * w + 1, model)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    two = px.map(lambda a, b, c: a * b - c, model, ours, theirs)
    jax.tree.map(np.testing.assert_array_equal, two, jax.tree.map(lambda a, b, c: a * b - c, model, ours, theirs))


def test_map_visits_a_shared_part_once():
    model, seen = tied(), []
    new = px.map(lambda w: seen.append(w) or w + 1, model)
    assert len(seen) == 2
    assert new[0] is new[2][0] is new[2][1]
    assert new[0] is not model[0]
    assert (new[0].weight.item(), model[0].weight.item()) == (4.0, 3.0)


def test_map_over_lists_of_modules_and_arrays_keeps_their_sharing():
    part = px.Dense.of(jnp.ones((1, 1)), None)
    tree = {"a": [part, jnp.ones(2)], "b": (px.Chain(part), part)}
    new = px.map(lambda w: w * 3, tree)
    assert new["a"][0] is new["b"][0][0] is new["b"][1]
    assert new["a"][1].tolist() == [3.0, 3.0]
    assert px.map(lambda w: w, []) == []


def test_a_step_down_the_gradient_by_map():
    model = tied()
    grads = px.grad(lambda m: (m(jnp.ones((1, 1))) ** 2).sum())(model)
    new = px.map(lambda w, g: w - 0.1 * g, model, grads)
    assert new[0] is new[2][1]
    assert_close(new[0].weight, model[0].weight - 0.1 * grads[0].weight)


@pytest.mark.parametrize(
    "other",
    [
        lambda m: px.Chain(m[0]),
        lambda m: px.Chain(m[0], px.LayerNorm(4), px.LayerNorm(2)),
        lambda m: [m],
        lambda m: px.copy(m)[0],
    ],
)
def test_map_over_trees_of_other_forms_is_refused(other):
    model = untied()
    with pytest.raises(px.StructureError, match=r"px\.map"):
        px.map(lambda a, b: a, model, other(model))


def test_paths_and_modules():
    model = untied()
    found = px.paths(model)
    assert list(found) == ["layers.0.weight", "layers.0.bias", "layers.1.scale", "layers.1.bias", "layers.2.weight"]
    assert found["layers.0.weight"] is model[0].weight
    assert list(px.modules(model)) == ["", "layers.0", "layers.1", "layers.2"]
    assert px.modules(model)["layers.1"] is model[1]
    shared = tied()
    assert list(px.paths(shared)) == ["layers.0.weight", "layers.0.bias"]
    assert list(px.modules(shared)) == ["", "layers.0", "layers.2"]
    assert list(px.paths({"x": [model[2]], "y": jnp.ones(1)})) == ["x.0.weight", "y"]


def test_paths_of_a_tree_count_a_part_in_two_places_once():
    part = px.Dense.of(jnp.array([[3.0]]), jnp.array([4.0]))
    tree = [px.Chain(part), part, {"again": px.Chain(part)}]
    assert list(px.paths(tree)) == ["0.layers.0.weight", "0.layers.0.bias"]
    assert float(px.global_norm(tree)) == 5.0


def test_global_norm_is_optaxs_where_nothing_is_shared():
    model = untied()
    assert_close(px.global_norm(model), optax.tree.norm(px.split(model)[0]))
    tree = {"a": jnp.arange(4.0), "b": [jnp.array([1j, 2.0])]}
    assert_close(px.global_norm(tree), np.sqrt(0 + 1 + 4 + 9 + 1 + 4).astype(np.float32))
    grads = px.grad(lambda m: (m(jnp.ones((2, 3))) ** 2).sum())(model)
    assert_close(px.global_norm(grads), optax.tree.norm(px.split(grads)[0]))


def test_global_norm_counts_what_is_shared_once():
    assert float(px.global_norm(tied())) == 5.0
    assert float(optax.tree.norm(tied())) == pytest.approx(5 * 3**0.5)


def test_global_norm_sums_in_float32_and_leaves_integers_and_keys_out():
    assert float(px.global_norm([jnp.full(4096, 16.0, jnp.float16)])) == 1024.0  # 4096 · 256 is beyond float16
    assert float(px.global_norm([jnp.arange(5), jnp.array([3.0])])) == 3.0
    assert float(px.global_norm(px.Dropout(0.5))) == 0.0
    assert float(px.global_norm([])) == 0.0
    assert px.global_norm([jnp.full(4, 2.0, jnp.bfloat16)]).dtype == jnp.float32


def test_global_norm_compiled_and_its_gradient():
    model = untied()
    assert_close(px.jit(px.global_norm)(model), px.global_norm(model))
    grads = px.grad(px.global_norm)(model)
    norm = px.global_norm(model)
    assert_close(grads[0].weight, model[0].weight / norm, kind="grad")  # ∇‖w‖ = w/‖w‖
