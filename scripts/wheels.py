"""Look a wheel and an sdist over: what is in them, and what they say of themselves, against the project they are of."""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

_TEST = re.compile(r"(^|/)(tests?/|test_[^/]*$|conftest\.py$|__pycache__/)")


def project_of(folder: Path) -> dict[str, Any]:
    """The project table of a folder's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


def problems(wheel: Path, folder: Path, package: str) -> list[str]:
    """All that is wrong with a wheel of the project in ``folder``, whose code is ``package``, a folder of that name."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    (info,) = {name.split("/")[0] for name in files if name.split("/")[0].endswith(".dist-info")}
    metadata = email.message_from_string(files[f"{info}/METADATA"].decode())
    return [
        *_record(files, f"{info}/RECORD"),
        *_contents(files, folder, package, info),
        *_metadata(metadata, project_of(folder), folder),
        *_licenses(files, metadata, folder, info),
    ]


def problems_of_sdist(sdist: Path, folder: Path) -> list[str]:
    """What an sdist of the project lacks, or should not hold. That it builds is seen by building the wheel from it."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"PKG-INFO", "pyproject.toml", project_of(folder)["readme"], *project_of(folder)["license-files"]}
    found = [f"{sdist.name} lacks {name}" for name in sorted(wanted - names)]
    return found + [
        f"{sdist.name} holds {n}" for n in sorted(names) if re.search(r"(^|/)(\.venv|\.git/|__pycache__)", n)
    ]


def _record(files: dict[str, bytes], record: str) -> list[str]:
    """Every file is listed once, with its hash and size."""
    rows = {path: (digest, size) for path, digest, size in csv.reader(io.StringIO(files[record].decode()))}
    found = [f"RECORD lists {path}, which is not there" for path in sorted(rows.keys() - files.keys())]
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if path != record and rows.get(path) != (f"sha256={digest}", str(len(content))):
            found.append(f"RECORD has another hash or size of {path}, or none")
    return found


def _contents(files: dict[str, bytes], folder: Path, package: str, info: str) -> list[str]:
    """The package, all of it, and nothing else: no tests, no caches, no path of the machine that built it."""
    source = next(path for path in (folder / "src" / package, folder / package) if path.is_dir())
    wanted = {
        f"{package}/{p.relative_to(source).as_posix()}"
        for p in source.rglob("*")
        if p.suffix == ".py" or p.name == "py.typed"
    }
    found = [f"{name} is missing" for name in sorted(wanted - files.keys())]
    found += [f"{name} does not belong in it" for name in files if name.split("/")[0] not in (package, info)]
    found += [f"{name} is for tests" for name in files if _TEST.search(name)]
    here = str(folder.resolve()).encode()
    return found + [f"{name} names the folder it was built in" for name, content in files.items() if here in content]


def _metadata(metadata: Message, project: dict[str, Any], folder: Path) -> list[str]:
    """What the project says of itself has come through."""
    wanted = {
        "Name": [project["name"]],
        "Version": [project["version"]],
        "Summary": [project["description"]],
        "Requires-Python": [",".join(sorted(project["requires-python"].split(",")))],
        "License-Expression": [project["license"]],
        "Description-Content-Type": ["text/markdown"],
        "Provides-Extra": sorted(project.get("optional-dependencies", {})),
    }
    said = {key: sorted(metadata.get_all(key) or []) for key in wanted}
    said["Requires-Python"] = [",".join(sorted(text.replace(" ", "").split(","))) for text in said["Requires-Python"]]
    found = [f"{key} is {said[key]}, the project says {wanted[key]}" for key in wanted if said[key] != wanted[key]]
    plain = [text for text in metadata.get_all("Requires-Dist") or [] if "extra ==" not in text]
    if len(plain) != len(project["dependencies"]):
        found.append(f"it requires {plain}, the project {project['dependencies']}")
    if str(metadata.get_payload()).strip() != (folder / project["readme"]).read_text("utf-8").strip():
        found.append(f"its description is not {project['readme']}")
    return found


def _licenses(files: dict[str, bytes], metadata: Message, folder: Path, info: str) -> list[str]:
    """Each licence is named, and is the project's word by word."""
    named = metadata.get_all("License-File") or []
    found = [] if "LICENSE" in named else ["it names no LICENSE"]
    for name in named:
        if files.get(f"{info}/licenses/{name}") != (folder / name).read_bytes():
            found.append(f"{name} is not the project's, or not there")
    return found
