"""Compiled programs of spread steps: the checks of checks_program, in a process with eight devices and every pass."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_program", as_users=True)


@pytest.mark.parametrize("name", CHECKS.params)
def test_what_devices_hold_and_send(request, name):
    CHECKS.passed(request, name)
