"""How fast training goes: examples and steps per second, and the share of the processor's peak that they use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from phlox.core import RangeError
from phlox.loop.batches._inputs import shape_of_input
from phlox.loop.callbacks._callback import Callback
from phlox.nn import summary

if TYPE_CHECKING:
    from phlox.loop._run import Run


def peak_flops(dtype: Any = jnp.float32, size: int = 1024, seconds: float = 0.5) -> float:
    """Floating-point operations per second that this device reaches, measured on products of square matrices.

    Arguments:
        dtype: of the matrices; accelerators are several times as fast in bfloat16.
        size: of the matrices, at least 1.
        seconds: for how long to measure; the fastest product counts.

    Raises:
        RangeError: a size below 1, or no time.

    >>> import phlox as px
    >>> px.loop.peak_flops(size=64, seconds=0.01) > 1e6
    True
    """
    if size < 1 or not seconds > 0:
        raise RangeError(
            "a size of at least 1 and a time above 0", got=f"size {size}, {seconds:g} s", fix="leave the defaults",
            where="peak_flops",
        )  # fmt: skip
    product = jax.jit(jnp.matmul)
    a = jnp.ones((size, size), dtype)
    product(a, a).block_until_ready()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        product(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


class Throughput(Callback):
    r"""Logs ``examples_per_second`` and ``steps_per_second`` of each epoch's training, and with a peak ``mfu``.

    The model FLOPs utilisation is $3 f n / (t p d)$: f operations of one forward pass over an example by
    ``px.summary``, thrice for a forward and a backward pass, n examples in t seconds on d devices of peak p. The first
    chunk of a fit compiles and is not counted; validation is not counted.

    Arguments:
        peak: floating-point operations per second that a device can do, above 0, such as ``px.loop.peak_flops()`` or
            what its maker says; None leaves ``mfu`` out.
        flops: operations of a training step over one example; by default as above, and without ``mfu`` where batches
            are dicts, or with a ``step`` of your own.

    Raises:
        RangeError: a peak or a number of operations that is not above 0.

    Source: Chowdhery et al., "PaLM: scaling language modeling with pathways", 2022, appendix B.

    >>> import phlox as px
    >>> throughput = px.Throughput(peak=1e12)
    """

    peak: float | None
    flops: float | None

    def __init__(self, peak: float | None = None, flops: float | None = None):
        for name, value in (("peak", peak), ("flops", flops)):
            if value is not None and not value > 0:
                raise RangeError(f"{name} above 0", got=repr(value), fix="give a number per second", where="Throughput")
        self.peak, self.flops = peak, flops
        self._input: jax.ShapeDtypeStruct | None = None  # of the model, once a step was traced
        self._mark: tuple[float, int, int] | None = None  # time, steps and examples where counting began
        self._compiled = False
        self._rates: dict[str, float] = {}

    def logged_names(self) -> tuple[str, ...]:
        return ("examples_per_second", "steps_per_second", *(() if self.peak is None else ("mfu",)))

    def before_backward(self, loss: Any, batch: Any) -> Any:
        self._input = shape_of_input(batch)
        return loss

    def on_fit_start(self, run: Run) -> None:
        self._compiled, self._rates = False, {}

    def on_epoch_start(self, run: Run) -> None:
        self._mark = (time.perf_counter(), run.step, run.examples) if self._compiled else None

    def on_step_end(self, run: Run) -> None:
        if self._mark is None:
            _wait_for(run)
            self._compiled, self._mark = True, (time.perf_counter(), run.step, run.examples)

    def on_validation_start(self, run: Run) -> None:
        self._count(run)

    def on_epoch_end(self, run: Run) -> None:
        self._count(run)
        for name, value in self._rates.items():
            run.log(name, value)
        self._rates = {}

    def steps_until(self, run: Run) -> int | None:
        return None

    def _count(self, run: Run) -> None:
        """Work out the rates of this epoch, once, before what follows its steps."""
        if self._mark is None:
            return
        _wait_for(run)
        elapsed = time.perf_counter() - self._mark[0]
        steps, examples = run.step - self._mark[1], run.examples - self._mark[2]
        self._mark = None
        if not steps:
            return
        self._rates = {"examples_per_second": examples / elapsed, "steps_per_second": steps / elapsed}
        flops = self.flops or self._flops_of_an_example(run)
        if self.peak and flops:
            self._rates["mfu"] = flops * examples / (elapsed * self.peak * run.device_count)

    def _flops_of_an_example(self, run: Run) -> float | None:
        x = self._input
        return None if x is None else 3 * summary(run.model, x, train=True).flops / x.shape[0]


def _wait_for(run: Run) -> None:
    """Let the device finish the steps it was given."""
    np.asarray(run.losses)
