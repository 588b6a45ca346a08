"""px.fit over eight devices: the checks of checks_training, in a process that has eight."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_training")


@pytest.mark.parametrize("name", CHECKS.names)
def test_eight_devices_give_what_one_gives(request, name):
    CHECKS.passed(request, name)
