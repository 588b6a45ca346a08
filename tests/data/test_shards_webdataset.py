"""WebDataset: against tar files that Python's tarfile wrote, in each of its forms; and files that are not whole."""

import gzip
import io
import json
import os
import struct
import tarfile

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import data as D
from phlox.weights import CorruptFileError, MissingFileError

image = oracle("PIL.Image")
RNG = np.random.default_rng(0)
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def written(path, *members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    return path


def numbered(path, first, count):
    members = []
    for i in range(first, first + count):
        x = io.BytesIO()
        np.save(x, np.array([i, i / 2], np.float32))
        members += [(f"{i:04d}.x.npy", x.getvalue()), (f"{i:04d}.cls", str(i).encode())]
    return written(path, *members)


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


PIXELS = RNG.integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("stream", [True, False])
def test_members_are_decoded_by_their_endings(tmp_path, stream):
    array, grey = RNG.normal(size=(2, 3)), PIXELS[..., 0]
    npy = io.BytesIO()
    np.save(npy, array)
    jpg = encoded(PIXELS, "jpeg")
    members = {
        "PNG": encoded(PIXELS, "png"),
        "jpg": jpg,
        "seg.png": encoded(grey, "png"),
        "npy": npy.getvalue(),
        "json": b'{"a": [1, 2]}',
        "txt": "grüß".encode(),
        "cls": b" 12\n",
        "bin": b"\0raw\0",
    }
    path = written(tmp_path / "a.tar", *((f"dir.d/0001.{ending}", content) for ending, content in members.items()))
    (found,) = D.read_webdataset(path, stream=stream)
    assert found["__key__"] == "dir.d/0001"
    np.testing.assert_array_equal(found["png"], PIXELS)
    np.testing.assert_array_equal(found["jpg"], np.asarray(image.open(io.BytesIO(jpg))))
    np.testing.assert_array_equal(found["seg.png"], np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(found["npy"], array)
    assert (found["json"], found["txt"], found["cls"], found["bin"]) == ({"a": [1, 2]}, "grüß", 12, b"\0raw\0")
    (raw,) = D.read_webdataset(path, decode=False, stream=stream)
    assert raw == {"__key__": "dir.d/0001"} | {ending.lower(): content for ending, content in members.items()}
    own = {"bin": lambda data: data.strip(b"\0").decode(), "seg.png": len, "cls": "txt"}
    (found,) = D.read_webdataset(path, ("bin", "seg.png", "cls", "webp;txt"), decode=own, stream=stream)
    assert found == ("raw", len(members["seg.png"]), " 12\n", "grüß")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stream", [True, False])
def test_every_form_of_tar_and_long_names(tmp_path, form, stream):
    deep = "/".join(["d" * 30] * 4)  # beyond a hundred bytes: a prefix, a header before, a pax record
    keys = [f"{deep}/{i}" for i in range(2)] + ["short", "ä"]
    members = [(f"{key}.{ending}", f"{key} {ending}".encode() * 99) for key in keys for ending in ("one", "two")]
    folder = ("folder", (tarfile.DIRTYPE, ""))
    path = written(tmp_path / "a.tar", folder, *members, form=FORMATS[form])
    found = list(D.read_webdataset(path, stream=stream))
    assert [sample["__key__"] for sample in found] == keys
    for sample in found:
        assert sample["two"] == f"{sample['__key__']} two".encode() * 99


def test_samples_by_index_over_several_files(tmp_path):
    for shard, (first, count) in enumerate(((0, 3), (3, 1), (4, 4))):
        numbered(tmp_path / f"{shard}.tar", first, count)
    samples = D.read_webdataset(str(tmp_path / "{0..2}.tar"), ("x.npy", "cls"))
    assert len(samples) == 8
    loader = px.DataLoader(samples, 3, shuffle=True, seed=2, prefetch=0)
    batches = [(x.tolist(), y.tolist()) for x, y in loader]
    expected = [np.asarray(b).tolist() for b in px.DataLoader(8, 3, shuffle=True, seed=2, prefetch=0)]
    assert [y for _, y in batches] == expected
    assert [x for x, _ in batches] == [[[i, i / 2] for i in rows] for rows in expected]
    assert samples[-1][1] == 7
    rest = px.DataLoader(samples, 3, shuffle=True, seed=2, prefetch=0)
    next(iter(loader))
    rest.restore(json.loads(json.dumps(loader.state())))
    assert len(list(rest)) == 2
    assert [y for _, y in samples.__getitems__(np.array([-1, 0, -6]))] == [7, 0, 2]
    assert samples.__getitems__([]) == []
    for rows, message in (([0, 8], "8 of 8"), ([-9], "-9 of 8"), ([1.5], "whole numbers"), ([True], "whole numbers")):
        with pytest.raises(IndexError, match=message):
            samples.__getitems__(rows)
    with pytest.raises(IndexError, match="whole numbers, not in float64"):
        samples[1.7]


@pytest.mark.parametrize("packed", [False, True])
def test_a_stream_goes_on_at_once_where_its_state_was_taken(tmp_path, monkeypatch, packed):
    for shard in range(3):
        path = numbered(tmp_path / f"{shard}.tar", 4 * shard, 4)
        if packed:
            path.write_bytes(gzip.compress(path.read_bytes()))
    stream = D.read_webdataset(tmp_path / "*.tar", ("cls", "x.npy"), stream=True)
    assert [y.tolist() for y, _ in px.DataLoader(stream, 3, prefetch=0)] == np.arange(12).reshape(4, 3).tolist()
    for taken in range(5):
        first, rest = px.DataLoader(stream, 3, prefetch=0), px.DataLoader(stream, 3, prefetch=0)
        batches = iter(first)
        for _ in range(taken):
            next(batches)
        rest.restore(json.loads(json.dumps(first.state())))
        made = []
        with monkeypatch.context() as patched:
            kind = type(stream._form)
            original = kind.made
            patched.setattr(kind, "made", lambda *args: made.append(1) or original(*args))  # noqa: B023
            left = [y for batch, _ in rest for y in batch.tolist()]
        assert left == list(range(3 * taken, 12))
        assert len(made) == len(left)  # nothing is read again


def test_processes_with_files_of_their_own_see_each_sample_once(tmp_path):
    for shard in range(4):
        numbered(tmp_path / f"{shard}.tar", 3 * shard, 3)

    def rows(process, stream):
        samples = D.read_webdataset(tmp_path / "*.tar", ("cls",), stream=stream, shard=(process, 2))
        return [y for (batch,) in px.DataLoader(samples, 2, shard=(0, 1), prefetch=0) for y in batch.tolist()]

    for stream in (True, False):
        assert rows(0, stream) == [0, 1, 2, 6, 7, 8]
        assert rows(1, stream) == [3, 4, 5, 9, 10, 11]
    samples = D.read_webdataset(tmp_path / "*.tar", ("cls",), stream=True)  # or the loader splits every batch
    loaders = [px.DataLoader(samples, 4, shard=(i, 2), drop_last=True, prefetch=0) for i in range(2)]
    halves = [[y for (batch,) in loader for y in batch.tolist()] for loader in loaders]
    assert halves == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_a_gzipped_file_is_a_stream_by_itself(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(numbered(tmp_path / "a.tar", 0, 3).read_bytes()))
    samples = D.read_webdataset(path, ("cls",))
    assert not hasattr(samples, "__len__")
    assert list(samples) == list(samples) == [(0,), (1,), (2,)]
    with pytest.raises(px.StructureError, match=r"plain files to index, got a.tar.gz"):
        D.read_webdataset(path, stream=False)


# --- what is wrong ------------------------------------------------------------------------------------


class Payload:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def pickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()], object), allow_pickle=True)
    return buffer.getvalue()


