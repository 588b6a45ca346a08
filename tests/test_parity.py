"""docs/parity.md against the code: PyTorch's names are all there, ours exist, and the tests it cites use them."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import runpy
import types
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import phlox as px
from kit import TOLERANCE, oracle
from registry import BY_NAME

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = runpy.run_path(str(ROOT / "docs" / "generate_parity.py"), run_name="generate_parity")
SOURCES, EVIDENCE = PROGRAM["SOURCES"], PROGRAM["EVIDENCE"]
ROWS = [(source.title, row) for source in SOURCES for row in source.rows]
PRESENT = [row for _, row in ROWS if row.ours]
ROOTS = {"px": px, "jax": jax, "jnp": jnp, "optax": optax}
LIBRARIES = {"PyTorch": "torch", "SciPy": "scipy", "scikit-learn": "sklearn", "NumPy": "numpy", "optax": "optax"}


def resolve(path: str) -> Any:
    """What a dotted name stands for."""
    root, *names = path.split(".")
    return functools.reduce(getattr, names, ROOTS[root])


def names(title: str) -> set[str]:
    """Every name that a table has."""
    return {name for source, row in ROWS if source == title for name in row.names}


# --- their names ------------------------------------------------------------------------------------


def defined_in(module: Any, prefix: str = "") -> set[str]:
    """What a module of torch defines itself and does not hide."""
    own = {n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    return {prefix + name for name in own if not name.startswith("_")}


def names_of_torch_nn() -> set[str]:
    """Classes, the submodules that hold layers of their own, and what init and utils offer."""
    nn = oracle("torch").nn
    has_a_table = {"functional", "init", "utils"}
    plumbing = {"modules", "common_types", "parameter", "grad"}
    found = {n for n in dir(nn) if inspect.isclass(getattr(nn, n)) or isinstance(getattr(nn, n), types.ModuleType)}
    found = {n for n in found if not n.startswith("_")} - has_a_table - plumbing
    submodules = {"rnn", "parametrizations", "parametrize", "stateless", "prune"}
    found |= {n for n in defined_in(nn.init) if callable(getattr(nn.init, n))} | set(nn.utils.__all__) - submodules
    for name in sorted(submodules):
        found |= defined_in(importlib.import_module(f"torch.nn.utils.{name}"), f"{name}.")
    return found


def names_of_torch_functional() -> set[str]:
    """Functions, without those of ``typing`` that its module imports."""
    functional = oracle("torch").nn.functional
    members = {n: getattr(functional, n) for n in dir(functional) if not n.startswith("_")}
    called = {n: v for n, v in members.items() if callable(v) and not inspect.isclass(v)}
    return {n for n, v in called.items() if getattr(v, "__module__", None) != "typing"}


def names_of_torch_optim() -> set[str]:
    """Optimisers, and what the two submodules offer under their names."""
    optim = oracle("torch").optim
    submodules = {"lr_scheduler", "swa_utils"}
    found = set(optim.__all__) - submodules
    for name in sorted(submodules):
        found |= {f"{name}.{n}" for n in getattr(optim, name).__all__}
    return found


@pytest.mark.parametrize(
    ("title", "theirs"),
    [
        ("torch.nn", names_of_torch_nn),
        ("torch.nn.functional", names_of_torch_functional),
        ("torch.optim", names_of_torch_optim),
    ],
)
def test_the_table_has_the_names_that_pytorch_has(title, theirs):
    ours, theirs = names(title), theirs()
    assert not theirs - ours, "names of PyTorch without a row"
    assert not ours - theirs, "rows whose name PyTorch does not have"


@pytest.mark.parametrize("title", [source.title for source in SOURCES])
def test_a_name_stands_once(title):
    count = Counter(name for source, row in ROWS if source == title for name in row.names)
    assert [name for name, n in count.items() if n > 1] == []


# --- our names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", PRESENT, ids=lambda row: row.names[0])
def test_our_name_is_public_and_resolves(row):
    found = resolve(row.path)
    root, _, last = row.path.rpartition(".")
    holder = resolve(root)
    assert inspect.isclass(holder) or last in holder.__all__
    for keyword in re.findall(r"(\w+)=", row.ours):
        assert keyword in inspect.signature(found).parameters, f"{row.ours}: no argument {keyword}"


def test_one_thing_has_one_spelling():
    """``px.relu`` and ``px.nn.functional.relu`` are one function, and the page calls it by one name."""
    spellings: dict[int, set[str]] = {}
    for path in {row.path for row in PRESENT} | set(EVIDENCE):
        spellings.setdefault(id(resolve(path)), set()).add(path)
    assert [found for found in spellings.values() if len(found) > 1] == []


def test_names_in_notes_and_differences_resolve():
    texts = [row.note for _, row in ROWS] + [b for s in SOURCES for part in s.sections for b in part.bites]
    texts += PROGRAM["AREAS"].values()
    found = {name for text in texts for name in re.findall(r"`((?:px|jax|jnp|optax)(?:\.\w+)+)", text)}
    assert len(found) > 40
    for name in sorted(found):
        resolve(name)


def test_short_names_in_notes_are_public_functions_of_ours():
    """`mean_pool_2` in a note would be no name of ours; what is no name is an option, a keyword or theirs."""
    plain = {n for row in PRESENT for n in re.findall(r"`(pad_\w+|\w+_norm_train|max_pool\w*)`", row.note)}
    assert len(plain) > 5
    assert plain <= set(px.nn.functional.__all__)


@pytest.mark.parametrize("row", [row for _, row in ROWS if not row.ours], ids=lambda row: row.names[0])
def test_what_is_missing_says_why(row):
    if row.area:
        assert row.area in PROGRAM["AREAS"]
    else:
        assert row.note
    for name in row.names:  # a name that is here by now is no longer missing
        if row.area in ("attention", "recurrence", "metrics"):
            assert not any(hasattr(place, name) for place in (px, px.nn, px.nn.functional, px.optim)), name


# --- what they are tested against -------------------------------------------------------------------


def test_every_name_has_evidence_and_no_evidence_is_idle():
    assert {row.path for row in PRESENT} == set(EVIDENCE)


def imported(tree: ast.Module) -> dict[str, Any]:
    """What a test file calls modules and objects of Phlox."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: importlib.import_module(a.name) for a in node.names if a.asname and "phlox" in a.name}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("phlox"):
            home = importlib.import_module(node.module or "")
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                value = getattr(home, alias.name, None)
                found[alias.asname or alias.name] = importlib.import_module(inside) if value is None else value
    return found


