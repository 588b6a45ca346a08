"""Where State, a gradient or a change would be lost without a word, there is an error with the path and the cure."""

import warnings

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([1.0, 2.0, 3.0])


class Tally(px.Module):
    """State in an attribute."""

    total: px.State

    def __init__(self):
        self.weight = jnp.ones(3)
        self.total = jnp.zeros(())

    def __call__(self, x):
        self.total = self.total + jax.lax.stop_gradient(x.sum())
        return x * self.weight


class ListTally(Tally):
    def __init__(self):
        self.weight, self.total = jnp.ones(3), [jnp.zeros(())]

    def __call__(self, x):
        self.total[0] = self.total[0] + jax.lax.stop_gradient(x.sum())
        return x * self.weight


class DictTally(Tally):
    def __init__(self):
        self.weight, self.total = jnp.ones(3), {"now": {"deep": jnp.zeros(())}}

    def __call__(self, x):
        self.total["now"]["deep"] = self.total["now"]["deep"] + jax.lax.stop_gradient(x.sum())
        return x * self.weight


KINDS = [Tally, ListTally, DictTally]
every = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)


def concrete(model):
    """Nothing of a trace is left in the model, and its State is as it was."""
    leaves = jax.tree.leaves(model)
    assert not [v for v in leaves if isinstance(v, jax.core.Tracer)]
    assert_close(px.state_dict(model)[next(k for k in px.state_dict(model) if "total" in k)], jnp.zeros(()))


# --- State ----------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "plain",
    [
        lambda m: jax.jit(lambda m, x: m(x))(m, X),
        lambda m: jax.vmap(lambda m, x: m(x), in_axes=(None, 0))(m, X[None]),
        lambda m: jax.lax.scan(lambda m, x: (m, m(x)), m, X[None]),
        lambda m: jax.grad(lambda m, x: m(x).sum(), allow_int=True)(m, X),
        lambda m: jax.jit(lambda m, x: (m(x), m))(m, X),
        lambda m: jax.checkpoint(lambda m, x: m(x))(m, X),
    ],
    ids=["jit", "vmap", "scan", "grad", "jit returning it", "checkpoint"],
)
def test_state_on_what_plain_jax_rebuilt(kind, plain):
    model = kind()
    with pytest.raises(px.StateError, match="plain JAX transform made, where it would be lost") as caught:
        plain(model)
    text = str(caught.value)
    assert "total" in text
    assert kind.__name__ in text
    assert "px.apply" in text
    concrete(model)


@every
@pytest.mark.parametrize(
    "plain",
    [
        lambda m: jax.vmap(lambda x: m(x))(X[None]),
        lambda m: jax.grad(lambda x: m(x).sum())(X),
        lambda m: jax.vmap(jax.grad(lambda x: m(x).sum()))(X[None]),
        lambda m: jax.linearize(lambda x: m(x), X),
    ],
    ids=["vmap", "grad", "vmap of grad", "linearize"],
)
def test_state_captured_by_a_plain_transform(kind, plain):
    model = kind()
    with pytest.raises(px.StateError, match="plain JAX transform") as caught:
        plain(model)
    assert "total" in str(caught.value)
    concrete(model)


@every
def test_state_captured_by_plain_jit_warns_and_raises(kind):
    model = kind()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning has a test of its own
        with pytest.raises(px.StateError, match="plain JAX transform"):
            jax.jit(lambda x: model(x))(X)
    concrete(model)


@every
@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_state_captured_by_a_px_gradient(kind, transform):
    model = kind()

    def by_input(model, x):
        return px.grad(lambda x: model(x).sum())(x)

    with pytest.raises(px.StateError, match="captured from outside") as caught:
        transform(by_input)(model, X)
    text = str(caught.value)
    assert "model.total" in text
    assert "pass model as an argument: px.grad(lambda x, model: …)(x, model)" in text
    concrete(model)


