"""A file is written whole or not at all, whatever happens on the way; and what happened is said."""

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import phlox as px
from phlox import weights

ROOT = Path(__file__).parents[2]
OLD = b"what was there before"


@pytest.fixture
def path(tmp_path):
    """A file that must survive: alone in its folder."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(OLD)
    return path


def untouched(path):
    return path.read_bytes() == OLD and os.listdir(path.parent) == [path.name]


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_failure_of_the_system_leaves_the_old_file_and_nothing_else(path, monkeypatch, call):
    monkeypatch.setattr(os, call, no_room)
    with pytest.raises(weights.FileError) as caught:
        weights.save_safetensors(px.Dense(2, 3), path)
    monkeypatch.undo()
    assert untouched(path)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == (
        f"save_safetensors({str(path)!r}) expects room for {path}, got No space left on device\n"
        f"  fix: free some space, or choose another folder than {path.parent}"
    )


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_leaves_the_old_file_and_nothing_else(path, monkeypatch, call, stop):
    def stopped(*_):
        raise stop

    monkeypatch.setattr(os, call, stopped)
    with pytest.raises(stop):
        weights.save_safetensors(px.Dense(2, 3), path)
    monkeypatch.undo()
    assert untouched(path)


def in_a_process(code, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu", "PHLOX_COMPILE_CACHE": "off"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def test_a_file_too_large_for_the_system_is_an_error_like_a_full_disk(path):
    done = in_a_process(
        """
        import resource, sys
        import phlox as px
        from phlox import weights
        model = px.Dense(100, 100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            weights.save_safetensors(model, sys.argv[1])
        except weights.FileError as error:
            print(error.errno, error)
        """,
        path,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(
        f"{errno.EFBIG} save_safetensors({str(path)!r}) expects room for {path}, got File too"
    )
    assert untouched(path)


def test_a_process_killed_while_it_writes_leaves_the_old_file(path):
    done = in_a_process(
        """
        import os, signal, sys
        import phlox as px
        from phlox import weights
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        weights.save_safetensors(px.Dense(100, 100), sys.argv[1])
        """,
        path,
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == OLD
    assert len(os.listdir(path.parent)) == 2
    weights.save_safetensors(px.Dense(2, 3), path)  # the next save clears away what is left
    assert os.listdir(path.parent) == [path.name]


def test_only_what_a_process_has_left_that_is_gone_is_cleared_away(path):
    """Not what this process writes, nor another one that runs, nor another machine, unless it lies there for long."""
    with weights.replacing(path.parent / "mine") as mine:
        mine.write_bytes(b"half")
        _, machine, ours, _ = mine.name.split("-")
        assert int(ours) == os.getpid()
        gone = subprocess.Popen(["true"])
        gone.wait()
        token, week = "0" * 16 + ".tmp", 8 * 24 * 3600
        stays = [f".phlox-{machine}-{os.getppid()}-{token}", f".phlox-{'f' * 8}-1-{token}", ".phlox-notes.tmp"]
        goes = [
            f".phlox-{machine}-{gone.pid}-{token}",
            f".phlox-{machine}-{os.getpid()}-{token}",  # of an earlier process of this number
            f".phlox-{machine}-{10**30}-{token}",
            f".phlox-{'f' * 8}-2-{token}",
            f".phlox-{token}",  # of an older version
        ]
        for name in (*stays, *goes):
            path.with_name(name).write_bytes(b"half")
        for name in goes[-2:]:
            os.utime(path.with_name(name), (os.path.getmtime(path) - week,) * 2)
        path.with_name(f".phlox-{machine}-{gone.pid}-{'1' * 16}.tmp").mkdir()  # nobody's file
        weights.save_safetensors(px.Dense(2, 3), path)
        left = sorted(os.listdir(path.parent))
    folder = f".phlox-{machine}-{gone.pid}-{'1' * 16}.tmp"
    assert left == sorted([*stays, folder, mine.name, path.name])


def test_the_content_is_on_the_disk_before_it_takes_the_place(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (calls.append(name), original(*a))[1])
    weights.save_safetensors(px.Dense(2, 3), path)
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


@pytest.mark.parametrize(
    ("name", "expected", "got", "fix"),
    [
        (
            "missing/x",
            r"/missing/x to be in a folder that exists",
            "No such file",
            r"create it: os.makedirs\(.*/missing'",
        ),
        ("model.safetensors/x", r"/model.safetensors to be a folder", "Not a directory", "choose another path"),
        (".", r"to be a file", "Is a directory", "add a file name"),
        ("n" * 300, r"to be readable and writable", "File name too long", "look at the disk and the path"),
        ("link to a device", r"to be a regular file", "something else", "choose another path: it is a device"),
    ],
)
def test_a_path_that_cannot_be_written_is_said_with_a_cure(path, name, expected, got, fix):
    if name == "link to a device":
        (path.parent / name).symlink_to("/dev/null")
    before = sorted(os.listdir(path.parent))
    with pytest.raises(
        weights.FileError, match=rf"(?s)^save_safetensors\(.*expects .*{expected}, got {got}.*fix: {fix}"
    ):
        weights.save_safetensors(px.Dense(2, 3), path.parent / name)
    assert sorted(os.listdir(path.parent)) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "to exist"),
        (".", "to be a file"),
        ("model.safetensors/x", "to be a folder"),
        ("no/x", "that exists"),
    ],
)
def test_a_path_that_cannot_be_read_is_said_with_a_cure(path, name, expected):
    with pytest.raises(
        weights.FileError, match=rf"(?s)^load_safetensors\(.*expects .*{expected}.*, got .*fix: "
    ) as caught:
        weights.load_safetensors(px.Dense(2, 3), path.parent / name)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)


def test_a_file_that_may_not_be_read_says_so(path):
    error = weights.file_error(PermissionError(errno.EACCES, "Permission denied"), path, "load")
    assert str(error).startswith(
        f"load expects {path} to be open to you, got Permission denied\n  fix: change the perm"
    )
    assert error.filename == str(path)


def test_permissions_follow_the_old_file_or_the_mask(path):
    path.chmod(0o640)
    weights.save_safetensors(px.Dense(2, 3), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    mask = os.umask(0o027)
    try:
        weights.save_safetensors(px.Dense(2, 3), path.with_name("fresh"))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.with_name("fresh").stat().st_mode) == 0o640


def test_a_link_is_followed(path):
    link = path.with_name("link")
    link.symlink_to(path)
    weights.save_safetensors(px.Dense(2, 3), link)
    assert link.is_symlink()
    assert weights.load_safetensors(px.Dense(2, 3), path).complete


def half(path):
    with weights.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError


def test_an_exception_of_the_caller_passes_unchanged(path):
    with pytest.raises(ZeroDivisionError):
        half(path)
    assert untouched(path)
