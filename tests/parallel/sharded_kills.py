"""A training of several processes that saves after every step; one of them may kill itself, when it is told to."""

import hashlib
import json
import os
import signal
import sys
import threading

import jax
import numpy as np
from together import FOLDER, ME, fitted

import phlox as px

jax.config.update("jax_compilation_cache_dir", str(FOLDER.parent / "cache"))
FILES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.scandir", "os.listdir")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class Dies(px.Callback):
    """Kills this process: seconds after the start, at a file that is opened, renamed or removed, or at a step."""

    def __init__(self, moment):
        self.moment = moment if moment.get("process") == ME else {}

    def on_fit_start(self, run):
        if "after" in self.moment:
            threading.Timer(self.moment["after"], die).start()
        if "event" in self.moment:
            sys.addaudithook(self.count)

    def count(self, event, _):
        if event in FILES:
            self.moment["event"] -= 1
            if self.moment["event"] == 0:
                die()

    def on_step_end(self, run):
        if run.step == self.moment.get("step"):
            die()


def digests(arrays):
    """Of what this process holds of each array."""
    found = {}
    for path, value in arrays.items():
        words = jax.random.key_data(value) if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key) else value
        parts = [np.asarray(shard.data).tobytes() for shard in words.addressable_shards]
        found[path] = hashlib.sha256(b"".join(parts)).hexdigest()
    return found


def main(moment):
    more = {"parallel": px.parallel.fsdp(whole=8), "callbacks": [Dies(moment)], "resume": True}
    where = moment.get("where") or FOLDER / "run"
    model, history = fitted(epochs=4, checkpoint_dir=where, checkpoint_every=1, **more)
    found = {"model": digests(px.paths(model)), "opt": digests(px.paths(history.optimizer))}
    found["losses"] = history.losses.tobytes().hex()
    (FOLDER / f"{ME}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