def wide(kind, dtype):
    return encoded(np.array([[0, 1000, 30000, 65535]], dtype), kind)


def npy_of(header):
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
MEMBERS = {
    "a program as an image": ([("a.jpg", EPS)], "an image as a.jpg .* got 76 bytes, cannot identify"),
    "16 bits": ([("a.png", wide("png", np.uint16))], r"an image of 8 bits a channel as a.png .* Pillow's mode I;16"),
    "16 bits, grey": ([("a.pgm", b"P5 1 1 65535\n\1\0")], "an image of 8 bits a channel as a.pgm .* Pillow's mode I"),
    "a zip": ([("a.npy", b"PK\x03\x04garbage")], "an array as a.npy .* got 11 bytes, bytes that begin with"),
    "a header": ([("a.npy", npy_of(b"{'descr':'<f4','fortran_order':False,'shape':(10**30,)}"))], "an array as a.npy"),
    "a nested header": ([("a.npy", npy_of(b"-" * 5000 + b"1"))], "an array as a.npy"),
    "an endless shape": (
        [("a.npy", npy_of(b"{'descr':'<f4','fortran_order':False,'shape':(9223372036854775807,4)}"))],
        "an array as a.npy",
    ),
    "an endless number": ([("a.cls", b"9" * 5000)], "a whole number in digits as a.cls .* got 5000 bytes"),
    "an image": ([("a.png", encoded(PIXELS, "png")[:60])], "an image as a.png .* got 60 bytes, "),
    "another image": ([("a.jpg", b"no image")], "an image as a.jpg .* got 8 bytes, "),
    "an array": ([("a.npy", b"\x93NUMPY\x01\x00")], "an array as a.npy"),
    "a pickle": ([("a.npy", pickled())], "an array as a.npy .* got [0-9]+ bytes, .*allow_pickle=False"),
    "JSON": ([("a.json", b"{")], "JSON as a.json .* got 1 bytes, "),
    "text": ([("a.txt", b"\xff")], "text in UTF-8 as a.txt"),
    "a number": ([("a.cls", b"cat")], "a whole number in digits as a.cls .* got 3 bytes, b'cat'"),
    "no ending": ([("a.txt", b""), ("README", b"")], "members named KEY.ENDING .* got 'README'"),
    "no key": ([("dir/.hidden", b"")], "members named KEY.ENDING .* got 'dir/.hidden'"),
    "twice": ([("a.txt", b"1"), ("a.TXT", b"2")], "one member a.txt .* got two"),
    "a link": ([("a.txt", (tarfile.SYMTYPE, "/etc/passwd"))], "files and folders only .* got 'a.txt' of type '2'"),
    "a device": ([("a.txt", (tarfile.CHRTYPE, ""))], "files and folders only .* got 'a.txt' of type '3'"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", MEMBERS)
def test_members_that_are_wrong_are_named(tmp_path, monkeypatch, case, stream):
    monkeypatch.chdir(tmp_path)
    members, message = MEMBERS[case]
    path = written(tmp_path / "a.tar", ("0.txt", b"good"), *members)
    with pytest.raises(CorruptFileError, match=f"read_webdataset expects {message}"):
        list(D.read_webdataset(path, stream=stream))
    assert os.listdir(tmp_path) == ["a.tar"]  # nothing was run


def with_header(kind, text, content=b"two"):
    """A tar file of a member behind a further header."""
    infos = [(tarfile.TarInfo("head"), text), (tarfile.TarInfo("1.txt"), content)]
    infos[0][0].type = kind
    out = b""
    for info, data in infos:
        info.size = len(data)
        out += info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0")
    return out + bytes(1024)


HEADERS = {
    "holes": (b"x", b"22 GNU.sparse.major=1\n", "a file with holes"),
    "endless digits": (b"x", b"9" * 5000 + b" path=a\n", "a record that begins with b'9999"),
    "no record": (b"x", b"path=a.txt\n", "a record that begins with b'path"),
    "an endless size": (b"x", b"30 size=9999999999999999999999\n"[:31], "a size of"),
    "of all": (b"g", b"22 GNU.sparse.major=1\n", "a file with holes"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("case", HEADERS)
def test_further_headers_that_are_wrong_are_told(tmp_path, case, stream):
    kind, text, message = HEADERS[case]
    (tmp_path / "a.tar").write_bytes(with_header(kind, text))
    with pytest.raises(CorruptFileError, match=f"read_webdataset expects further headers of .* byte 0 .*{message}"):
        list(D.read_webdataset(tmp_path / "a.tar", stream=stream))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("stream", [True, None])
def test_holes_and_sizes_beyond_the_file_are_refused(tmp_path, stream, packed):
    path = tmp_path / "a.tar"
    holes = tarfile.TarInfo("1.bin")
    holes.type, holes.size = tarfile.GNUTYPE_SPARSE, 3
    large, absurd = tarfile.TarInfo("1.bin"), tarfile.TarInfo("1.bin")
    large.size, absurd.size = 1 << 45, 1 << 80
    for info, message in (
        (holes, "files and folders only .* got '1.bin' of type 'S'"),
        (large, "the whole of '1.bin'|a whole tar file, with the member at byte 0"),
        (absurd, "a size of the member at byte 0"),
    ):
        content = info.tobuf(tarfile.GNU_FORMAT) + b"one".ljust(512, b"\0") + bytes(1024)
        path.write_bytes(gzip.compress(content) if packed else content)
        with pytest.raises(CorruptFileError, match=f"read_webdataset expects ({message})"):
            list(D.read_webdataset(path, stream=stream))


@pytest.mark.parametrize("stream", [True, False])
def test_a_part_that_is_missing_is_told(tmp_path, stream):
    path = written(tmp_path / "a.tar", ("1.cls", b"1"), ("1.txt", b""), ("2.txt", b""))
    with pytest.raises(CorruptFileError, match=r"'2' with a member .cls or .index in .* got it with none of the parts"):
        list(D.read_webdataset(path, ("cls;index",), stream=stream))


def damaged(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


# Each sample is four blocks of 512 bytes here: a header and the content of x.npy, and those of cls.
BROKEN = {
    "a later header": (lambda c: damaged(c, 2048 + 7), "a member of a tar file at byte 2048"),
    "the first header": (lambda c: damaged(c, 150), "a member of a tar file at byte 0"),
    "cut off in a content": (lambda c: c[: 2048 + 600], "(the whole of '0001.x.npy'|a whole tar file, .* byte 2048)"),
    "cut off in a header": (lambda c: c[: 2048 + 100], "a whole tar file, with the member at byte 2048"),
    "no end": (lambda c: c[:4096], "a whole tar file, with the member at byte 4096"),
    "another file": (lambda c: b"\x89PNG" + bytes(range(256)) * 4, "a member of a tar file at byte 0"),
    "empty": (lambda c: b"", "a whole tar file, with the member at byte 0"),
    "gzip, cut off": (lambda c: gzip.compress(c)[:-9], "a whole gzip file"),
}


@pytest.mark.parametrize("stream", [True, None])
@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_not_whole(tmp_path, case, stream):
    damage, message = BROKEN[case]
    path = numbered(tmp_path / "broken.tar", 0, 2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFileError, match=f"read_webdataset expects {message}.* in .*broken.tar'"):
        list(D.read_webdataset(path, stream=stream))


def test_wrong_arguments(tmp_path):
    path = numbered(tmp_path / "a.tar", 0, 2)
    with pytest.raises(MissingFileError, match="read_webdataset expects shards that exist"):
        D.read_webdataset(tmp_path / "{0..3}.tar")
    with pytest.raises(px.RangeError, match=r"a decoder among jpg, .* got 'tiff'"):
        D.read_webdataset(path, decode={"x": "tiff"})
    with pytest.raises(px.StructureError, match="seed=None of files with an index"):
        D.read_webdataset(path, seed=3)
