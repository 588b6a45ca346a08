"""TFRecord: against files of tensorboardX with messages of Google's protobuf; and ArrayRecord."""

import gzip
import io
import json
import pickle
import struct

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import data as D
from phlox.data.readers.shards._crc32c import crc32c
from phlox.data.readers.shards._examples import parse_example
from phlox.weights import CorruptFileError, FileError, MissingFileError

descriptor_pb2, descriptor_pool = oracle("google.protobuf.descriptor_pb2"), oracle("google.protobuf.descriptor_pool")
message_factory = oracle("google.protobuf.message_factory")
record_writer, theirs = oracle("tensorboardX.record_writer"), oracle("tensorboardX.crc32c")
array_record = oracle("array_record.python.array_record_module")
image = oracle("PIL.Image")
RNG = np.random.default_rng(0)


def message_classes(packed):
    """tf.train.Example as protobuf makes it of its declaration; numbers packed, or each a field of its own."""
    file = descriptor_pb2.FileDescriptorProto(name=f"example_{packed}.proto", package=f"p{packed}", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field, kind, label) in enumerate(fields, 1):
            added = made.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".p{packed}.{kind}"
            else:
                added.type = kind
                if label == kinds.LABEL_REPEATED and kind != kinds.TYPE_BYTES:
                    added.options.packed = packed
        return made

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    message("BytesList", ("value", kinds.TYPE_BYTES, many))
    message("FloatList", ("value", kinds.TYPE_FLOAT, many))
    message("Int64List", ("value", kinds.TYPE_INT64, many))
    message(
        "Feature", ("bytes_list", "BytesList", one), ("float_list", "FloatList", one), ("int64_list", "Int64List", one)
    )
    message("Entry", ("key", kinds.TYPE_STRING, one), ("value", "Feature", one))
    message("Features", ("feature", "Entry", many))  # a map is this on the wire
    message("Example", ("features", "Features", one))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"p{packed}.Example"))


EXAMPLE = {packed: message_classes(packed) for packed in (True, False)}


def encoded(packed=True, **features):
    made = EXAMPLE[packed]()
    for name, values in features.items():
        entry = made.features.feature.add(key=name)
        kind = "bytes" if isinstance(values[0], bytes) else "float" if isinstance(values[0], float) else "int64"
        getattr(entry.value, f"{kind}_list").value.extend(values)
    return made.SerializeToString()


def written(path, *records):
    writer = record_writer.RecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()
    return path


def numbered(path, first, count):
    return written(
        path, *(encoded(x=[float(i), i / 2], y=[i], name=[f"n{i}".encode()]) for i in range(first, first + count))
    )


SHAPES = {"x": (2,), "y": ()}


# --- checksums and messages ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 8, 63, 64, 65, 1023, 1024, 1025, 5000, 131_072, 131_073])
def test_checksums_are_those_of_tensorboardx(length):
    data = RNG.bytes(length)
    assert crc32c(data) == theirs.crc32c(data)


def test_the_test_values_of_the_standard():
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"\xff" * 4096) == theirs.crc32c(b"\xff" * 4096)


INTEGERS = [0, 1, 127, 128, 300, 2**31, 2**32 + 5, 2**63 - 1, -1, -(2**63), -300]


@pytest.mark.parametrize("packed", [True, False])
def test_examples_of_every_kind_packed_or_not(packed):
    floats, strings = [0.0, -1.5, 3.4e38, float("inf")], [b"", b"\0x\0", b"long" * 100]
    found = parse_example(encoded(packed, a=INTEGERS, b=floats, c=strings, d=[7], **{"ä/ß": [1.0]}))
    assert list(found) == ["a", "b", "c", "d", "ä/ß"]
    assert found["a"].dtype == np.int64
    assert found["a"].tolist() == INTEGERS
    assert found["b"].dtype == np.float32
    np.testing.assert_array_equal(found["b"], np.array(floats, np.float32))
    assert found["c"] == strings
    assert found["d"].tolist() == [7]


def test_messages_that_are_put_together():
    """Two serialised messages one behind the other are one message; unknown fields are passed over."""
    both = encoded(a=[1, 2]) + encoded(b=[3]) + encoded(a=[4])
    found = parse_example(both + b"\x78\x05" + b"\x7d1234" + b"\x7a\x02xy" + b"\x7912345678")
    assert {name: values.tolist() for name, values in found.items()} == {"a": [4], "b": [3]}
    assert parse_example(b"") == {}
    made = EXAMPLE[True]()
    made.features.feature.add(key="none")
    made.features.feature.add(key="no list").value.SetInParent()
    made.features.feature.add(key="empty").value.int64_list.SetInParent()
    found = parse_example(made.SerializeToString())
    assert (found["none"], found["no list"], found["empty"].tolist()) == ([], [], [])


