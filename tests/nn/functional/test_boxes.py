"""Boxes against their definitions on torch tensors, and suppression against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import against_torch, assert_close, oracle
from phlox.nn import functional as F

torch = oracle("torch")
RNG = np.random.default_rng(0)


def some_boxes(*shape, dtype="float32"):
    corner = RNG.uniform(0, 8, (*shape, 2))
    return np.concatenate([corner, corner + RNG.uniform(1, 6, (*shape, 2))], -1).astype(dtype)


# --- formats and areas -------------------------------------------------------------------------------

XYXY, XYWH, CXCYWH = [1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 3.0, 6.0], [2.5, 5.0, 3.0, 6.0]
FORMATS = {"xyxy": XYXY, "xywh": XYWH, "cxcywh": CXCYWH}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_every_format_from_every_other(source, target):
    box = np.array([[FORMATS[source]]], "float32")
    assert F.box_convert(box, source, target).tolist() == [[FORMATS[target]]]


def test_areas_are_not_rounded_to_16_bits():
    assert F.box_area(jnp.array([[0, 0, 300, 400]], jnp.bfloat16)).tolist() == [120_000.0]  # no float16
    assert F.box_area(np.array([XYXY], "float32")).tolist() == [18.0]


# --- overlap -----------------------------------------------------------------------------------------


def in_torch(a, b, what):
    """By the papers' formulas, side by side."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    area = lambda x: (x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1])  # noqa: E731
    inside = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area(a) + area(b) - inside
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    iou = inside / union
    if what == "box_iou":
        return iou
    if what == "generalized_box_iou":
        return iou - (hull.prod(-1) - union) / hull.prod(-1)
    centre = lambda x: (x[..., :2] + x[..., 2:]) / 2  # noqa: E731
    distance = iou - ((centre(a) - centre(b)) ** 2).sum(-1) / (hull**2).sum(-1)
    if what == "distance_box_iou":
        return distance
    angle = lambda x: torch.atan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1]))  # noqa: E731
    v = 4 / np.pi**2 * (angle(a) - angle(b)) ** 2
    with torch.no_grad():
        share = v / (1 - iou + v)
    return distance - share * v


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"])
def test_overlap_of_each_with_each_and_its_gradient(name):
    a, b = some_boxes(2, 3), some_boxes(2, 4)
    against_torch(getattr(F, name), lambda a, b: in_torch(a, b, name), a, b)
    with jax.enable_x64(True):
        a, b = some_boxes(3, dtype="float64"), some_boxes(2, dtype="float64")
        against_torch(getattr(F, name), lambda a, b: in_torch(a, b, name), a, b)


def test_boxes_without_area_and_whole_numbers():
    point, box = [[3, 3, 3, 3]], [[0, 0, 4, 4]]
    assert F.box_iou(jnp.array(point), jnp.array(point + box)).tolist() == [[0.0, 0.0]]
    assert F.generalized_box_iou(jnp.array(point), jnp.array(point)).tolist() == [[0.0]]
    assert F.distance_box_iou(jnp.array(point), jnp.array(box)).tolist() == [[-1 / 16]]
    tall = jnp.array([[0.0, 0.0, 0.0, 2.0]])
    grads = jax.jit(jax.grad(lambda a: F.complete_box_iou(a, jnp.array(box, "float32")).sum()))(tall)  # no width
    assert np.isfinite(grads).all()


def test_the_loss_is_one_less_the_diagonal_small_and_large():
    scale = np.array([1e-3, 1, 1, 1e2, 1e4], "float32")[:, None]
    ours = lambda a, b: px.losses.generalized_iou(a * scale, b * scale, reduction="none")  # noqa: E731
    full = lambda a, b: in_torch(a * torch.tensor(scale), b * torch.tensor(scale), "generalized_box_iou")  # noqa: E731
    against_torch(ours, lambda a, b: 1 - torch.diagonal(full(a, b)), some_boxes(5), some_boxes(5))


# --- suppression -------------------------------------------------------------------------------------


