"""Arrays of files on JAX's device: values and order as NumPy has them, and no memory of the file's."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import phlox as px
from phlox import weights
from phlox.weights._on_device import spread_arrays
from phlox.weights.matching._placing import Stack

rng = np.random.default_rng(0)


def lying(array, offset):
    """A copy of an array that begins ``offset`` bytes behind a multiple of 64, and the memory it lies in."""
    room = px.core.aligned((array.nbytes + 64,), np.dtype(np.uint8))
    view = room[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view, room


@pytest.mark.parametrize("offset", [0, 8, 32])
@pytest.mark.parametrize(("shape", "permutation"), [((600, 700), None), ((3, 4), (1, 0)), ((2, 3, 4, 5), (2, 3, 1, 0))])
def test_an_array_is_copied_wherever_it_lies(offset, shape, permutation):
    array = rng.normal(size=shape).astype(np.float32)
    view, room = lying(array, offset)
    ours = weights.to_device(view, permutation).block_until_ready()
    ours_too = weights.device_arrays({"a": view}, {} if permutation is None else {"a": permutation})["a"]
    room[:] = 7  # as where the file changes below a mapping
    wanted = array if permutation is None else array.transpose(permutation)
    assert np.array_equal(ours, wanted)
    assert np.array_equal(ours_too, wanted)
    assert ours.dtype == np.float32


def test_a_file_that_is_overwritten_changes_no_model(tmp_path):
    array = np.arange(500_000, dtype=np.float32)
    save_file({"a": array, "b": array[::-1].copy()}, tmp_path / "a.safetensors")
    arrays = weights.read(tmp_path / "a.safetensors")
    ours = weights.device_arrays(arrays.stream())
    with open(tmp_path / "a.safetensors", "r+b") as file:  # below the mapping
        file.seek(-4 * array.size, 2)
        file.write(bytes(4 * array.size))
    assert np.array_equal(ours["a"], array)
    assert np.array_equal(ours["b"], array[::-1])


def test_what_is_donated_is_written_nowhere_else():
    view, _ = lying(np.ones((512, 1024), np.float32), 0)
    ours = weights.to_device(view)
    jax.jit(lambda x: x + 1, donate_argnums=0)(ours).block_until_ready()
    assert (view == 1).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "float16", "complex64"])
def test_dtypes_stay(dtype):
    array = np.array([[0, 1, 2], [3, 0, 1]]).astype(dtype)
    ours = weights.to_device(array, (1, 0))
    assert (ours.dtype, ours.tolist()) == (dtype, array.T.tolist())


def test_bfloat16_float8_empty_and_scalars():
    for kind in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        array = rng.normal(size=(2, 3)).astype(kind)
        assert np.asarray(weights.to_device(array)).tobytes() == array.tobytes()
    assert weights.to_device(np.zeros((0, 3), np.float32), (1, 0)).shape == (3, 0)
    assert float(weights.to_device(np.float32(3))) == 3


def test_64_bits_are_not_lost_in_silence():
    assert weights.to_device(np.array([2**31 - 1, -5])).tolist() == [2**31 - 1, -5]
    for array in (
        np.array([2**31]),
        np.array([-(2**31) - 1]),
        np.array([2**32], np.uint64),
        np.ones(2),
        np.ones(2, "c16"),
    ):
        half = {"i": "int32", "u": "uint32", "f": "float32", "c": "complex64"}[array.dtype.kind]
        advice = "turn 64 bits on" if array.dtype.kind in "iu" else f'pass dtype="{half}", or turn 64 bits on'
        with pytest.raises(
            px.DtypeError, match=rf"to_device expects .* switched on, got .*\n  fix: {advice}: jax.config"
        ):
            weights.to_device(array)
    assert weights.to_device(np.ones(2), dtype="float32").dtype == np.float32
    with jax.enable_x64(True):
        found = weights.device_arrays({"a": np.array([2**40]), "b": np.array([0.1])})
        assert (found["a"].tolist(), found["b"].tolist(), found["b"].dtype) == ([2**40], [0.1], np.float64)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([2**40 + 5]), "int32"),
        (np.array([-1]), "uint8"),
        (np.array([128], np.uint8), "int8"),
        (np.array([8], np.int8), "int4"),
        (np.array([2.0**31], np.float32), "int32"),
        (np.array([0, np.nan], np.float32), "int32"),
        (np.array([np.inf], ml_dtypes.bfloat16), "int8"),
    ],
)
def test_no_whole_number_becomes_another(array, dtype):
    with pytest.raises(
        px.RangeError, match=rf"to_device expects numbers from -?\d+ to \d+ for {dtype}, got .*\n  fix: pass"
    ):
        weights.to_device(array, dtype=dtype)
    with pytest.raises(px.RangeError, match=f"for {dtype}"):
        weights.device_arrays({"a": array}, dtype={"a": dtype})


def test_whole_numbers_that_fit_are_converted():
    bounds = np.array([-(2**31), 2**31 - 1])
    assert weights.to_device(bounds, dtype="int32").tolist() == bounds.tolist()
    assert weights.to_device(np.array([-128.9, 127.9], np.float32), dtype="int8").tolist() == [-128, 127]
    assert weights.to_device(np.array([-8, 7], np.int8), dtype="int4").tolist() == [-8, 7]
    assert weights.to_device(np.array([True, False]), dtype="int32").tolist() == [1, 0]
    assert weights.to_device(np.zeros(0), dtype="int32").shape == (0,)


def test_bytes_in_the_other_order_are_turned():
    for dtype in (">f4", ">i4", ">c8"):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        assert np.array_equal(weights.to_device(array, (1, 0)), array.T)
        assert np.array_equal(weights.to_device(array.astype(array.dtype.newbyteorder("=")), dtype=dtype), array)


def test_what_jax_has_no_dtype_for_is_refused():
    record = np.zeros(2, [("a", "f4")])
    for array in (
        np.array(["a"]),
        np.array([None]),
        record,
        np.zeros(2, "V2"),
        np.zeros(2, "m8[s]"),
        np.zeros(2, "M8[s]"),
    ):
        for dtype in (None, "float32"):
            with pytest.raises(
                px.DtypeError, match=r"to_device expects an array of numbers, got .*\n  fix: leave it out"
            ):
                weights.to_device(array, dtype=dtype)
    with pytest.raises(px.DtypeError, match="a dtype of numbers, got <U1"):
        weights.to_device(np.ones(2, np.float32), dtype="U1")
    for kind in (np.longdouble, np.clongdouble):
        with pytest.raises(px.DtypeError, match="a dtype that JAX has"):
            weights.to_device(np.ones(2, kind))
    assert weights.to_device(np.ones(2, np.longdouble), dtype="float32").dtype == np.float32
    with pytest.raises(px.DtypeError, match=r"a dtype that holds complex numbers, got float32\n  fix: .*array.real"):
        weights.to_device(np.ones(2, np.complex64), dtype="float32")


def test_many_keep_their_names_order_and_kinds():
    arrays = {f"a{i}": rng.normal(size=(i + 1, 3)).astype(np.float32) for i in range(20)} | {
        "n": np.arange(3, dtype="i4")
    }
    found = weights.device_arrays(arrays.items(), {"a3": (1, 0)}, jnp.bfloat16)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        wanted = array if name == "n" else (array.T if name == "a3" else array).astype(ml_dtypes.bfloat16)
        assert np.asarray(found[name]).tobytes() == np.ascontiguousarray(wanted).tobytes(), name
    with pytest.raises(
        px.RangeError, match=r"to_device expects a permutation of the axes of float32\[4, 3\], got \(0, 0\)"
    ):
        weights.device_arrays(arrays, {"a3": (0, 0)})
    with pytest.raises(px.RangeError, match="name each of its axes once"):
        weights.to_device(arrays["a3"], (0,))


def test_threads_have_the_settings_of_their_caller(monkeypatch):
    monkeypatch.setattr("phlox.weights._on_device._TOGETHER", 100)  # several groups
    arrays = {f"a{i}": rng.normal(size=(3, i + 1)) for i in range(5)}
    with jax.enable_x64(True), jax.default_device(jax.devices()[-1]):
        found = weights.device_arrays(arrays, dict.fromkeys(arrays, (1, 0)))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == np.float64
        assert found[name].devices() == {jax.devices()[-1]}
        assert np.array_equal(found[name], array.T)


def test_large_arrays_are_whole_to_the_last_byte():
    array = rng.integers(0, 255, 3 * 2**20 + 5, np.uint8)  # blocks, pages, and some more
    assert np.array_equal(weights.to_device(array), array)


def test_a_part_of_a_stack_is_read_by_itself():
    """What several devices share: of layers that stand apart in a file, each reads its part."""
    layers = [np.arange(6.0, dtype="f").reshape(2, 3) + 10 * i for i in range(4)]
    stack = Stack(layers)
    assert stack.shape == (4, 2, 3)
    np.testing.assert_array_equal(stack[slice(1, 3), slice(0, 1), slice(None)], np.stack(layers)[1:3, :1])
    np.testing.assert_array_equal(np.asarray(stack), np.stack(layers))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    found = spread_arrays([("a", stack), ("b", np.ones((), "f"))], {"a": one, "b": one}, {"b": np.dtype("float16")})
    np.testing.assert_array_equal(found["a"], np.stack(layers))
    assert (found["b"].shape, found["b"].dtype) == ((), np.float16)
