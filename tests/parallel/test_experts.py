"""Experts over eight devices: the checks of checks_experts, in a process that has eight."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_experts")
PROGRAM = Checks("checks_experts_program", as_users=True)


@pytest.mark.parametrize("name", CHECKS.names)
def test_experts_on_many_devices_give_what_those_on_one_give(request, name):
    CHECKS.passed(request, name)


@pytest.mark.parametrize("name", PROGRAM.names)
def test_what_devices_send(request, name):
    PROGRAM.passed(request, name)
