"""Boxes and their suppression beside torchvision.ops."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torchvision import ops

import phlox as px
from kit import assert_close

F = px.nn.functional


def boxes(count, seed=0):
    """Corners (count, 4) of boxes that overlap much, some of no area."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 60, (count, 2))
    found = np.concatenate([first, first + rng.uniform(0, 30, (count, 2))], 1).astype(np.float32)
    found[::17, 2] = found[::17, 0]
    return found


def scores(count, seed=1):
    return np.random.default_rng(seed).permutation(count).astype(np.float32) / count


@pytest.mark.parametrize("there", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("here", ["xyxy", "xywh", "cxcywh"])
def test_formats(here, there):
    x = np.asarray(ops.box_convert(torch.from_numpy(boxes(40)), "xyxy", here))
    assert_close(F.box_convert(x, here, there), ops.box_convert(torch.from_numpy(x), here, there).numpy())


def test_areas():
    assert_close(F.box_area(boxes(40)), ops.box_area(torch.from_numpy(boxes(40))).numpy())


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"])
def test_overlap_of_each_with_each(name):
    a, b = boxes(30)[1:17], boxes(25, seed=3)[1:17]  # of boxes without area torchvision's is not a number
    want = getattr(ops, name)(torch.from_numpy(a).double(), torch.from_numpy(b).double()).numpy()
    # torchvision adds 1e-7 to what it divides by in the last two.
    bar = {"rtol": 2e-5, "atol": 2e-6}
    np.testing.assert_allclose(np.asarray(getattr(F, name)(a, b)), want, **bar)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_suppression(threshold):
    x, s = boxes(300), scores(300)
    want = ops.nms(torch.from_numpy(x), torch.from_numpy(s), threshold).numpy()
    kept = F.nms(x, s, threshold)
    assert np.asarray(kept.indices)[np.asarray(kept.mask)].tolist() == want.tolist()
    first = F.nms(x, s, threshold, max_output=10)
    assert np.asarray(first.indices).tolist() == want[:10].tolist()


def test_suppression_within_labels():
    x, s = boxes(300), scores(300)
    labels = np.random.default_rng(2).integers(0, 4, 300)
    want = ops.batched_nms(torch.from_numpy(x), torch.from_numpy(s), torch.from_numpy(labels), 0.3).numpy()
    kept = F.batched_nms(x, s, jnp.asarray(labels), 0.3)
    assert np.asarray(kept.indices)[np.asarray(kept.mask)].tolist() == want.tolist()