@functools.cache
def used(file: str) -> tuple[set[int], set[str], set[str]]:
    """A test file's objects of Phlox by identity, its attributes by name, and its texts."""
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    known = imported(tree)
    objects = {id(v) for v in known.values()}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return known.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(value(node.value), node.attr, None)
        return None

    attributes = {node.attr: node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            objects.add(id(value(node)))
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return objects, set(attributes), texts


@pytest.mark.parametrize("path", EVIDENCE)
def test_the_cited_test_uses_the_name(path):
    """The object itself, or its name as a text (for ``getattr``); a method by its name."""
    evidence = EVIDENCE[path]
    file = ROOT / "tests" / evidence.file
    assert file.is_file()
    objects, attributes, texts = used(evidence.file)
    last = path.rpartition(".")[2]
    is_method = inspect.isclass(resolve(path.rpartition(".")[0]))
    known = id(resolve(path)) in objects or (evidence.text or last) in texts or (is_method and last in attributes)
    assert known, f"{evidence.file} does not use {path}"
    assert re.search(r"^def test_|\bCase\(", file.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", EVIDENCE)
def test_the_cited_oracle_is_used_and_the_tolerance_is_that_of_the_file(path):
    evidence = EVIDENCE[path]
    text = (ROOT / "tests" / evidence.file).read_text("utf-8")
    for library, module in LIBRARIES.items():
        if library in evidence.against:
            assert re.search(rf"\b{module}\b", text), f"{evidence.file} does not use {library}"
    if evidence.case:
        assert BY_NAME[evidence.case].twin is not None
    for tolerance in evidence.tolerance:
        dtype, _, scale = tolerance.partition("×")
        if scale:
            assert f"scale={scale}" in text
        if dtype in TOLERANCE:
            assert evidence.case or re.search(r"assert_close|against_torch", text)
            assert dtype != "float64" or re.search(r"enable_x64|double", text)
        elif re.fullmatch(r"1e-\d+", tolerance):
            assert re.search(rf"(rtol|atol|rel)={tolerance}\b", text)
        else:
            assert tolerance in ("exact", "statistics")


# --- the page ---------------------------------------------------------------------------------------


def test_the_page_is_what_its_program_writes():
    assert (ROOT / "docs" / "parity.md").read_text("utf-8") == PROGRAM["page"]()


def test_the_counts_add_up():
    page = PROGRAM["page"]()
    counts = [tuple(map(int, m)) for m in re.findall(r"(\d+) names: (\d+) present, (\d+) not yet, (\d+) absent", page)]
    total, per_source = counts[len(SOURCES)], counts[: len(SOURCES)]
    assert total == tuple(map(sum, zip(*per_source, strict=True)))
    assert all(n == a + b + c for n, a, b, c in counts)
    assert total[0] == sum(len(row.names) for _, row in ROWS)
