"""Trainings of several processes in which something goes wrong; what each process saw goes to a file.

``failures.py SCENARIOS FOLDER [SEED KILLS]``, by ``phlox launch --restarts``.
"""

import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import phlox as px
from phlox.core import is_key

warnings.filterwarnings("ignore", message=".*process 0 .* keeps the others waiting")  # it writes every third step
FOLDER, START = Path(sys.argv[2]), int(os.environ.get("PHLOX_RESTART", "0"))
if sys.argv[1] == "preempted":  # JAX's own start, with its service for preemption
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    place = {name: os.environ[f"PHLOX_{name.upper()}"] for name in ("coordinator", "processes", "process")}
    jax.distributed.initialize(place["coordinator"], int(place["processes"]), int(place["process"]))
else:
    beat = {"many_kills": 5, "stopped": 2, "first_stopped": 2}.get(sys.argv[1], 30)  # long where nobody is to be missed
    px.parallel.initialize(timeout=120, heartbeat=beat, hang=4 if sys.argv[1] == "hanging" else 600)
ME, COUNT = jax.process_index(), jax.process_count()
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 4)).astype("f"), RNG.integers(0, 3, 24)
STEPS = 60


def network():
    with px.seed(0):
        return px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))


def fitted(data=(X, Y), **more):
    model = network()
    given = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), batch_size=8, progress=False)
    history = px.fit(model, data, parallel=px.parallel.data_parallel(), **{**given, **more})
    return model, history


def told(model, history):
    """Every bit of what a training ends with."""
    bare = {path: jax.random.key_data(v) if is_key(v) else v for path, v in px.paths(model).items()}
    weights = {path: np.asarray(v).tobytes().hex() for path, v in bare.items()}
    return {"losses": history.losses.tolist(), "weights": weights}


def kill_me():
    os.kill(os.getpid(), signal.SIGKILL)


class At(px.Callback):
    """Behind a step, one process does something."""

    def __init__(self, step, act, process=1):
        self.step, self.act, self.process = step, act, process

    def on_step_end(self, run):
        if run.step == self.step and self.process == ME:
            self.act()


# --- killed, and gone on with ------------------------------------------------------------------------


def restarted():
    """In the first start a training that nothing disturbs, and one that is killed; in the second its rest."""
    found = {}
    if START == 0:
        straight = told(*fitted(steps=9))
        (FOLDER / f"straight.{ME}").write_text(json.dumps(straight))
        fitted(
            steps=9,
            callbacks=[At(5, kill_me, process=0)],
            checkpoint_dir=FOLDER / "run",
            checkpoint_every=2,
            resume=True,
        )
    found["first"] = px.CheckpointStore(FOLDER / "run").newest().step
    found["ended"] = told(*fitted(steps=9, checkpoint_dir=FOLDER / "run", checkpoint_every=2, resume=True))
    found["straight"] = json.loads((FOLDER / f"straight.{ME}").read_text())
    return found


class Killed(px.Callback):
    """In each of the first starts, process ``victim`` dies: behind a step, after a time, or where something of a
    checkpoint is opened, made, renamed or removed."""

    def __init__(self, seed, kills, last):
        rng = np.random.default_rng([seed, START])
        self.kills, self.last, self.victim = kills, last, int(rng.integers(COUNT))
        self.kind = ("step", "time", "file")[rng.integers(3)]
        if self.kind == "file":
            self.victim = 0  # which writes
        self.begun = False
        self.step, self.seconds, self.event = int(rng.integers(1, 12)), rng.uniform(0, 0.5), int(rng.integers(1, 60))

    def on_epoch_start(self, run):
        if self.kills <= START or self.begun:
            return
        self.begun, self.step = True, run.step + self.step  # behind what was resumed
        (FOLDER / f"kill.{START}.{ME}").write_text(f"{self.kind} {self.victim} {run.step}")
        if self.victim != ME:
            return
        if self.kind == "time":
            timer = threading.Timer(self.seconds, kill_me)
            timer.daemon = True
            timer.start()
        if self.kind == "file":
            sys.addaudithook(self.see)

    def see(self, event, given):
        kept = given and str(given[0]).startswith(str(FOLDER / "run"))
        if kept and event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            self.event -= 1
            if self.event == 0:
                kill_me()

    def on_step_end(self, run):
        due = run.step >= self.last or (self.kind == "step" and run.step == self.step)
        if self.begun and self.victim == ME and due:
            kill_me()


def many_kills():
    """The first start trains undisturbed, and then, as all others, is killed; the last one is not."""
    seed, kills = int(sys.argv[3]), int(sys.argv[4])
    path = FOLDER / f"straight.{ME}"
    if START == 0:
        path.write_text(json.dumps(told(*fitted(steps=STEPS))))
    saving = {"checkpoint_dir": FOLDER / "run", "checkpoint_every": 3, "resume": True}
    ended = told(*fitted(steps=STEPS, callbacks=[Killed(seed, kills, STEPS - 1)], **saving))
    return {"ended": ended, "straight": json.loads(path.read_text()), "start": START}


