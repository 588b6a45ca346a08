"""px.weights.read of safetensors: one file and several, as the safetensors package wrote them, and what is refused."""

import json
import os
import shutil
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import phlox as px
from phlox import weights

rng = np.random.default_rng(0)
ARRAYS = {
    "b.weight": rng.normal(size=(3, 5)).astype(np.float32),
    "a": rng.normal(size=()).astype(np.float64),
    "half": rng.normal(size=(2, 2, 3)).astype(ml_dtypes.bfloat16),
    "eight": rng.normal(size=7).astype(ml_dtypes.float8_e4m3fn),
    "mask": np.array([True, False, True]),
    "steps": np.array([2**40, -1], np.int64),
    "none": np.zeros((0, 4), np.float16),
}


@pytest.fixture
def path(tmp_path):
    save_file(ARRAYS, tmp_path / "model.safetensors", {"note": "from elsewhere"})
    return tmp_path / "model.safetensors"


def raw(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def refused(path, match, kind=weights.CorruptFileError):
    """The file is refused, before anything large is made, with all four parts."""
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=match) as caught:
            weights.read(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith("read('")
    assert " expects " in message
    assert ", got " in message
    assert "\n  fix: " in message
    return message


def same(arrays, expected):
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape), name
        assert arrays[name].tobytes() == array.tobytes(), name
        assert arrays.spec(name) == weights.Spec(array.shape, array.dtype), name


def test_names_dtypes_and_values_are_the_files_own(path):
    with weights.read(path) as arrays:
        same(arrays, ARRAYS)
        assert arrays.nbytes == sum(array.nbytes for array in ARRAYS.values())
        assert arrays.metadata == {"note": "from elsewhere"}
        assert (arrays.format, arrays.shapes()["half"], arrays.dtypes()["steps"]) == (
            "safetensors",
            (2, 2, 3),
            np.int64,
        )
        assert "b.weight: float32[3, 5]" in repr(arrays)
        assert f"7 arrays, {arrays.nbytes} bytes" in repr(arrays)
        with pytest.raises(KeyError, match="weight"):
            arrays["weight"]


def test_an_array_is_a_view_that_nobody_writes_to_and_outlives_the_file(path):
    with weights.read(path) as arrays:
        kept = arrays["b.weight"]
        assert np.shares_memory(kept, arrays["b.weight"])
        with pytest.raises(ValueError, match="read-only"):
            kept[0, 0] = 1
    os.unlink(path)
    assert kept.tobytes() == ARRAYS["b.weight"].tobytes()
    with pytest.raises(
        weights.FileError, match=r"read\('.*'\) expects arrays that are open, got closed ones\n  fix: read"
    ):
        arrays["a"]


def test_a_file_that_is_replaced_before_it_is_opened_is_told(path):
    arrays = weights.read(path)
    save_file({**ARRAYS, "a": np.zeros(5)}, path)
    with pytest.raises(weights.CorruptFileError, match="a file that stays as it is"):
        arrays["b.weight"]


# --- headers ------------------------------------------------------------------------------------------

