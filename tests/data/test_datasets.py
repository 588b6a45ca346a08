"""Data sets by name: small ones of the same forms from a server of our own, and the table of the real ones."""

import dataclasses
import gzip
import hashlib
import io
import re
import struct
import tarfile

import numpy as np
import pytest

import phlox as px
from kit import oracle
from loopback import serving
from phlox.data.fetching._remote import RemoteFile
from phlox.data.sets._known import SETS
from phlox.weights import CorruptFileError, FileError, MissingFileError

scipy_io = oracle("scipy.io")
RNG = np.random.default_rng(0)


def idx(array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)


def archived(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def small_mnist(counts):
    """Contents by name, and images and labels of both parts."""
    parts = [(RNG.integers(0, 256, (n, 28, 28), np.uint8), RNG.integers(0, 10, n, np.uint8)) for n in counts]
    names = [file.name for file in SETS["mnist"].files]
    contents = dict(zip(names, (idx(array) for part in parts for array in part), strict=True))
    return contents, [(images[..., None], labels) for images, labels in parts]


def small_cifar(classes, names):
    """As ``small_mnist``: two images in each file; of 100 classes the labels are coarse and fine."""
    files, parts = {}, {"train": [], "test": []}
    for name in names:
        pixels = RNG.integers(0, 256, (2, 3, 32, 32), np.uint8)
        heads = [RNG.integers(0, most, 2, np.uint8) for most in ((10,) if classes == 10 else (20, 100))]
        files[name] = np.concatenate([np.stack(heads, 1), pixels.reshape(2, -1)], axis=1).tobytes()
        parts["test" if "test" in name else "train"].append((pixels.transpose(0, 2, 3, 1), heads[-1], heads[0]))
    joined = [tuple(map(np.concatenate, zip(*part, strict=True))) for part in parts.values()]
    name = SETS[f"cifar{classes}"].files[0].name
    return {name: archived(files)}, joined


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Put a small set in the place of a real one: its files on a server, their checksums in the table."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PHLOX_DATA", str(tmp_path))
    with serving() as served:

        def placed(name, contents, sizes):
            base = f"{served.address}{name}/"
            for file, content in contents.items():
                served.files[f"/{name}/{file}"] = content
            files = tuple(
                RemoteFile(file, (base + file,), len(content), hashlib.sha256(content).hexdigest())
                for file, content in contents.items()
            )
            monkeypatch.setitem(SETS, name, dataclasses.replace(SETS[name], files=files, sizes=sizes))
            return served

        yield placed


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_sets_in_the_form_of_mnist(small, name, tmp_path):
    contents, expected = small_mnist((5, 3))
    served = small(name, contents, (5, 3))
    (x, y), (x_test, y_test) = px.data.datasets(name)
    for (images, labels), (theirs, goal) in zip(((x, y), (x_test, y_test)), expected, strict=True):
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(images, theirs)
        np.testing.assert_array_equal(labels, goal)
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(contents)
    px.data.datasets(name, download=False)
    assert len(served.asked) == 4


def test_one_part_fetches_what_it_needs(small):
    contents, expected = small_mnist((5, 3))
    served = small("mnist", contents, (5, 3))
    images, labels = px.data.datasets("MNIST", split="test")
    np.testing.assert_array_equal(images, expected[1][0])
    np.testing.assert_array_equal(labels, expected[1][1])
    assert [path for path, _ in served.asked] == [f"/mnist/{name}" for name in list(contents)[2:]]


CIFAR_10 = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
CIFAR_100 = ["cifar-100-binary/train.bin", "cifar-100-binary/test.bin"]


