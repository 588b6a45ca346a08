"""Files from a server of our own: whole, broken off and resumed, changed meanwhile, wrong, by two at once."""

import hashlib
import io
import os
import random
import shutil
import socket
import tarfile
import threading
from contextlib import contextmanager

import pytest

from loopback import serving
from phlox.data.fetching import _fetch, _progress
from phlox.data.fetching._fetch import Patience, fetch
from phlox.data.fetching._remote import RemoteFile
from phlox.data.fetching._unpacking import unpack
from phlox.weights import CorruptFileError, FileError

CONTENT = bytes(range(256)) * 4000  # a million bytes: several blocks
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files = {"/a/data.bin": CONTENT, "/b/data.bin": CONTENT}
        server.etags = {"/a/data.bin": '"one"', "/b/data.bin": '"two"'}
        yield server


@pytest.fixture
def get(served, tmp_path):
    """Fetch the file from folders of the server; it never waits, and writes down what it would have waited."""

    def fetched(*folders, content=CONTENT, tries=3):
        addresses = tuple(f"{served.address}{folder}/data.bin" for folder in folders)
        file = RemoteFile("data.bin", addresses, len(content), hashlib.sha256(content).hexdigest())
        return fetch(file, tmp_path / "set", "datasets('x')", patience=Patience(10, tries, sleep=fetched.waits.append))

    fetched.waits = []
    return fetched


def names(folder):
    return sorted(os.listdir(folder))


def test_a_file_is_fetched_once(get, served, tmp_path):
    path = get("a")
    assert path == tmp_path / "set" / "data.bin"
    assert path.read_bytes() == CONTENT
    assert get("a") == path
    assert served.asked == [("/a/data.bin", None)]
    assert names(tmp_path / "set") == ["data.bin"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(get, served, tmp_path):
    served.cut["/a/data.bin"] = [300_000, 700_000]
    assert get("a").read_bytes() == CONTENT
    assert served.asked == [("/a/data.bin", f"bytes={n}-" if n else None) for n in (0, 300_000, 700_000)]
    assert get.waits == [1.0, 2.0]
    assert names(tmp_path / "set") == ["data.bin"]


def test_the_next_call_goes_on_and_a_part_has_not_the_name(get, served, tmp_path):
    served.cut["/a/data.bin"] = [400_000]
    with pytest.raises(FileError, match="a connection that broke off after 400000 of 1024000 bytes from http"):
        get("a", tries=1)
    assert names(tmp_path / "set") == [".data.bin.part", ".data.bin.part.json"]
    assert (tmp_path / "set" / ".data.bin.part").read_bytes() == CONTENT[:400_000]
    assert get("a").read_bytes() == CONTENT
    assert served.asked[-1] == ("/a/data.bin", "bytes=400000-")


def test_a_server_without_ranges_begins_anew(get, served):
    served.cut["/a/data.bin"], served.ranges = [300_000], False
    assert get("a").read_bytes() == CONTENT
    assert len(served.asked) == 2


def test_a_file_that_changed_meanwhile_begins_anew(get, served):
    served.files["/a/data.bin"], served.cut["/a/data.bin"] = bytes(len(CONTENT)), [300_000]
    with pytest.raises(FileError, match="broke off after 300000"):
        get("a", tries=1)
    served.files["/a/data.bin"], served.etags["/a/data.bin"] = CONTENT, '"three"'
    assert get("a", tries=1).read_bytes() == CONTENT
    assert served.asked[-1][1] == "bytes=300000-"  # asked for with If-Range, and answered with all


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_nothing_is_resumed(get, served, etag):
    served.etags["/a/data.bin"], served.cut["/a/data.bin"] = etag, [300_000]
    assert get("a").read_bytes() == CONTENT
    assert served.asked == [("/a/data.bin", None)] * 2


def test_a_part_of_another_address_is_not_resumed(get, served):
    served.cut["/a/data.bin"] = [300_000]
    assert get("a", "b", tries=1).read_bytes() == CONTENT
    assert served.asked == [("/a/data.bin", None), ("/b/data.bin", None)]


def test_a_damaged_part_is_found_by_the_checksum_and_fetched_anew(get, served, tmp_path):
    served.cut["/a/data.bin"] = [300_000]
    with pytest.raises(FileError):
        get("a", tries=1)
    part = tmp_path / "set" / ".data.bin.part"
    part.write_bytes(b"!" + part.read_bytes()[1:])
    assert get("a").read_bytes() == CONTENT
    assert [wanted for _, wanted in served.asked] == [None, "bytes=300000-", None]


def test_a_part_that_is_whole_already_needs_no_network(get, served, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".data.bin.part").write_bytes(CONTENT)
    assert get("a").read_bytes() == CONTENT
    assert served.asked == []


def test_a_part_that_is_too_long_begins_anew(get, served, tmp_path):
    served.cut["/a/data.bin"] = [300_000]
    with pytest.raises(FileError):
        get("a", tries=1)
    (tmp_path / "set" / ".data.bin.part").write_bytes(CONTENT + b"more")
    assert get("a").read_bytes() == CONTENT


def test_a_wrong_checksum_is_not_kept_and_says_what_to_put_where(get, served, tmp_path):
    served.files["/a/data.bin"] = CONTENT[:-1] + b"?"
    with pytest.raises(
        FileError, match=r"datasets\('x'\) expects data.bin from http://127.0.0.1:\d+/a/data.bin"
    ) as caught:
        get("a")
    text = str(caught.value)
    assert f"a file of SHA-256 {hashlib.sha256(served.files['/a/data.bin']).hexdigest()}" in text
    assert f"{tmp_path / 'set' / 'data.bin'}, 1024000 bytes, SHA-256 {SHA}" in text
    assert names(tmp_path / "set") == []
    assert len(served.asked) == 1


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1], b"<html>log in first</html>"])
def test_another_length_is_refused_before_it_is_fetched(get, served, tmp_path, content):
    served.files["/a/data.bin"] = content
    with pytest.raises(FileError, match=f"got {len(content)} bytes instead of 1024000 from http"):
        get("a")
    assert names(tmp_path / "set") == []


