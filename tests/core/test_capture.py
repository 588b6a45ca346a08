"""Activations by path, against calling the layers one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close


def model() -> px.Chain:
    with px.seed(0):
        return px.Chain(px.Dense(3, 4, px.relu), px.flatten, px.Chain(inner=px.Dense(4, 2), act=px.tanh))


X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)


def test_every_module_by_path_in_the_order_of_the_calls():
    m = model()
    found = px.capture(m, X)
    assert list(found) == ["layers.0", "layers.2.layers.inner", "layers.2", ""]
    a = m[0](X)
    b = m[2]["inner"](a)
    for path, want in zip(found, (a, b, px.tanh(b), m(X)), strict=True):
        np.testing.assert_array_equal(found[path], want)


def test_repeated_calls_are_numbered():
    class Recurrent(px.Module):
        def __init__(self):
            self.cell = px.Dense.of(jnp.full((1, 1), 2.0), None)

        def __call__(self, x):
            for _ in range(3):
                x = self.cell(x)
            return x

    found = px.capture(Recurrent(), jnp.ones((1, 1)))
    assert {path: y.item() for path, y in found.items()} == {"cell": 2.0, "cell#2": 4.0, "cell#3": 8.0, "": 8.0}


def test_a_shared_part_has_its_first_path():
    part = px.Dense.of(jnp.full((1, 1), 3.0), None)
    found = px.capture(px.Chain(part, px.Chain(part)), jnp.ones((1, 1)))
    assert {path: y.item() for path, y in found.items()} == {
        "layers.0": 3.0,
        "layers.0#2": 9.0,
        "layers.1": 9.0,
        "": 9.0,
    }


def test_inside_a_compiled_function_and_its_gradient():
    @px.jit
    def both(m, x):
        def loss_fn(m):
            found = px.capture(m, x)
            return (found["layers.0"] ** 2).sum() + found[""].sum(), found

        return px.grad(loss_fn, has_aux=True)(m)

    m = model()
    grads, found = both(m, X)
    want = px.capture(m, X)
    assert set(found) == set(want)  # JAX sorts the keys of a dict on its way out of a compiled function
    for path in want:
        assert_close(found[path], want[path])
    penalty = px.grad(lambda m: (m[0](X) ** 2).sum() + m(X).sum())(m)
    assert_close(grads[0].weight, penalty[0].weight, kind="grad")


def test_state_moves_and_results_of_any_form_are_kept():
    class Pair(px.Module):
        count: px.State

        def __init__(self):
            self.count = jnp.zeros(())

        def __call__(self, x, *, scale=1.0):
            self.count = self.count + 1
            return {"x": x * scale, "none": None}

    pair = Pair()
    found = px.capture(pair, jnp.ones(2), scale=3.0)
    assert found[""]["x"].tolist() == [3.0, 3.0]
    assert float(pair.count) == 1.0


def test_other_models_are_left_out_and_the_tap_is_closed_after_an_error():
    other = px.Dense(3, 3)

    class Uses(px.Module):
        def __init__(self):
            self.part = px.Dense(3, 3)

        def __call__(self, x):
            return self.part(other(x))

    assert list(px.capture(Uses(), X)) == ["part", ""]
    m = model()
    with pytest.raises(px.ShapeError):
        px.capture(m, jnp.ones((2, 5)))
    outer = px.capture(m, X)
    assert list(outer) == ["layers.0", "layers.2.layers.inner", "layers.2", ""]


def test_captures_nest():
    class Looks(px.Module):
        def __init__(self):
            self.part = model()

        def __call__(self, x):
            return px.capture(self.part, x)["layers.0"]

    found = px.capture(Looks(), X)
    assert found[""].shape == (2, 4)
    assert "part.layers.0" in found


def test_under_transforms_what_runs_inside_them_is_left_out():
    class Maps(px.Module):
        def __init__(self):
            self.part = px.Dense(3, 2)
            self.last = px.Dense(2, 1)

        def __call__(self, x):
            return self.last(px.vmap(lambda row: self.part(row))(x))

    m = Maps()
    found = px.capture(m, X)
    assert "last" in found
    assert found[""].shape == (2, 1)
    assert not any(isinstance(y, jax.core.Tracer) for y in jax.tree.leaves(found))
    again = px.jit(px.capture)(m, X)
    assert set(again) == {"last", ""}
    assert_close(again[""], found[""])
