"""What an attribute or a class body could hide from the tree: it is tracked, or refused with the cure."""

import collections
import copy
import dataclasses
import functools
import pickle
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([1.0, 2.0])
W = jnp.array([3.0, 5.0])


class Methods(px.Module):
    """w·x, three times over: by a method, by one in a list, and by one in a partial."""

    def __init__(self):
        self.w = W
        self.act = self.scale
        self.acts = [self.scale, {"last": self.scale}]
        self.part = functools.partial(self.times, jnp.array(2.0))

    def scale(self, x):
        return x * self.w

    def times(self, factor, x):
        return factor * x * self.w

    def __call__(self, x):
        return self.act(x) + self.acts[0](x) + self.acts[1]["last"](x) + self.part(x)


def _assert_follows(model: Methods, what: str) -> None:
    """All it computes with is its own: 5·w·x for its own w."""
    model.w = 10 * W
    assert_close(model(X), 50 * W * X, what=what)


def test_a_bound_method_in_an_attribute_goes_with_the_copy():
    model = Methods()
    assert_close(model(X), 5 * W * X)
    assert list(px.paths(model)) == ["w", "part.args.0"]
    copies = {
        "px.copy": px.copy(model),
        "px.merge": px.merge(model, *px.split(model)),
        "px.map": px.map(lambda a: a, model),
        "jax.tree.map": jax.tree.map(lambda a: a, model),
        "deepcopy": copy.deepcopy(model),
        "a compiled function": px.jit(lambda m: px.copy(m))(model),
    }
    for what, other in copies.items():
        _assert_follows(other, what)
    assert_close(model(X), 5 * W * X)


def test_a_bound_method_under_transforms():
    model = Methods()
    params, state = px.split(model)
    assert_close(px.apply(model, {**params, "w": 7 * W}, state, X)[0], 35 * W * X)
    for grad in (px.grad, jax.grad, lambda f: px.jit(px.grad(f)), lambda f: jax.jit(jax.grad(f))):
        found = grad(lambda m: m(X).sum())(model)
        assert_close(found.w, 5 * X)
        assert_close(found.part.args[0], (W * X).sum())

    @px.jit
    def step(m):
        m.w = 2 * m.w
        return m(X)

    assert_close(step(model), 10 * W * X)
    assert_close(model.act(X), 2 * W * X)
    assert model.act.__self__ is model
    stack = px.vmap(lambda k: px.map(lambda a: a * k, Methods()))(jnp.array([1.0, 10.0]))
    each = px.vmap(lambda m, x: m(x), in_axes=(0, None))(stack, X)
    assert_close(each[0], 5 * W * X)
    assert_close(each[1], (3 * 10 + 20 * 10) * W * X)


def test_a_shallow_copy_has_its_own_methods():
    twin = copy.copy(Methods())
    twin.w = 10 * W
    assert_close(twin.act(X), 10 * W * X)


class WithPart(px.Module):
    """A method of a part, in an attribute."""

    def __init__(self):
        self.inner = px.Dense.of(jnp.eye(2), None)
        self.run = self.inner.__call__

    def __call__(self, x):
        return self.run(x)


def test_a_method_of_a_part_refers_to_that_part():
    model = WithPart()
    assert list(px.paths(model)) == ["inner.weight"]
    for other in (px.copy(model), pickle.loads(pickle.dumps(model)), px.map(lambda a: a, model)):
        other.inner.weight = 4 * jnp.eye(2)
        assert_close(other(X[None])[0], 4 * X)
        assert other.run.__self__ is other.inner
    assert_close(px.grad(lambda m: m(X[None]).sum())(model).inner.weight, jnp.stack([X, X], 1))
    assert_close(model(X[None])[0], X)
    chain = px.Chain(px.Dense.of(jnp.eye(2), None).__call__)
    assert list(px.paths(chain)) == ["layers.0.__self__.weight"]


def test_equal_models_with_methods_share_programs():
    step = px.jit(lambda m: m(X))
    for _ in range(2):
        step(Methods())
    assert "traced 1 time" in step.retraces()


