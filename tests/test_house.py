"""What holds the house: each fault that `make lint` is to find, built small, is found."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "house.py"
FILES = {
    "__init__.py": "",
    "core/__init__.py": '"""Below.\n\n_a _b    both\n"""\nfrom phlox.core._a import f\n',
    "core/_a.py": "from phlox.core._b import g\n\n\ndef f(): ...\n",
    "core/_b.py": "def g(): ...\n",
    "nn/__init__.py": '"""Above.\n\n_c        uses below\nroom/     a room\n"""\n',
    "nn/_c.py": "from phlox.core import f\n",
    "nn/room/__init__.py": '"""A room.\n\n_d    something\n"""\n',
    "nn/room/_d.py": "from phlox.nn._c import f\n",
}


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """The script, over a small house of its own; called with what is different, it gives the faults."""
    spec = importlib.util.spec_from_file_location("house", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "house", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "SOURCE", tmp_path / "phlox")

    def found(different):
        for name, text in (FILES | different).items():
            path = tmp_path / "phlox" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return script.faults([script.File(path) for path in sorted(script.SOURCE.rglob("*.py"))])

    return found


LATE = "def g():\n    from phlox.core._a import f\n"
TYPES = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from phlox.core._a import f\n"


@pytest.mark.parametrize(
    ("different", "told"),
    [
        ({}, []),
        ({"core/_b.py": LATE}, ["files import each other in a circle: phlox.core._a, phlox.core._b"]),
        ({"core/_b.py": TYPES}, ["files import each other in a circle: phlox.core._a, phlox.core._b"]),
        ({"nn/_c.py": "from phlox.core._a import f\n"}, 2 * ["phlox.nn._c imports phlox.core._a"]),
        ({"nn/_c.py": "from phlox.core import _a\n"}, ["phlox.nn._c imports phlox.core._a"]),
        ({"nn/_c.py": "from phlox.core import _compat\n"}, []),
        ({"nn/_new.py": ""}, ["nn/__init__.py: its map and its files differ in _new"]),
        ({"nn/new/__init__.py": ""}, ["nn/__init__.py: its map and its files differ in new/"]),
        ({"nn/room/__init__.py": '"""A room.\n\n_d _e    something\n"""\n'}, ["differ in _e"]),
    ],
)
def test_each_fault_is_found(faults, different, told):
    found = faults(different)
    assert len(found) == len(told), found
    for fault, text in zip(found, told, strict=True):
        assert text in fault


def test_a_crowded_room_is_found(faults):
    names = [f"_f{n}" for n in range(23)]
    rows = "\n".join(f"{name}    a file" for name in names)
    room = {f"nn/room/{name}.py": "" for name in [*names, "_d"]}
    (fault,) = faults(room | {"nn/room/__init__.py": f'"""A room.\n\n_d    one\n{rows}\n"""\n'})
    assert fault.startswith("nn/room/ holds 24 files, 22 at most")
