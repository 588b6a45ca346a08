"""torchvision and timm warn of their own parts while they are imported: that is not ours to hear."""

import os
import warnings

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # timm shall not look for weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import timm  # noqa: F401
    import torch
    import torchvision  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