@every
@pytest.mark.parametrize("transform", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_the_argument_form_writes_back(kind, transform):
    model = kind()
    grad = transform(lambda model, x: px.grad(lambda x, m: m(x).sum())(x, model))(model, X)
    assert_close(grad, jnp.ones(3), kind="grad")
    total = px.state_dict(model)[next(k for k in px.state_dict(model) if "total" in k)]
    assert_close(total, jnp.asarray(6.0))
    assert not isinstance(total, jax.core.Tracer)


# --- reads ----------------------------------------------------------------------------------------


def test_reading_the_original_inside_its_own_gradient():
    model = px.Dense(3, 2, key=0)
    for transform in (lambda f: f, px.jit):
        with pytest.raises(px.CaptureError, match="gradient would be silently zero") as caught:
            transform(lambda model: px.grad(lambda m: model(X).sum())(model))(model)
        assert "own argument" in str(caught.value)
    with pytest.raises(px.CaptureError, match="silently zero"):
        px.grad(lambda m: model.weight.sum())(model)  # an attribute, without a call
    with pytest.raises(px.CaptureError, match="silently zero"):
        px.grad(lambda m: sum(v.sum() for v in jax.tree.leaves(model)))(model)
    with pytest.raises(px.CaptureError, match="silently zero"):
        px.grad(lambda m: px.state_dict(model)["weight"].sum())(model)


def test_reading_a_model_that_shares_a_part_with_it():
    shared = px.Dense(3, 3, key=0)
    model, other = px.Chain(shared), px.Chain(px.relu, shared)
    with pytest.raises(px.CaptureError, match="silently zero"):
        px.grad(lambda m: other(X).sum())(model)
    free = px.Chain(px.Dense(3, 3, key=1))
    px.grad(lambda m: (m(X) + free(X)).sum())(model)  # what shares nothing may be read


def test_an_inner_gradient_may_read_what_the_outer_one_received():
    model = px.Dense(3, 1, px.tanh, key=0)

    def penalty(model):
        slope = px.grad(lambda x: model(x).sum())(X)
        return (slope**2).sum()

    ours = px.grad(penalty)(model)
    theirs = jax.grad(lambda w: (jax.grad(lambda x: jnp.tanh(x @ w + model.bias).sum())(X) ** 2).sum())(model.weight)
    assert_close(ours.weight, theirs, kind="grad")
    assert_close(px.jit(px.grad(penalty))(model).weight, theirs, kind="grad")


@pytest.mark.parametrize(
    "read",
    [
        lambda m: m(X),
        lambda m: m.weight * 2,
        lambda m: jax.tree.map(lambda v: v * 2, m).weight,
        lambda m: px.state_dict(m)["weight"],
        lambda m: px.split(m)[0]["weight"],
        lambda m: px.grad(lambda x: m(x).sum())(X),
        lambda m: px.copy(m)(X),
        lambda m: px.jit(lambda x: m(x))(X),
    ],
    ids=["call", "attribute", "tree.map", "state_dict", "split", "inner grad", "copy", "inner jit"],
)
def test_jit_refuses_a_module_it_did_not_receive(read):
    model = px.Dense(3, 2, key=0)
    with pytest.raises(px.CaptureError, match="would freeze its weights into the compiled code") as caught:
        px.jit(lambda x: read(model))(X)
    assert "px.constant(" in str(caught.value)
    assert "Dense(3 → 2)" in str(caught.value)


def test_jit_refuses_lists_of_captured_modules_and_arrays():
    tally = ListTally()
    layers = [px.Dense(3, 3, key=0)]
    with pytest.raises(px.CaptureError, match="would freeze its weights"):
        px.jit(lambda x: layers[0](x))(X)
    with pytest.raises(px.CaptureError, match="would freeze its weights"):
        px.jit(lambda x: x + tally.total[0])(X)


def test_inside_jit_an_inner_jit_is_the_border():
    model = px.Dense(3, 2, key=0)
    with pytest.raises(px.CaptureError, match="would freeze its weights"):
        px.jit(lambda model, x: px.jit(lambda x: model(x))(x))(model, X)
    outer = px.jit(lambda model, x: px.jit(lambda model, x: model(x))(model, x))
    assert_close(outer(model, X), model(X))


def test_constant_says_that_it_is_meant():
    model = px.Dense(3, 2, key=0)
    teacher = px.constant(model)
    call = px.jit(lambda x: teacher(x))
    want = model(X)
    assert_close(call(X), want)
    model.weight = model.weight * 2
    assert_close(call(X), want)  # later changes are not seen, as its docstring says
    assert_close(teacher(X), want)
    with pytest.raises(px.StateError, match=r"px\.constant"):
        teacher.weight = model.weight
    assert px.split(teacher)[0] == {}


# --- structure ------------------------------------------------------------------------------------


def _retyped(model):
    model[1].total = jnp.zeros((), jnp.int32)


CHANGES = {
    "activation": (lambda m: setattr(m[0], "act", px.tanh), "layers[0].act"),
    "layer": (lambda m: m.layers.__setitem__(0, px.relu), "layers"),
    "append": (lambda m: m.layers.append(px.relu), "layers"),
    "new attribute": (lambda m: setattr(m[0], "extra", 3), "layers[0].extra, which is new"),
    "attribute gone": (lambda m: delattr(m[0], "bias"), "layers[0].bias, which is gone"),
    "bias to None": (lambda m: setattr(m[0], "bias", None), "layers[0].bias"),
    "new array": (lambda m: setattr(m[0], "extra", jnp.ones(2)), "layers[0].extra, which is new"),
    "State's dtype": (_retyped, "layers[1].total to keep its dtype float32"),
    "equal submodules swapped": (lambda m: m.layers.reverse(), "layers"),
    "another of the same kind": (lambda m: m.layers.__setitem__(2, px.copy(m[2])), "layers[2]"),
    "freeze": (lambda m: px.freeze(m[0]), "layers[0]"),
    "pin": (lambda m: px.testmode(m[0]), "layers[0]"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("transform", ["jit", "grad"])
def test_a_change_of_structure_inside_a_trace(name, transform):
    change, text = CHANGES[name]
    model = px.Chain(px.Dense(3, 3, key=0), Tally(), px.Dense(3, 3, key=1), px.Dense(3, 3, key=2))
    if name == "equal submodules swapped":
        model = px.Chain(px.Dense(3, 3, key=0), px.Dense(3, 3, key=1))
    before, structure, layers = px.state_dict(model), jax.tree.structure(model), list(model.layers)

    def f(model):
        change(model)
        return jnp.zeros(())

    with pytest.raises(px.StructureError) as caught:
        getattr(px, transform)(f)(model)
    assert text in str(caught.value)
    assert f"px.{transform}" in str(caught.value)
    assert model.layers == layers
    assert jax.tree.structure(model) == structure
    assert all(px.state_dict(model)[k] is v for k, v in before.items())


def test_a_list_argument_that_the_body_changed():
    for transform in (px.jit, px.grad):
        with pytest.raises(px.StructureError, match="list and dict arguments to stay as they were"):
            transform(lambda x, items: (items.append(x), x.sum())[1])(X, [X])


# --- hidden arrays --------------------------------------------------------------------------------


class Bag:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    "hidden",
    [
        lambda: Bag(jnp.ones(2)),
        lambda: [Bag(px.Dense(2, 2, key=0))],
        lambda: {1: Bag(jnp.ones(2))},
        lambda: {px.Dense(2, 2, key=0)},
    ],
    ids=["object", "object in a list", "object in a dict", "set"],
)
def test_arrays_that_jax_cannot_see_into_are_refused_at_assignment(hidden):
    model = px.Dense(2, 2, key=0)
    with pytest.raises(
        px.StructureError, match=r"registered pytrees, got .* at \.inner.* holds .* which JAX cannot see"
    ):
        model.inner = hidden()
    assert not hasattr(model, "inner")


# --- warnings -------------------------------------------------------------------------------------


PLAIN = {
    "jit": lambda f: jax.jit(f)(X),
    "scan": lambda f: jax.lax.scan(f, X, X[None]),
    "cond": lambda f: jax.lax.cond(True, f, lambda x: x, X),
    "checkpoint": lambda f: jax.checkpoint(f)(X),
}


def _capture_warnings(run, monkeypatch):
    from phlox.core.context import _warning

    monkeypatch.setattr(_warning, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [w for w in caught if "captured by a plain JAX transform" in str(w.message)]


@pytest.mark.parametrize("plain", ["jit", "scan", "cond", "checkpoint"])
def test_capture_by_a_plain_transform_that_caches_warns_once_at_the_users_line(plain, monkeypatch):
    teacher = px.Chain(px.Dense(3, 3, key=0), px.Chain(px.Dense(3, 3, key=1)))
    kept = (lambda c, x: (c, teacher(x))) if plain == "scan" else lambda x: teacher(x)

    def twice():
        for _ in range(2):
            PLAIN[plain](kept)

    (warning,) = _capture_warnings(twice, monkeypatch)  # once, though there are four Modules
    assert str(warning.message).startswith("teacher (Chain)")
    assert warning.filename == __file__
    assert warning.lineno == kept.__code__.co_firstlineno


def test_what_cannot_go_stale_warns_of_nothing_and_sees_every_change(monkeypatch):
    teacher, xs = px.Dense.of(jnp.ones((3, 1)), None), X[None]

    def once():
        def body(c, x):
            return c, teacher(x)

        jitted = jax.jit(lambda x: teacher(x))
        return jax.lax.scan(body, 0, xs)[1][0], jitted(X)

    def given_again():
        for _ in range(2):
            jitted = jax.jit(lambda x: teacher(x))
            yield jitted(X)

    ways = [
        lambda: [jax.jit(lambda x: teacher(x))(X)],
        lambda: [jax.lax.scan(lambda c, x: (c, teacher(x)), 0, xs)[1][0]],
        lambda: [jax.lax.cond(True, lambda x: teacher(x), lambda x: x[:1], X)],
        lambda: [jax.checkpoint(lambda x: teacher(x))(X)],
        lambda: [jax.vmap(teacher)(X[None])[0]],
        lambda: [jax.jit(lambda m, x: m(x))(teacher, X)],
        lambda: once(),
        lambda: list(given_again()),
    ]
    for way in ways:
        for weight in (1.0, 2.0):
            teacher.weight = jnp.full((3, 1), weight)
            found: list = []
            assert not _capture_warnings(lambda way=way, found=found: found.extend(way()), monkeypatch)
            for y in found:
                assert_close(y, X.sum(keepdims=True) * weight)


def test_what_goes_stale_does_warn(monkeypatch):
    """Each of these gives the old weights the second time, so the warning is right."""
    teacher = px.Dense.of(jnp.ones((3, 1)), None)

    def body(c, x):
        return c, teacher(x)

    call = lambda x: teacher(x)  # noqa: E731
    fast, slope = jax.jit(call), jax.jit(jax.grad(lambda x: teacher(x).sum()))
    ways = [
        lambda: jax.lax.scan(body, 0, X[None])[1],
        lambda: jax.lax.cond(True, call, lambda x: x[:1], X),
        lambda: fast(X),
        lambda: slope(X),
        lambda: jax.jit(teacher)(X),
    ]
    for way in ways:
        teacher.weight = jnp.ones((3, 1))
        first: list = []
        assert len(_capture_warnings(lambda way=way, first=first: first.append(way()), monkeypatch)) == 1
        teacher.weight = jnp.full((3, 1), 2.0)
        assert_close(way(), first[0])
