"""How large a model is: its numbers, its bytes in memory and on disk, its operations."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from phlox.compress.calibration._watching import Forward
from phlox.compress.layers._quantized import Quantized
from phlox.core import Module, StructureError, apply, copy, is_key, modules, paths, split, thaw, trainable_arrays
from phlox.nn import operations, reference_forms
from phlox.weights import save, save_safetensors


def numbers_of(model: Module) -> tuple[int, int]:
    """How many numbers a model computes with, and how many of them are not zero.

    They are its parameters, frozen ones too, and what integers stand for; of what is shared, each once.
    """
    arrays = list(trainable_arrays(thaw(copy(model))).values())
    arrays += [layer.weight for layer in modules(model).values() if isinstance(layer, Quantized)]
    return sum(a.size for a in arrays), sum(int(jnp.count_nonzero(a)) for a in arrays)


def memory_of(model: Module) -> int:
    """Bytes of all arrays, each counted once."""
    bare = [jax.random.key_data(a) if is_key(a) else a for a in paths(model).values()]
    return sum(math.prod(a.shape) * jnp.dtype(a.dtype).itemsize for a in bare)


def disk_of(model: Module) -> tuple[int, str]:
    """Bytes of the file that ``px.save`` writes, and what is to be said of it.

    Of a model that no file can describe, such as one with a lambda, they are those of its arrays alone.
    """
    with tempfile.TemporaryDirectory(prefix="phlox-report-") as folder:
        file = Path(folder) / "model.safetensors"
        try:
            save(model, file)
        except StructureError:
            save_safetensors(model, file)
            return file.stat().st_size, "on disk there are arrays alone: px.save can't describe this model"
        return file.stat().st_size, ""


def flops_of(model: Module, forward: Forward, batch: Any) -> int:
    """Floating-point operations of a call, as ``px.summary`` counts them."""
    call = lambda params, state, batch: apply(model, params, state, batch, method=forward)[0]  # noqa: E731
    with reference_forms():  # whose operations can be counted
        jaxpr = jax.make_jaxpr(call)(*split(model), batch)
    return operations(jaxpr.jaxpr)
