"""Checkpoints from mesh to mesh: the checks of checks_sharded, in a process that has eight devices."""

import pytest

from kit import oracle
from parallel.kit import Checks

oracle("orbax.checkpoint")
QUICK = ("check_bits_fsdp_tensor", "check_goes_on_in_small", "check_best_weights_stay_in_parts")
CHECKS = Checks("checks_sharded")
CHECKS.soak = [name for name in CHECKS.names if name not in QUICK]


@pytest.mark.parametrize("name", CHECKS.params)
def test_from_mesh_to_mesh(request, name):
    CHECKS.passed(request, name)
