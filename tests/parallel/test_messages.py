"""What a step adds up over processes, and in how many messages; checks in processes with eight devices."""

import pytest

from parallel.kit import Checks

SOAK = ["check_a_network_with_statistics_of_batches", "check_a_decoder_and_several_batches_a_step"]
PROGRAMS = Checks("checks_messages", as_users=True)
NUMBERS = Checks("checks_late_sums", soak=SOAK)


@pytest.mark.parametrize("name", PROGRAMS.params)
def test_messages_of_a_compiled_step(request, name):
    PROGRAMS.passed(request, name)


@pytest.mark.parametrize("name", NUMBERS.params)
def test_numbers_are_those_of_one_device(request, name):
    NUMBERS.passed(request, name)
