"""The same model in another dtype or on another device, against NumPy's rounding and JAX's own placement."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import phlox as px

SOURCE = Path(px.__file__).resolve().parents[1]  # the processes run the package that is tested here


def elsewhere(script, options=""):
    """What a script prints as its last line, in a process with other settings of JAX."""
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "JAX_PLATFORMS": "cpu"}
    code = f"import jax\n{options}\n{dedent(script)}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Everything(px.Module):
    mean: px.State
    key: px.State

    def __init__(self):
        self.weight = jnp.asarray([1.0, 1 / 3, 70000.0])  # exact, rounded, beyond float16
        self.phase = jnp.asarray([1 / 3 + 1j])
        self.index = jnp.asarray([1, 2])
        self.mask = jnp.asarray([True, False])
        self.mean = jnp.asarray([1 / 3])
        self.key = jax.random.key(0)
        self.part = px.Dense.of(jnp.full((1, 1), 1 / 3), None)
        self.again = self.part


@pytest.mark.parametrize(
    ("convert", "dtype"), [(px.f16, np.float16), (px.bf16, ml_dtypes.bfloat16), (px.f32, np.float32)]
)
def test_each_array_is_rounded_as_numpy_rounds(convert, dtype):
    model = Everything()
    with np.errstate(over="ignore"):
        new = convert(model)
        np.testing.assert_array_equal(np.asarray(new.weight), np.asarray(model.weight).astype(dtype))
    np.testing.assert_array_equal(np.asarray(new.part.weight), np.asarray([[1 / 3]], np.float32).astype(dtype))
    assert new.phase.dtype == jnp.complex64
    assert (new.index.dtype, new.mask.dtype) == (jnp.int32, jnp.bool_)
    assert new.mean.dtype == jnp.float32  # statistics keep what a mean of many small steps needs
    np.testing.assert_array_equal(new.mean, model.mean)
    assert jax.random.key_data(new.key).tolist() == jax.random.key_data(model.key).tolist()
    assert new.again is new.part
    assert model.weight.dtype == jnp.float32  # a copy: the caller's stays


@pytest.mark.parametrize("convert", [px.f16, px.bf16])
def test_a_half_precision_norm_moves_float32_statistics(convert):
    norm, x = px.BatchNorm(3), jax.random.normal(jax.random.key(0), (64, 3)) * 0.1 + 3
    half = convert(norm)
    narrow = x.astype(half.scale.dtype)
    y, _ = px.value_and_grad(lambda m: m(narrow).astype(jnp.float32).sum())(half)
    assert (half.mean.dtype, half.var.dtype) == (jnp.float32, jnp.float32)
    data = np.asarray(narrow, np.float64)
    np.testing.assert_allclose(half.mean, 0.1 * data.mean(0), rtol=1e-5)  # one step of momentum 0.1 from 0
    np.testing.assert_allclose(half.var, 0.9 + 0.1 * data.var(0, ddof=1), rtol=1e-5)
    assert y.dtype == jnp.float32


def test_lists_and_bare_arrays_convert_too():
    dense = px.Dense(1, 1)
    tree = px.f16({"a": [dense, jnp.ones(2)], "b": (dense, jnp.arange(2))})
    assert tree["a"][0] is tree["b"][0]
    assert tree["a"][1].dtype == jnp.float16
    assert tree["b"][1].dtype == jnp.int32


def test_there_and_back_is_exact_where_the_half_holds_the_number():
    model = px.Dense.of(jnp.asarray([[0.5, -3.0]]), jnp.zeros(2))
    back = px.f32(px.bf16(model))
    np.testing.assert_array_equal(back.weight, model.weight)
    assert back.weight.dtype == jnp.float32


def test_frozen_and_pinned_stay_so():
    model = px.testmode(px.freeze(px.Dense(2, 2), "weight"))
    new = px.bf16(model)
    assert px.grad(lambda m: m(jnp.ones((1, 2), jnp.bfloat16)).sum().astype(jnp.float32))(new).weight is None
    assert repr(new) == "Dense(2, 2)  # 6 parameters, bfloat16, testmode, weight frozen"


def test_float64_needs_the_64_bit_mode():
    with pytest.raises(px.DtypeError, match=r"px.f64 expects .*\n  fix: .*jax_enable_x64"):
        px.f64(px.Dense(2, 2))


def test_float64_in_a_process_that_has_it():
    found = elsewhere(
        """
        import json, jax.numpy as jnp, numpy as np, phlox as px
        model = px.Chain(px.Dense.of(jnp.full((1, 2), 1 / 3, jnp.float32), None), px.BatchNorm(2), px.Dropout(0.5))
        wide = px.f64(model)
        model[0].weight = jnp.asarray([[0.1, 0.2]], jnp.float64)
        z = px.f64([jnp.asarray([1j], jnp.complex64)])[0]
        x = np.asarray([[2.0]])
        print(json.dumps([
            {path: str(a.dtype) for path, a in px.paths(wide).items() if "key" not in path},
            [float(v) for v in wide[0](x)[0]], str(wide[0](x).dtype), str(z.dtype),
            str(px.f32(wide)[0].weight.dtype), str(px.f16(wide)[1].mean.dtype),
        ]))
        """,
        "jax.config.update('jax_enable_x64', True)",
    )
    dtypes, y, dtype, z, back, state = found
    assert set(dtypes.values()) == {"float64"}
    third = float(np.float64(np.float32(1 / 3)) * 2)
    assert y == [third, third]
    assert (dtype, z, back, state) == ("float64", "complex128", "float32", "float32")


def test_devices_by_name_number_object_and_sharding():
    found = elsewhere(
        """
        import json, jax.numpy as jnp, numpy as np, phlox as px
        cpus = px.devices("cpu")
        model = px.Chain(px.Dense(8, 8), px.Dropout(0.5), px.relu)
        model = px.Chain(model, model)
        places = lambda m: sorted({d.id for a in px.paths(m).values() for d in a.devices()})
        moved = px.to(model, "cpu:5")
        by_object, first = px.to(moved, cpus[2]), px.to(moved, "cpu")
        mesh = jax.make_mesh((8,), ("x",))
        rows = jax.NamedSharding(mesh, jax.P("x"))
        split = px.to(px.Dense(8, 8), rows)
        whole = px.to({"a": [px.Dense(2, 2)], "b": np.ones(3)}, jax.NamedSharding(mesh, jax.P()))
        same = all(np.array_equal(a, b) for (n, a), b in zip(px.paths(moved).items(), px.paths(model).values())
                   if "key" not in n)
        try:
            px.to(model, "cpu:8")
        except px.RangeError as error:
            refused = str(error)
        print(json.dumps([
            len(cpus), len(px.devices()), places(model), places(moved), places(by_object), places(first),
            split.weight.sharding.is_equivalent_to(rows, 2),
            [list(s.data.shape) for s in split.weight.addressable_shards][:2],
            [len(a.devices()) for a in px.paths(whole).values()], same, moved[0] is moved[1], refused,
        ]))
        """,
        "jax.config.update('jax_num_cpu_devices', 8)",
    )
    *counts, equal, shards, whole, same, shared, refused = found
    assert counts == [8, 8, [0], [5], [2], [0]]
    assert equal
    assert shards == [[1, 8], [1, 8]]
    assert whole == [8, 8, 8]
    assert same
    assert shared
    assert refused.startswith("px.to expects a number of a cpu below 8, got 'cpu:8'\n  fix: ")


@pytest.mark.parametrize("name", ["gpu", "cpu:1000", "cpu:x", "cpu:-1", "abacus"])
def test_a_device_that_is_not_there(name):
    if name == "gpu" and jax.default_backend() == "gpu":
        pytest.skip("there is a GPU")
    with pytest.raises(px.RangeError, match=r"expects .* got "):
        px.to(px.Dense(1, 1), name)


def test_devices_start_with_the_default_one():
    assert px.devices() == jax.devices()
    assert px.devices("cpu") == jax.devices("cpu")
