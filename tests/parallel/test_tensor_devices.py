"""Tensor parallelism over eight devices: the checks of checks_tensor and checks_tensor_program, a process for each."""

import pytest

from parallel.kit import Checks

CHECKS, PROGRAMS = Checks("checks_tensor"), Checks("checks_tensor_program", as_users=True)
QUICK = (
    "check_decoder_over_data_fsdp_and_tensor",
    "check_files_are_read_to_their_shards",
    "check_models_are_made_where_they_lie",
    "check_a_block_sends_sums_alone",
)


def marked(checks):
    """All checks, those that take long for ``make soak``."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.soak) for name in checks.names]


@pytest.mark.parametrize("name", marked(CHECKS))
def test_numbers_are_those_of_one_device(request, name):
    CHECKS.passed(request, name)


@pytest.mark.parametrize("name", marked(PROGRAMS))
def test_what_devices_send(request, name):
    PROGRAMS.passed(request, name)