F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS = {
    "empty": (b"", "a header of 0 bytes in a file of 0"),
    "100 GB": (raw({"a": F4}, bytes(4), 10**11), "a header of 100000000000 bytes"),
    "2**64 - 1": (raw({"a": F4}, bytes(4), 2**64 - 1), "a header of 18446744073709551615 bytes"),
    "no JSON": (raw(b'{"a": '), "a safetensors header in JSON"),
    "a list": (raw(b'["a"]'), "a header that begins with"),
    "nested": (raw(b'{"a":' + b"[" * 200_000), "in JSON"),
    "no text": (raw(b'{"\xff": 1}'), "in JSON"),
    "twice": (raw(b'{"a": %s, "a": %s}' % ((json.dumps(F4).encode(),) * 2), bytes(4)), "'a' stands there twice"),
    "dtype": (raw({"a": {**F4, "dtype": "F4"}}, bytes(4)), "got 'F4' at a\n  fix: convert"),
    "dtype is a list": (raw({"a": {**F4, "dtype": ["F32"]}}, bytes(4)), r"got \['F32'\] at a"),
    "a negative size": (raw({"a": {**F4, "shape": [-1]}}, bytes(4)), "the dtype, the shape and the place of a"),
    "a true size": (raw({"a": {**F4, "shape": [True]}}, bytes(4)), "the dtype, the shape and the place of a"),
    "an overflow": (raw({"a": {**F4, "shape": [2**32, 2**32, 4]}}, bytes(4)), "an array of shape .4294967296, 42"),
    "an overflow to nothing": (
        raw({"a": {**F4, "shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}}),
        "the place of a, got ValueError: an array of shape .4611686018427387904, ",
    ),
    "300 axes": (raw({"a": {**F4, "shape": [2**62] * 300}}, bytes(4)), "a shape of at most 64 sizes"),
    "20,000 axes": (raw({"a": {**F4, "shape": [2**62] * 20_000}}, bytes(4)), "a shape of at most 64 sizes"),
    "a place of 4,000 digits": (raw({"a": {**F4, "data_offsets": [0, 10**4000]}}, bytes(4)), "bytes from 0 to 10000"),
    "a shape too small": (raw({"a": {**F4, "shape": []}, "b": F4}, bytes(8)), "b to begin at byte 4"),
    "an overlap": (raw({"a": F4, "b": {**F4, "data_offsets": [2, 6]}}, bytes(6)), "b to begin at byte 4.*, got byte 2"),
    "a gap": (raw({"a": F4, "b": {**F4, "data_offsets": [5, 9]}}, bytes(9)), "b to begin at byte 4.*, got byte 5"),
    "cut short": (raw({"a": F4}, bytes(3)), "as its header says, got one of"),
    "more at its end": (raw({"a": F4}, bytes(5)), "as its header says, got one of"),
    "no places": (raw({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "the place of a"),
    "metadata": (raw({"__metadata__": {"a": 1}, "a": F4}, bytes(4)), "metadata from text to text"),
    "a pickle": (b"\x80\x04\x95" + bytes(60), "a whole safetensors file"),
    "a zip": (b"PK\x03\x04" + bytes(60), "a whole safetensors file"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_damaged_or_hostile_header_is_refused(name, tmp_path):
    content, match = HEADERS[name]
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", match)


def test_what_the_package_takes_is_taken_where_arrays_lie_in_any_order(tmp_path):
    header = {"b": {**F4, "data_offsets": [4, 8]}, "n": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]}, "a": F4}
    content = raw(header, np.array([1, 2], np.float32).tobytes())
    (tmp_path / "a.safetensors").write_bytes(content)
    arrays = weights.read(tmp_path / "a.safetensors")
    assert [(name, array.tolist()) for name, array in arrays.stream()] == [("a", [1.0]), ("n", []), ("b", [2.0])]


# --- several files ------------------------------------------------------------------------------------


def sharded(folder, files, placed=None):
    """A folder of shards with the index that transformers writes."""
    folder.mkdir(exist_ok=True)
    for file, arrays in files.items():
        save_file(arrays, folder / file)
    placed = placed or {name: file for file, arrays in files.items() for name in arrays}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))
    return index


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FILES = {ONE: {k: ARRAYS[k] for k in ("b.weight", "a")}, TWO: {k: ARRAYS[k] for k in ("half", "steps")}}
MERGED = {name: array for arrays in FILES.values() for name, array in arrays.items()}


def test_an_index_and_its_folder_read_as_one_file(tmp_path):
    index = sharded(tmp_path / "m", FILES)
    for place in (index, tmp_path / "m"):
        with weights.read(place) as arrays:
            same(arrays, MERGED)
            assert "4 arrays in 2 files" in repr(arrays)


def test_a_stream_goes_file_by_file_and_lets_each_go(tmp_path):
    arrays = weights.read(sharded(tmp_path / "m", FILES))
    assert set(list(arrays)[:2]) == {"b.weight", "a"}
    opened: list = []
    for name, array in arrays.stream():
        opened.append((name, [part._opened is not None for part in arrays._parts]))
        assert array.tobytes() == MERGED[name].tobytes()
    first, second = [True, False], [False, True]
    assert [held for _, held in opened] == [first, first, second, second]
    assert sorted(name for name, _ in opened[:2]) == ["a", "b.weight"]
    assert [part._opened for part in arrays._parts] == [None, None]
    assert arrays["a"] == ARRAYS["a"]  # opened again
    arrays.release("b.weight")
    assert arrays._parts[0]._opened is None


def index_of(placed):
    return lambda folder: sharded(folder, FILES, placed)


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("../elsewhere.safetensors", "names of files beside the index, got '../elsewhere.safetensors'"),
        ("/etc/passwd", "names of files beside the index, got '/etc/passwd'"),
        ("sub/model.safetensors", "names of files beside the index"),
        ("..\\a.safetensors", "names of files beside the index"),
        ("..", "names of files beside the index"),
        ("", "names of files beside the index"),
        ("a\0.safetensors", "names of files beside the index"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(file, match, tmp_path):
    save_file({"a": np.zeros(1)}, tmp_path / "elsewhere.safetensors")
    refused(sharded(tmp_path / "m", FILES, {"a": file}), match)


def test_a_missing_file_a_missing_name_and_a_name_too_many_are_told(tmp_path):
    every = {name: file for file, arrays in FILES.items() for name in arrays}
    index = sharded(tmp_path / "m", FILES, {**every, "c": "gone.safetensors"})
    refused(index, "gone.safetensors to exist", weights.MissingFileError)
    refused(sharded(tmp_path / "m", FILES, {**every, "c": ONE}), f"'c' in {ONE}, as the index says, got no such name")
    twice = {**FILES, TWO: {**FILES[TWO], "a": ARRAYS["a"]}}
    refused(sharded(tmp_path / "m", twice, every), f"only the names .* for {TWO}, got 'a' too")
    index.write_text('{"weight_map": {"a": "x", "a": "y"}}')
    refused(index, "'a' stands there twice")
    for text in (
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        "{" * 100_000,
        "nul",
    ):
        index.write_text(text)
        refused(index, "weight_map|an index")


def test_a_damaged_shard_is_named(tmp_path):
    index = sharded(tmp_path / "m", FILES)
    whole = (tmp_path / "m" / TWO).read_bytes()
    (tmp_path / "m" / TWO).write_bytes(whole[:-1])
    assert f": {TWO} expects" in refused(index, "as its header says")


def test_links_of_the_hubs_cache_are_followed_and_others_refused(tmp_path):
    index = sharded(tmp_path / "made", FILES)
    blobs, snapshot = tmp_path / "models--x" / "blobs", tmp_path / "models--x" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for i, file in enumerate([ONE, TWO, index.name]):
        shutil.copy(tmp_path / "made" / file, blobs / str(i))
        os.symlink(f"../../blobs/{i}", snapshot / file)
    same(weights.read(snapshot), MERGED)
    (snapshot / TWO).unlink()
    os.symlink(tmp_path / "made" / TWO, snapshot / TWO)
    refused(snapshot, f"{TWO} to lie in .*, got a link to ")
    save_file({"a": np.zeros(1)}, tmp_path / "other")
    (tmp_path / "linked").mkdir()
    os.symlink(tmp_path / "other", tmp_path / "linked" / "model.safetensors")
    refused(tmp_path / "linked", "got a link to ")


def test_a_folder_with_nothing_to_read_lists_what_is_there(tmp_path):
    refused(tmp_path, "got an empty folder")
    for name in ("README.md", "config.json"):
        (tmp_path / name).write_text("{}")
    refused(tmp_path, r"one of model.safetensors, .*, got README.md, config.json\n  fix: name one")
    refused(tmp_path / "config.json", r"an index of shards, .*got b'\{\}' at its beginning")
    refused(tmp_path / "gone.safetensors", "gone.safetensors to exist", weights.MissingFileError)


def test_phlox_own_files_read_too(tmp_path):
    model = px.Dense(3, 2, key=1)
    px.save(model, tmp_path / "dense.safetensors")
    with weights.read(tmp_path / "dense.safetensors") as arrays:
        assert arrays["weight"].tolist() == model.weight.tolist()
        assert arrays.metadata["phlox.format"] == "1"
