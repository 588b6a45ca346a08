"""Both packages: what they say of themselves agrees, and a wheel with a mistake is not let through."""

import base64
import csv
import hashlib
import importlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheels():
    """scripts/wheels.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("wheels")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Phlox as it is released."""
    folder = tmp_path_factory.mktemp("dist")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def test_the_wheel_of_phlox_is_right(wheels, wheel):
    assert wheels.problems(wheel, ROOT, "phlox") == []
    assert wheel.name == f"phlox-{wheels.project_of(ROOT)['version']}-py3-none-any.whl"


def test_both_packages_say_the_same(wheels):
    ours, kernels = wheels.project_of(ROOT), wheels.project_of(ROOT / "native")
    for key in ("version", "license", "license-files", "requires-python"):
        assert ours[key] == kernels[key], key
    assert (ROOT / "native" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert set(kernels["dependencies"]) <= set(ours["dependencies"])
    first, *others, last = re.findall(r"Python :: (3\.\d+)", " ".join(ours["classifiers"]))
    assert f"Python {', '.join([first, *others])} or {last}" in (ROOT / "README.md").read_text("utf-8")


def signed(files):
    """The record of a wheel's files, as it should be."""
    rows = io.StringIO()
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        csv.writer(rows).writerow([path, f"sha256={digest}", len(content)])
    return rows.getvalue()


def changed(wheel, folder, change, sign=True):
    """A copy of a wheel after ``change(files)``, its record written anew."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record = next(name for name in files if name.endswith("RECORD"))
    kept = files.pop(record)
    change(files)
    files[record] = (signed(files) + f"{record},,\r\n").encode() if sign else kept
    path = folder / wheel.name
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def named(files, end):
    return next(name for name in files if name.endswith(end))


def instead(end, old, new):
    """A change of one text within one file."""

    def change(files):
        name = named(files, end)
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


LICENSE = "LICENSE is not the project's, or not there"
HERE = str(ROOT).encode()
MISTAKES = {
    "nothing": (lambda files: None, None),
    "a test inside": (lambda files: files.update({"phlox/test_dense.py": b""}), "phlox/test_dense.py is for tests"),
    "tests beside": (lambda files: files.update({"tests/kit.py": b""}), "tests/kit.py does not belong in it"),
    "a file missing": (lambda files: files.pop("phlox/py.typed"), "phlox/py.typed is missing"),
    "no licence": (lambda files: files.pop(named(files, "licenses/LICENSE")), LICENSE),
    "another licence": (instead("licenses/LICENSE", b"Apache", b"Apatch"), LICENSE),
    "no licence named": (instead("METADATA", b"License-File: LICENSE\n", b""), "it names no LICENSE"),
    "a version": (instead("METADATA", b"\nVersion: ", b"\nVersion: 9."), "Version is ['9."),
    "a Python": (instead("METADATA", b"<3.14", b"<4"), "Requires-Python is ["),
    "an extra": (instead("METADATA", b"Provides-Extra: tables\n", b""), "Provides-Extra is ["),
    "a dependency": (instead("METADATA", b"Requires-Dist: optax>=0.2.5\n", b""), "it requires ["),
    "the README": (instead("METADATA", b"# Phlox", b"# Flox"), "its description is not README.md"),
    "a path": (lambda files: files.update({"phlox/_made.py": b"# from " + HERE}), "phlox/_made.py names the folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wheel_with_a_mistake_is_not_let_through(mistake, wheels, wheel, tmp_path):
    change, said = MISTAKES[mistake]
    found = wheels.problems(changed(wheel, tmp_path, change), ROOT, "phlox")
    assert found == [] if said is None else any(problem.startswith(said) for problem in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (instead("_dense.py", b"x", b"y"), r"RECORD has another hash or size of phlox/nn/features/_dense.py, or none"),
        (lambda files: files.update({"phlox/new.py": b""}), "RECORD has another hash or size of phlox/new.py, or none"),
        (lambda files: files.pop("phlox/__main__.py"), "RECORD lists phlox/__main__.py, which is not there"),
    ],
)
def test_a_record_that_does_not_hold(change, said, wheels, wheel, tmp_path):
    found = wheels.problems(changed(wheel, tmp_path, change, sign=False), ROOT, "phlox")
    assert said in found


def test_an_sdist_without_its_licence(wheels, tmp_path):
    path = tmp_path / "phlox-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("PKG-INFO", "pyproject.toml", "README.md", "src/phlox/__pycache__"):
            archive.addfile(tarfile.TarInfo(f"phlox-0.1.0/{name}"))
    found = wheels.problems_of_sdist(path, ROOT)
    assert found == ["phlox-0.1.0.tar.gz lacks LICENSE", "phlox-0.1.0.tar.gz holds src/phlox/__pycache__"]


@pytest.mark.parametrize(
    ("page", "status", "said"),
    [
        ("```python\nprint(1 + 1)\n```\n```text\n2\n```\n", 0, "1 blocks print what stands below them"),
        ("```python\nprint(1 + 1)\n```\n```text\n3\n```\n", 1, "- 3\n+ 2"),
        ("```python\nprint(1 + 1)\n```\n", 1, "1 blocks of code, 0 with what they print below"),
        ("nothing", 1, "0 blocks of code"),
    ],
)
def test_a_page_is_run(page, status, said, tmp_path):
    (tmp_path / "page.md").write_text(page)
    command = [sys.executable, "-I", ROOT / "scripts" / "readme.py", "page.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, said in done.stdout) == (status, True), done.stdout + done.stderr
