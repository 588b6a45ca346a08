"""What a Python program does to run a bundle: _deployed.py phlox|onnx|litert BUNDLE DRAWING [CALLS]

It imports no more than it needs, for its start and its memory are measured.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Call = Callable[[np.ndarray], np.ndarray]


def by_phlox(folder: str) -> Call:
    import phlox as px

    run, exported = px.jit(lambda model, x: model(x)["shares"]), px.load_exported(folder)
    return lambda x: np.asarray(run(exported, x))[0]


def by_onnx(folder: str) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(["shares"], {"image": x})[0])[0]


def by_litert(folder: str) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(f"{folder}/model.tflite", num_threads=1).get_signature_runner()
    return lambda x: np.asarray(run(image=x)["shares"])[0]


def main(which: str, folder: str, raw: str, calls: str = "0") -> None:
    picture = np.fromfile(raw, np.uint8).reshape(1, 112, 112, 1)
    begin = time.perf_counter()
    call = {"phlox": by_phlox, "onnx": by_onnx, "litert": by_litert}[which](folder)
    print("shares", *(f"{n:.9g}" for n in call(picture)))
    start, times = 1e3 * (time.perf_counter() - begin), []
    for _ in range(int(calls)):
        one = time.perf_counter()
        call(picture)
        times.append(1e3 * (time.perf_counter() - one))
    memory = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"start": start, "call": statistics.median(times or [0]), "memory": memory}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
