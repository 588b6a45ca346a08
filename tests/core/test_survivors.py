"""Corners in which seeded bugs once lived: renamed keys, loops from the end, axis 1, policies, threads, unsigned."""

import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, 2.0]])


def test_a_renamed_key_of_a_dict_of_modules_is_seen_by_the_next_compiled_call():
    model = px.Chain()
    model.parts = {"a": px.Dense.of(jnp.eye(2), None), "b": px.Dense.of(2 * jnp.eye(2), None)}
    each = px.jit(lambda m: {name: part(X) for name, part in m.parts.items()})
    assert list(each(model)) == ["a", "b"]
    model.parts = {"c" if name == "a" else name: part for name, part in model.parts.items()}
    assert sorted(each(model)) == ["b", "c"]
    parts = model.parts  # in place, with as many keys and the same Modules in the same order
    first, second = parts.pop("c"), parts.pop("b")
    parts["d"], parts["e"] = first, second
    found = each(model)
    assert list(found) == ["d", "e"]
    assert_close(found["e"], 2 * X)
    assert list(px.paths(model)) == ["parts.d.weight", "parts.e.weight"]


class Part(px.Module):
    """Notes the round in which it was called, and what came in."""

    turn: px.State

    def __init__(self, weight):
        self.weight, self.turn = weight, jnp.array(-1.0)

    def __call__(self, turn):
        self.turn = turn
        return self.weight * turn


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wrap", [lambda f: f, px.jit])
def test_scan_over_a_stack_writes_each_parts_state(wrap, reverse):
    """Round t (from 0) meets part t, or part 3 - t from the end; y is weight·turn, and stands at its part's place."""
    stack = px.vmap(Part)(jnp.array([1.0, 10.0, 100.0, 1000.0]))

    def run(stack):
        return px.scan(lambda turn, part: (turn + 1, part(turn)), jnp.array(0.0), stack, reverse=reverse)

    last, ys = wrap(run)(stack)
    turns = np.arange(4.0)[::-1] if reverse else np.arange(4.0)
    assert float(last) == 4
    assert_close(stack.turn, turns.astype("float32"))
    assert_close(ys, (turns * [1, 10, 100, 1000]).astype("float32"))


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit])
def test_scan_over_a_stack_that_is_passed_twice(wrap):
    twice, other = px.vmap(Part)(jnp.array([1.0, 2.0])), px.vmap(Part)(jnp.array([5.0, 7.0]))

    def body(turn, parts):
        a, b, c = parts
        assert a is b
        c(10 * turn)
        return turn + 1, a(turn)

    wrap(lambda twice, other: px.scan(body, jnp.array(0.0), (twice, twice, other))[0])(twice, other)
    assert_close(twice.turn, jnp.array([0.0, 1.0]))
    assert_close(other.turn, jnp.array([0.0, 10.0]))


class Moving(px.Module):
    mean: px.State  # (3,)

    def __init__(self):
        self.scale, self.mean = jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3)

    def __call__(self, x):
        self.mean = self.mean + self.scale * x
        return self.mean


@pytest.mark.parametrize("wrap", [lambda f: f, px.jit])
def test_vmap_over_axis_1_of_a_stack_writes_its_state_there(wrap):
    """Four models side by side: column n holds model n, whose mean moves by scale·n."""
    stack = px.map(lambda a: jnp.stack([a] * 4, axis=1), Moving())
    run = wrap(lambda m, x: px.vmap(lambda m, x: m(x), in_axes=(1, 0), out_axes=1)(m, x))
    for times in (1, 2):
        y = run(stack, jnp.arange(4.0))
        want = times * np.outer([1, 2, 3], np.arange(4)).astype("float32")
        assert_close(stack.mean, want)
        assert_close(y, want)


def test_the_policy_of_remat_says_what_is_kept():
    """sin(sin(x)): without a policy both are computed again for the gradient, with everything kept neither is."""
    model = px.Dense.of(jnp.eye(2), None)

    def count(**options):
        f = px.remat(lambda m, x: jnp.sin(jnp.sin(m(x))).sum(), **options)
        compiled = px.explain(lambda m, x: px.grad(f)(m, x), model, X)
        return str(compiled.jaxpr).count(" sin ")

    assert count() == count(policy=jax.checkpoint_policies.nothing_saveable)
    assert count(policy=jax.checkpoint_policies.everything_saveable) < count()
    assert count(policy="nothing") == count()
    assert count(policy="everything") == count(policy=jax.checkpoint_policies.everything_saveable)


def test_policies_of_remat_by_name():
    """Products in a forward pass, and again in the backward one: one of two, where one has a batch axis."""
    model = px.Dense.of(jnp.eye(2), None)

    def count(policy):
        f = lambda m, x: jnp.sin(jnp.einsum("bij,bjk->bik", y := jnp.sin(m(x)), y)).sum()  # noqa: E731
        f = px.remat(f, policy=policy)
        return str(jax.make_jaxpr(lambda m, x: px.grad(f)(m, x))(model, jnp.ones((3, 2, 2)))).count("dot_general")

    assert count("nothing") == count(None) == count("dots") + 2
    assert count("dots_without_batch") == count("dots") + 1
    assert count("everything") == count("dots")
    with pytest.raises(px.RangeError, match=re.escape("px.remat expects policy as 'nothing', 'everything', 'dots'")):
        px.remat(model, policy="dot")
    with pytest.raises(px.RangeError, match=r"RepeatedLayer expects policy as .*, got 'dot'"):
        px.nn.RepeatedLayer(lambda: px.Dense(2, 2), 2, remat="dot")


def test_reads_stay_watched_while_any_thread_compiles():
    """One thread's compiled function ends while another's still runs: the other's reads are still refused."""
    model, inside, go, failed = px.Dense(2, 2, key=0), threading.Event(), threading.Event(), []

    def long():
        def body(x):
            inside.set()
            assert go.wait(60)
            return x + model.weight

        try:
            px.jit(body)(X)
        except px.CaptureError as error:
            failed.append(error)

    thread = threading.Thread(target=long)
    thread.start()
    assert inside.wait(60)
    px.jit(lambda x: x + 1)(X)
    go.set()
    thread.join()
    assert len(failed) == 1
    assert px.Module.__getattribute__ is object.__getattribute__  # and afterwards reads are Python's own again


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (np.array([2**32 - 1], "uint64"), True),
        (np.array([2**32], "uint64"), False),
        (np.array([2**31 - 1], "int64"), True),
        (np.array([2**31], "int64"), False),
        (np.array([-(2**31)], "int64"), True),
        (np.array([-(2**31) - 1], "int64"), False),
    ],
)
def test_integers_beyond_the_range_are_refused(value, fits):
    model = px.Chain()
    if fits:
        model.table = value
        assert model.table.dtype.itemsize == 4
        assert int(model.table[0]) == int(value[0])
        return
    with pytest.raises(px.core.DtypeError, match=f"Chain.table expects integers that fit {value.dtype.name[:-2]}32"):
        model.table = value
