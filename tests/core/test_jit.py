"""px.jit means the same without it: changes are seen, equal models share a program, errors leave no trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([[1.0, -2.0, 0.5]])


class Counter(px.Module):
    """Adds up what passes; its State sits in an attribute, a list and a dict."""

    count: px.State
    seen: px.State

    def __init__(self, start=0.0):
        self.count = jnp.asarray(start)
        self.seen = [jnp.zeros((), jnp.int32), {"last": jnp.zeros(())}]

    def __call__(self, x):
        self.count = self.count + x.sum()
        self.seen[0] = self.seen[0] + 1
        self.seen[1]["last"] = x.sum()
        return x * self.count


def dense(seed=0):
    return px.Dense(3, 2, key=seed)


def forward(model, x):
    return model(x)


# --- changes between calls ------------------------------------------------------------------------


def test_a_list_that_grew_is_seen():
    model, call = px.Chain(dense()), px.jit(forward)
    assert_close(call(model, X), model(X))
    model.layers.append(px.relu)
    assert_close(call(model, X), jnp.maximum(model[0](X), 0))
    model.layers.append(px.Dense.of(jnp.ones((2, 1)), None))
    assert_close(call(model, X), model(X))
    del model.layers[1:]
    assert_close(call(model, X), model[0](X))
    assert len(call.history.traces) == 3  # the fourth call finds the first program


def test_a_changed_dict_item_is_seen():
    model, call = px.Chain(a=dense(0), b=px.relu), px.jit(forward)
    first = call(model, X)
    model.layers["b"] = px.tanh
    assert_close(call(model, X), jnp.tanh(model["a"](X)))
    model.layers["a"] = dense(1)
    assert_close(call(model, X), jnp.tanh(dense(1)(X)))
    model.layers["b"] = px.relu
    model.layers["a"] = dense(0)
    assert_close(call(model, X), first)
    assert len(call.history.traces) == 2


def test_new_weights_are_seen_without_a_trace():
    model, call = dense(), px.jit(forward)
    call(model, X)
    model.weight = model.weight * 2
    assert_close(call(model, X), X @ model.weight + model.bias)
    model.bias = np.ones(2, np.float32)
    assert_close(call(model, X), X @ model.weight + 1)
    assert len(call.history.traces) == 1


@pytest.mark.parametrize("change", ["activation", "layer", "rate", "pin", "attribute gone", "freeze"])
def test_a_changed_attribute_is_seen(change):
    model = px.Chain(dense(), px.Dropout(0.5, key=0), px.BatchNorm(2))

    @px.jit
    def step(model, x):
        return px.grad(lambda m: (m(x) ** 2).sum())(model)

    def loop(model, x):
        return px.grad(lambda m: (m(x) ** 2).sum())(model)

    xs = jnp.concatenate([X, 2 * X, -X])
    step(px.copy(model), xs)
    if change == "activation":
        model[0].act = px.tanh
    elif change == "layer":
        model[0] = px.Dense(3, 2, px.relu, bias=False, key=4)
    elif change == "rate":
        model[1].p = 0.25
    elif change == "pin":
        px.testmode(model[2])
    elif change == "attribute gone":
        model[0].bias = None
    else:
        px.freeze(model, "layers.0.weight")
    eager, compiled = px.copy(model), px.copy(model)
    ours, theirs = px.paths(step(compiled, xs)), px.paths(loop(eager, xs))
    assert list(ours) == list(theirs) == list(px.split(model)[0])
    for path in ours:
        assert_close(ours[path], theirs[path], kind="grad", what=path)
    assert len(step.history.traces) == 2


# --- equal models ---------------------------------------------------------------------------------


def test_an_equal_model_never_recompiles():
    call = px.jit(lambda m, x: px.grad(lambda m: m(x).sum())(m))
    make = lambda seed: px.Chain(px.Dense(3, 4, px.gelu, key=seed), px.LayerNorm(4), px.Dropout(0.1, key=seed))  # noqa: E731
    for seed in range(4):
        call(make(seed), X)
    call(px.copy(make(9)), X)
    assert len(call.history.traces) == 1
    assert "traced 1 time" in call.retraces()


def test_retraces_say_what_changed():
    call, model = px.jit(forward), px.Chain(dense(), px.Dropout(0.5, key=0))
    call(model, X)
    model[1].p = 0.25
    call(model, X)
    call(model, jnp.concatenate([X, X]))
    lines = call.retraces().splitlines()
    assert lines[0].endswith("traced 3 times")
    assert "model.layers[1].p 0.5 → 0.25" in lines[1]
    assert "float32[1, 3] → float32[2, 3]" in lines[2]


def test_static_arguments_are_python_values():
    @px.jit(static_argnames="n")
    def repeat(model, x, n):
        for _ in range(n):
            x = model(x)
        return x

    counter, twin = Counter(1.0), Counter(1.0)
    assert_close(repeat(counter, X, n=2), twin(twin(X)))
    assert_close(counter.count, twin.count)
    positional = px.jit(lambda x, flag: x + 1 if flag else x, static_argnums=1)
    assert_close(positional(X, True), X + 1)
    assert_close(positional(X, 1), X + 1)
    assert_close(positional(X, False), X)
    assert len(positional.history.traces) == 3, "True and 1 are two"


def test_python_numbers_are_traced_and_strings_are_static():
    call = px.jit(lambda x, n, how: x * n if how == "times" else x + n)
    assert_close(call(X, 2.0, "times"), X * 2)
    assert_close(call(X, 3.0, "times"), X * 3)
    assert len(call.history.traces) == 1
    assert_close(call(X, 3.0, "plus"), X + 3)
    assert len(call.history.traces) == 2


def test_keywords_defaults_and_methods():
    class Model(px.Module):
        def __init__(self):
            self.scale = jnp.asarray(2.0)

        @px.jit
        def step(self, x, *, shift=1.0):
            self.scale = self.scale + shift
            return x * self.scale

    model = Model()
    assert_close(model.step(X), X * 3)
    assert_close(model.step(X, shift=2.0), X * 5)
    assert_close(model.scale, np.float32(5.0))
    call = px.jit(lambda *, b, a: a - b)
    assert_close(call(a=X, b=2 * X), -X)
    assert_close(call(b=2 * X, a=X), -X)


# --- what goes in and out -------------------------------------------------------------------------


def test_containers_of_modules_go_in_and_are_written_back():
    a, b, c = Counter(1.0), Counter(2.0), Counter(3.0)

    @px.jit
    def step(models, pair, x):
        return models["a"](x) + models["list"][0](x) + pair[0](x)

    y = step({"a": a, "list": [b]}, (c, "name"), X)
    s = X.sum()
    assert_close(y, X * (6 + 3 * s))
    for model, start in ((a, 1.0), (b, 2.0), (c, 3.0)):
        assert_close(model.count, start + s)
        assert int(model.seen[0]) == 1
        assert_close(model.seen[1]["last"], s)


def test_one_module_given_twice_is_one_module():
    def step(a, b, x):
        a(x)
        return b(x), a is b

    eager, compiled = Counter(), Counter()
    want, got = step(eager, eager, X), px.jit(step)(compiled, compiled, X)
    assert_close(got[0], want[0])
    assert got[1] == want[1]
    assert_close(compiled.count, eager.count)


def test_modules_come_back_as_themselves_and_new_ones_with_sharing():
    model = px.Chain(dense(), px.tanh)

    @px.jit
    def build(model):
        new = px.Dense.of(model[0].weight.T, None)
        return model, model[0], px.Chain(new, new, model[0]), [new]

    whole, part, chain, (alone,) = build(model)
    assert whole is model
    assert part is model[0]
    assert chain[0] is chain[1] is alone
    assert chain[2] is model[0]
    assert_close(alone.weight, model[0].weight.T)
    assert type(alone) is px.Dense


def test_results_keep_their_form():
    result = px.jit(lambda x: {"a": (x, [x + 1, None]), "b": "text", "c": px.relu})(X)
    assert result["b"] == "text"
    assert result["c"] is px.relu
    assert result["a"][1][1] is None
    assert isinstance(result["a"], tuple)
    assert_close(result["a"][1][0], X + 1)


def test_jit_inside_jit_and_grad():
    inner = px.jit(lambda m, x: m(x).sum())

    def step(model, x):
        return px.value_and_grad(lambda m: inner(m, x) * 2)(model)

    eager, compiled = Counter(2.0), Counter(2.0)
    eager.count = compiled.count = jnp.asarray(2.0)
    model = px.Chain(dense(), eager)
    twin = px.Chain(dense(), compiled)
    value, grads = step(model, X)
    value2, grads2 = px.jit(step)(twin, X)
    assert_close(value2, value)
    assert_close(grads2[0].weight, grads[0].weight, kind="grad")
    assert_close(compiled.count, eager.count)
    assert int(compiled.seen[0]) == 1


# --- exceptions -----------------------------------------------------------------------------------


def test_an_exception_leaves_the_callers_objects_as_they_were():
    counter, model = Counter(1.0), dense()
    count, first, weight = counter.count, counter.seen[0], model.weight

    @px.jit
    def step(counter, model, x, fail):
        counter(x)
        model.weight = model.weight * 2
        if fail == "yes":
            raise ValueError("in the middle")
        return x

    with pytest.raises(ValueError, match="in the middle"):
        step(counter, model, X, "yes")
    assert counter.count is count
    assert counter.seen[0] is first
    assert model.weight is weight
    step(counter, model, X, "no")  # and the objects work as before
    assert int(counter.seen[0]) == 1
    assert_close(model.weight, dense().weight * 2)
    with pytest.raises(ValueError, match="in the middle"):
        step(counter, model, X, "yes")
    assert int(counter.seen[0]) == 1


def test_eager_code_keeps_the_writes_made_before_an_exception():
    counter = Counter(1.0)

    def step(counter):
        counter(X)
        raise ValueError("after")

    with pytest.raises(ValueError, match="after"):
        step(counter)
    assert int(counter.seen[0]) == 1


def test_notes_read_the_same_eager_and_compiled():
    class Broken(px.Module):
        def __call__(self, x):
            raise KeyError("no such thing")

    net = px.Chain(px.relu, px.Chain(inner=Broken()))
    notes = []
    for call in (forward, px.jit(forward)):
        with pytest.raises(KeyError) as caught:
            call(net, X)
        notes.append([n for n in caught.value.__notes__ if n.startswith("in ")])
    assert notes[0] == notes[1]
    assert len(notes[0]) == 1
    assert "layers[1].layers" in notes[0][0]
    assert "Broken" in notes[0][0]


def test_plain_functions_are_compiled_too():
    assert_close(px.jit(jax.nn.softplus)(X), jax.nn.softplus(X))
    assert px.jit(lambda: 3.0)() == 3.0
