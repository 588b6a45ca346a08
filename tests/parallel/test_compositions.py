"""Three strategies at once: the checks of checks_compositions, in a process with eight devices."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_compositions", soak=Checks("checks_compositions").names)


@pytest.mark.parametrize("name", CHECKS.params)
def test_compositions_give_what_one_device_gives(request, name):
    CHECKS.passed(request, name)
