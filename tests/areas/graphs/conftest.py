"""In float64, so that a difference is a difference of methods."""

import warnings

import jax
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it compiles by torch.jit.script, which PyTorch is to drop
    import torch_geometric.nn  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _wide():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(before)
