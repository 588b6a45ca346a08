"""Processes that do not come, come late or come twice: who is told what, within the time that was given."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from phlox.parallel import ProcessError
from phlox.parallel.processes._roll_call import roll_call
from phlox.parallel.processes._seat import Seat


@pytest.fixture
def address(monkeypatch):
    """A free port of this machine, where process 0 listens to this machine alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", found)
    return found


def called(address, processes, numbers, seconds=20.0):
    """What becomes of each process of these numbers: an error in words, or nothing."""

    def one(number):
        try:
            roll_call(Seat(address, processes, number), seconds)
        except ProcessError as error:
            return str(error)

    with ThreadPoolExecutor(len(numbers)) as threads:
        return list(threads.map(one, numbers))


def test_all_go_on_once_all_are_there(address):
    assert called(address, 4, [3, 1, 0, 2]) == [None] * 4
    assert called(address, 2, [0, 1]) == [None] * 2  # the port is free again at once


def test_who_is_missing_is_known_to_all(address):
    began = time.monotonic()
    first, second = called(address, 4, [0, 2], seconds=1.0)
    assert time.monotonic() - began < 10
    assert first == second
    assert first == (
        "px.parallel.initialize expects all 4 processes within 1 s, got nothing from processes 1 and 3\n"
        "  fix: look at what it printed; start it with this coordinator and number, or give it more time by timeout="
    )


def test_a_process_that_comes_when_process_0_has_given_up_is_told_so(address):
    (told,) = called(address, 2, [0], seconds=1.0)
    assert "got nothing from process 1" in told
    (late,) = called(address, 2, [1], seconds=1.0)
    assert late.startswith(
        f"px.parallel.initialize expects process 0 at {address} within 1 s, got no answer\n  fix: start"
    )


def test_two_of_one_number_end_all(address):
    for told in called(address, 3, [0, 1, 1]):
        assert told == (
            "px.parallel.initialize expects one process 1 of 3, got two of this number\n"
            "  fix: give each process a PHLOX_PROCESS of its own, from 0 to 2"
        )


def test_two_of_number_0_are_told_apart_by_the_port(address):
    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        (told,) = called(address, 2, [0])
    assert told.startswith(f"px.parallel.initialize expects a free port for the coordinator at {address}, got one that")
    assert "one of them may be process 0 there already" in told


def test_strangers_at_the_port_are_not_counted(address):
    port = int(address.rpartition(":")[2])

    def stranger():
        for text in (b"GET / HTTP/1.1\r\n\r\n", b'{"phlox": 3, "process": 1}\n', b'{"phlox": 2, "process": 7}\n'):
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as caller:
                        caller.sendall(text)
                    break
                except OSError:
                    continue

    with ThreadPoolExecutor(2) as threads:
        zero = threads.submit(called, address, 2, [0])
        threads.submit(stranger).result()
        assert called(address, 2, [1]) == [None]
        assert zero.result() == [None]
