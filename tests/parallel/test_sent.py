"""What is sent for sequences and experts: the checks of checks_sent, in a process with eight devices and every pass."""

import pytest

from parallel.kit import Checks

LONG = (
    "check_without_capacity_tokens_are_gathered_and_results_summed",
    "check_steps_of_products_hold_parts_and_gather_no_activation",
    "check_experts_of_stages_stay",
)
CHECKS = Checks("checks_sent", as_users=True, soak=LONG)


@pytest.mark.parametrize("name", CHECKS.params)
def test_what_devices_hold_and_send(request, name):
    CHECKS.passed(request, name)
