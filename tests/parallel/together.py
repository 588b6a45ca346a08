"""Trainings of two processes that came together, and of each by itself; what each saw goes to a file."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from room import room

import phlox as px
from phlox.loop._together import gathered

px.parallel.initialize(timeout=60, heartbeat=2)
jax.config.update("jax_enable_x64", True)
ME = jax.process_index()
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(22, 4)), RNG.integers(0, 3, 22)
TEST = RNG.normal(size=(10, 4)), RNG.integers(0, 3, 10)
DATA, ALONE = {"parallel": px.parallel.data_parallel()}, {}
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()


def network(seed=0):
    with px.seed(seed):
        return px.f64(px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3)))


def fitted(data=(X, Y), model=None, **more):
    """A training, with what it is told replaced."""
    model = model or network()
    given = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), epochs=2, batch_size=8, progress=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*trains by itself.*")
        history = px.fit(model, data, **{**given, **more})
    return model, history


def told(model, history):
    """What is to be the same everywhere."""
    arrays = {path: v for path, v in px.paths(model).items() if v.dtype == "float64"}
    return {
        "losses": history.losses.tolist(),
        "rows": [dict(row) for row in history],
        "weights": {path: np.asarray(v).tolist() for path, v in gathered(arrays).items()},
        "reason": history.reason,
        "interrupted": history.interrupted,
    }


# --- the same numbers as one device ------------------------------------------------------------------


def rows():
    """A stream: it has no length."""
    yield from zip(X, Y, strict=True)


def arrays(where):
    measured = {"validation_data": TEST, "metrics": {"accuracy": px.metrics.Accuracy()}}
    return fitted(**measured, **where)


def stream(where):
    return fitted(px.DataLoader(rows, 8, shuffle=16, shard=None if where else (0, 1)), **where)


def batches(where):
    given = [(X[n : n + 4], Y[n : n + 4]) for n in range(0, 20, 4)]
    return fitted(given, validation_data=given[:2], accumulate=2, clip=0.5, **where)


def loss_without_weights(where):
    def loss(prediction, target):
        return px.losses.cross_entropy(prediction, target)

    loader = px.DataLoader((X, Y), 4, shuffle=True, seed=3, drop_last=True, shard=None if where else (0, 1))
    return fitted(loader, loss=loss, validation_data=TEST, steps=7, validation_every=3, **where)


def in_parts(where):
    """With room for less than a step needs, where there are several processes."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(512, 4)), rng.integers(0, 3, 512)
    with px.seed(0):
        model = px.f64(px.Chain(px.Dense(4, 32, px.tanh), px.Dense(32, 32, px.tanh), px.Dense(32, 3)))
    given = {"batch_size": 256, "epochs": 3, "multi_step": 1, **where}
    if not where:
        return fitted((x, y), model, **given)
    with room(0.8) as seen:
        found = fitted((x, y), model, **given)
    assert seen[0].rows is not None, seen
    return found


def fsdp(where):
    """As ``arrays``, whose validation moves nothing."""
    return fitted(**({"parallel": px.parallel.fsdp(whole=8)} if where else {}))


def as_alone(way):
    """A training of all, and one of process 0 by itself."""
    model, history = way(DATA)
    found = {"together": told(model, history)}
    if way is fsdp:
        found["cut"] = sorted(path for path, v in px.paths(model).items() if not v.is_fully_replicated)
        found |= looked_at(model, "")
    if ME == 0 and way is fsdp:  # the same training as the one of arrays
        found |= looked_at(whole(found["together"]["weights"]), " whole")
    elif ME == 0:
        found["alone"] = told(*way(ALONE))
    return found


def whole(weights):
    """A model of this process alone with weights of one that lies over all of them."""
    mine = network()
    for path, value in weights.items():
        px.set_at(mine, path, jax.numpy.asarray(value))
    return mine


def looked_at(model, suffix):
    measured = px.evaluate(model, (X, Y), loss=px.losses.cross_entropy, metrics={"accuracy": px.metrics.Accuracy()})
    return {f"evaluated{suffix}": list(measured.values()), f"predicted{suffix}": px.predict(model, X).tolist()}


# --- once, and ended together ------------------------------------------------------------------------


class Interrupts(px.Callback):
    """One process interrupts itself behind a step."""

    def __init__(self, step, process=1):
        self.step, self.process = step, process

    def on_step_end(self, run):
        if run.step == self.step and self.process == ME:
            os.kill(os.getpid(), signal.SIGINT)


class Stops(px.Callback):
    """One process stops by what it alone sees."""

    def on_step_end(self, run):
        if run.step == 2 and ME == 1:
            run.stop("seen by one", alone=True)


def interrupted():
    return told(*fitted(callbacks=[Interrupts(2)], epochs=50, **DATA))


def stopped():
    return told(*fitted(callbacks=[Stops()], epochs=50, **DATA))


class Sees(px.Callback):
    """The callbacks that show and write here."""

    names: tuple[str, ...] = ()

    def on_fit_start(self, run):
        self.names = [type(c).__name__ for c in run.callbacks if c is not self]


def saved():
    """A checkpoint, a training that goes on from it, and one that never stopped."""
    saving, sees = {"checkpoint_dir": FOLDER / "saved", "log_dir": FOLDER / "logs", **DATA}, Sees()
    fitted(**saving, callbacks=[sees])
    found = {"resumed": told(*fitted(**saving, epochs=3, resume=True)), "callbacks": sees.names}
    found["straight"] = told(*fitted(epochs=3, **DATA))
    return found


# --- what must be the same -----------------------------------------------------------------------------


def differences():
    """The error of each process where they are about to do different things."""

    def scaled(prediction, target, weight=None):
        return px.losses.cross_entropy(prediction, target, weight=weight) * (1.0 + ME)

    tries = {
        "weights": dict(model=network(seed=ME)),
        "data": dict(data=(X[: 22 - ME], Y[: 22 - ME])),
        "rows": dict(data=(X + (ME if ME else 0), Y)),
        "settings": dict(epochs=2 + ME),
        "program": dict(loss=scaled),
        "model": dict(model=px.f64(px.Chain(px.Dense(4, 8 + ME, key=0), px.Dense(8 + ME, 3, key=1)))),
    }
    found = {}
    for name, given in tries.items():
        try:
            fitted(**given, **DATA)
        except px.parallel.ProcessError as error:
            found[name] = str(error)
    return found


# --- one that ends ---------------------------------------------------------------------------------------


class Ends(px.Callback):
    """Process 1 ends behind the second step."""

    def __init__(self, how):
        self.how = how

    def on_step_end(self, run):
        if run.step == 2 and ME == 1:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("as asked for")


class Waits(px.Callback):
    """Process 0 waits, at the second step, for a sum that process 1 does not come to."""

    def on_step_end(self, run):
        if run.step == 2 and ME == 0:
            multihost_utils.process_allgather(np.zeros(1))


def ended(how):
    """The error of process 0 where the other one ends."""
    stuck = [Waits()] if how == "stuck" else []
    try:
        fitted(callbacks=[*stuck, Ends(how)], epochs=50, **DATA)
    except px.parallel.ProcessError as error:
        return str(error)


WAYS = {way.__name__: way for way in (arrays, stream, batches, loss_without_weights, in_parts, fsdp)}


def main(scenarios):
    found = {}
    for name in scenarios.split(","):
        if name in WAYS:
            found[name] = as_alone(WAYS[name])
        else:
            found[name] = ended(name) if name in ("killed", "fails", "stuck") else globals()[name]()
        (FOLDER / f"{ME}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
