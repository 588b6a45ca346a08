"""A training of two tasks of a Slurm job, which a notice ends in its first start and not in its second."""

import json
import os
import sys
import time
from pathlib import Path

import jax
import numpy as np

import phlox as px

px.parallel.initialize()
FOLDER, RESTARTS = Path(sys.argv[1]), os.environ.get("SLURM_RESTART_COUNT", "0")
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(24, 4)).astype("f"), RNG.integers(0, 3, 24)


class Lingers(px.Callback):
    """In the first start every step behind the third waits for the notice a little."""

    def on_step_end(self, run):
        if RESTARTS == "0" and run.step >= 3:
            (FOLDER / "ready").touch()
            time.sleep(0.2)


def fitted(**more):
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))
    given = dict(loss=px.losses.cross_entropy, optimizer=px.optim.Adam(1e-2), steps=300, batch_size=8, progress=False)
    history = px.fit(model, DATA, parallel=px.parallel.data_parallel(), **given, **more)
    return [history.losses.tolist(), [np.asarray(v).tobytes().hex() for v in px.split(model)[0].values()]]


ended = fitted(callbacks=[Lingers()], checkpoint_dir=FOLDER / "run", checkpoint_every=1000, resume=True)
told = {"ended": ended, "straight": fitted(), "restarts": RESTARTS}
(FOLDER / f"ended.{jax.process_index()}").write_text(json.dumps(told))