def test_the_next_address_is_asked_where_one_has_it_not(get, served):
    del served.files["/a/data.bin"]
    assert get("a", "b").read_bytes() == CONTENT
    assert [path for path, _ in served.asked] == ["/a/data.bin", "/b/data.bin"]  # 404 is not asked again


def test_a_busy_server_is_asked_again(get, served):
    served.status["/a/data.bin"] = [503, 429]
    assert get("a").read_bytes() == CONTENT
    assert get.waits == [1.0, 2.0]


def test_no_network_names_addresses_and_what_to_put_where(get, served, tmp_path):
    with socket.socket() as listening:  # and then not any more
        listening.bind(("127.0.0.1", 0))
        served.address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    with pytest.raises(FileError, match=r"got no connection: .*; no connection: ") as caught:
        get("a", "b")
    text = str(caught.value)
    assert f"{served.address}a/data.bin or {served.address}b/data.bin" in text
    assert "put the file there yourself" in text
    assert get.waits == []
    assert names(tmp_path / "set") == []
    (tmp_path / "set" / "data.bin").write_bytes(CONTENT)
    assert get("a").read_bytes() == CONTENT


def test_a_wrong_file_in_the_place_is_replaced_by_a_whole_one_only(get, served, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.bin").write_bytes(b"old")
    served.status["/a/data.bin"] = [404]
    with pytest.raises(FileError):
        get("a")
    assert (tmp_path / "set" / "data.bin").read_bytes() == b"old"
    assert get("a").read_bytes() == CONTENT


def test_two_at_once_fetch_once(get, served):
    served.together, served.wait = 2, 0.3  # a second request would come meanwhile
    found = []
    threads = [threading.Thread(target=lambda: found.append(get("a").read_bytes())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT, CONTENT]
    assert len(served.asked) == 1


def test_control_c_leaves_what_can_be_resumed(get, served, tmp_path, monkeypatch):
    @contextmanager
    def interrupted(name, size, shown):
        def told(done):
            if done > 200_000:
                raise KeyboardInterrupt

        yield told

    with monkeypatch.context() as patched:
        patched.setattr(_fetch, "bar", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get("a")
    assert names(tmp_path / "set") == [".data.bin.part", ".data.bin.part.json"]
    kept = (tmp_path / "set" / ".data.bin.part").read_bytes()
    assert len(kept) > 200_000
    assert CONTENT.startswith(kept)
    assert get("a").read_bytes() == CONTENT
    assert served.asked[-1] == ("/a/data.bin", f"bytes={len(kept)}-")


def test_a_folder_that_cannot_be_made_is_told(get, tmp_path):
    (tmp_path / "set").write_text("in the way", "utf-8")
    with pytest.raises(FileError, match="set to be a folder"):
        get("a")


def test_a_bar_shows_what_has_come(capsys):
    with _progress.bar("data.bin", 100, True) as told:
        told(40)
    assert "data.bin" in capsys.readouterr().err
    with _progress.bar("data.bin", 100, None) as told:
        told(40)
    assert capsys.readouterr().err == ""


# --- archives -----------------------------------------------------------------------------------------


def packed(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archives_are_unpacked(tmp_path, mode):
    archive = packed(
        tmp_path / "a.tar", ("set/", (tarfile.DIRTYPE, "")), ("set/deep/x", b"one"), ("y", b"two"), mode=mode
    )
    unpack(archive, tmp_path / "out", "w")
    assert (tmp_path / "out/set/deep/x").read_bytes() == b"one"
    assert (tmp_path / "out/y").read_bytes() == b"two"
    assert names(tmp_path) == ["a.tar", "out"]
    archive.unlink()
    unpack(archive, tmp_path / "out", "w")  # there already


TRICKS = {
    "up": (("ok", b"1"), ("../evil", b"2")),
    "absolute": (("/tmp/evil", b"2"),),
    "in the middle": (("a/../../evil", b"2"),),
    "a link": (("ok", (tarfile.SYMTYPE, "/etc")), ("ok/evil", b"2")),
    "a hard link": (("ok", (tarfile.LNKTYPE, "/etc/passwd")),),
    "a device": (("ok", (tarfile.CHRTYPE, "")),),
    "twice": (("ok", b"1"), ("ok", b"2")),
    "too many bytes": (("ok", b"1" * 600), ("more", b"2" * 600)),
}


@pytest.mark.parametrize("case", TRICKS)
def test_tricks_of_archives_are_refused_and_leave_nothing(tmp_path, case):
    archive = packed(tmp_path / "a.tar.gz", *TRICKS[case])
    with pytest.raises(FileError, match="w expects"):
        unpack(archive, tmp_path / "out", "w", most=1000)
    assert names(tmp_path) == ["a.tar.gz"]
    assert not (tmp_path.parent / "evil").exists()


def test_an_archive_that_is_cut_off_leaves_nothing(tmp_path):
    whole = packed(tmp_path / "a.tar.gz", ("x", os.urandom(5000))).read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", b""):
        (tmp_path / "a.tar.gz").write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"w expects a whole tar file in .*a.tar.gz"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out", "w")
        assert names(tmp_path) == ["a.tar.gz"]


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_is_damaged_anywhere_leaves_nothing(tmp_path, mode):
    """A plain one has checksums of its headers only, and a packed one tells at its end."""
    content = [random.Random(i).randbytes(600) for i in range(2)]
    path = packed(tmp_path / "a.tar", ("x", content[0]), ("y", content[1]), mode=mode)
    whole = path.read_bytes()
    places = [3, 1536 + 5] if mode == "w" else [*range(4, len(whole), len(whole) // 25), len(whole) - 6]
    for at in places:
        path.write_bytes(flipped(whole, at))
        try:
            unpack(path, tmp_path / "out", "w")
        except CorruptFileError as error:
            assert str(error).startswith("w expects ")  # noqa: PT017
            assert names(tmp_path) == ["a.tar"]
        else:  # a byte that nothing depends on, such as gzip's time
            assert [(tmp_path / "out" / name).read_bytes() for name in "xy"] == content
            assert mode == "w:gz"
            assert at < 10
            shutil.rmtree(tmp_path / "out")


def test_a_name_with_a_zero_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"path": "a\0b"}
        tar.addfile(info)
    with pytest.raises(CorruptFileError, match="w expects names that stay in the folder"):
        unpack(tmp_path / "a.tar", tmp_path / "out", "w")
    assert names(tmp_path) == ["a.tar"]
