"""Experts over eight devices: the checks of checks_experts, in a process that has eight."""

import pytest

from parallel.kit import Checks

LONG = (
    "check_a_batch_of_rows",
    "check_tokens_are_sent_by_their_slots",
    "check_tokens_of_eight_devices_are_gathered",
    "check_a_decoder_in_small",
    "check_a_decoder_with_capacity",
    "check_a_decoder_whose_experts_compute_all",
    "check_models_of_the_hub",
)
CHECKS = Checks("checks_experts", soak=LONG)


@pytest.mark.parametrize("name", CHECKS.params)
def test_experts_on_many_devices_give_what_those_on_one_give(request, name):
    CHECKS.passed(request, name)
