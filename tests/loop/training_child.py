"""A training that is killed and resumed, in processes of its own; jobs are lines of JSON on the standard input.

Every job runs in a fork of this process, which has imported all but started nothing, so that a hundred of them take
minutes and not hours. A line on the standard output tells how each ended.
"""

import hashlib
import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np

import phlox as px
from phlox import loop, optim
from phlox.loop.checkpoints._arrays import orbax


class Rows:
    """A dataset that workers read from, an observation at a time."""

    def __init__(self, count):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(count, 4)).astype(np.float32)
        self.y = (self.x.sum(1) > 0).astype(np.int32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, at):
        return self.x[at], self.y[at]

    def __repr__(self):
        return f"Rows({len(self)})"


class Witness(px.Callback):
    """Notes everything that the run has when it ends, and kills the process where that is asked for."""

    order = 1000

    def __init__(self, result, stop):
        self.result, self.stop = result, stop

    def on_step_end(self, run):
        if self.stop == f"step {run.step}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stop == f"signal {run.step}":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.stop == f"error {run.step}":
            raise ValueError("as asked for")

    def on_validation_start(self, run):
        if self.stop == f"validation {run.epoch}":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stop == f"signal in validation {run.epoch}":
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_end(self, run):
        if self.stop == f"epoch {run.epoch}":
            os.kill(os.getpid(), signal.SIGKILL)

    def on_fit_end(self, run):
        Path(self.result).write_text(json.dumps(contents(run.state())))


def contents(value):
    """A state without the clock and the arguments of callbacks, arrays as their digests."""
    if isinstance(value, dict):
        return {k: contents(v) for k, v in value.items() if k not in ("seconds", "examples_per_second", "constructed")}
    if hasattr(value, "dtype"):
        array = np.asarray(value)
        return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    return value


def kill_at_event(number):
    """Die at the n-th file that is opened, renamed or removed from here on."""
    left = [number]

    def hook(event, _):
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.scandir"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def callbacks_of(kind):
    """What a kind of training has besides: averages, or the best epoch at the end."""
    return {
        "ema": [loop.EMA(0.9)],
        "swa": [loop.SWA(start=1, learning_rate=0.005, anneal=1)],
        "restore_best": [loop.EarlyStopping(patience=50, restore_best=True)],
    }.get(kind, [loop.EMA(0.9), loop.EarlyStopping(patience=50)])


def data_of(kind, rows, workers):
    """The loader: of arrays, of rows that workers read, or of a stream that is shuffled within a window."""
    if kind == "streams":
        return px.DataLoader(lambda: zip(rows.x, rows.y, strict=True), 8, shuffle=12, seed=1)
    return px.DataLoader(rows if workers else (rows.x, rows.y), 8, shuffle=True, seed=1, num_workers=workers)


def train(
    folder, result, *, kind="", workers=0, multi_step="auto", steps=None, every=2, stop="", event=0, after=0.0, epochs=3
):
    """Train, or go on; ``stop``, ``event`` and ``after`` (seconds) say where to die."""
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.relu), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 2))
    if event:
        kill_at_event(event)
    if after:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    rows = Rows(36)
    px.fit(
        model,
        data_of(kind, rows, workers),
        loss=px.losses.cross_entropy,
        optimizer=optim.Adam(0.01 if kind == "swa" else optim.cosine_annealing(0.01, 20)),
        epochs=epochs,
        steps=steps,
        validation_data=(rows.x[:8], rows.y[:8]),
        metrics={"accuracy": px.metrics.Accuracy()},
        precision="fp16" if kind == "fp16" else None,
        callbacks=[*callbacks_of(kind), Witness(result, stop)],
        multi_step=multi_step,
        checkpoint_dir=folder,
        checkpoint_every=every,
        resume=True,
        progress=False,
    )


def job(options):
    """A training, and the exit code of its process."""
    try:
        train(**options)
    except SystemExit as end:
        return end.code
    except BaseException as error:
        traceback.print_exception(error)
        return 1
    return 0


def main():
    orbax()
    import_module("phlox.data")  # and Grain with it
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = job(json.loads(line))
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
