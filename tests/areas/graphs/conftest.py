"""In float64, so that a difference is a difference of methods."""

import jax
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _wide():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(before)