@pytest.mark.parametrize(("classes", "names", "train"), [(10, CIFAR_10, 10), (100, CIFAR_100, 2)])
def test_cifar_is_unpacked_once(small, classes, names, train, tmp_path):
    contents, expected = small_cifar(classes, names)
    served = small(f"cifar{classes}", contents, (train, 2))
    for _ in range(2):
        for (images, labels), (theirs, fine, _) in zip(px.data.datasets(f"CIFAR-{classes}"), expected, strict=True):
            np.testing.assert_array_equal(images, theirs)
            np.testing.assert_array_equal(labels, fine)
        for archive in tmp_path.glob("*/*.tar.gz"):
            archive.unlink()  # not needed any more
    assert len(served.asked) == 1
    if classes == 100:
        labels = px.data.datasets("cifar100", split="train", coarse=True)[1]
        np.testing.assert_array_equal(labels, expected[0][2])


def test_unpacked_files_of_another_size_are_unpacked_again(small, tmp_path):
    contents, expected = small_cifar(10, CIFAR_10)
    small("cifar10", contents, (10, 2))
    px.data.datasets("cifar10")
    broken = tmp_path / "cifar10/unpacked/cifar-10-batches-bin/data_batch_3.bin"
    broken.write_bytes(broken.read_bytes()[:3073])
    np.testing.assert_array_equal(px.data.datasets("cifar10", split="train")[0], expected[0][0])
    broken.unlink()
    (tmp_path / "cifar10" / next(iter(contents))).unlink()
    with pytest.raises(MissingFileError, match="nothing, and download=False"):
        px.data.datasets("cifar10", split="train", download=False)
    np.testing.assert_array_equal(px.data.datasets("cifar10", split="train")[0], expected[0][0])
    assert sorted(path.name for path in (tmp_path / "cifar10").iterdir()) == sorted([*contents, "unpacked"])


def test_a_tilde_is_the_users_folder(small, tmp_path, monkeypatch):
    contents, expected = small_mnist((5, 3))
    small("mnist", contents, (5, 3))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    px.data.datasets("mnist", "~/data", split="test")
    monkeypatch.setenv("PHLOX_DATA", "~/data")
    found = px.data.datasets("mnist", split="test", download=False)
    np.testing.assert_array_equal(found[1], expected[1][1])
    assert (tmp_path / "me" / "data" / "mnist").is_dir()


def test_svhn_begins_with_the_images_and_its_tens_are_zeros(small):
    contents, expected = {}, []
    for name, n in (("train_32x32.mat", 4), ("test_32x32.mat", 3)):
        images, labels = RNG.integers(0, 256, (32, 32, 3, n), np.uint8), np.array([[10], [1], [9], [5]][:n], np.uint8)
        buffer = io.BytesIO()
        scipy_io.savemat(buffer, {"X": images, "y": labels}, do_compression=True)
        contents[name] = buffer.getvalue()
        expected.append((images, [0, 1, 9, 5][:n]))
    small("svhn", contents, (4, 3))
    for (images, labels), (theirs, goal) in zip(px.data.datasets("svhn"), expected, strict=True):
        np.testing.assert_array_equal(images, np.stack([theirs[..., i] for i in range(theirs.shape[-1])]))
        assert labels.tolist() == goal
    contents["train_32x32.mat"] = b"no file of MATLAB's" * 20
    small("svhn", contents, (4, 3))
    with pytest.raises(CorruptFileError, match="MATLAB's X and y"):
        px.data.datasets("svhn", split="train")


def test_a_mirror_takes_the_place_of_the_addresses_and_not_of_the_checksums(small, tmp_path):
    contents, expected = small_mnist((5, 3))
    served = small("mnist", contents, (5, 3))
    served.files = {path.replace("/mnist/", "/mirror/"): content for path, content in served.files.items()}
    with pytest.raises(FileError, match=r"datasets\('mnist'\) expects t10k-images-idx3-ubyte.gz from .*HTTP 404"):
        px.data.datasets("mnist", split="test")
    images, _ = px.data.datasets("mnist", tmp_path / "mine", split="test", mirror=served.address + "mirror")
    np.testing.assert_array_equal(images, expected[1][0])
    assert [path for path, _ in served.asked[1:]] == [f"/mirror/{name}" for name in list(contents)[2:]]
    assert (tmp_path / "mine" / "mnist" / "t10k-images-idx3-ubyte.gz").is_file()
    served.files["/mirror/t10k-labels-idx1-ubyte.gz"] = b"?" * len(contents["t10k-labels-idx1-ubyte.gz"])
    with pytest.raises(FileError, match="a file of SHA-256"):
        px.data.datasets("mnist", tmp_path / "other", split="test", mirror=served.address + "mirror/")


