"""Networks under strategies and their products: the checks of checks_networks, in a process with eight devices."""

import pytest

from parallel.kit import Checks

CHECKS = Checks("checks_networks", soak=Checks("checks_networks").names)


@pytest.mark.parametrize("name", CHECKS.params)
def test_networks_train_as_on_one_device(request, name):
    CHECKS.passed(request, name)
