"""A search in a process of its own: ``searched.py STORAGE FOLDER TRIALS [KILL]`` kills itself within trial KILL."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

import phlox as px

SPACE = {"rate": px.search.Uniform(1e-3, 1.0, log=True), "width": px.search.Integer(1, 6), "act": [px.relu, px.tanh]}
X = np.linspace(-1, 1, 16, dtype="float32")[:, None]


def objective(trial, kill=None):
    """A training, with its checkpoints in the folder of the trial."""

    def die(run):
        marker = trial.folder / "killed"
        if trial.number == kill and run.epoch == 1 and not marker.exists():
            saving = next(callback for callback in run.callbacks if isinstance(callback, px.Checkpoint))
            saving.store.wait()  # it is written in the background
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with px.seed(trial.seed):
        model = px.Chain(px.Dense(1, trial["width"], trial["act"]), px.Dense(trial["width"], 1))
    return px.fit(
        model, (X, X**2), validation_data=(X, X**2), loss=px.losses.mse, optimizer=px.optim.Adam(trial["rate"]),
        epochs=3, batch_size=16, seed=trial.seed, progress=False, checkpoint_dir=trial.folder / "saved", resume=True,
        callbacks=[trial.pruning(), px.LambdaCallback(on_epoch_start=die)],
    )  # fmt: skip


def search(storage, folder, trials, kill=None):
    """The whole search."""
    return px.tune(lambda trial: objective(trial, kill), SPACE, trials=trials, storage=storage, log_dir=folder, seed=7)


if __name__ == "__main__":
    storage, folder, trials, *rest = sys.argv[1:]
    search(storage, Path(folder), int(trials), *map(int, rest))