@pytest.mark.parametrize("kind", [functools.partial, jax.tree_util.Partial])
def test_a_partial_is_a_container(kind):
    class Holder(px.Module):
        def __init__(self):
            self.f = kind(px.Dense.of(2 * jnp.eye(2), None))
            self.g = functools.partial(jnp.dot, jnp.eye(2), precision=None)
            self.h = functools.partial(lambda x, a, *, b: a * x + b, a=jnp.array(2.0), b=jnp.array(3.0))
            self.plain = functools.partial(jnp.sum, axis=0)

        def __call__(self, x):
            return self.h(self.g(self.f(x[None])[0]))

    model = Holder()
    names = ["f.func.weight", "g.args.0", "h.keywords.a", "h.keywords.b"]
    assert sorted(px.paths(model)) == names
    assert_close(model(X), 4 * X + 3)
    found = px.paths(px.grad(lambda m: m(X).sum())(model))
    assert_close(found["h.keywords.b"], 2.0)
    assert_close(found["h.keywords.a"], 2 * X.sum())

    assert type(px.copy(model).f) is kind

    @px.jit
    def move(m):
        for part in ("args", "keywords"):
            assert getattr(m.g, part) is not None
        m.f.func.weight = m.f.func.weight * 1.0

    move(model)
    px.load_state_dict(model, {n: 10 * a for n, a in px.paths(model).items()})
    assert_close(model(X), 20 * (10 * 20 * X) + 30)


def test_a_partial_with_arrays_in_both_is_written_in_both():
    class Holder(px.Module):
        def __init__(self):
            self.f = functools.partial(lambda a, x, *, b: a * x + b, jnp.array(2.0), b=jnp.array(3.0))

        def __call__(self, x):
            return self.f(x)

    model = Holder()
    px.core.write_arrays(model, {"f.args.0": jnp.array(5.0), "f.keywords.b": jnp.array(7.0)})
    assert_close(model(X), 5 * X + 7)
    opt = px.Optimizer(px.optim.Descent(1.0), model)
    opt.update(model, px.grad(lambda m: m(X).sum())(model))
    assert_close(model(X), (5 - X.sum()) * X + 5)


class _Slots:
    __slots__ = ("part",)

    def __init__(self, part):
        self.part = part


@dataclasses.dataclass
class _Data:
    part: object


class _UserDict(collections.UserDict):
    pass


HIDING = {
    "set": lambda d: {d},
    "deque": lambda d: collections.deque([d]),
    "UserDict": lambda d: _UserDict(a=d),
    "ChainMap": lambda d: collections.ChainMap({"a": d}),
    "mappingproxy": lambda d: types.MappingProxyType({"a": d}),
    "a subclass of list": lambda d: type("L", (list,), {})([d]),
    "a subclass of dict": lambda d: type("D", (dict,), {})(a=d),
    "dict values": lambda d: {"a": d}.values(),
    "generator": lambda d: (v for v in [d]),
    "map": lambda d: (v for v in [d]),
    "namespace": lambda d: types.SimpleNamespace(a=[d]),
    "slots": _Slots,
    "dataclass": lambda d: _Data({"a": d}),
    "weak reference": weakref.ref,
    "weak proxy": weakref.proxy,
    "closure": lambda d: lambda x: d(x),
    "default argument": lambda d: lambda x, d=d: d(x),
    "a list in a closure": lambda d: (lambda ds: lambda x: ds[0](x))([d]),
    "a wrapped closure": lambda d: functools.wraps(len)(lambda x: d(x)),
    "jax.jit": lambda d: jax.jit(lambda x: d(x)),
    "in a dict": lambda d: {"a": [{d}]},
}


@pytest.mark.parametrize("name", HIDING)
def test_what_no_transform_sees_is_refused(name):
    dense, model = px.Dense(2, 2, key=0), px.Chain()
    with pytest.raises(px.StructureError, match=r"fix: ") as error:
        model.hidden = HIDING[name](dense)
    assert ".hidden" in str(error.value)
    assert not hasattr(model, "hidden")


@pytest.mark.parametrize("make", [collections.OrderedDict, lambda **d: collections.defaultdict(list, **d)])
def test_registered_containers_work(make):
    model = px.Chain()
    model.parts = make(a=px.Dense.of(jnp.eye(2), None))
    other = px.copy(model)
    other.parts["a"].weight = 2 * jnp.eye(2)
    assert_close(model.parts["a"].weight, jnp.eye(2))
    assert len(px.paths(model)) == 1


def test_a_function_that_captures_its_owner_names_the_cure():
    class Capturing(px.Module):
        def __init__(self):
            self.w = W
            self.f = lambda x: self.w * x

    with pytest.raises(px.StructureError, match=r"captures the very Capturing that holds it(.|\n)*make it a method"):
        Capturing()


def test_a_function_may_capture_constants():
    teacher = px.constant(px.Dense.of(2 * jnp.eye(2), None))
    table = np.array([2.0, 3.0], "float32")
    model = px.Chain(lambda x: teacher(x), lambda x: x * table)
    assert_close(px.jit(lambda m, x: m(x))(model, X[None])[0], jnp.array([4.0, 12.0]))


