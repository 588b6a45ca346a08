"""Which process of how many this is: by arguments, by the environment, or as the cluster has it that started it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from phlox.core import RangeError, _compat

WHERE = "px.parallel.initialize"
COORDINATOR, PROCESSES, PROCESS = "PHLOX_COORDINATOR", "PHLOX_PROCESSES", "PHLOX_PROCESS"
_INDEX = "JOB_COMPLETION_INDEX"  # of a pod in an indexed job of Kubernetes

T = TypeVar("T")


@dataclass(frozen=True)
class Seat:
    """The place of this process among the others.

    Attributes:
        coordinator: ``host:port`` of process 0, where all meet.
        processes, process: how many there are, and which of them this is.
        devices: which devices of this machine are its own; None is all.
    """

    coordinator: str
    processes: int
    process: int
    devices: Sequence[int] | None = None


def seat_of(coordinator: str | None, processes: int | None, process: int | None, seconds: int) -> Seat | None:
    """The place of this process; None where nothing speaks of others.

    An argument counts before its environment variable, and this before what the cluster says.

    Arguments:
        seconds: how long a cluster may take to tell.

    Raises:
        RangeError: what is known is not enough, or makes no sense.
    """
    coordinator = coordinator or os.environ.get(COORDINATOR) or None
    processes = processes if processes is not None else _number(PROCESSES)
    process = process if process is not None else _number(PROCESS)
    known = (coordinator, processes, process)
    if processes == 1 and process in (None, 0):
        return None
    cluster = None if None not in known else _compat.cluster_here()
    if cluster is None and process is None:
        process = _number(_INDEX)
    if cluster is None and (coordinator, processes, process) == (None, None, None):
        return None
    return _checked(*_filled(cluster, coordinator, processes, process, seconds))


def _filled(cluster: Any, coordinator: Any, processes: Any, process: Any, seconds: int) -> tuple[Any, ...]:
    """What is not known as the cluster says."""
    if cluster is None:
        return coordinator, processes, process, None
    processes = cluster.get_process_count() if processes is None else processes
    if processes == 1:
        return coordinator, 1, 0, None
    port = os.environ.get("JAX_COORDINATOR_PORT")
    ask: Callable[..., str] = cluster.get_coordinator_address
    coordinator = coordinator or ask(timeout_secs=seconds, override_coordinator_port=port)
    process = cluster.get_process_id() if process is None else process
    local = cluster.get_local_process_id()
    return coordinator, processes, process, None if local is None else [local]


def _checked(coordinator: Any, processes: Any, process: Any, devices: Any) -> Seat | None:
    if processes == 1 and process in (None, 0):
        return None
    names = {COORDINATOR: coordinator, PROCESSES: processes, PROCESS: process}
    missing = [name for name, value in names.items() if value is None]
    if missing:
        there = ", ".join(f"{name}={value}" for name, value in names.items() if value is not None)
        raise RangeError(
            "the coordinator's address, the number of processes, and which of them this is",
            got=f"{there} alone",
            fix=f"set {' and '.join(missing)} in the environment, or start the program by phlox launch, srun or mpirun",
            where=WHERE,
        )
    host, _, port = str(coordinator).rpartition(":")
    if not host or not port.isdecimal():
        fix = "give for example 10.0.0.1:7000, an address of the machine of process 0"
        raise RangeError("a coordinator as host:port", got=repr(coordinator), fix=fix, where=WHERE)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (processes, process))
    if not whole or not 0 <= process < processes:
        fix = "number the processes from 0"
        what = "a process from 0 to one below the number of processes"
        raise RangeError(what, got=f"{process!r} of {processes!r}", fix=fix, where=WHERE)
    return Seat(coordinator, processes, process, devices)


def _number(name: str) -> int | None:
    """A whole number of the environment."""
    text = os.environ.get(name)
    if not text:
        return None
    if not text.isdecimal():
        fix = f"set it to a number, as in {name}=2"
        raise RangeError(f"a whole number in the environment variable {name}", got=repr(text), fix=fix, where=WHERE)
    return int(text)
