"""px.weights.read of what PyTorch, Keras, Flax, Orbax, NumPy and h5py wrote: names, dtypes and values as they were."""

import json
import sys
from contextlib import closing

import ml_dtypes
import numpy as np
import pytest

import phlox as px
from kit import oracle
from peers import peer
from phlox import weights

rng = np.random.default_rng(0)
A = rng.normal(size=(3, 5)).astype(np.float32)
B = rng.normal(size=4).astype(ml_dtypes.bfloat16)


def held(arrays):
    """Name, dtype, shape and bytes of all, which their specs must tell as well."""
    for name, array in arrays.items():
        assert arrays.spec(name) == weights.Spec.of(array), name
        assert not array.flags.writeable, name
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


def expected(tree):
    return {name: (np.asarray(a).dtype.name, np.shape(a), np.asarray(a).tobytes()) for name, a in tree.items()}


# --- PyTorch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_pytorch(tmp_path, zipped):
    torch = oracle("torch")
    layer = torch.nn.BatchNorm1d(3)
    state = layer.state_dict()
    turned = torch.arange(6.0).reshape(2, 3).T
    tree = {
        "state_dict": state,
        "epoch": 3,
        "optim": {"state": {0: [turned, "adam"]}, "lr": 0.1},
        "half": torch.tensor(A, dtype=torch.bfloat16),
        "eight": torch.tensor(A).to(torch.float8_e5m2 if zipped else torch.float16),  # its older form lacks float8
        "sparse": torch.eye(2).to_sparse(),
        "none": None,
    }
    torch.save(tree, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    arrays = weights.read(tmp_path / "a.pt")
    assert held(arrays) == expected(
        {f"state_dict/{name}": tensor.numpy() for name, tensor in state.items()}
        | {
            "optim/state/0/0": turned.numpy(),
            "half": A.astype(ml_dtypes.bfloat16),
            "eight": A.astype(ml_dtypes.float8_e5m2 if zipped else np.float16),
        }
    )
    assert arrays.format == "pytorch"
    assert arrays.left_out == (
        "epoch (int)",
        "optim/state/0/1 (str)",
        "optim/lr (float)",
        "sparse (Tensor)",
        "none (NoneType)",
    )
    assert "left out: epoch (int), optim/state/0/1 (str)" in repr(arrays)


def test_the_usual_name_of_the_best_model(tmp_path):
    torch = oracle("torch")
    for zipped in (True, False):
        for name in ("model_best.pth.tar", "model.pt.tar", "epoch_3.5"):
            torch.save({"a": torch.tensor(A)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
            assert held(weights.read(tmp_path / name)) == expected({"a": A})
    (tmp_path / "a.npz").write_bytes((tmp_path / "model.pt.tar").read_bytes())
    (tmp_path / "a.npz.tar").write_bytes((tmp_path / "model.pt.tar").read_bytes())
    for name in ("a.npz", "a.npz.tar"):
        with pytest.raises(weights.CorruptFileError, match="its name hides what it is"):
            weights.read(tmp_path / name)


def test_a_bare_tensor_inside_a_list_and_parameters(tmp_path):
    torch = oracle("torch")
    torch.save([torch.nn.Parameter(torch.tensor(A)), torch.conj(torch.tensor([1 + 2j]))], tmp_path / "a.bin")
    arrays = weights.read(tmp_path / "a.bin")
    assert held(arrays) == expected({"0": A, "1": np.array([1 - 2j], np.complex64)})


def test_shards_of_pytorch_are_opened_at_first_use(tmp_path):
    torch = oracle("torch")
    for file, name in (("a.bin", "x"), ("b.bin", "y")):
        torch.save({name: torch.tensor(A)}, tmp_path / file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.bin", "y": "b.bin", "z": "b.bin"}}))
    arrays = weights.read(tmp_path)
    assert "y: in b.bin, not opened yet" in repr(arrays)
    assert arrays["x"].tobytes() == A.tobytes()
    assert "x: float32[3, 5]" in (arrays.spec("x") and repr(arrays))
    with pytest.raises(
        weights.CorruptFileError, match=r"b.bin expects 'z' in b.bin, as the index says, got no such name"
    ):
        arrays["y"]
    index.write_text(json.dumps({"weight_map": {"x": "a.bin", "y": "b.bin"}}))
    assert held(weights.read(index)) == expected({"x": A, "y": A})


def test_names_that_meet_when_joined_are_refused(tmp_path):
    torch = oracle("torch")
    torch.save({"a": {"b": torch.ones(1)}, "a/b": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(weights.CorruptFileError, match="got 'a/b' twice"):
        weights.read(tmp_path / "a.pt")


def test_without_a_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    for module, command, write in (
        ("torch", "pip install torch", lambda path: oracle("torch").save({"a": oracle("torch").ones(1)}, path)),
        ("msgpack", r'pip install "phlox\[weights\]"', lambda path: path.write_bytes(b"\x81\xa1a\x01")),
        ("h5py", r'pip install "phlox\[weights\]"', lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))),
    ):
        write(tmp_path / module)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(px.MissingExtraError, match=rf"expects {module} for this format, got .*\n  fix: {command}"):
            weights.read(tmp_path / module)
        monkeypatch.undo()


# --- Keras and HDF5 -----------------------------------------------------------------------------------


theirs = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")  # its variables, made into arrays


@pytest.fixture(scope="module")
def keras_model():
    keras = peer("keras")
    model = keras.Sequential(
        [keras.layers.Input((5,)), keras.layers.Dense(3, name="d"), keras.layers.BatchNormalization()]
    )
    model.layers[0].set_weights([A.T, A[:, 0]])
    return model


@theirs
@pytest.mark.parametrize("file", ["m.keras", "m.weights.h5"])
def test_keras_weights(keras_model, tmp_path, file):
    (keras_model.save if file == "m.keras" else keras_model.save_weights)(tmp_path / file)
    arrays = weights.read(tmp_path / file)
    found = held(arrays)
    for i, value in enumerate(keras_model.layers[0].get_weights()):
        assert found[f"layers/dense/vars/{i}"] == expected({"": value})[""]
    assert len([name for name in found if name.startswith("layers/")]) == 6
    assert arrays.format == "keras"
    assert weights.device_arrays(arrays.stream())["layers/dense/vars/0"].tolist() == A.T.tolist()
    assert held(arrays) == found  # read anew, after the stream let it go
    assert sorted(p.name for p in tmp_path.iterdir()) == [file]


@theirs
def test_keras_in_bfloat16(tmp_path):
    keras = peer("keras")
    half = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3, dtype="bfloat16")])
    half.save_weights(tmp_path / "h.weights.h5")
    arrays = weights.read(tmp_path / "h.weights.h5")
    value = np.asarray(half.layers[0].kernel.value)
    assert held(arrays)["layers/dense/vars/0"] == ("bfloat16", (5, 3), value.tobytes())


def test_a_legacy_file_of_keras_2(tmp_path):
    h5py = oracle("h5py")
    with h5py.File(tmp_path / "old.h5", "w") as file:  # laid out as Keras 2.15 did
        file.attrs["keras_version"] = "2.15.0"
        file["model_weights/dense/dense/kernel:0"] = A
        file["model_weights/dense/dense/bias:0"] = A[0]
        file["model_weights"].attrs["layer_names"] = [b"dense"]
        file["optimizer_weights/iteration:0"] = np.int64(7)
    assert held(weights.read(tmp_path / "old.h5")) == expected(
        {
            "model_weights/dense/dense/bias:0": A[0],
            "model_weights/dense/dense/kernel:0": A,
            "optimizer_weights/iteration:0": np.int64(7),
        }
    )


def test_hdf5_of_other_programs(tmp_path):
    h5py = oracle("h5py")
    with h5py.File(tmp_path / "a.jld2", "w", userblock_size=512) as file:  # JLD2 begins with a line of its own
        file["weight"] = A.astype(">f4")
        file.create_dataset("packed", data=np.arange(100.0).reshape(4, 25), chunks=(2, 5), compression="gzip")
        file["flags"] = np.array([True, False])
        file["name"] = "dense"
        file["names"] = [b"a", b"b"]
    arrays = weights.read(tmp_path / "a.jld2")
    assert held(arrays) == expected(
        {"flags": np.array([True, False]), "packed": np.arange(100.0).reshape(4, 25), "weight": A}
    )
    assert arrays.format == "hdf5"
    assert [text.split()[0] for text in arrays.left_out] == ["name", "names"]


# --- Flax, Orbax, NumPy -------------------------------------------------------------------------------


def test_flax_msgpack(tmp_path, monkeypatch):
    serialization = peer("flax.serialization")
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 32)
    tree = {
        "params": {"dense": {"kernel": A, "bias": B}},
        "step": 3,
        "scalar": np.float32(2),
        "list": [A[0], {"x": A.T}],
    }
    (tmp_path / "a.msgpack").write_bytes(serialization.to_bytes(tree))
    arrays = weights.read(tmp_path / "a.msgpack")
    flat = {"params/dense/kernel": A, "params/dense/bias": B, "scalar": np.float32(2), "list/0": A[0], "list/1/x": A.T}
    assert held(arrays) == expected(flat)
    assert (arrays.format, arrays.left_out) == ("flax", ("step (int)",))
    again = serialization.msgpack_restore((tmp_path / "a.msgpack").read_bytes())
    assert arrays["params/dense/kernel"].tobytes() == again["params"]["dense"]["kernel"].tobytes()


