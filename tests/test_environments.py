"""Groups of packages and areas: a table has them all, a lock holds no host, and areas were run as they are now."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "requirements" / "README.md").read_text("utf-8")
LOCKS = sorted((ROOT / "requirements").rglob("*.txt"))


@pytest.fixture(scope="module")
def area():
    """scripts/area.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("area")


def test_the_table_has_every_group_and_every_group_a_lock():
    rows = set(re.findall(r"^\| `([\w-]+)` \|", TABLE, re.MULTILINE))
    wanted = {path.stem for path in (ROOT / "requirements").glob("*.in")}
    assert rows == wanted | {"latest"}
    assert {path.with_suffix(".in") for path in LOCKS} == set((ROOT / "requirements").rglob("*.in"))


def test_what_the_commands_install_is_in_the_table():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| `(\S+)` \|", TABLE, re.MULTILINE))
    for venv, group in re.findall(r"scripts/install (\S+) (\S+)", makefile):
        assert rows[group] == venv.replace("$(VENV)", ".venv")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_names_versions_and_hashes_and_nothing_else(lock):
    line = r"[A-Za-z0-9._-]+==[\w.!+-]+( ; [^/@]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"
    for text in lock.read_text("utf-8").splitlines():
        assert re.fullmatch(line, text), text


@pytest.mark.parametrize(
    "lock",
    sorted(p for place in ("tests", "examples") for p in (ROOT / place).rglob("package-lock.json")),
    ids=lambda p: p.parent.name,
)
def test_a_lock_of_npm_holds_versions_and_hashes_and_no_address(lock):
    text = lock.read_text("utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    wanted = json.loads(lock.with_name("package.json").read_text("utf-8"))["dependencies"]
    assert packages.pop("")["dependencies"] == wanted
    for name, entry in packages.items():
        assert re.fullmatch(r"sha512-[\w+/=]{88}", entry["integrity"]), name
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_what_is_beside_the_locks_is_of_groups_in_the_table_and_in_no_lock():
    rows = [row for row in (ROOT / "requirements" / "unlocked").read_text("utf-8").splitlines() if row[0] != "#"]
    groups = {path.stem for path in LOCKS}
    for group, *packages in (row.split() for row in rows):
        assert group in groups
        assert packages[0].startswith("torch==")
        for package in packages:
            name, version = package.split("==")
            assert re.fullmatch(r"[\d.]+", version)
            assert all(f"\n{name}==" not in "\n" + lock.read_text("utf-8") for lock in LOCKS), name


def test_packages_of_both_locks_have_one_version():
    """What builds phlox-cpu for the tests builds it for a release; the quickstart runs what the tests run."""
    versions = {path.stem: dict(re.findall(r"^(\S+)==(\S+)", path.read_text("utf-8"), re.MULTILINE)) for path in LOCKS}
    assert versions["run"].items() <= versions["dev"].items()
    for name in ("jaxlib", "scikit-build-core", "onednn-cpu-gomp", "onednn-devel-cpu-gomp"):
        assert versions["release"][name] == versions["dev"][name], name


def test_each_area_has_tests_and_a_purpose(area):
    assert area.areas()
    assert {a.name for a in area.areas()} == {
        path.parent.name for path in (ROOT / "tests" / "areas").glob("*/conftest.py")
    }
    for one in area.areas():
        assert list(one.tests.glob("test_*.py"))
        assert one.wanted.read_text("utf-8").startswith("# ")
        assert re.fullmatch(r"[\w.-]+ [\d.]+(, [\w.@/-]+ [\d.]+)*", one.peer)


def test_each_area_was_run_as_it_is_now(area):
    rows = re.findall(
        r"^\| (\S+) \| (\d{4}-\d\d-\d\d) \| (.+?) \| (\d+ passed.*?) \| `(\w+)` \|$", area.PAGE.read_text("utf-8"), re.M
    )
    assert [row[0] for row in rows] == [one.name for one in area.areas()]
    for one, (name, _, peer, result, digest) in zip(area.areas(), rows, strict=True):
        assert (peer, digest) == (one.peer, one.digest()), f"make test-area AREA={name}, as it has changed since"
        assert "failed" not in result


def test_a_run_is_entered_in_its_row(area, tmp_path, monkeypatch):
    page = tmp_path / "areas.md"
    head = "# Title\n\n| area | run on | with | result | digest |\n|---|---|---|---|---|\n"
    page.write_text(
        head + "| tensorflow | 2020-01-01 | old | 1 passed | `0` |\n| zoo | 2020-01-01 | z | 1 passed | `1` |\n"
    )
    monkeypatch.setattr(area, "PAGE", page)
    one = area.Area("tensorflow")
    area.write(one, "===== 21 passed, 1 skipped in 20.10s (0:00:20) =====")
    lines = page.read_text().removeprefix(head).splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        rf"\| {one.name} \| 20\d\d-\d\d-\d\d \| {re.escape(one.peer)} \| 21 passed, 1 skipped \| `{one.digest()}` \|",
        lines[0],
    )
    assert lines[1].startswith("| zoo |")


def test_the_digest_sees_the_packages_and_every_test(area, tmp_path, monkeypatch):
    monkeypatch.setattr(area, "ROOT", tmp_path)
    one = area.Area("zoo")
    for folder in (one.tests, one.lock.parent):
        folder.mkdir(parents=True)
    one.lock.write_text("a==1")
    unlocked = tmp_path / "requirements" / "unlocked"
    unlocked.write_text("# b==0\nzoological b==1\n")
    (one.tests / "test_a.py").write_text("x")
    seen = [one.digest()]
    (one.tests / "test_a.py").write_text("y")
    seen.append(one.digest())
    (one.tests / "test_b.py").write_text("")
    seen.append(one.digest())
    one.lock.write_text("a==2")
    seen.append(one.digest())
    (one.tests / "package.json").write_text('{"dependencies": {"b": "1"}}')
    seen.append(one.digest())
    unlocked.write_text("zoological b==1\nzoo     b==2\n")
    seen.append(one.digest())
    assert len(set(seen)) == 6


@pytest.mark.parametrize(("arguments", "status"), [([], 0), ([""], 0), (["nowhere"], 1)])
def test_without_a_known_name_the_areas_are_listed(arguments, status, area):
    command = [sys.executable, ROOT / "scripts" / "area.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status
    assert ("there is no area nowhere" in done.stdout) == bool(status)
    for one in area.areas():
        assert f"  {one.name:<14} {one.purpose}" in done.stdout


def test_an_unknown_group_is_not_installed(tmp_path):
    done = subprocess.run(
        ["scripts/install", str(tmp_path / "venv"), "nothing"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there is no group nothing" in done.stderr
    assert not (tmp_path / "venv").exists()
