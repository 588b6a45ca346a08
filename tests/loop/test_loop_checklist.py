"""The page of what is expected of a training loop names tests that exist, and gives a reason for what is absent."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "loop-checklist.md").read_text("utf-8").splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("|")][2:]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_has_a_test_or_a_reason(row):
    _, where, shown = row
    if where.startswith("absent"):
        assert len(where.split()) > 5
        assert not shown
        return
    path, name = shown.strip("`").split("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_all_points_are_there():
    assert len(ROWS) == len({row[0] for row in ROWS}) == 52
