"""Files made to harm, or damaged by chance: px.weights.read refuses them, runs nothing, and makes nothing large."""

import io
import os
import pickle
import resource
import zipfile

import ml_dtypes
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import weights

msgpack = oracle("msgpack")
A = np.arange(15, dtype=np.float32).reshape(3, 5)


class Harm:
    """A pickle of it makes a file where it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def peak():
    """The most memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_whole(path):
    return [array.sum() for array in weights.read(path).values()]


def refused(path, match, kind=weights.CorruptFileError):
    before = peak()
    with pytest.raises(kind, match=match) as caught:
        read_whole(path)
    assert peak() - before < 300 * 2**20
    message = str(caught.value)
    assert message.startswith(f"read({str(path)!r}) expects ")
    assert ", got " in message
    assert "\n  fix: " in message
    assert len(message) < 1500


def test_a_pickle_runs_nothing_whatever_its_name(tmp_path):
    torch = oracle("torch")
    song = tmp_path / "song"
    plain = pickle.dumps({"a": Harm(song)})
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save({"a": torch.ones(1), "b": Harm(song)}, file, _use_new_zipfile_serialization=zipped)
        for name in ("a.bin", "a.pt"):
            (tmp_path / name).write_bytes(file.getvalue())
            refused(
                tmp_path / name, r"tensors and plain containers alone, got posix.mkdir, which would be run\n  fix: save"
            )
        (tmp_path / "a.safetensors").write_bytes(file.getvalue())
        refused(tmp_path / "a.safetensors", "a whole safetensors file")
    for protocol in range(6):
        for name in ("a.bin", "a.pt", "a.pkl", "a.safetensors", "a.npz", "a.msgpack", "a.h5", "a"):
            (tmp_path / name).write_bytes(pickle.dumps({"a": Harm(song)}, protocol))
            refused(tmp_path / name, "expects")
    (tmp_path / "b.npz").write_bytes(plain)
    refused(tmp_path / "b.npz", "a pickle, which may hold code\n  fix: do not use this file: its name hides what it is")
    assert not song.exists()
    pickle.loads(plain)
    assert song.exists()  # so it would have been made


def test_sizes_that_a_file_of_pytorch_cannot_hold(tmp_path):
    torch = oracle("torch")
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"arrays that a file of \d+ bytes can hold, got 4000000000000 bytes")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "b.pt")
    with (
        zipfile.ZipFile(tmp_path / "b.pt") as stored,
        zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for name in stored.namelist():
            out.writestr(name, stored.read(name))
    refused(tmp_path / "c.pt", "records that fill")


def test_zip_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr("phlox.weights.readers._refusing._SMALL", 2**20)  # of a few seconds less
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(3 * 2**20))
    refused(tmp_path / "a.keras", r"arrays that a file of \d+ bytes can hold")
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(3 * 2**20, np.uint8))
    refused(tmp_path / "a.npz", r"arrays that a file of \d+ bytes can hold")


