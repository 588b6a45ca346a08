"""Sequences cut over eight devices: the checks of checks_context, in a process that has eight."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_context")
PROGRAM = Checks("checks_context_program", as_users=True)


@pytest.mark.parametrize("name", CHECKS.names)
def test_cut_sequences_give_what_whole_ones_give(request, name):
    CHECKS.passed(request, name)


@pytest.mark.parametrize("name", PROGRAM.names)
def test_what_devices_hold_and_send(request, name):
    PROGRAM.passed(request, name)