def by_a_loop(boxes, scores, labels, threshold):
    """Every box against every one that stays, the highest score first."""
    stay = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        iou = np.asarray(in_torch(torch.tensor(boxes[[i]]), torch.tensor(boxes), "box_iou"))[0]
        if scores[i] > -np.inf and not any(iou[j] > threshold and labels[i] == labels[j] for j in stay):
            stay.append(i)
    return stay


N = 24
PICTURES = some_boxes(3, N)
SCORES = (RNG.integers(0, 8, (3, N)) / 8).astype("float32")  # with ties
SCORES[:, 5] = -np.inf
LABELS = RNG.integers(0, 2, (3, N))


@pytest.mark.parametrize("threshold", [0.125, 0.25])
def test_suppression_is_the_plain_loop(threshold):
    kept = F.nms(PICTURES, SCORES, threshold)
    apart = F.batched_nms(PICTURES, SCORES, LABELS, threshold)
    for i in range(3):
        want = by_a_loop(PICTURES[i], SCORES[i], LABELS[i] * 0, threshold)
        assert 3 < len(want) < N - 3
        assert kept.indices[i][kept.mask[i]].tolist() == want
        within = by_a_loop(PICTURES[i], SCORES[i], LABELS[i], threshold)
        assert len(within) > len(want)
        assert apart.indices[i][apart.mask[i]].tolist() == within
        assert kept.mask[i].tolist() == [True] * len(want) + [False] * (N - len(want))


def test_suppression_of_fixed_size_compiles_maps_and_exports():
    first = F.nms(PICTURES, SCORES, 0.5, max_output=4)
    most = jax.jit(lambda b, s: F.nms(b, s, 0.5, max_output=4))
    mapped = px.jit(px.vmap(lambda b, s: F.nms(b, s, 0.5, max_output=4)))(jnp.asarray(PICTURES), jnp.asarray(SCORES))
    exported = jax.export.export(most)(PICTURES, SCORES).call(PICTURES, SCORES)
    for i in range(3):
        assert first.indices[i].tolist() == by_a_loop(PICTURES[i], SCORES[i], LABELS[i] * 0, 0.5)[:4]
    for other in (mapped, exported):
        assert_close(other[0], first.indices)
        assert_close(other[1], first.mask)


def test_a_box_that_equals_the_threshold_stays_and_what_is_no_number_is_absent():
    boxes = jnp.array([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0], [9.0, 9.0, 9.5, 9.5], [5.0, 5.0, 6.0, 6.0]])
    kept = F.nms(boxes, jnp.array([0.5, 0.9, jnp.nan, -jnp.inf]), 0.5)
    assert kept.indices[kept.mask].tolist() == [1, 0]
    same = F.nms(jnp.array([[1.0, 1.0, 1.0, 1.0]] * 2), jnp.array([0.5, 0.5]), 0.5)  # points never overlap
    assert same.mask.tolist() == [True, True]
    assert same.indices.tolist() == [0, 1]
    assert F.nms(jnp.zeros((0, 4)), jnp.zeros(0), max_output=2).mask.tolist() == [False, False]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: F.box_convert(PICTURES, "xyxy", "yxyx"),
            "box_convert expects out_fmt of xyxy, xywh, cxcywh, got 'yxyx'",
        ),
        (lambda: F.box_area(PICTURES[..., :3]), r"box_area expects boxes \(..., 4\), got float32\[3, 24, 3\]"),
        (
            lambda: F.box_iou(PICTURES[0, 0], PICTURES),
            r"boxes \(..., boxes, 4\), got float32\[4\]\n  fix: add the axis",
        ),
        (lambda: F.box_iou(PICTURES[0], PICTURES), r"box_iou expects boxes1 and boxes2 of the same leading axes"),
        (lambda: F.nms(PICTURES, SCORES[:, 1:]), r"nms expects scores of \[3, 24\], got float32\[3, 23\]"),
        (
            lambda: F.batched_nms(PICTURES, SCORES, LABELS[0]),
            r"batched_nms expects labels of \[3, 24\], got int32\[24\]",
        ),
        (lambda: F.nms(PICTURES, SCORES, 1.5), "nms expects 0 <= iou_threshold <= 1, got iou_threshold=1.5"),
        (lambda: F.nms(PICTURES, SCORES, max_output=0), "max_output as a whole number of at least 1, got 0"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError, match=text):
        call()
