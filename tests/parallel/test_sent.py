"""What is sent for sequences and experts: the checks of checks_sent, in a process with eight devices and every pass."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_sent", as_users=True)


@pytest.mark.parametrize("name", CHECKS.names)
def test_what_devices_hold_and_send(request, name):
    CHECKS.passed(request, name)