def test_a_function_with_a_floating_jax_array_warns():
    class Scaled(px.Module):
        def __init__(self, array):
            self.f = lambda x: x * array

    Scaled(jnp.arange(2))
    with pytest.warns(UserWarning, match=r"Scaled.f is a function that holds float32\[2\], which is no parameter"):
        Scaled(W)


# --- class bodies ------------------------------------------------------------------------------------


def test_an_annotated_array_of_the_class_body_is_each_instances_own():
    class Layer(px.Module):
        w: px.Param = jnp.array([2.0, 3.0])
        count: px.State = np.zeros((), "float32")
        table = np.eye(2)

        def __call__(self, x):
            return self.w * x

    class Derived(Layer):
        pass

    a, b = Layer(), Derived()
    a.w = 10 * a.w
    assert_close(b(X), jnp.array([2.0, 6.0]))
    assert_close(px.copy(a)(X), jnp.array([20.0, 60.0]))
    assert [list(part) for part in px.split(b)] == [["w"], ["count"]]
    assert_close(px.grad(lambda m: m(X).sum())(b).w, X)


def test_a_dataclass_works_with_array_defaults():
    @dataclasses.dataclass(eq=False)
    class Layer(px.Module):
        scale: float
        w: px.Param = dataclasses.field(default_factory=lambda: jnp.ones(2))

        def __call__(self, x):
            return self.scale * self.w * x

    assert_close(px.grad(lambda m: m(X).sum())(Layer(3.0)).w, 3 * X)


def test_two_dataclass_modules_in_a_list_are_told_apart():
    @dataclasses.dataclass
    class Layer(px.Module):
        w: px.Param

        def __call__(self):
            return self.w

    model = px.Chain(Layer(W), Layer(W))
    total = px.jit(lambda m: sum(layer.w.sum() for layer in m.layers))
    assert float(total(model)) == 16
    model.layers[0] = Layer(10 * W)
    assert float(total(model)) == 88


BODIES = {
    "slots": ({"__slots__": ("w",)}, "__slots__"),
    "a Module": (lambda: {"part": px.Dense(2, 2, key=0)}, "set self.part in __init__"),
    "a list of Modules": (lambda: {"parts": [px.Dense(2, 2, key=0)]}, "set self.parts in __init__"),
    "an array without annotation": (lambda: {"w": W}, "annotate it, w: px.Param"),
    "a cached property": ({"half": functools.cached_property(lambda self: self.w / 2)}, "make half a property"),
}


@pytest.mark.parametrize("name", BODIES)
def test_class_bodies_that_hide_are_refused(name):
    body, cure = BODIES[name]
    with pytest.raises(px.StructureError, match=cure):
        type("Layer", (px.Module,), body() if callable(body) else dict(body))


def test_class_variables_and_static_methods_are_let_be():
    class Layer(px.Module):
        __slots__ = ()
        table: "typing.ClassVar[jax.Array]" = jnp.array([1.0, 2.0])  # noqa: F821
        act = staticmethod(jnp.tanh)
        shared = px.constant(px.Dense(2, 2, key=0))

        @property
        def double(self):
            return 2 * self.w

    layer = Layer()
    layer.w = W
    assert list(px.paths(layer)) == ["w"]
    assert_close(px.copy(layer).double, 2 * W)


def test_text_is_no_array():
    model = px.Chain()
    with pytest.raises(px.core.DtypeError, match=r"<U3\[2\](.|\n)*tolist"):
        model.names = np.array(["cat", "dog"])


# --- attributes set by a call ----------------------------------------------------------------------


class Remembering(px.Module):
    def __init__(self, last):
        self.w = W
        if last is not ...:
            self.last = last

    def __call__(self, x):
        self.last = self.w * x
        return self.last


@pytest.mark.parametrize("run", [lambda m: m(X), px.jit(lambda m: m(X)), px.grad(lambda m: m(X).sum())])
def test_a_call_makes_no_new_array_eager_and_compiled(run):
    for last, was in ((..., "is new"), (None, "was NoneType")):
        model = Remembering(last)
        with pytest.raises(px.StructureError, match=f"last, which {was}.*\n.*last: px.State.*px\\.capture"):
            run(model)
        assert list(px.paths(model)) == ["w"]
    model = Remembering(jnp.zeros(2))
    run(model)
    assert_close(model.last, W * X)
    model.w = model.w  # what is set outside a call is as before
    model.fresh = X
    assert list(px.paths(model)) == ["w", "last", "fresh"]