# --- files --------------------------------------------------------------------------------------------


def test_records_by_index_over_several_files(tmp_path):
    for shard, (first, count) in enumerate(((0, 3), (3, 0), (3, 4))):
        numbered(tmp_path / f"a-{shard:02d}.tfrecord", first, count)
    records = D.read_tfrecord(str(tmp_path / "a-{00..02}.tfrecord"), SHAPES | {"name": ()})
    assert len(records) == 7
    assert [int(record["y"]) for record in records] == list(range(7))
    assert records[-1]["name"] == b"n6"
    assert records[5]["x"].tolist() == [5.0, 2.5]
    assert [int(record["y"]) for record in records.__getitems__([6, 0, 2, 6])] == [6, 0, 2, 6]
    with pytest.raises(IndexError, match="observation 7 of 7"):
        records[7]
    assert len(D.read_tfrecord(tmp_path / "a-00.tfrecord")) == 3
    assert len(D.read_tfrecord([tmp_path / "a-00.tfrecord", tmp_path / "a-02.tfrecord"])) == 7


def test_a_loader_shuffles_goes_on_and_splits_what_has_an_index(tmp_path):
    numbered(tmp_path / "a.tfrecord", 0, 10)
    records = D.read_tfrecord(tmp_path / "*.tfrecord", SHAPES)
    loader = px.DataLoader(records, 4, shuffle=True, seed=3, prefetch=0)
    batches = list(loader)
    rows = np.concatenate([np.asarray(batch["y"]) for batch in batches])
    expected = np.concatenate([np.asarray(b) for b in px.DataLoader(10, 4, shuffle=True, seed=3, prefetch=0)])
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(np.concatenate([b["x"] for b in batches])[:, 1], rows / 2)
    again = px.DataLoader(records, 4, shuffle=True, seed=3, prefetch=0)
    next(iter(again))
    state, rest = json.loads(json.dumps(again.state())), px.DataLoader(records, 4, shuffle=True, seed=3, prefetch=0)
    rest.restore(state)
    assert np.concatenate([b["y"] for b in rest]).tolist() == rows[4:].tolist()
    train, test = D.splitobs(records, 0.7)
    assert [int(train[i]["y"]) for i in range(len(train))] == list(range(7))
    assert int(test[0]["y"]) == 7


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_goes_on_at_once_where_its_state_was_taken(tmp_path, monkeypatch, packed):
    for shard in range(3):
        path = numbered(tmp_path / f"{shard}.tfrecord", 4 * shard, 4)
        if packed:
            path.write_bytes(gzip.compress(path.read_bytes()))
    stream = D.read_tfrecord(tmp_path / "*.tfrecord", SHAPES, stream=True)
    loader = px.DataLoader(stream, 3, prefetch=0)
    assert [batch["y"].tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for taken in range(5):
        first, rest = px.DataLoader(stream, 3, prefetch=0), px.DataLoader(stream, 3, prefetch=0)
        batches = iter(first)
        for _ in range(taken):
            next(batches)
        rest.restore(json.loads(json.dumps(first.state())))
        parsed = []
        with monkeypatch.context() as patched:
            kind = type(stream._form)
            made = kind.made
            patched.setattr(kind, "made", lambda *args: parsed.append(1) or made(*args))  # noqa: B023
            left = [y for batch in rest for y in batch["y"].tolist()]
        assert left == list(range(3 * taken, 12))
        assert len(parsed) == len(left)  # nothing is read again


def test_a_stream_has_the_order_of_the_seed_and_the_epoch(tmp_path):
    for shard in range(6):
        numbered(tmp_path / f"{shard}.tfrecord", 2 * shard, 2)

    def epochs(seed):
        loader = px.DataLoader(D.read_tfrecord(tmp_path / "*", SHAPES, stream=True, seed=seed), 12, prefetch=0)
        return [batch["y"].tolist() for _ in range(2) for batch in loader]

    first, second = epochs(5)
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
    assert epochs(5) == [first, second]
    assert epochs(6) != [first, second]
    loader = px.DataLoader(D.read_tfrecord(tmp_path / "*", SHAPES, stream=True, seed=5), 4, prefetch=0)
    list(loader)
    next(iter(loader))
    rest = px.DataLoader(D.read_tfrecord(tmp_path / "*", SHAPES, stream=True, seed=5), 4, prefetch=0)
    rest.restore(loader.state())
    assert [y for batch in rest for y in batch["y"].tolist()] == second[4:]


def test_workers_get_what_has_an_index_by_pickling(tmp_path):
    numbered(tmp_path / "a.tfrecord", 0, 3)
    arrays_written(tmp_path / "a.array_record", encoded(y=[4]), encoded(y=[5]))
    records = pickle.loads(pickle.dumps(D.read_tfrecord(tmp_path / "a.tfrecord", SHAPES)))
    arrays = pickle.loads(pickle.dumps(D.read_array_record(tmp_path / "a.array_record", {"y": ()})))
    assert (int(records[2]["y"]), int(arrays[1]["y"])) == (2, 5)


def test_processes_may_have_files_of_their_own(tmp_path):
    for shard in range(5):
        numbered(tmp_path / f"{shard}.tfrecord", 2 * shard, 2)
    found = [[int(r["y"]) for r in D.read_tfrecord(tmp_path / "*", SHAPES, shard=(i, 2))] for i in range(2)]
    assert found == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7]]
    with pytest.raises(px.RangeError, match="at least 6 files for 6 processes, got 5"):
        D.read_tfrecord(tmp_path / "*", shard=(0, 6))
    with pytest.raises(px.RangeError, match=r"shard \(index, count\) .* got \(2, 2\)"):
        D.read_tfrecord(tmp_path / "*", shard=(2, 2))


