"""Errors that teach: real mistakes, the whole text that each gives, and models that come out of it unharmed."""

import runpy
from pathlib import Path

import jax
import pytest

import phlox as px
from core.mistakes import MISTAKES, Mistake, arrays, make, unchanged

ROOT = Path(__file__).resolve().parents[2]
made = [(mistake, way) for mistake in MISTAKES for way in mistake.runs]


@pytest.mark.parametrize(("mistake", "way"), made, ids=[f"{mistake} {way}" for mistake, way in made])
def test_a_mistake_gives_its_whole_text_and_harms_nothing(mistake: Mistake, way: str):
    failure = make(mistake, way)
    assert failure is not None, "nothing was raised"
    assert failure.text == mistake.text
    _in_four_parts(failure.error)
    after = arrays(failure.space)
    for path, array in after.items():
        assert not isinstance(array, jax.core.Tracer), f"a tracer is left in {path}"
    if mistake.keeps:
        assert list(after) == list(failure.before)
        for path, array in after.items():
            assert not array.is_deleted(), path
            assert unchanged(array, failure.before[path]), path


def _in_four_parts(error: BaseException) -> None:
    """Where, expected, got, fix: each is there, and none is said in the words of JAX's internals."""
    if not isinstance(error, px.PhloxError):
        return
    assert error.where
    assert error.expected
    assert error.got
    assert error.fix
    for word in ("Tracer", "ArrayImpl", "PyTreeDef", "<object", " at 0x"):
        assert word not in str(error)


def test_the_watch_sees_what_a_mistake_could_leave_behind():
    """The check above cannot pass by looking away: arrays in any container, a changed value, a new one, a tracer."""
    given = "model, kept = px.Chain(px.Dense(2, 2)), {1: [jnp.zeros(2)], 2: deque([jnp.zeros(1)])}"
    harm = Mistake(
        "harm",
        "",
        given=given,
        do="""
        model[0].weight = model[0].weight + 1.0
        model.extra = [jnp.ones(1)]
        jax.vmap(lambda x: kept[1].append(x))(jnp.ones(3))
        raise KeyError
        """,
        text="KeyError: ",
        ways="as written",
    )
    failure = make(harm, "as written")
    assert failure is not None
    assert failure.text == harm.text
    after = arrays(failure.space)
    assert set(after) - set(failure.before) == {"model.extra.0", "kept.1.1"}
    assert isinstance(after["kept.1.1"], jax.core.Tracer)
    changed = [path for path, x in failure.before.items() if not unchanged(x, after[path])]
    assert changed == ["model.layers.0.weight"]
    assert make(Mistake("none", "", do="px.Dense(2, 2)", text="", ways="as written"), "as written") is None


def test_the_table_is_one_of_different_mistakes():
    codes = [mistake.code for mistake in MISTAKES]
    assert len(codes) == len(set(codes)) >= 45
    programs = [(mistake.given, mistake.do) for mistake in MISTAKES]
    assert len(programs) == len(set(programs))


def test_every_class_of_error_is_in_the_table():
    classes = {c.__name__ for c in px.PhloxError.__subclasses__() if c.__module__.startswith("phlox.core.")}
    classes -= {"ExportError", "MissingExtraError"}  # of the folders above
    assert classes <= {mistake.text.partition(":")[0] for mistake in MISTAKES}


def test_the_catalogue_is_generated_from_the_table():
    page = runpy.run_path(str(ROOT / "docs" / "generate_errors.py"))["page"]
    assert (ROOT / "docs" / "errors.md").read_text("utf-8") == page()
