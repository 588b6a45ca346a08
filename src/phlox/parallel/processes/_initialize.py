"""px.parallel.initialize: the processes of a training brought together."""

from __future__ import annotations

import atexit

import jax

from phlox.core import RangeError, StateError, _compat
from phlox.parallel.processes._group import Group, group, joined
from phlox.parallel.processes._roll_call import roll_call
from phlox.parallel.processes._seat import WHERE, Seat, seat_of
from phlox.parallel.processes._signs import Signs

_LATER = 60  # seconds by which JAX gives up later than what is looked at here


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: float = 300.0,
    heartbeat: float = 60.0,
    hang: float | None = 1800.0,
) -> None:
    """Bring the processes of a training together, so that ``jax.devices()`` are those of all of them.

    Call it first of all in a program, before anything touches an array. Started alone the program goes on alone.
    What an argument does not say is looked up: in ``PHLOX_COORDINATOR``, ``PHLOX_PROCESSES`` and ``PHLOX_PROCESS``,
    which ``phlox launch`` sets; then as JAX recognises Slurm, Open MPI, Kubernetes and Cloud TPUs. Of a pod in an
    indexed job of Kubernetes the number is known as ``JOB_COMPLETION_INDEX``. Calling it again changes nothing.

    Processes meet at the coordinator, which is process 0, and send each other what belongs to a step by NCCL on
    NVIDIA GPUs, their own links on TPUs, and gloo on CPUs. None of this is encrypted: use a network of your own.

    Arguments:
        coordinator: ``host:port`` of process 0, with a port that is free there.
        processes: how many there are.
        process: which of them this is, from 0.
        timeout: seconds to wait for the others, here, wherever all come together, and at the end of the program.
        heartbeat: seconds without a sign of life after which a process is lost, and the others end.
        hang: seconds after which a process of ``px.fit`` that lives and neither takes a step, nor looks at a batch of
            validation, nor ends, is taken to hang, and all end; longer than the slowest step, the first one with its
            compilation, and the slowest callback. None lets it take its time.

    Raises:
        RangeError: too little is known, or it makes no sense.
        StateError: JAX was used before, or another place in a group was taken before.
        ProcessError: some do not come in time, the coordinator cannot be reached, or one number is taken twice.

    >>> import phlox as px
    >>> px.parallel.initialize(processes=1)
    """
    for name, value in (("timeout", timeout), ("heartbeat", heartbeat), ("hang", hang)):
        if value is None and name == "hang":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
            raise RangeError(f"{name} in seconds, at least 1", got=repr(value), fix="leave it out", where=WHERE)
    seat = seat_of(coordinator, processes, process, int(timeout))
    if seat is None:
        return
    known = group()
    if known is not None:
        _check_same(known, seat)
        return
    if _compat.has_backend():
        raise StateError(
            "to be called before JAX is used",
            got="a backend that runs already, for this process alone",
            fix="call it first in the program: before arrays and models are made, and before jax.devices()",
            where=WHERE,
        )
    _meet(seat, timeout, heartbeat, hang)


def _check_same(known: Group, seat: Seat) -> None:
    if (known.process, known.processes) != (seat.process, seat.processes):
        raise StateError(
            f"the place that was taken before, process {known.process} of {known.processes}",
            got=f"process {seat.process} of {seat.processes}",
            fix="call it once in a process",
            where=WHERE,
        )


def _meet(seat: Seat, timeout: float, heartbeat: float, hang: float | None) -> None:
    _use_gloo()
    roll_call(seat, timeout)
    _compat.connect(
        seat.coordinator,
        seat.processes,
        seat.process,
        seat.devices,
        seconds=int(timeout) + _LATER,
        heartbeat=int(heartbeat) + _LATER,  # so that it is seen here first, where there is an error for it
        leaving=int(timeout),
    )
    found = joined(Group(_compat.coordination().client, seat.process, seat.processes, timeout, heartbeat))
    found.signs = Signs(found, hang)
    found.signs.start()
    atexit.register(found.leave)  # before what JAX does then


def _use_gloo() -> None:
    """What CPUs send each other goes by gloo, unless somebody chose MPI."""
    if jax.config.jax_cpu_collectives_implementation != "mpi":  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
