"""A roll call at the coordinator's address, before JAX meets there: who is missing, or there twice, is known by name.

JAX ends a process whose peers do not come, without an exception. So process 0 first listens there itself, until all
have called or the time is over, and tells each of them how it went; then the address is JAX's.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import ExitStack, suppress
from typing import Any

from phlox.parallel.processes._group import ProcessError, listed
from phlox.parallel.processes._seat import COORDINATOR, PROCESS, WHERE, Seat

_PAUSE = 0.05  # seconds between two calls at a coordinator that is not there yet
_TWICE, _LATE = "twice", "late"


def roll_call(seat: Seat, seconds: float) -> None:
    """Wait until all processes are there.

    Raises:
        ProcessError: some do not come in time, one number comes twice, or process 0 cannot be reached.
    """
    until = time.monotonic() + seconds
    if seat.process == 0:
        _call(seat, until, seconds)
    else:
        _answer(seat, until, seconds)


# --- process 0 ----------------------------------------------------------------------------------------


def _call(seat: Seat, until: float, seconds: float) -> None:
    there: dict[int, socket.socket] = {}
    with ExitStack() as open_, _listening(seat) as listener:
        while len(there) < seat.processes - 1:
            listener.settimeout(max(0.001, until - time.monotonic()))
            try:
                caller = open_.enter_context(listener.accept()[0])
            except TimeoutError:
                raise _missing(seat, there, seconds) from None
            number = _number_of(caller, seat, until)
            if number is None:
                continue
            if number in there or number == 0:
                _tell([caller, *there.values()], {"error": _TWICE, "process": number})
                raise _twice(seat, number)
            there[number] = caller
        _tell(list(there.values()), {})
        for caller in there.values():  # that they go first leaves the port free at once
            with suppress(OSError):
                caller.settimeout(5.0)
                caller.recv(1)


def _listening(seat: Seat) -> socket.socket:
    """A socket at the coordinator's port, of the addresses at which JAX will listen there.

    Raises:
        ProcessError: somebody listens there.
    """
    host, _, port = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", "").rpartition(":")
    port = port or seat.coordinator.rpartition(":")[2]
    family = socket.AF_INET if host.strip("[]") and ":" not in host else socket.AF_INET6
    try:
        if family == socket.AF_INET:
            return socket.create_server((host, int(port)))
        both = socket.has_dualstack_ipv6()
        where = host.strip("[]") or ("::" if both else "")
        return socket.create_server(
            (where, int(port)), family=family if both else socket.AF_INET, dualstack_ipv6=both and where == "::"
        )
    except OSError as error:
        raise ProcessError(
            f"a free port for the coordinator at {seat.coordinator}",
            got=f"one that is taken ({error.strerror})",
            fix=f"give each process a {PROCESS} of its own, for one of them may be process 0 there already; else "
            f"choose another port in {COORDINATOR}",
            where=WHERE,
        ) from error


def _number_of(caller: socket.socket, seat: Seat, until: float) -> int | None:
    """Which process calls; None where it is none of ours."""
    try:
        caller.settimeout(max(0.001, min(5.0, until - time.monotonic())))
        said = json.loads(caller.makefile("r").readline(200))
        number = said["process"]
        known = said["phlox"] == seat.processes and isinstance(number, int) and 0 <= number < seat.processes
        return number if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tell(callers: list[socket.socket], said: dict[str, Any]) -> None:
    for caller in callers:
        with suppress(OSError):
            caller.sendall((json.dumps(said) + "\n").encode())


def _missing(seat: Seat, there: dict[int, socket.socket], seconds: float) -> ProcessError:
    absent = [n for n in range(1, seat.processes) if n not in there]
    _tell(list(there.values()), {"error": _LATE, "absent": absent})
    return _absent(seat, absent, seconds)


# --- the others ---------------------------------------------------------------------------------------


def _answer(seat: Seat, until: float, seconds: float) -> None:
    said = _asked(seat, until)
    if said is None:
        raise ProcessError(
            f"process 0 at {seat.coordinator} within {seconds:g} s",
            got="no answer",
            fix="start process 0 too, or look at what it printed: it may have given up; the address must be that of "
            "its machine, with a port that the others reach",
            where=WHERE,
        )
    if said.get("error") == _TWICE:
        raise _twice(seat, said.get("process", seat.process))
    if said.get("error") == _LATE:
        raise _absent(seat, said.get("absent", []), seconds)


def _asked(seat: Seat, until: float) -> dict[str, Any] | None:
    """What process 0 says once all are there; None where it says nothing in time."""
    host, _, port = seat.coordinator.rpartition(":")
    while time.monotonic() < until:
        left = until - time.monotonic()
        with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), left) as caller:
            caller.sendall((json.dumps({"phlox": seat.processes, "process": seat.process}) + "\n").encode())
            caller.settimeout(max(0.001, until + 1.0 - time.monotonic()))
            said = caller.makefile("r").readline(10_000)
            if said:
                return json.loads(said)
        time.sleep(_PAUSE)
    return None


def _absent(seat: Seat, absent: list[int], seconds: float) -> ProcessError:
    return ProcessError(
        f"all {seat.processes} processes within {seconds:g} s",
        got=f"nothing from {listed(absent)}",
        fix="look at what it printed; start it with this coordinator and number, or give it more time by timeout=",
        where=WHERE,
    )


def _twice(seat: Seat, number: int) -> ProcessError:
    return ProcessError(
        f"one process {number} of {seat.processes}",
        got="two of this number",
        fix=f"give each process a {PROCESS} of its own, from 0 to {seat.processes - 1}",
        where=WHERE,
    )
