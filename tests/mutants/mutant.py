"""A mutant: one seeded bug, and the tests that must catch it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src" / "phlox"


@dataclass(frozen=True)
class Mutant:
    """``original`` stands exactly once in ``file``; with ``replaced`` in its place, one of ``tests`` must fail."""

    name: str
    file: str  # below src/phlox
    original: str
    replaced: str
    tests: tuple[str, ...]  # pytest ids

    @property
    def areas(self) -> set[str]:
        """The areas whose environments its tests need; none for those of the suite."""
        return {test.split("/")[2] for test in self.tests if test.startswith("tests/areas/")}

    def count(self, source: Path = SOURCE) -> int:
        """How often the original text occurs."""
        path = source / self.file
        return path.read_text(encoding="utf-8").count(self.original) if path.exists() else 0


def mutants() -> list[Mutant]:
    """All mutants of the files ``seeds_*.py`` beside this one, each of which holds a list ``MUTANTS``."""
    found: list[Mutant] = []
    for path in sorted(HERE.glob("seeds_*.py")):
        spec = importlib.util.spec_from_file_location(f"mutants_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [Mutant(*row) for row in module.MUTANTS]
    return found
