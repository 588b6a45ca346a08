"""No silent conversion: what a dtype does on its way through a layer, and the policy that says otherwise."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close
from phlox.core.context import _warning


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch):
    """Every test sees its own first warning."""
    monkeypatch.setattr(_warning, "_warned", set())


def dense(dtype=jnp.float32):
    return px.Dense.of(jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype), jnp.asarray([0.5, -0.5], dtype))


def test_parameters_are_float32_by_default():
    model = px.Chain(px.Dense(3, 2, key=0), px.BatchNorm(2), px.Conv(3, 2, 2, key=0), px.Embedding(3, 2, key=0))
    assert {str(v.dtype) for v in px.state_dict(model).values()} == {"float32"}
    with jax.enable_x64(True):
        assert px.Dense(3, 2, key=0).weight.dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "int8"])
@pytest.mark.parametrize("param", ["float32", "bfloat16", "float16"])
def test_integers_and_bools_take_the_layers_dtype(dtype, param):
    x = jnp.asarray([[1, 0, 1]], dtype)
    y = dense(param)(x)
    assert y.dtype == param
    np.testing.assert_array_equal(np.asarray(y, np.float32), [[6.5, 7.5]])


def test_a_wider_float_warns_once_per_place_and_promotes():
    layer, x = dense(jnp.bfloat16), jnp.ones((1, 3))
    with pytest.warns(UserWarning, match=r"layer Dense\(3 → 2\): input float32\[1, 3\] is wider") as caught:
        y = layer(x)
    assert len(caught) == 1
    assert y.dtype == jnp.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)
    other = px.Chain(dense(jnp.bfloat16))
    with pytest.warns(UserWarning, match=r"other\.layers\[0\]"):
        other(x)


def test_a_narrower_float_promotes_without_a_word():
    y = dense()(jnp.ones((1, 3), jnp.bfloat16))
    assert y.dtype == jnp.float32


def test_float64_input_warns_and_promotes_when_jax_has_it_on():
    layer = dense()
    with jax.enable_x64(True), pytest.warns(UserWarning, match=r"input float64\[1, 3\] is wider"):
        assert layer(jnp.ones((1, 3), jnp.float64)).dtype == jnp.float64


def test_numpy_float64_with_x64_off_warns_that_it_becomes_float32():
    layer = dense()
    with pytest.warns(UserWarning, match="NumPy float64 becomes float32") as caught:
        y = layer(np.ones((1, 3)))
    assert "jax_enable_x64" in str(caught[0].message)
    assert y.dtype == jnp.float32
    with pytest.warns(UserWarning, match=r"Dense\.weight: NumPy float64 becomes float32"):
        layer.weight = np.ones((3, 2))
    assert layer.weight.dtype == jnp.float32


def test_numpy_integers_that_would_wrap_are_an_error():
    model = dense()
    with pytest.raises(px.DtypeError, match="integers that fit int32"):
        model.index = np.array([2**40])
    model.index = np.array([2**30])
    assert model.index.dtype == jnp.int32


@pytest.mark.parametrize("jit", [lambda f: f, px.jit], ids=["eager", "jit"])
def test_the_policy_decides_what_a_wider_input_does(jit):
    call = jit(lambda m, x: m(x))
    layer, x = dense(jnp.float16), jnp.ones((1, 3))
    with px.dtypes(on_mismatch="error"), pytest.raises(px.DtypeError, match=r"parameters' dtype float16") as caught:
        call(layer, x)
    assert "Dense(3 → 2)" in str(caught.value)
    assert ".astype('float16')" in str(caught.value)
    with px.dtypes(on_mismatch="convert"):
        assert call(layer, x).dtype == jnp.float16
    with px.dtypes(on_mismatch="promote"):
        assert call(layer, x).dtype == jnp.float32
    with px.dtypes(on_mismatch="error"):
        assert call(layer, x.astype(jnp.float16)).dtype == jnp.float16
        assert call(layer, jnp.ones((1, 3), int)).dtype == jnp.float16


def test_param_compute_and_output():
    x = jnp.ones((1, 3))
    with px.dtypes(param=jnp.bfloat16):
        assert px.Dense(3, 2, key=0).weight.dtype == jnp.bfloat16
        norm = px.BatchNorm(3)
    assert (norm.scale.dtype, norm.mean.dtype) == (jnp.bfloat16, jnp.float32)
    inner = []
    model = px.Chain(dense(), lambda v: inner.append(v.dtype) or v)
    call = px.jit(lambda m, x: m(x))
    assert call(model, x).dtype == jnp.float32
    with px.dtypes(compute=jnp.bfloat16, output=jnp.float32):
        y = call(model, x)
        assert y.dtype == model(x).dtype == jnp.float32
    assert inner == [jnp.float32, jnp.bfloat16, jnp.bfloat16], "another policy is another program"
    assert model[0].weight.dtype == jnp.float32
    np.testing.assert_array_equal(y, [[9.5, 11.5]])
    assert call(model, x).dtype == jnp.float32
    assert len(inner) == 3


def test_gradients_under_a_compute_dtype_keep_the_parameters():
    model = dense()
    with px.dtypes(compute=jnp.bfloat16):
        grads = px.grad(lambda m: m(jnp.ones((1, 3))).astype(jnp.float32).sum())(model)
    assert grads.weight.dtype == jnp.float32
    assert_close(grads.weight, jnp.ones((3, 2)), kind="grad")


def test_the_policy_ends_with_its_block():
    with pytest.raises(ZeroDivisionError), px.dtypes(param=jnp.float16):
        _ = 1 / 0
    assert px.Dense(3, 2, key=0).weight.dtype == jnp.float32
    with px.dtypes(param=jnp.float16):
        with px.dtypes(compute=jnp.bfloat16):
            assert px.Dense(3, 2, key=0).weight.dtype == jnp.float32  # a block says all four
        assert px.Dense(3, 2, key=0).weight.dtype == jnp.float16


def test_float64_while_jax_has_it_off_is_an_error():
    with pytest.raises(px.DtypeError, match="float64") as caught:
        px.dtypes(param=jnp.float64)
    assert "jax_enable_x64" in str(caught.value)
    with pytest.raises(px.RangeError, match="on_mismatch"):
        px.dtypes(on_mismatch="loudly")  # pyright: ignore[reportArgumentType]
    with jax.enable_x64(True), px.dtypes(param=jnp.float64):
        assert px.Dense(3, 2, key=0).weight.dtype == jnp.float64
