"""The benchmark of models of text: both sides do equal work, and who does other work is told."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kit import oracle

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def language():
    """Loaded by its path, as it is a script."""
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("language_benchmark", BENCHMARKS / "language.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def races(language):
    """What scripts about one saved model share, which ``language`` imports."""
    return sys.modules["_saved_models"]


def test_both_sides_have_one_loss_which_falls(language, races, tmp_path):
    torch = oracle("torch")
    oracle("transformers")
    threads = torch.get_num_threads()
    assert language.write("gpt2", tmp_path, language.QUICK) == 200 * 32 + 1024 * 32 + 12 * 32**2 + 13 * 32 + 2 * 32
    found = {}
    for side, form in ((language.with_phlox, "Phlox"), (language.with_torch, "transformers, eager")):
        calm, step = side(language.FORMS[form], tmp_path, "training")
        before = calm()
        for _ in range(3):
            step()
        found[form] = SimpleNamespace(ready={"loss": before, "after": calm()})
    torch.set_num_threads(threads)
    assert races.unequal(found, learns=True) == {}


def test_other_work_is_told(races):
    made = lambda loss, after: SimpleNamespace(ready={"loss": loss, "after": after})  # noqa: E731
    ready = {"a": made(2.0, 1.0), "b": made(2.1, 1.0), "c": made(2.0, 2.0), "d": made(2.0005, 1.5)}
    assert list(races.unequal(ready, learns=True)) == ["b", "c"]
    assert list(races.unequal(ready, learns=False)) == ["b"]
    assert "2.1" in races.unequal(ready, learns=False)["b"]


def test_the_faster_of_our_forms_meets_the_fastest_of_theirs(language, races):
    times = dict(zip(language.FORMS, ([4.0], [2.0], [8.0], [2.5]), strict=True))
    race = races.Race("x", times, dict.fromkeys(times, None), dict.fromkeys(times, 1.0))
    (bar,) = races.Results("language", language.FORMS, [race], []).bars()
    assert bar.value == 0.8
    assert "Phlox, memory kept, against transformers, torch.compile" in bar.what
