"""Randomness: one seeded stream for constructors, keys that layers own, and no draw that would repeat unseen."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from core.trees import same, words


def build():
    return px.Chain(px.Dense(3, 4), px.Dropout(0.5), px.Dense(4, 2))


def test_the_seed_decides_every_number():
    px.seed(0)
    first = build()
    second = build()
    px.seed(0)
    again = build()
    same(px.state_dict(first), px.state_dict(again))
    assert not np.array_equal(first[0].weight, second[0].weight)
    px.seed(1)
    assert not np.array_equal(build()[0].weight, first[0].weight)
    assert not np.array_equal(words(first[1].key), words(second[1].key))


def test_as_a_context_it_restores_what_was_before():
    px.seed(3)
    build()
    after = build()
    px.seed(3)
    build()
    with px.seed(7):
        inside = build()
        with px.seed(8):
            build()
        more = build()
    same(px.state_dict(build()), px.state_dict(after))
    with px.seed(7):
        same(px.state_dict(build()), px.state_dict(inside))
        same(px.state_dict(build()), px.state_dict(more))
    with px.seed(jax.random.key(7)):
        same(px.state_dict(build()), px.state_dict(inside))


def test_it_restores_after_an_exception():
    px.seed(3)
    want = build()
    px.seed(3)
    with pytest.raises(ZeroDivisionError), px.seed(9):
        _ = 1 / 0
    same(px.state_dict(build()), px.state_dict(want))


def test_a_context_holds_for_its_thread():
    found = []

    def work():
        with px.seed(5):
            found.append(build())

    with px.seed(6):
        here = build()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        more = build()
    with px.seed(6):
        same(px.state_dict(build()), px.state_dict(here))
        same(px.state_dict(build()), px.state_dict(more))
    with px.seed(5):
        same(px.state_dict(build()), px.state_dict(found[0]))


def test_key_arguments_beat_the_stream():
    keys = (0, jax.random.key(0), jax.random.PRNGKey(0))
    layers = [px.Dense(3, 2, key=k) for k in keys]
    for layer in layers[1:]:
        np.testing.assert_array_equal(layer.weight, layers[0].weight)
    drops = [px.Dropout(0.5, key=k) for k in keys]
    for drop in drops:
        assert jnp.issubdtype(drop.key.dtype, jax.dtypes.prng_key)
        np.testing.assert_array_equal(words(drop.key), words(drops[0].key))


@pytest.mark.parametrize(
    "trace", [px.jit, jax.jit, px.grad, jax.vmap, jax.grad], ids=["px.jit", "jax.jit", "px.grad", "vmap", "jax.grad"]
)
def test_a_draw_inside_a_traced_function_is_an_error(trace):
    x = jnp.ones(()) if "grad" in trace.__name__ else jnp.ones(2)
    f = lambda x: (px.Dense(1, 1).weight * x).sum()  # noqa: E731
    with pytest.raises(px.StateError, match="global stream") as caught:
        trace(f)(x)
    assert "key=" in str(caught.value)
    assert "px.seed" in str(caught.value)

    def seeded(x):
        with px.seed(2):
            return (px.Dense(1, 1).weight * x).sum()

    def keyed(x):
        return (px.Dense(1, 1, key=3).weight * x).sum()

    trace(seeded)(x)
    trace(keyed)(x)


def test_a_traced_seed_is_new_at_every_call():
    @px.jit
    def draw(key):
        with px.seed(key):
            return px.Dense(3, 2).weight

    one, two = draw(jax.random.key(0)), draw(jax.random.key(1))
    assert not np.array_equal(one, two)
    with px.seed(jax.random.key(0)):
        np.testing.assert_array_equal(px.Dense(3, 2).weight, one)


def test_a_run_resumes_exactly():
    x = jnp.ones((3, 3))
    model = build()
    run = lambda m, n: [m(x) for _ in range(n)]  # noqa: E731
    with px.training(True):
        run(model, 2)
        saved = px.state_dict(model)
        want = run(model, 3)
        fresh = build()
        px.load_state_dict(fresh, saved)
        for a, b in zip(run(fresh, 3), want, strict=True):
            np.testing.assert_array_equal(a, b)
        words_only = {k: words(v) for k, v in saved.items()}  # as files hold them
        px.load_state_dict(fresh, words_only)
        np.testing.assert_array_equal(run(fresh, 1)[0], want[0])


def test_two_layers_never_draw_the_same():
    px.seed(0)
    a, b = px.Dropout(0.5), px.Dropout(0.5)
    x = jnp.ones(64)
    with px.training(True):
        drawn = [a(x), a(x), b(x), b(x)]
    assert len({d.tobytes() for d in map(np.asarray, drawn)}) == 4
