"""A resume that fails leaves the checkpoints as they were, and says what there is to resume from."""

import os
import re

import pytest

import phlox as px
from loop.loops import assert_same_bits, batches, mlp
from phlox.weights import FileError

DATA = batches(2)


def fit(folder, net=None, **options):
    given = {"loss": px.losses.cross_entropy, "optimizer": px.optim.Adam(1e-2), "progress": False}
    return px.fit(mlp() if net is None else net, DATA, checkpoint_dir=folder, **(given | options))


def wide():
    return px.Chain(px.Dense(4, 9, px.tanh), px.Dense(9, 3))


def steps(folder):
    return [saved.step for saved in px.CheckpointStore(folder).checkpoints()]


def fails(run):
    raise ZeroDivisionError("mine")


def test_a_resume_with_another_model_or_rule_saves_nothing_and_the_right_one_goes_on(tmp_path):
    fit(tmp_path, epochs=2)
    before = steps(tmp_path)
    with pytest.raises(px.StructureError, match="the arrays of this run's model, got others:") as caught:
        fit(tmp_path, wide(), epochs=4, resume=True)
    assert not getattr(caught.value, "__notes__", [])  # which would tell to go on
    with pytest.raises(px.StructureError, match="the arrays of this run's opt, got others:"):
        fit(tmp_path, epochs=4, resume=True, optimizer=px.optim.Descent(0.1))
    assert steps(tmp_path) == before == [2, 4]
    resumed, whole = mlp(), mlp()
    assert len(fit(tmp_path, resumed, epochs=4, resume=True)) == 4
    px.fit(whole, DATA, loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=4, progress=False)
    assert_same_bits(resumed, whole)


@pytest.mark.parametrize("hook", ["on_fit_start", "on_epoch_start", "on_step_start"])
def test_before_the_first_step_an_exception_saves_nothing(tmp_path, hook):
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, callbacks=[px.LambdaCallback(**{hook: fails})])
    assert steps(tmp_path) == []


def test_a_resume_from_a_name_that_is_none_lists_those_there_are(tmp_path):
    fit(tmp_path, epochs=2)
    text = (
        """px.fit(resume=…) expects the newest checkpoint, "best", or the folder of one, got 'lasst', which does """
        "not exist\n  fix: choose among 0001-step-2, 0002-step-4"
    )
    with pytest.raises(FileError, match=f"^{re.escape(text)}$"):
        fit(tmp_path, epochs=3, resume="lasst")
    assert steps(tmp_path) == [2, 4]
    assert fit(tmp_path, epochs=2, resume="0001-step-2").epochs[-1]["step"] == 4  # by its name alone


def test_a_resume_where_nothing_was_saved_says_that_it_starts_anew(tmp_path, capfd):
    fit(tmp_path / "new", resume=True)
    folder = os.fspath(tmp_path / "new")
    assert capfd.readouterr().err == f"nothing to resume from in {folder!r}: training starts anew\n"