def test_features_are_shaped_decoded_or_left(tmp_path):
    pixels, array = RNG.integers(0, 256, (4, 6, 3), np.uint8), RNG.normal(size=(2, 3))
    png, npy = io.BytesIO(), io.BytesIO()
    image.fromarray(pixels).save(png, "png")
    np.save(npy, array)
    record = encoded(
        image=[png.getvalue()], array=[npy.getvalue()], text=["grüß".encode()], raw=[b"a\0", b"b"], x=[1.0] * 6, y=[3]
    )
    wanted = {"image": "png", "array": "npy", "text": "txt", "raw": (2,), "x": (2, 3), "y": None}
    found = D.read_tfrecord(written(tmp_path / "a", record), wanted)[0]
    np.testing.assert_array_equal(found["image"], pixels)
    np.testing.assert_array_equal(found["array"], array)
    assert (found["text"], found["raw"].tolist(), found["x"].shape) == ("grüß", [b"a\0", b"b"], (2, 3))
    assert found["y"].tolist() == [3]
    assert D.read_tfrecord(tmp_path / "a", {"raw": None})[0]["raw"] == [b"a\0", b"b"]
    assert D.read_tfrecord(tmp_path / "a", {"text": bytes.upper})[0]["text"] == "grüß".encode().upper()
    assert D.read_tfrecord(tmp_path / "a", bytes)[0] == record
    assert D.read_tfrecord(tmp_path / "a", len)[0] == len(record)


def test_byte_strings_of_a_batch_keep_their_zeros(tmp_path):
    path = written(tmp_path / "a", encoded(raw=[b"a\0"]), encoded(raw=[b"\0\0"]))
    (batch,) = px.DataLoader(D.read_tfrecord(path, {"raw": ()}), 2, prefetch=0)
    assert list(batch["raw"]) == [b"a\0", b"\0\0"]


