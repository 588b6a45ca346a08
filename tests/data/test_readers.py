"""Files of images and digits: against bytes laid out by hand, gzip, pickle and Pillow; and files that are not whole."""

import gzip
import hashlib
import pickle
import struct

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import data as D
from phlox.weights import CorruptFileError

image, sets = oracle("PIL.Image"), oracle("sklearn.datasets")
RNG = np.random.default_rng(0)


def idx(array, code, kind):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(kind).tobytes()


@pytest.mark.parametrize(("code", "kind"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx_of_every_dtype_packed_or_not(tmp_path, code, kind):
    array = RNG.integers(0, 100, (3, 4, 2)).astype(np.dtype(kind).newbyteorder("="))
    plain, packed = tmp_path / "a-idx3-ubyte", tmp_path / "a-idx3-ubyte.gz"
    plain.write_bytes(idx(array, code, kind))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        found = D.read_idx(path, checksum=hashlib.sha256(path.read_bytes()).hexdigest())
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable


WHOLE = idx(np.arange(12).reshape(3, 4), 8, "u1")
IDX_BROKEN = {
    "empty": (b"", r"the start of an IDX file .* got \[\]"),
    "another file": (b"\x89PNG" + WHOLE, r"the start of an IDX file .* got \[137, 80, 78, 71\]"),
    "another dtype": (b"\0\0\x0a" + WHOLE[3:], "the start of an IDX file"),
    "in its head": (WHOLE[:9], "2 sizes of axes .* got 9 bytes"),
    "cut off": (WHOLE[:-1], r"24 bytes for \[3, 4\] .* got 23"),
    "too long": (WHOLE + b"\0", r"24 bytes for \[3, 4\] .* got 25"),
    "cut off, packed": (gzip.compress(WHOLE)[:-9], "a whole gzip file"),
    "damaged, packed": (gzip.compress(WHOLE)[:15] + b"\xff\xff" + gzip.compress(WHOLE)[17:], "a whole gzip file"),
}


@pytest.mark.parametrize("case", IDX_BROKEN)
def test_idx_files_that_are_not_whole(tmp_path, case):
    content, message = IDX_BROKEN[case]
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"read_idx expects {message}") as caught:
        D.read_idx(tmp_path / "broken")
    assert "broken" in str(caught.value)
    assert "fetch the file again" in str(caught.value)


def test_checksums(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(WHOLE)
    for kind in ("md5", "sha1", "sha256"):
        D.read_idx(path, checksum=hashlib.new(kind, WHOLE).hexdigest().upper())
        with pytest.raises(
            CorruptFileError, match=f"expects {kind} {'0' * 10}.* got {hashlib.new(kind, WHOLE).hexdigest()}"
        ):
            D.read_idx(path, checksum="0" * len(hashlib.new(kind).hexdigest()))
    with pytest.raises(px.RangeError, match="a checksum of 32, 40 or 64 digits, got 'abc'"):
        D.read_idx(path, checksum="abc")


# --- CIFAR --------------------------------------------------------------------------------------------

PIXELS = RNG.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
FINE, COARSE = np.array([3, 99, 0, 42, 7], np.uint8), np.array([1, 19, 0, 4, 2], np.uint8)
FLAT = PIXELS.reshape(5, -1)


def records(*labels):
    return np.concatenate([*(each[:, None] for each in labels), FLAT], axis=1).tobytes()


def pickled(**parts):
    return pickle.dumps({key.encode(): part for key, part in parts.items()}, protocol=2)


CIFAR = {
    "10, binary": (records(FINE % 10), {}, FINE % 10),
    "10, Python": (pickled(data=FLAT, labels=(FINE % 10).tolist(), batch_label=b"1"), {}, FINE % 10),
    "100, binary": (records(COARSE, FINE), {"classes": 100}, FINE),
    "100, binary, coarse": (records(COARSE, FINE), {"classes": 100, "coarse": True}, COARSE),
    "100, Python": (pickled(data=FLAT, fine_labels=FINE.tolist(), coarse_labels=[]), {"classes": 100}, FINE),
    "100, Python, coarse": (
        pickled(data=FLAT, fine_labels=[], coarse_labels=COARSE.tolist()),
        {"classes": 100, "coarse": True},
        COARSE,
    ),
}


@pytest.mark.parametrize("case", CIFAR)
def test_cifar(tmp_path, case):
    content, options, labels = CIFAR[case]
    (tmp_path / "batch").write_bytes(content)
    images, found = D.read_cifar(tmp_path / "batch", checksum=hashlib.md5(content).hexdigest(), **options)
    np.testing.assert_array_equal(images, np.moveaxis(PIXELS, 1, -1))
    np.testing.assert_array_equal(found, labels)
    assert (images.dtype, found.dtype) == (np.uint8, np.int32)


def test_cifar_as_python_2_wrote_it(tmp_path):
    """The opcodes of the real files, by hand: old names of modules, and bytes as the strings of Python 2."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR(K\x01K\x05M\0\x0c\x86"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    pixels = array + dtype + b"\x89T" + struct.pack("<I", FLAT.size) + FLAT.tobytes() + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([n % 10]) for n in FINE) + b"e"
    content = b"\x80\x02}(U\x04data" + pixels + b"U\x06labels" + labels + b"u."
    (tmp_path / "data_batch_1").write_bytes(content)
    images, found = D.read_cifar(tmp_path / "data_batch_1")
    np.testing.assert_array_equal(images, np.moveaxis(PIXELS, 1, -1))
    np.testing.assert_array_equal(found, FINE % 10)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_runs_nothing(tmp_path):
    target = tmp_path / "written"
    (tmp_path / "evil").write_bytes(pickle.dumps({b"data": Payload(str(target)), b"labels": []}, protocol=2))
    with pytest.raises(CorruptFileError, match=r"a pickle of arrays, text and numbers .* is not allowed"):
        D.read_cifar(tmp_path / "evil")
    assert not target.exists()


CIFAR_BROKEN = {
    "cut off": (records(FINE % 10)[:-1], {}, "records of 3073 bytes .* got 15364 bytes"),
    "of 100 classes": (records(COARSE, FINE), {}, "records of 3073 bytes"),
    "labels": (records(FINE), {}, r"labels in 0 … 9 .* got 0 … 99"),
    "cut-off pickle": (pickled(data=FLAT, labels=[1] * 5)[:-20], {}, "a pickle of arrays"),
    "no labels": (pickled(data=FLAT), {}, "'data' and 'labels'"),
    "fewer labels": (pickled(data=FLAT, labels=[1]), {}, r"data of uint8\[1, 3072\] .* got uint8\[5, 3072\]"),
    "a list": (pickle.dumps([1, 2], protocol=2), {}, "'data' and 'labels'"),
    "words": (pickled(data=FLAT, labels=["a"] * 5), {}, "labels as whole numbers"),
}


@pytest.mark.parametrize("case", CIFAR_BROKEN)
def test_cifar_files_that_are_not_whole(tmp_path, case):
    content, options, message = CIFAR_BROKEN[case]
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"read_cifar expects {message}"):
        D.read_cifar(tmp_path / "broken", **options)


def test_cifar_has_10_or_100_classes(tmp_path):
    with pytest.raises(px.RangeError, match="classes of 10 or 100, got classes=20, coarse=False"):
        D.read_cifar(tmp_path, classes=20)
    with pytest.raises(px.RangeError, match="classes=10, coarse=True"):
        D.read_cifar(tmp_path, coarse=True)


# --- folders of images --------------------------------------------------------------------------------


def folder_of(root, sizes=((6, 4), (6, 4))):
    pixels = {}
    for name in ("b", "a"):
        (root / name).mkdir()
        for n, (height, width) in enumerate(sizes):
            array = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
            image.fromarray(array).save(root / name / f"{n}.png")
            pixels[name, n] = array
    return pixels


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    pixels = folder_of(tmp_path)
    (tmp_path / "a" / "notes.txt").write_text("no image", "utf-8")
    (tmp_path / ".hidden").mkdir()
    folder = D.ImageFolder(tmp_path)
    assert folder.classes == ("a", "b")
    (x, y), *_ = D.DataLoader(folder, 4, prefetch=0)
    assert y.tolist() == [0, 0, 1, 1]
    expected = np.stack([pixels[key] for key in (("a", 0), ("a", 1), ("b", 0), ("b", 1))]) / np.float32(255)
    np.testing.assert_allclose(x, expected, rtol=1e-7)


def test_images_are_resized_and_converted_as_pillow_does(tmp_path):
    pixels = folder_of(tmp_path, sizes=((40, 30), (7, 90)))
    folder = D.ImageFolder(tmp_path, size=(16, 12), mode="L")
    for i, key in enumerate((("a", 0), ("a", 1))):
        expected = image.fromarray(pixels[key]).convert("L").resize((12, 16), image.Resampling.BILINEAR)
        found, label = folder[i]
        assert (found.shape, label) == ((16, 12, 1), 0)
        np.testing.assert_allclose(found[..., 0], np.asarray(expected) / 255, rtol=1e-6)


def test_images_are_turned_upright(tmp_path):
    (tmp_path / "a").mkdir()
    array = RNG.integers(0, 256, (8, 16, 3), dtype=np.uint8)
    tags = image.Exif()
    tags[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    image.fromarray(array).save(tmp_path / "a" / "1.png", exif=tags)
    np.testing.assert_allclose(D.ImageFolder(tmp_path)[0][0], np.rot90(array, -1) / 255, rtol=1e-6)


def test_images_are_read_when_asked_for_and_a_broken_one_is_named(tmp_path):
    folder_of(tmp_path)
    whole = (tmp_path / "b" / "0.png").read_bytes()
    (tmp_path / "b" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "1.png").write_bytes(b"no image at all")
    folder = D.ImageFolder(tmp_path)
    assert folder[0][0].shape == (6, 4, 3)
    for i, name in ((2, "0.png"), (3, "1.png")):
        with pytest.raises(CorruptFileError, match=f"ImageFolder expects an image in .*{name}") as caught:
            folder[i]
        assert "fetch the file again" in str(caught.value)


def test_what_a_name_hides_is_not_started_and_16_bits_do_not_saturate(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n%%EOF\n")
    image.fromarray(np.array([[0, 1000, 30000, 65535]], np.uint16)).save(tmp_path / "a" / "2.tif")
    image.fromarray(np.array([[9, 10]], np.uint8)).save(tmp_path / "a" / "3.gif")
    eps = oracle("PIL.EpsImagePlugin")
    monkeypatch.setattr(eps, "Ghostscript", lambda *given, **options: pytest.fail("Ghostscript was started"))
    folder = D.ImageFolder(tmp_path)
    with pytest.raises(CorruptFileError, match=r"ImageFolder expects an image in .*1.jpg"):
        folder[0]
    with pytest.raises(CorruptFileError, match=r"an image of 8 bits a channel in .*2.tif.* mode I;16\n  fix: scale"):
        folder[1]
    np.testing.assert_array_equal((folder[2][0][0] * 255).round(), [[9] * 3, [10] * 3])


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(px.StructureError, match="sub-folders with images, got no sub-folder"):
        D.ImageFolder(tmp_path)
    folder_of(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(px.StructureError, match="got no image in 'c'\n  fix: put the images of each class"):
        D.ImageFolder(tmp_path)
    with pytest.raises(px.RangeError, match="mode among L, RGB, RGBA, got 'CMYK'"):
        D.ImageFolder(tmp_path, mode="CMYK")


# --- scikit-learn's sets ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer", "diabetes"])
def test_sets_are_those_of_scikit_learn(name):
    x, y = getattr(D, name)()
    theirs, goal = getattr(sets, f"load_{name}")(return_X_y=True)
    scale = 16 if name == "digits" else 1
    np.testing.assert_allclose(x.reshape(len(x), -1) * scale, theirs, rtol=1e-6)
    np.testing.assert_array_equal(y, goal)
    assert (x.dtype, y.dtype) == (np.float32, np.float32 if name == "diabetes" else np.int32)
