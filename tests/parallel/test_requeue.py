"""A job that Slurm puts into its queue again, by a scontrol that notes what it is told."""

import os
import signal

import jax.numpy as jnp
import pytest

import phlox as px
from phlox.parallel import requeue


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A job 4097 with a scontrol of its own; what it was told, line by line."""
    told, path = tmp_path / "told", tmp_path / "bin" / "scontrol"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "$@" >> {told}\n[ "$2" != 13 ] || {{ echo "Job is gone" >&2; exit 1; }}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "4097")
    monkeypatch.setenv("PHLOX_REQUEUE", "1")
    return lambda: told.read_text().splitlines() if told.exists() else []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_behind_a_notice_the_job_is_put_into_the_queue(scontrol, capsys, number):
    assert requeue(SystemExit(128 + number), "px.fit")
    assert scontrol() == ["requeue 4097"]
    assert capsys.readouterr().err == "px.fit: job 4097 is in Slurm's queue again\n"


@pytest.mark.parametrize(
    "error", [None, KeyboardInterrupt(), ValueError(), SystemExit(0), SystemExit(1), SystemExit(130)]
)
def test_other_ends_are_ends(scontrol, error):
    assert not requeue(error, "px.fit")
    assert scontrol() == []


@pytest.mark.parametrize(("name", "value"), [("PHLOX_REQUEUE", "0"), ("PHLOX_REQUEUE", None), ("SLURM_JOB_ID", None)])
def test_only_where_it_is_asked_for_and_there_is_a_job(scontrol, monkeypatch, name, value):
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert not requeue(SystemExit(143), "px.fit")
    assert scontrol() == []


def test_a_refusal_is_said(scontrol, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert not requeue(SystemExit(143), "px.fit")
    told = "px.fit: job 13 could not be put into Slurm's queue again: Job is gone\n"
    assert capsys.readouterr().err == told
    monkeypatch.setenv("PATH", "")
    assert not requeue(SystemExit(143), "px.fit")
    assert "could not be put into Slurm's queue again: " in capsys.readouterr().err


# --- a training --------------------------------------------------------------------------------------


class Notices(px.Callback):
    """A notice comes behind the second step."""

    def __init__(self, number):
        self.number = number

    def on_step_end(self, run):
        if run.step == 2:
            os.kill(os.getpid(), self.number)


def trained(folder, *callbacks):
    with px.seed(0):
        model = px.Chain(px.Dense(2, 3, px.tanh), px.Dense(3, 1))
    batches = [(jnp.ones((4, 2)), jnp.ones((4, 1)))] * 3
    given = dict(loss=px.losses.mse, optimizer=px.optim.Adam(0.1), epochs=2, progress=False)
    px.fit(model, batches, **given, callbacks=callbacks, checkpoint_dir=folder, resume=True)
    return model


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_training_saves_is_queued_again_and_ends_with_the_notice_s_status(scontrol, tmp_path, capsys, name):
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as caught:
        trained(tmp_path / "run", Notices(number))
    assert caught.value.code == 128 + number
    assert scontrol() == ["requeue 4097"]
    assert px.CheckpointStore(tmp_path / "run").newest().step == 2
    told = capsys.readouterr().err
    order = [
        told.index(text) for text in (f"{name}: saving at the end of this step", "saved up to step 2", "Slurm's queue")
    ]
    assert order == sorted(order)
    assert signal.getsignal(number) is signal.SIG_DFL
    resumed, straight = trained(tmp_path / "run"), trained(tmp_path / "straight")
    assert all((a == b).all() for a, b in zip(px.paths(resumed).values(), px.paths(straight).values(), strict=True))


def test_outside_of_slurm_sigusr1_is_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        trained(tmp_path / "run", Notices(signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
