"""Micro-batches over devices: the checks of checks_micro_batches, in a process with eight devices."""

import pytest

from parallel.kit import Checks

LONG = (
    "check_fsdp_in_parts_with_metrics",
    "check_products_in_parts",
    "check_a_pipeline_that_does_not_fit_is_refused",
)
CHECKS = Checks("checks_micro_batches", soak=LONG)


@pytest.mark.parametrize("name", CHECKS.params)
def test_parts_of_a_batch_over_devices(request, name):
    CHECKS.passed(request, name)
