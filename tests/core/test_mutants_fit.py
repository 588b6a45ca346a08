"""Each seeded bug still fits the source: its original text occurs exactly once, and its tests exist."""

import pytest

from mutants.mutant import ROOT, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda m: m.name)
def test_the_original_text_occurs_once(mutant):
    assert mutant.count() == 1
    assert mutant.original != mutant.replaced
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text("utf-8"), test


def test_every_mutant_has_a_name_of_its_own():
    names = [m.name for m in mutants()]
    assert len(set(names)) == len(names)