WRONG = {
    "missing": ({"z": ()}, r"the feature 'z' of the record at byte 0 .* got the features \['name', 'x', 'y'\]"),
    "shape": ({"x": (3,)}, "3 values of feature 'x' of the record at byte 0 .* got 2 of float32"),
    "a number decoded": ({"y": "png"}, "one byte string as feature 'y' .* got 1 of int64"),
    "no image": ({"name": "png"}, "feature 'name' of the record at byte 0 to hold an image"),
    "no array": ({"name": "npy"}, "feature 'name' .* to hold an array"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", WRONG)
def test_features_that_are_others_are_told(tmp_path, case, stream):
    features, message = WRONG[case]
    records = D.read_tfrecord(numbered(tmp_path / "a", 0, 2), features, stream=stream)
    with pytest.raises(CorruptFileError, match=f"read_tfrecord expects {message}"):
        next(iter(records))


def damaged(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


BROKEN = {
    "in the data": (lambda c: damaged(c, 20), "a record of masked CRC-32C [0-9a-f]{8} at byte 0"),
    "in a length": (lambda c: damaged(c, 1), "the start of a record of TFRecord at byte 0"),
    "in a checksum of a length": (lambda c: damaged(c, 9), "the start of a record of TFRecord at byte 0"),
    "cut off in the data": (lambda c: c[:-6], "the whole of the record at byte [1-9]"),
    "cut off in the last checksum": (lambda c: c[:-1], "the whole of the record at byte [1-9]"),
    "cut off in a length": (lambda c: c + b"\x07\0\0", "the whole of the record at byte [1-9]"),
    "another file": (lambda c: b"\x89PNG and so on and so on", "the start of a record of TFRecord at byte 0"),
    "gzip, cut off": (lambda c: gzip.compress(c)[:-9], "a whole gzip file"),
    "gzip, damaged": (lambda c: damaged(gzip.compress(c), 40), "a whole gzip file|a record|the start of a record"),
}


@pytest.mark.parametrize("stream", [True, None])
@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_not_whole(tmp_path, case, stream):
    damage, message = BROKEN[case]
    path = numbered(tmp_path / "broken", 0, 2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFileError, match=f"read_tfrecord expects ({message}).* in .*broken'") as caught:
        list(D.read_tfrecord(path, stream=stream))
    assert "fetch the file again" in str(caught.value)


def test_an_error_of_a_stream_comes_again_and_is_not_passed_over(tmp_path):
    path = numbered(tmp_path / "broken", 0, 3)
    items = iter(D.read_tfrecord([path, numbered(tmp_path / "good", 3, 1)], SHAPES, stream=True))
    next(items)
    place = items.get_state()
    path.write_bytes(damaged(path.read_bytes(), place["offset"] + 20))
    items.set_state(place)
    for _ in range(2):
        with pytest.raises(CorruptFileError):
            next(items)


def test_a_first_record_whose_length_looks_like_gzip(tmp_path):
    path = written(tmp_path / "a", bytes(0x8B1F), b"second")
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    records = D.read_tfrecord(path, bytes)
    assert [len(record) for record in records] == [0x8B1F, 6]


def test_an_absurd_length_is_refused_and_not_allocated(tmp_path):
    head = struct.pack("<Q", 1 << 60)
    crc = ((theirs.crc32c(head) >> 15 | theirs.crc32c(head) << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "a").write_bytes(head + struct.pack("<I", crc) + b"data")
    for stream in (True, False):
        with pytest.raises(CorruptFileError, match=f"a record of at most {1 << 31} bytes at byte 0 .* got {1 << 60}"):
            list(D.read_tfrecord(tmp_path / "a", stream=stream))


def test_what_is_no_example_is_told(tmp_path):
    with pytest.raises(CorruptFileError, match=r"a tf.train.Example as the record at byte 0 .* got a .*"):
        D.read_tfrecord(written(tmp_path / "a", b"just text, and no message"))[0]
    with pytest.raises(CorruptFileError, match="got a field that is cut off"):
        D.read_tfrecord(written(tmp_path / "b", encoded(x=[1.0, 2.0])[:-1]))[0]


def test_wrong_arguments(tmp_path):
    path = numbered(tmp_path / "a", 0, 2)
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(MissingFileError, match=r"read_tfrecord expects shards that exist, got nothing at '.*none'"):
        D.read_tfrecord(tmp_path / "none")
    with pytest.raises(MissingFileError, match=r"got nothing at '.*none-[*]'"):
        D.read_tfrecord(tmp_path / "none-*")
    with pytest.raises(MissingFileError, match="got nothing at an empty list"):
        D.read_tfrecord([])
    with pytest.raises(FileError, match="to be a file"):
        D.read_tfrecord(tmp_path)
    with pytest.raises(px.StructureError, match=r"plain files to index, got a.gz, gzipped"):
        D.read_tfrecord(packed, stream=False)
    with pytest.raises(px.StructureError, match="seed=None of files with an index, got seed=1"):
        D.read_tfrecord(path, seed=1)
    with pytest.raises(px.RangeError, match=r"a decoder among jpg, .* got 'tiff'"):
        D.read_tfrecord(path, {"x": "tiff"})
    with pytest.raises(px.RangeError, match=r"a shape, got \(-1, 2\)"):
        D.read_tfrecord(path, {"x": (-1, 2)})
    with pytest.raises(px.RangeError, match=r"features by name, or a function, got \['x'\]"):
        D.read_tfrecord(path, ["x"])
    state = iter(D.read_tfrecord(path, stream=True)).get_state()
    with pytest.raises(px.StructureError, match="'a' as file 0 of 1, got 'a', one of 2"):
        iter(D.read_tfrecord([path, path], stream=True)).set_state(state)


WRONG_PLACES = {
    "a later byte": ({"offset": 10_000}, "a file with a byte 10000, got 'a' of [0-9]+"),
    "before the start": ({"offset": -3}, "a file and a byte of these, got file 0 and byte -3"),
    "a share of a byte": ({"offset": 1.5}, "a file and a byte of these, got file 0 and byte 1.5"),
    "a later file": ({"file": 7}, "a file and a byte of these, got file 7"),
    "more": ({"more": 7}, "a state that get_state told"),
}


@pytest.mark.parametrize("case", WRONG_PLACES)
def test_a_place_that_is_not_there_is_refused_and_the_old_one_kept(tmp_path, case):
    change, message = WRONG_PLACES[case]
    items = iter(D.read_tfrecord(written(tmp_path / "a", b"one", b"two"), bytes, stream=True))
    assert next(items) == b"one"
    with pytest.raises(px.StructureError, match=f"read_tfrecord expects {message}"):
        items.set_state(items.get_state() | change)
    assert next(items) == b"two"


def test_a_place_behind_the_end_of_a_gzipped_file_is_no_end(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(written(tmp_path / "b", b"one").read_bytes()))
    items = iter(D.read_tfrecord(tmp_path / "a", bytes))
    items.set_state(items.get_state() | {"offset": 10_000})
    with pytest.raises(CorruptFileError, match=r"a record at byte 10000 .* got the end of the file"):
        next(items)


# --- ArrayRecord --------------------------------------------------------------------------------------


def arrays_written(path, *records):
    writer = array_record.ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


@pytest.fixture
def shards(tmp_path):
    for shard, (first, count) in enumerate(((0, 3), (3, 4))):
        examples = (encoded(y=[i], x=[float(i), i / 2]) for i in range(first, first + count))
        arrays_written(tmp_path / f"{shard}.array_record", *examples)
    return tmp_path / "*.array_record"


def test_array_records_by_index_and_through_a_loader(shards):
    records = D.read_array_record(shards, SHAPES)
    assert [int(records[i]["y"]) for i in range(len(records))] == list(range(7))
    assert records[-1]["x"].tolist() == [6.0, 3.0]
    loader = px.DataLoader(records, 3, shuffle=True, seed=1, prefetch=0)
    rows = [batch["y"].tolist() for batch in loader]
    assert rows == [np.asarray(b).tolist() for b in px.DataLoader(7, 3, shuffle=True, seed=1, prefetch=0)]
    raw = D.read_array_record(shards, bytes, shard=(1, 2))
    assert [parse_example(data)["y"].tolist() for data in raw] == [[3], [4], [5], [6]]
    with pytest.raises(IndexError, match="observation 7 of 7"):
        records[7]
    assert [int(found["y"]) for found in records.__getitems__([-1, 0, -7])] == [6, 0, 0]
    with pytest.raises(IndexError, match="observation -8 of 7"):
        records.__getitems__([0, -8])


def test_array_records_that_are_wrong(shards, tmp_path):
    with pytest.raises(CorruptFileError, match=r"the feature 'z' of record 1 .* got the features \['x', 'y'\]"):
        D.read_array_record(shards, {"z": ()})[1]
    with pytest.raises(MissingFileError, match="read_array_record expects shards that exist"):
        D.read_array_record(tmp_path / "none")
    with pytest.raises(FileError, match="to be a file"):
        D.read_array_record(tmp_path)
    for content in (b"", b"something else" * 10, (tmp_path / "0.array_record").read_bytes()[:70_000]):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"read_array_record expects ArrayRecord files in .*broken"):
            D.read_array_record(tmp_path / "broken")


def test_without_the_package_the_extra_is_named(shards, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_record.python", None)
    monkeypatch.delitem(__import__("sys").modules, "array_record.python.array_record_data_source", raising=False)
    with pytest.raises(px.MissingExtraError, match=r"expects array-record, got .*\n  fix: pip install"):
        D.read_array_record(shards)
