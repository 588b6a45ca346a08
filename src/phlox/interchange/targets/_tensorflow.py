"""TensorFlow in a process of its own: writes a SavedModel and runs one, and knows neither JAX nor Phlox.

As a script it takes tasks from its standard input and answers each on its output, in messages of :func:`send`. A task
says what to ``do``: ``write`` a folder, ``open`` a signature of one, ``run`` that.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import struct
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

Arrays = dict[str, np.ndarray]
_LENGTH = struct.Struct("<Q")
_KEPT_OUT = ("jax", "jaxlib", "phlox")  # a SavedModel needs none of them; and Keras would import JAX, for seconds

_NO_TRACE = ("Graph execution error:", "Detected at node", "<stack traces unavailable>")


def send(stream: IO[bytes], said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a message: what is said, as JSON, and arrays by name, of any dtype that ``ml_dtypes`` or NumPy has."""
    listed = [[name, x.dtype.name, list(x.shape)] for name, x in arrays.items()]
    text = json.dumps([said, listed]).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for x in arrays.values():
        stream.write(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], Arrays] | None:
    """Read a message; None where the other side has gone, also in its middle."""
    try:
        [length] = _LENGTH.unpack(_whole(stream, _LENGTH.size))
        said, listed = json.loads(_whole(stream, length))
        return said, {name: _array(stream, dtype, shape) for name, dtype, shape in listed}
    except EOFError:
        return None


def _array(stream: IO[bytes], name: str, shape: list[int]) -> np.ndarray:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    data = _whole(stream, int(np.prod(shape)) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def _whole(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


class Tasks:
    """What TensorFlow does for us.

    Arguments:
        tf: TensorFlow.
    """

    def __init__(self, tf: Any):
        self._tf = tf
        self._loaded: Any = None
        self._signature: Any = None

    def write(self, told: Mapping[str, Any], arrays: Arrays) -> Arrays:
        """A SavedModel of several signatures, their weights once, as variables by the model's paths."""
        holder = self._tf.Module()
        weights = {name.removeprefix("weights/"): x for name, x in arrays.items() if name.startswith("weights/")}
        holder.weights = {name: self._variable(name, x) for name, x in weights.items()}
        signatures = {
            one["key"]: self._function(one, holder.weights, arrays[f"programs/{one['key']}"].tobytes())
            for one in told["signatures"]
        }
        self._tf.saved_model.save(holder, told["folder"], signatures=signatures)
        return {}

    def open(self, told: Mapping[str, Any], arrays: Arrays) -> Arrays:
        """A signature of the SavedModel in a folder, to be run."""
        self._loaded = self._tf.saved_model.load(told["folder"])  # it owns the variables
        self._signature = self._loaded.signatures[told["key"]]
        return {}

    def run(self, told: Mapping[str, Any], arrays: Arrays) -> Arrays:
        """The outputs of the signature for inputs by name."""
        found = self._signature(**{name: self._tf.constant(x) for name, x in arrays.items()})
        return {name: x.numpy() for name, x in found.items()}

    def _variable(self, name: str, x: np.ndarray) -> Any:
        return self._tf.Variable(x, trainable=False, name=re.sub(r"[^A-Za-z0-9_.]", "_", name))

    def _function(self, told: Mapping[str, Any], weights: Mapping[str, Any], program: bytes) -> Any:
        """A program as a function of its inputs by name, which reads the variables."""
        xla = importlib.import_module("tensorflow.compiler.tf2xla.python.xla")
        self._check(told, xla)
        outputs = told["outputs"]

        def call(*inputs: Any) -> dict[str, Any]:
            found = xla.call_module(
                [*(weights[name] for name in told["weights"]), *inputs],
                version=told["calling_convention"],
                module=program,
                Tout=[dtype for _, _, dtype in outputs],
                Sout=[shape for _, shape, _ in outputs],
                platforms=told["platforms"],
                use_shardy_partitioner=told["shardy"],
            )
            return dict(zip((name for name, _, _ in outputs), found, strict=True))

        taken = [self._tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in told["inputs"]]
        return self._tf.function(call, autograph=False, input_signature=taken).get_concrete_function()

    def _check(self, told: Mapping[str, Any], xla: Any) -> None:
        most, mine = xla.call_module_maximum_supported_version(), told["calling_convention"]
        if mine > most:
            raise ValueError(f"TensorFlow {self._tf.__version__} takes calling conventions to {most}, JAX wrote {mine}")


def _words(error: Exception) -> str:
    """What an error says, without the lines about stack traces that are not there."""
    return "\n".join(line for line in str(error).splitlines() if line.strip() and not line.startswith(_NO_TRACE))


def main() -> None:
    """Do tasks until there are no more."""
    answers, tasks = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)  # whatever prints, prints beside the answers
    modules: Any = sys.modules
    modules.update(dict.fromkeys(_KEPT_OUT))
    does: Tasks | None = None
    while (task := receive(tasks)) is not None:
        said, arrays = task
        try:
            does = does or Tasks(importlib.import_module("tensorflow"))
            method: Callable[..., Arrays] = getattr(does, said["do"])
            found = method(said, arrays)
        except Exception as error:
            send(answers, {"error": f"{type(error).__name__}: {_words(error)}"}, {})
        else:
            send(answers, {}, found)


if __name__ == "__main__":
    main()
