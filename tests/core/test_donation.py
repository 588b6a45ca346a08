"""Donation has no trap: what is overwritten gives up its buffer, unless something else can still see it."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close


class Weights(px.Module):
    def __init__(self, n=4):
        self.a = jnp.arange(n, dtype=jnp.float32)
        self.b = jnp.ones(n)
        self.items = [jnp.full(n, 2.0), (jnp.full(n, 3.0), "static")]


def double(model):
    model.a = model.a * 2
    model.items[0] = model.items[0] + 1
    model.items[1] = (model.items[1][0] - 1, "static")


step = px.jit(double)


@pytest.mark.parametrize("donate", [True, False])
def test_overwritten_buffers_are_given_back_and_others_are_not(donate):
    call, model = px.jit(double, donate=donate), Weights()
    for _ in range(2):
        kept = model.b
        # A second handle on the buffers that no reference count shows, which is what a donation kills.
        written = [x.addressable_data(0) for x in (model.a, model.items[0])]
        call(model)
        assert [x.is_deleted() for x in written] == [donate] * 2
        assert model.b is kept
        assert not kept.is_deleted()
    assert_close(model.a, 4 * np.arange(4, dtype=np.float32))
    assert_close(model.items[0], np.full(4, 4.0, np.float32))
    assert_close(model.items[1][0], np.full(4, 1.0, np.float32))  # inside a tuple: copied, not donated


@pytest.mark.parametrize("alias", ["reference", "numpy", "copy", "deepcopy", "other model", "state_dict", "container"])
def test_aliases_survive(alias):
    model = Weights()
    start = np.arange(4, dtype=np.float32)
    hold = {
        "reference": lambda: model.a,
        "numpy": lambda: np.asarray(model.a),
        "copy": lambda: px.copy(model),
        "deepcopy": lambda: copy.deepcopy(model),
        "other model": lambda: _other(model),
        "state_dict": lambda: px.state_dict(model),
        "container": lambda: {"x": [model.a]},
    }[alias]()
    read = {
        "reference": lambda: hold,
        "numpy": lambda: hold,
        "copy": lambda: hold.a,
        "deepcopy": lambda: hold.a,
        "other model": lambda: hold.a,
        "state_dict": lambda: hold["a"],
        "container": lambda: hold["x"][0],
    }[alias]
    for _ in range(3):
        step(model)
        np.testing.assert_array_equal(np.asarray(read()), start)
    np.testing.assert_array_equal(model.a, start * 8)


def _other(model):
    other = Weights()
    other.a = model.a
    return other


def test_the_same_array_in_two_slots():
    model = Weights()
    model.b = model.a

    @px.jit
    def both(model):
        model.a = model.a + 1
        model.b = model.b - 1

    both(model)
    both(model)
    assert_close(model.a, np.arange(4, dtype=np.float32) + 2)
    assert_close(model.b, np.arange(4, dtype=np.float32) - 2)


def test_the_same_array_as_slot_and_argument():
    model = Weights()

    @px.jit
    def add(model, x):
        model.a = model.a + x
        return x

    got = add(model, model.a)
    assert_close(model.a, 2 * np.arange(4, dtype=np.float32))
    assert_close(got, np.arange(4, dtype=np.float32))


def test_two_models_that_share_arrays():
    model = Weights()
    twin = px.copy(model)
    for _ in range(2):
        step(model)
    assert_close(twin.a, np.arange(4, dtype=np.float32))
    step(twin)
    assert_close(twin.a, 2 * np.arange(4, dtype=np.float32))
    assert_close(model.a, 4 * np.arange(4, dtype=np.float32))


def test_returning_the_old_value_beside_the_new():
    model = Weights()

    @px.jit
    def swap(model):
        old = model.a
        model.a = model.a + 1
        return old, model.a

    old, new = swap(model)
    assert_close(old, np.arange(4, dtype=np.float32))
    assert_close(new, old + 1)
    old2, _ = swap(model)
    assert_close(old2, new)
    assert_close(old, np.arange(4, dtype=np.float32))
    assert_close(model.a, np.arange(4, dtype=np.float32) + 2)


def test_numpy_arrays_in_attributes():
    model = Weights()
    held = np.full(4, 7.0, np.float32)
    model.items[0] = held
    step(model)
    step(model)
    assert_close(model.items[0], np.full(4, 9.0, np.float32))
    np.testing.assert_array_equal(held, 7.0)


# --- failures at run time -------------------------------------------------------------------------


def failing(donate):
    def check(x):
        if x[1] > 3:
            raise ValueError("too large")
        return x

    @px.jit(donate=donate)
    def step(model):
        x = jax.pure_callback(check, jax.ShapeDtypeStruct((4,), jnp.float32), model.a)
        model.a = x * 2
        return x.sum()

    return step


def run(step, model):
    """One step, waited for: on some backends an error at run time shows only then."""
    jax.block_until_ready((step(model), model.a))


def test_after_a_failure_without_donation_the_model_lives():
    model, step = Weights(), failing(donate=False)
    run(step, model)
    run(step, model)
    with pytest.raises(Exception, match="too large"):
        run(step, model)
    assert_close(model.a, 4 * np.arange(4, dtype=np.float32))


def test_after_a_failure_with_donation_the_error_names_the_object_and_the_cure():
    model, step = Weights(), failing(donate=True)
    run(step, model)
    run(step, model)
    with pytest.raises(px.LostBuffersError, match=r"model\.a") as caught:
        run(step, model)
    assert "donate=False" in str(caught.value)
    assert "too large" in str(caught.value.__cause__)
    assert "lost its buffers" in repr(model)
    with pytest.raises(px.LostBuffersError, match="donate=False"):
        run(step, model)


def test_a_lost_model_says_so_when_it_is_called():
    class Scale(px.Module):
        def __init__(self):
            self.a = jnp.arange(4, dtype=jnp.float32)

        def __call__(self, x):
            return x * self.a

    model, step = Scale(), failing(donate=True)
    run(step, model)
    run(step, model)
    with pytest.raises(px.LostBuffersError):
        run(step, model)
    with pytest.raises(RuntimeError) as caught:
        model(jnp.ones(4))
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "model Scale" in text
    assert "donate=False" in text
