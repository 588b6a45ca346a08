"""Why a function was traced again, and what it keeps as it was when it was traced."""

import copy
import pickle
import subprocess
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px

X = jnp.ones((2, 3))


def lines(call):
    return call.retraces().splitlines()[1:]


@px.jit
def forward(net, x):
    return net(x)


def fresh():
    return px.jit(forward.fn)


IN_A_FRESH_PROCESS = """
import sys
import jax.numpy as jnp, numpy as np, phlox as px
step = px.jit(lambda model, x: px.value_and_grad(lambda m: m(x).sum())(model))
model, x = px.Dense(3, 2, key=0), jnp.ones((4, 3))
step(model, x)
step(model, x)
data = np.ones((4, 3), "f"), np.ones((4, 2), "f")
px.fit(model, data, loss=px.losses.mse, optimizer=px.optim.Descent(0.1), epochs=1)
step(model, x)
print(len(step.history.traces), sorted(name for name in sys.modules if name.startswith("jax._src.pallas")))
"""


def test_the_first_function_of_a_process_is_traced_once():
    """What JAX imports at a first call may add settings that programs are known by: all would be traced anew."""
    run = subprocess.run([sys.executable, "-c", IN_A_FRESH_PROCESS], capture_output=True, text=True, timeout=300)
    assert run.stdout.splitlines()[-1:] == ["1 []"], run.stdout + run.stderr


def test_functions_that_look_alike_are_told_apart():
    call, net = fresh(), px.Dense(3, 3, key=0)
    for act in (lambda v: v, lambda v: -v):
        net.act = act
        call(net, X)
    (line,) = lines(call)
    assert line.startswith("  trace 2: net.act <lambda> (test_retraces.py:")
    assert "another of the same text; make it once" in line


def test_the_trace_most_like_it_is_compared_with():
    call, net = fresh(), px.Dense(3, 3, key=0)
    call(net, X)
    call(px.Chain(px.Dense(3, 4, key=0), px.Dense(4, 1, key=0)), X)
    call(net, X[:1])
    assert lines(call)[1] == "  trace 3: x float32[2, 3] → float32[1, 3] (since trace 1)"


def test_python_numbers_lists_sharing_and_statics():
    call = px.jit(lambda x, k: k)
    call(X, 1)
    call(X, jnp.ones((), int))
    call(X, [1])
    call(X, (1,))
    told = lines(call)
    assert told[0] == "  trace 2: k int32[] (of a Python number) → int32[]"
    assert "the form of the arguments" in told[1]
    assert "the form of the arguments" in told[2]
    static = px.jit(lambda x, how: x, static_argnames="how")
    static(X, how=1)
    static(X, how=2)
    assert lines(static) == ["  trace 2: how 1 → 2"]
    tied, untied = px.Dense(3, 3, key=0), [px.Dense(3, 3, key=0), px.Dense(3, 3, key=0)]
    shared = px.jit(lambda model, x: model(x))
    shared(px.Chain(tied, tied), X)
    shared(px.Chain(*untied), X)
    assert "model.layers[1] the Module at model.layers[0] → Dense (automode)" in lines(shared)[0]


def test_a_sharded_step_says_so():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    call = px.jit(lambda x: x + 1)
    call(X)
    call(jax.device_put(X, sharding))
    assert lines(call)[0].startswith("  trace 2: x float32[2, 3] → float32[2, 3] over ")


def test_threads_that_race_make_one_program_and_no_false_reason():
    call = fresh()
    nets = [px.Dense(3, 3, key=i) for i in range(6)]
    start = threading.Barrier(6)

    def run(net, x):
        start.wait()
        call(net, x)

    threads = [threading.Thread(target=run, args=(n, X[: 1 + i % 2])) for i, n in enumerate(nets)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(call.programs) == 1
    for line in lines(call):
        assert "float32[2, 3]" in line or "another thread" in line


def test_a_number_that_changes_each_step_is_told_once():
    call, net = fresh(), px.Dense(3, 3, key=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(9):
            net.scale = 0.5 * step
            call(net, X)
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "forward was traced and compiled 5 times because the Python number net.scale changed, the last time 2.0 → 2.5: "
        "it is a constant of the program; make it an array, net.scale = jnp.asarray(2.5)"
    )
    static = px.jit(lambda x, k: x, static_argnames="k")
    for k in range(5):
        static(X, k=k)
    with pytest.warns(UserWarning, match=r"number k changed.*take 'k' out of static_argnums and static_argnames"):
        static(X, k=5)
    traced = px.jit(lambda x, k: x * k)
    for k in range(9):
        traced(X, 0.5 * k)  # as an argument it is traced, as in jax.jit
    assert traced.retraces().endswith("traced 1 time")


# --- what is around a function ------------------------------------------------------------------------

rate = 0.5
table = np.ones(3, "float32")
calls = 0


def helper(x):
    return x * rate


@px.jit
def reading(x):
    global calls
    calls += 1
    return helper(x) + table


def test_a_global_and_an_array_that_changed_are_told():
    global rate
    rate, table[0] = 0.5, 1.0
    call = px.jit(reading.fn)
    np.testing.assert_array_equal(call(X), np.full((2, 3), 1.5))
    assert "stale" not in call.retraces(), "calls, which it counts itself, is none"
    rate, table[0] = 0.25, 3.0
    np.testing.assert_array_equal(call(X), np.full((2, 3), 1.5))
    assert lines(call) == [
        "  stale: trace 1 was compiled with rate = 0.5, which is 0.25 now; pass it as an argument",
        "  stale: trace 1 was compiled with table = float32[3], which is another one now; pass it as an argument",
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(X[:1])
    assert [str(w.message).split(":")[0] for w in caught] == [
        "reading was compiled with rate = 0.5, which is 0.25 now",
        "reading was compiled with table = float32[3], which is another one now",
    ]
    assert {w.filename for w in caught} == {__file__}
    rate, table[0] = 0.5, 1.0


def test_a_variable_of_the_closure_that_changed_is_told():
    shift, name, model = jnp.ones(3), "a", px.Dense(3, 3, key=0)
    call = px.jit(lambda net, x: net(x) + shift if name == "a" else x)
    call(model, X)
    assert "stale" not in call.retraces()
    shift, name = shift + 1, "b"
    told = "\n".join(lines(call))
    assert "shift = float32[3], which is another one now" in told
    assert "name = 'a', which is 'b' now" in told


def test_a_compiled_function_can_be_copied_and_pickled():
    call = fresh()
    call(px.Dense(3, 3, key=0), X)
    assert copy.deepcopy(call).retraces().endswith("not traced yet")
    again = pickle.loads(pickle.dumps(px.jit(helper, static_argnums=1)))
    np.testing.assert_array_equal(again(X), helper(X))
    assert again.static_numbers == {1}
