"""What the operations of Phlox's calls in inference take, in a process of its own: `PRECISION FOLDER RACE`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from _operations import Operations, Profiles, programs, recorded
from _processes import Place
from frameworks import Form

CALLS, ROUNDS, SIZE, PASS = 5, 9, 1024, 1 << 24


def profile(title: str, folder: Path, name: str, form: Form, place: Place) -> Profiles:
    """The table of a call of a network, and the rates that it is held against, both of a process of its own.

    Arguments:
        folder: where the network lies, as for a race.
        name: of the race, "resnet50@8".
    """
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        env = replace(place, dump=Path(made) / "programs").env(form, Path(made) / "cache")
        command = [sys.executable, __file__, form.kind, str(folder), name]
        answer = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        found = json.loads(answer.stdout)
        operations = Operations(title, found["call"], found["times"], programs(Path(made) / "programs"))
    return Profiles([operations], found["rates"])


# --- in a process of its own ------------------------------------------------------------------------------


def rates(precision: str) -> dict[str, float]:
    """Operations a second of a map's product as inference has it, and bytes a second of a pass over an array."""
    import jax
    import jax.numpy as jnp

    import phlox as px

    half = precision == "bfloat16"
    dense = px.optimize_for_inference(px.Dense(SIZE, SIZE, key=0), dtype="bfloat16" if half else None, tell=None)
    x, array = jnp.ones((SIZE, SIZE)), jnp.zeros(PASS, jnp.bfloat16 if half else jnp.float32)
    run, one_more = px.jit(lambda model, x: model(x)), jax.jit(lambda x: x + 1, donate_argnums=0)
    product, over = [], []
    for _ in range(20):
        product.append(seconds(lambda: jax.block_until_ready(run(dense, x))))
        begin = time.perf_counter()
        array = jax.block_until_ready(one_more(array))
        over.append(time.perf_counter() - begin)
    return {"flops": 2 * SIZE**3 / min(product), "bytes": 2 * array.nbytes / min(over)}


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main(precision: str, folder: str, name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from _runtimes import with_phlox

    _, call = with_phlox(Form("", "phlox", precision), Path(folder), name)
    call()
    least = min(seconds(call) for _ in range(ROUNDS))
    with tempfile.TemporaryDirectory(prefix="phlox-bench-") as made:
        times = recorded(lambda calls: [call() for _ in range(calls)], CALLS, made)
    print(json.dumps({"call": least, "times": times, "rates": rates(precision)}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