def npz(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(shape, kind="<f4", data=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def test_npz_of_objects_of_lies_and_of_other_things(tmp_path):
    song = tmp_path / "song"
    np.savez(tmp_path / "o.npz", a=np.array([Harm(song)], object), allow_pickle=True)
    refused(tmp_path / "o.npz", "arrays of numbers, got a of Python objects")
    assert not song.exists()
    refused(npz(tmp_path / "a.npz", ("a.npy", npy((10**6, 10**6)))), r"arrays that a file of \d+ bytes can hold")
    refused(npz(tmp_path / "b.npz", ("a.npy", npy((100,), data=bytes(8)))), "a to be whole")
    refused(npz(tmp_path / "c.npz", ("a.npy", b"\x93NUMPY\x01\x00\xff\xff{")), "a header of NumPy for a")
    refused(
        npz(tmp_path / "d.npz", ("a.npy", npy((1,), data=bytes(4))), ("b.txt", b"")), "an archive of PyTorch, of NumPy"
    )
    np.savez(tmp_path / "e.npz", a=np.ones(2, ml_dtypes.bfloat16))
    refused(tmp_path / "e.npz", r"got a of \|V2\n  fix: save it as float32")
    with pytest.warns(UserWarning, match="Duplicate"):
        npz(tmp_path / "f.npz", ("a.npy", npy((1,), data=bytes(4))), ("a.npy", npy((1,), data=bytes(4))))
    refused(tmp_path / "f.npz", "no name stands twice")


HEADER = "{{'descr': '<f4', 'fortran_order': False, 'shape': {}}}\n"
HEADERS = {
    "a size below zero": (HEADER.format("(-4,)"), r"an array of shape \(-4\)"),
    "truth for a size": (HEADER.format("(True,)"), r"an array of shape \(True\)"),
    "4,000 digits": (HEADER.format(f"({'9' * 4000}, {'9' * 4000})"), r"\(a number beyond 64 bits, a number"),
    "9,000 hexadecimal digits": (HEADER.format(f"(0x{'f' * 9000},)"), r"\(a number beyond 64 bits\)"),
    "sizes that overflow beside zero": (HEADER.format("(0, 4611686018427387904, 8)"), "an array of shape"),
    "65 axes": (HEADER.format(f"({'1,' * 65})"), "a shape of at most 64 sizes"),
    "no closing brace": (HEADER.format("(3,)").replace("}", ""), "a header of NumPy for a, got TokenError"),
    "9,000 signs": ("-" * 9000 + "1\n", "a header of NumPy for a, got (Memory|Recursion|Value)Error"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_npz_whose_header_lies(name, tmp_path):
    header, match = HEADERS[name]
    words = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    refused(npz(tmp_path / "a.npz", ("a.npy", words)), match)


def test_npz_whose_sizes_cancel(tmp_path):
    members = ("a.npy", npy((2**46,))), ("b.npy", npy((-(2**46),)))
    refused(npz(tmp_path / "a.npz", *members), r"a header of NumPy for b, got ValueError: an array of shape \(-")


@pytest.mark.parametrize("member", ["a.npy", "model.weights.h5"])
def test_archives_packed_in_ways_that_take_memory_are_refused(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(member, npy((1,), data=bytes(4)))
    refused(tmp_path / "a", f"members that are stored or deflated, got {member} packed in another way")


def test_a_list_that_is_shared_does_not_stand_for_millions(tmp_path, monkeypatch):
    torch = oracle("torch")
    for name, letters in (("many", "x"), ("long", "x" * 50_000)):
        tree = torch.ones(1)
        for _ in range(40):
            tree = {letters: tree, "y": tree}
        torch.save(tree, tmp_path / name)
        assert os.path.getsize(tmp_path / name) < 60_000
    monkeypatch.setattr("phlox.weights.readers._trees._MOST", 10**4)  # of a few seconds less
    refused(tmp_path / "many", r"at most 10000 values, .* got more, at 'x/x/")
    refused(tmp_path / "long", "at most 10000 values, whose names have 67108864 letters together, got more, at 'xxx")
    tree = []
    for _ in range(14):  # more than 10,000 of them, without a leaf
        tree = [tree, tree]
    torch.save(tree, tmp_path / "empty")
    refused(tmp_path / "empty", "at most 10000 values")
    betas = (0.9, 0.999)  # what optimisers share is read
    torch.save({"groups": [{"betas": betas}, {"betas": betas}], "w": torch.ones(1)}, tmp_path / "shared.pt")
    arrays = weights.read(tmp_path / "shared.pt")
    assert list(arrays) == ["w"]
    assert len(arrays.left_out) == 4


def test_a_name_twice_among_very_many_is_found_at_once(tmp_path):
    header = b"{" + b",".join(b'"%d":0' % min(i, 199_998) for i in range(200_000)) + b"}"
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    refused(tmp_path / "a.safetensors", "the name '199998' stands there twice")


def test_hdf5_whose_groups_stand_in_many_places(tmp_path):
    h5py = oracle("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file
        for _ in range(3):
            group["b"] = group = group.create_group("a")
        group["x"] = A
    refused(tmp_path / "a.h5", r"groups that stand once in the file, got a/a/b, which stands elsewhere too")
    with h5py.File(tmp_path / "b.h5", "w") as file:  # tied weights are read
        file["g/x"] = A
        file["h/y"] = file["g/x"]
    arrays = weights.read(tmp_path / "b.h5")
    assert {name: array.tolist() for name, array in arrays.items()} == {"g/x": A.tolist(), "h/y": A.tolist()}


def test_hdf5_that_leads_elsewhere_or_claims_too_much(tmp_path):
    h5py = oracle("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = A

    def made(name, fill):
        with h5py.File(tmp_path / name, "w") as file:
            file["a"] = A
            fill(file)
        return tmp_path / name

    layout = h5py.VirtualLayout((3, 5), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (3, 5))
    size = (10**7, 10**6)
    cases = {
        "a link at x": lambda f: f.__setitem__("x", h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")),
        "a link at g/y": lambda f: f.create_group("g").__setitem__("y", h5py.SoftLink("/a")),
        "e, kept in another file": lambda f: f.create_dataset(
            "e", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)]
        ),
        "v, kept in another file": lambda f: f.create_virtual_dataset("v", layout),
        "g/again, which stands elsewhere too": lambda f: f.create_group("g").__setitem__("again", f),
        "got 40000000000060 bytes of them": lambda f: f.create_dataset("big", size, "f4", chunks=(1000, 1000)),
    }
    for i, (match, fill) in enumerate(cases.items()):
        refused(made(f"{i}.h5", fill), match)


def test_julias_own_structures_are_refused_with_the_way_out(tmp_path):
    h5py = oracle("h5py")
    with h5py.File(tmp_path / "a.jld2", "w", userblock_size=512) as file:
        file.create_dataset("model", (), [("weight", h5py.ref_dtype), ("size", "i8")])
    refused(
        tmp_path / "a.jld2",
        r"arrays of numbers, got model of .*Julia's own structures.*\n  fix: write the arrays from Julia",
    )


def ext(shape, name, words):
    return msgpack.ExtType(1, msgpack.packb((shape, name, words)))


MSGPACK = {
    "sizes": ({"a": ext([10**9, 10**9], "float32", bytes(4))}, "4 bytes for float32"),
    "a negative size": ({"a": ext([-1, -4], "float32", bytes(16))}, "an array of shape"),
    "text for words": ({"a": ext([1], "float32", "abcd")}, "an array of str, not of bytes"),
    "a size beyond 63 bits": ({"a": ext([2**63, 0], "int8", b"")}, "an array of shape"),
    "objects": ({"a": ext([1], "object", bytes(8))}, "the dtype 'object'"),
    "a dtype that is a list": ({"a": ext([1], ["f4"], bytes(4))}, "the dtype|unhashable"),
    "two parts": ({"a": msgpack.ExtType(1, msgpack.packb(([1], "int8")))}, "not a shape, a dtype and bytes"),
    "no chunks": ({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {}}}, "without its chunks"),
    "chunks that do not fit": (
        {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 4}, "chunks": {"0": ext([3], "int8", bytes(3))}}},
        "chunks of 3 values for an array of shape",
    ),
    "chunks out of order": (
        {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"1": ext([3], "int8", bytes(3))}}},
        "not numbered from 0",
    ),
    "a deep tree": (b"\x81\xa1a" * 100_000 + b"\x01", "a whole msgpack file of Flax"),
    "a tree that JSON would take": (b"\x81\xa1a" * 150 + b"\x01", "values nested 100 deep at most"),
    "a list that claims 4 billion": (b"\x81\xa1a\xdd\xff\xff\xff\xff", "a whole msgpack file of Flax"),
    "lists in lists": (b"\x81\xa1a" + b"\xdd\x00\x0f\x00\x00" * 900_000, "a whole msgpack file of Flax"),
    "more at its end": (msgpack.packb({"a": 1}) + b"\x01", "a whole msgpack file of Flax"),
    "a name twice": (b"\x82\xa1a\x01\xa1a\x02", "a name stands twice"),
}


@pytest.mark.parametrize("name", MSGPACK)
def test_msgpack_of_lies(name, tmp_path):
    content, match = MSGPACK[name]
    (tmp_path / "a").write_bytes(content if isinstance(content, bytes) else msgpack.packb(content))
    refused(tmp_path / "a", match)


def whole_files(folder):
    """A small file of each format, by one name."""
    torch, h5py, save_file = oracle("torch"), oracle("h5py"), oracle("safetensors.numpy").save_file
    torch.save({"a": torch.tensor(A)}, folder / "a.pt")
    torch.save({"a": torch.tensor(A)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"a": A}, folder / "a.safetensors")
    np.savez(folder / "a.npz", a=A)
    (folder / "a.msgpack").write_bytes(msgpack.packb({"a": ext([3, 5], "float32", A.tobytes())}))
    with h5py.File(folder / "a.h5", "w") as file:
        file["a"] = A
    with zipfile.ZipFile(folder / "a.keras", "w") as archive:
        archive.write(folder / "a.h5", "model.weights.h5")
    return sorted(folder.iterdir())


def test_a_file_cut_anywhere_gives_an_error_of_ours_and_never_part_of_its_arrays(tmp_path):
    for path in whole_files(tmp_path):
        whole = path.read_bytes()
        assert weights.read(path)["a"].tobytes() == A.tobytes()
        for length in {0, 1, 4, 8, 9, 20, len(whole) // 3, len(whole) // 2, len(whole) - 30, len(whole) - 1}:
            path.write_bytes(whole[:length])
            with pytest.raises(weights.CorruptFileError, match=r"^read\('.*, got [\s\S]*\n  fix: "):
                read_whole(path)


def test_a_changed_byte_gives_an_error_of_ours_or_arrays(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = []
    for path in whole_files(tmp_path):
        if path.suffix in (".h5", ".keras", ".pt"):  # read by libraries in C
            continue
        whole = path.read_bytes()
        for at in rng.choice(len(whole), 60):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :])
            try:
                outcomes.append(len(read_whole(path)))
            except px.PhloxError as error:
                outcomes.append(str(error)[:5])
    assert len(outcomes) == 180
    assert "read(" in outcomes
    assert 1 in outcomes


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "to be a regular file", weights.FileError)