def test_files_of_other_sizes_than_the_set_has_are_refused(small):
    contents, _ = small_mnist((5, 3))
    small("mnist", contents, (5, 4))
    with pytest.raises(CorruptFileError, match=r"images \[4, 28, 28, 1\] and as many labels .* got \[3, 28, 28, 1\]"):
        px.data.datasets("mnist", split="test")


def test_without_download_what_is_missing_or_wrong_is_told(small, tmp_path):
    contents, _ = small_mnist((5, 3))
    small("mnist", contents, (5, 3))
    with pytest.raises(MissingFileError, match=r"t10k-images.* to exist, got nothing, and download=False") as caught:
        px.data.datasets("mnist", split="test", download=False)
    assert f"{len(contents['t10k-images-idx3-ubyte.gz'])} bytes from http://127.0.0.1" in str(caught.value)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(b"cut off")
    with pytest.raises(CorruptFileError, match="got another file"):
        px.data.datasets("mnist", split="test", download=False)


def test_the_cache_folder_follows_the_environment(small, monkeypatch, tmp_path):
    contents, _ = small_mnist((5, 3))
    small("mnist", contents, (5, 3))
    monkeypatch.delenv("PHLOX_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    px.data.datasets("mnist", split="train")
    assert (tmp_path / "cache/phlox/data/mnist/train-images-idx3-ubyte.gz").is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: px.data.datasets("minst"),
            r"datasets expects a name among mnist, .* got 'minst'\n  fix: write 'mnist'",
        ),
        (lambda: px.data.datasets("FashionMNITS"), "fix: write 'fashion_mnist'"),
        (lambda: px.data.datasets("iris"), r"fix: write px.data.iris\(\)"),
        (lambda: px.data.datasets("imagenet"), "fix: choose one, or read your files"),
        (lambda: px.data.datasets(3), "got 3"),
        (lambda: px.data.datasets("mnist", split="valid"), "split 'train', 'test' or None, got 'valid'"),
        (lambda: px.data.datasets("mnist", coarse=True), "only cifar100 has groups"),
        (lambda: px.data.datasets("mnist", mirror="/home/me"), "a mirror that begins with http:// or https://"),
        (lambda: px.data.datasets("mnist", mirror="file:///etc/"), "a mirror that begins with http:// or https://"),
        *(
            (lambda odd=odd: px.data.datasets("mnist", mirror=odd), "a mirror that begins with http:// or https://")
            for odd in ("http://[::1", "http://a:port/", "http://ä/", "https://a/?b=", "http://:80/", b"http://a/", 3)
        ),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_fetched(call, message):
    with pytest.raises(px.RangeError, match=message):
        call()


def test_the_catalogue_tells_sizes_licences_and_homes():
    shown = repr(px.data.datasets()).splitlines()
    assert shown[0].split() == ["name", "train", "test", "image", "MB", "licence", "home"]
    assert [line.split()[0] for line in shown[1:]] == [
        "mnist",
        "fashion_mnist",
        "kmnist",
        "cifar10",
        "cifar100",
        "svhn",
    ]
    assert re.search(r"cifar10 +50000 +10000 +32×32×3 +170 +none stated +https://", shown[4])


@pytest.mark.parametrize("name", list(SETS))
def test_the_table_is_whole(name):
    known = SETS[name]
    assert len(known.classes) == len(set(known.classes)) == (100 if name == "cifar100" else 10)
    assert name != "cifar100" or list(known.classes) == sorted(known.classes)
    for file in known.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.addresses
        assert all(re.match("https?://", a) and a.endswith("/" + file.name) for a in file.addresses)
    sums = [file.sha256 for each in SETS.values() for file in each.files]
    assert len(set(sums)) == len(sums)
