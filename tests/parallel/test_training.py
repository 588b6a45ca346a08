"""px.fit over eight devices: the checks of checks_training, in a process that has eight."""

import pytest

from parallel.kit import Checks

LONG = (
    "check_gpt_repeated",
    "check_gpt_unrolled",
    "check_float32",
    "check_convnet_with_batch_norm",
    "check_sam",
    "check_optax",
    "check_average_with_batch_norm",
    "check_resumed_elsewhere",
)
CHECKS = Checks("checks_training", soak=LONG)


@pytest.mark.parametrize("name", CHECKS.params)
def test_eight_devices_give_what_one_gives(request, name):
    CHECKS.passed(request, name)