def test_orbax(tmp_path):
    ocp = oracle("orbax.checkpoint")
    tree = {"params": {"dense": {"kernel": A, "bias": B}}, "list": [A.T, np.int32(3)]}
    by_hand = {"w": A, "step": 7, "name": "adam"}
    with closing(ocp.Checkpointer(ocp.PyTreeCheckpointHandler())) as checkpointer:
        checkpointer.save(tmp_path / "plain", args=ocp.args.PyTreeSave(by_hand))
    plain = weights.read(tmp_path / "plain")
    assert held(plain) == expected({"w": A, "step": np.int64(7)})
    assert plain.left_out == ("name (StringMetadata)",)
    with ocp.CheckpointManager(tmp_path / "manager") as manager:
        manager.save(5, args=ocp.args.StandardSave(tree))
        manager.wait_until_finished()
    flat = {"params/dense/kernel": A, "params/dense/bias": B, "list/0": A.T, "list/1": np.int32(3)}
    arrays = weights.read(tmp_path / "manager" / "5")
    assert arrays.spec("params/dense/kernel") == weights.Spec((3, 5), np.dtype("float32"))
    assert held(arrays) == expected(flat)
    assert held(weights.read(tmp_path / "manager" / "5" / "default")) == expected(flat)
    with pytest.raises(
        weights.CorruptFileError, match="got 5\n  fix: name one of its files, or the folder of one step"
    ):
        weights.read(tmp_path / "manager")
    (tmp_path / "manager" / "5" / "default" / "_METADATA").write_text("{")
    with pytest.raises(weights.CorruptFileError, match="a whole checkpoint of Orbax"):
        weights.read(tmp_path / "manager" / "5")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    tree = {"dense/kernel": A, "bias": A[0].astype(">f8"), "turned": A.T, "n": np.int8(3), "z": np.array([1j])}
    save(tmp_path / "a.npz", **tree)
    arrays = weights.read(tmp_path / "a.npz")
    assert held(arrays) == expected({**tree, "bias": A[0].astype("f8")})
    assert {name: spec.tolist() for name, spec in arrays.stream()} == {k: v.tolist() for k, v in tree.items()}


def test_npz_of_nothing(tmp_path):
    np.savez(tmp_path / "a.npz")
    assert held(weights.read(tmp_path / "a.npz")) == {}


def test_arrays_are_equal_to_themselves_alone(tmp_path):
    np.savez(tmp_path / "a.npz", a=A)
    arrays, again = weights.read(tmp_path / "a.npz"), weights.read(tmp_path / "a.npz")
    assert arrays == arrays
    assert arrays != again
    assert arrays != {"a": A}
    assert len({arrays, again, arrays}) == 2


def test_the_content_decides_and_not_the_name(tmp_path):
    np.savez(tmp_path / "a.npz", a=A)
    (tmp_path / "a.npz").rename(tmp_path / "a.pt")
    assert weights.read(tmp_path / "a.pt").format == "npz"
    weights.save_safetensors(px.Dense(2, 2), tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.bin")
    assert weights.read(tmp_path / "a.bin").format == "safetensors"