# --- hanging, slow, not finite -------------------------------------------------------------------------


def hanging():
    """Process 1 waits for nothing, and gives signs of life."""

    def wait():
        (FOLDER / "since").touch()
        threading.Event().wait()

    fitted(epochs=10_000, callbacks=[At(3, wait)])


def stopped(process=1):
    """A process is stopped by the system, threads and all."""

    def stop():
        (FOLDER / "since").touch()
        os.kill(os.getpid(), signal.SIGSTOP)

    (FOLDER / f"pid.{ME}").write_text(str(os.getpid()))
    fitted(epochs=10_000, callbacks=[At(3, stop, process)])


def first_stopped():
    stopped(0)


class Late:
    """A clock that somebody puts forward."""

    def __init__(self):
        self.by = 0.0

    def __call__(self):
        return time.monotonic() + self.by


class Slow(px.Callback):
    """By its own clock, process 1 needs a quarter of a second between two steps; once process 0 has told, a notice
    comes to it.
    """

    def on_step_end(self, run):
        group = px.parallel.group()
        if ME == 1:
            group.pulse.clock.by += 0.25
        if run.step % 10 == 0:  # a sign, and a look, without waiting for their time
            group.signs.give()
            _ = ME or group.signs.look()
        if group.slow and not hasattr(self, "told"):
            self.told = run.step
            os.kill(os.getpid(), signal.SIGUSR1)


def slow_and_told_to_end():
    """A warning of process 1; then Slurm's notice, at which all save behind one step and end with its status."""
    programs, asked = FOLDER / "bin", FOLDER / "requeued"
    if ME == 0:
        programs.mkdir()
        (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
        (programs / "scontrol").chmod(0o755)
    os.environ |= {"SLURM_JOB_ID": "7", "PHLOX_REQUEUE": "1", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    px.parallel.group().pulse.clock, slow = Late(), Slow()
    saving = {"checkpoint_dir": FOLDER / "noticed", "checkpoint_every": 1000}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted(epochs=10_000, callbacks=[slow], **saving)
        except SystemExit as end:
            step = px.CheckpointStore(FOLDER / "noticed").newest().step
            told = [str(w.message) for w in caught]
            return {"status": end.code, "step": step, "warnings": told, "told": getattr(slow, "told", None)}


def spoiled(data, loss=px.losses.cross_entropy):
    """The error of a training, and its notes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*the loss of step.*")
        try:
            fitted(data, callbacks=[px.StopOnNonFinite()], loss=loss)
        except px.NonFiniteError as error:
            return [str(error), *getattr(error, "__notes__", [])]


ONE, BOTH = X.copy(), X.copy()
ONE[13, 2] = np.nan  # of rows in their order, in the second half of the second step's
BOTH[[1, 6], 0] = np.inf  # the gradient of a weight alone is not finite by it


def not_finite():
    """NaN in a row of process 1."""
    return spoiled(px.DataLoader((ONE, Y), 8))


def not_finite_otherwise():
    """In rows of both, in batches of one's own, in a last one filled up, in what goes back, and by a sum alone."""

    def of_roots(prediction, target, weight=None):
        return jnp.sqrt(jnp.abs(prediction * (target == 7)[:, None])).mean()  # 0, and of no finite slope

    def of_all(prediction, target, weight=None):
        alone = jnp.float32(3e38) * (len(prediction) > 4)  # of the whole batch
        return px.losses.cross_entropy(prediction, target) + alone + alone

    batches = [(x, y) for x, y in zip(ONE.reshape(3, 8, 4), Y.reshape(3, 8), strict=True)]
    last = X[:22].copy()
    last[20, 1] = np.nan
    return {
        "both": spoiled(px.DataLoader((BOTH, Y), 8)),
        "batches": spoiled(batches),
        "last": spoiled(px.DataLoader((last, Y[:22]), 8)),
        "gradient": spoiled((X, Y), of_roots),
        "sum": spoiled((X, Y), of_all),
    }


# --- told to end ---------------------------------------------------------------------------------------


def preempted():
    """SIGTERM comes to process 1, and JAX hears it: all save behind one step."""
    try:
        acts = [At(3, lambda: os.kill(os.getpid(), signal.SIGTERM))]
        fitted(epochs=10_000, callbacks=acts, checkpoint_dir=FOLDER / "preempted", checkpoint_every=1000)
    except SystemExit as end:
        return {"status": end.code, "step": px.CheckpointStore(FOLDER / "preempted").newest().step}


def main(scenarios):
    found = {}
    for name in scenarios.split(","):
        found[name] = globals()[name]()
        (FOLDER / f"{ME}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
