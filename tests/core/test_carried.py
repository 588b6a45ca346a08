"""Functions that bring a Module along: methods, Modules as they are called, partials. It is an argument like any."""

import functools

import jax
import jax.numpy as jnp
import pytest

import phlox as px
from kit import assert_close

X = jnp.array([1.0, 2.0])


class Counted(px.Module):
    """w·x·n, and how often it was asked."""

    calls: px.State

    def __init__(self):
        self.w = jnp.array([3.0, 5.0])
        self.calls = jnp.zeros(())

    def encode(self, x, n=1):
        self.calls = self.calls + 1
        return n * self.w * x

    def loss(self, x, n=1):
        return self.encode(x, n).sum()

    def __call__(self, x):
        return self.encode(x)


FORMS = {
    "a method": lambda m: m.encode,
    "the Module": lambda m: m,
    "a partial of a method": lambda m: functools.partial(m.encode),
    "a partial of the function": lambda m: functools.partial(Counted.encode, m),
    "a partial of a partial": lambda m: functools.partial(functools.partial(m.encode), n=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_carried_module_is_written_back_and_never_frozen(form):
    model = Counted()
    compiled = px.jit(FORMS[form](model))
    for n, factor in enumerate((1.0, 10.0), start=1):
        model.w = factor * jnp.array([3.0, 5.0])
        assert_close(compiled(X), factor * jnp.array([3.0, 10.0]))
        assert float(model.calls) == n
    mapped = px.vmap(FORMS[form](model))(jnp.stack([X, 2 * X, 3 * X]))
    assert_close(mapped, jnp.array([[30.0, 100.0]]) * jnp.array([[1.0], [2.0], [3.0]]))
    assert float(model.calls) == 3
    assert_close(px.remat(FORMS[form](model))(X), jnp.array([30.0, 100.0]))
    assert float(model.calls) == 4
    assert px.eval_shape(FORMS[form](model), X).shape == (2,)
    assert px.explain(FORMS[form](model), X).flops > 0
    assert float(model.calls) == 4
    (last,) = (y for path, y in px.capture(model, X).items() if path == "")
    assert_close(last, jnp.array([30.0, 100.0]))


def test_numbers_in_a_partial_stay_numbers():
    model = Counted()
    repeated = px.jit(
        functools.partial(lambda m, n, x, *, shape: jnp.zeros(shape) + m.encode(x)[:n], model, 1, shape=(1,))
    )
    assert repeated(X).shape == (1,)
    assert float(model.calls) == 1


def test_static_argnums_count_the_users_arguments():
    model = Counted()
    assert_close(px.jit(model.encode, static_argnums=1)(X, 3), jnp.array([9.0, 30.0]))
    assert_close(px.jit(lambda x, n: x[0] * jnp.ones(n), static_argnums=-1)(X, 3), jnp.ones(3))


def test_derivatives_of_a_method():
    """of w·x·n summed: n·w in x; the model is an argument that is not differentiated, so it infers and is written."""
    model = Counted()
    want = 2 * model.w
    assert_close(px.grad(model.loss)(X, 2.0), want)
    assert_close(px.value_and_grad(functools.partial(model.loss, n=2.0))(X)[1], want)
    assert_close(px.grad(model.loss, argnums=1)(X, 2.0), (model.w * X).sum())
    assert float(model.calls) == 3
    _y, pullback = px.vjp(model.encode, X)
    assert_close(pullback(jnp.ones(2))[0], model.w)
    assert_close(px.jvp(model.encode, (X,), (jnp.ones(2),))[1], model.w)
    assert_close(px.jacobian(model.encode)(X), jnp.diag(model.w))
    assert_close(px.hessian(lambda x: model.w @ x**2)(X), jnp.diag(2 * model.w))
    assert float(model.calls) == 6
    dropout = px.Dropout(0.5)
    assert_close(px.grad(px.Chain(dropout, jnp.sum))(X), jnp.ones(2))  # it is not differentiated, so it infers


def test_vmap_of_a_module_splits_its_keys():
    dropout = px.trainmode(px.Dropout(0.5))
    before = dropout.key
    y = px.vmap(dropout)(jnp.ones((64, 16)))
    assert len({tuple(row) for row in y.tolist()}) > 32
    assert not (jax.random.key_data(before) == jax.random.key_data(dropout.key)).all()


def test_a_compiled_method_in_an_attribute_goes_with_the_copy():
    class Fast(px.Module):
        def __init__(self):
            self.w = jnp.array([3.0, 5.0])
            self.fast = px.jit(self.times)

        def times(self, x):
            return self.w * x

        def __call__(self, x):
            return self.fast(x)

    model = Fast()
    other = px.copy(model)
    other.w = 10 * other.w
    assert_close(other(X), jnp.array([30.0, 100.0]))
    assert_close(model(X), jnp.array([3.0, 10.0]))
    assert_close(px.grad(lambda m: m(X).sum())(other).w, X)


# --- ahead of time -----------------------------------------------------------------------------------


def test_lower_and_compile_work_on_modules():
    model = Counted()
    step = px.jit(lambda m, x: m.encode(x))
    lowered = step.lower(model, jax.ShapeDtypeStruct((2,), "float32"))
    assert float(model.calls) == 0
    assert "stablehlo.multiply" in lowered.as_text()
    assert lowered.cost_analysis()["flops"] >= 2
    compiled = lowered.compile()
    assert compiled.cost_analysis()["flops"] >= 2
    assert "HloModule" in compiled.as_text()
    assert compiled.memory_analysis().output_size_in_bytes >= 8
    held = model.calls
    for n in (1, 2):
        assert_close(compiled(model, X), jnp.array([3.0, 10.0]))
        assert float(model.calls) == n
    assert float(held) == 0  # an alias outlives the donation
    other = Counted()
    other.w = 2 * other.w
    assert_close(compiled(other, X), jnp.array([6.0, 20.0]))
    assert float(other.calls) == 1
    assert step.retraces().endswith("not traced yet")


def test_lower_of_a_method_and_of_static_arguments():
    model = Counted()
    compiled = px.jit(model.encode, static_argnums=1).lower(X, 3).compile()
    assert_close(compiled(X, 3), jnp.array([9.0, 30.0]))
    assert float(model.calls) == 1
    with pytest.raises(px.StructureError, match="another static argument"):
        compiled(X, 4)
    assert px.jit(model.encode).eval_shape(X).shape == (2,)
    assert [str(e.primitive) for e in px.jit(model.encode).trace(X).jaxpr.eqns].count("mul") == 2
    by_shape = px.jit(lambda x, s: x * s).lower(X, 2.0).compile()
    assert_close(by_shape(X, 3.0), 3 * X)


def test_a_compiled_call_refuses_other_arguments():
    model = Counted()
    compiled = px.jit(lambda m, x: m(x)).lower(model, X).compile()
    with pytest.raises(px.ShapeError, match=r"float32\[3\] for array 0 of the arguments, which was float32\[2\]"):
        compiled(model, jnp.ones(3))
    with pytest.raises(px.StructureError, match=r"Modules of another structure(.|\n)*lower it again"):
        compiled(px.Dense(2, 2, key=0), X)
    with px.training(True), pytest.raises(px.StructureError, match="another mode"):
        compiled(model, X)
    assert float(model.calls) == 0
