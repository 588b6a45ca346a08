"""Mean average precision against pycocotools on pictures made here, and by hand where one can count along."""

import contextlib
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import phlox as px
from kit import assert_close, oracle
from phlox import metrics as M

COCO, COCOeval = oracle("pycocotools.coco").COCO, oracle("pycocotools.cocoeval").COCOeval

PICTURES, OBJECTS, DETECTIONS, CLASSES = 12, 8, 14, 3
NAMES = [f for f in M.DetectionScores._fields if f != "map_per_class"]


def pictures(seed=0):
    """Objects of all sizes, some of them crowds; detections that are objects moved by a little, and others."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 200, (PICTURES, OBJECTS, 2))
    sides = 2 ** rng.uniform(3, 8, (PICTURES, OBJECTS, 2))
    truth = {
        "boxes": np.concatenate([corner, corner + sides.round()], -1),
        "labels": rng.integers(-1, CLASSES, (PICTURES, OBJECTS)),
        "crowd": rng.uniform(size=(PICTURES, OBJECTS)) < 0.15,
        "area": (sides.round().prod(-1) * rng.uniform(0.5, 1, (PICTURES, OBJECTS))).astype("float32"),
    }
    truth["labels"][0] = -1  # a picture without objects
    near = rng.integers(0, OBJECTS, (PICTURES, DETECTIONS))
    box = np.take_along_axis(truth["boxes"], near[..., None], 1)
    move = (np.tile(box[..., 2:] - box[..., :2], 2) * rng.normal(size=box.shape) * 0.08).round()
    box = np.concatenate(
        [box[..., :2] + move[..., :2], np.maximum((box + move)[..., 2:], (box + move)[..., :2] + 1)], -1
    )
    labels = np.take_along_axis(truth["labels"], near, 1)
    stray = rng.uniform(size=labels.shape) < 0.2
    labels = np.where(stray, rng.integers(-1, CLASSES, labels.shape), labels)
    scores = rng.integers(0, 32, labels.shape) / 32  # with ties
    return {"boxes": box, "scores": scores.astype("float32"), "labels": labels}, truth


def by_coco(found, truth, classes=range(CLASSES)):
    """The twelve numbers of pycocotools; -1 there is NaN here."""
    boxes = lambda x: np.concatenate([x[:2], x[2:] - x[:2]]).tolist()  # noqa: E731
    annotations, results = [], []
    for i, labels in enumerate(truth["labels"]):
        for j in np.flatnonzero(labels >= 0):
            area = float(truth["area"][i, j])
            annotations.append({
                "id": len(annotations) + 1, "image_id": i, "category_id": int(labels[j]), "area": area,
                "bbox": boxes(truth["boxes"][i, j]), "iscrowd": int(truth["crowd"][i, j]),
            })  # fmt: skip
        for j in np.flatnonzero(found["labels"][i] >= 0):
            box, score = boxes(found["boxes"][i, j]), float(found["scores"][i, j])
            results.append({"image_id": i, "category_id": int(found["labels"][i, j]), "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {
            "images": [{"id": i} for i in range(len(truth["labels"]))],
            "categories": [{"id": c} for c in classes],
            "annotations": annotations,
            "info": {},
        }
        data.createIndex()
        judge = COCOeval(data, data.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.where(judge.stats == -1, np.nan, judge.stats), judge.eval["precision"]


def batches(found, truth):
    """Two batches of 8: the second is filled up by pictures of no weight, full of nonsense."""
    mask = np.arange(16) < PICTURES
    full = lambda x: np.concatenate([x, np.full((16 - PICTURES, *x.shape[1:]), 2, x.dtype)])  # noqa: E731
    found, truth = (jax.tree.map(full, x) for x in (found, truth))
    found["scores"][PICTURES:] = np.nan
    cut = lambda x, i: jax.tree.map(lambda a: jnp.asarray(a[8 * i : 8 * i + 8]), x)  # noqa: E731
    return [(cut(found, i), cut(truth, i), jnp.asarray(mask[8 * i : 8 * i + 8])) for i in range(2)]


@pytest.fixture(scope="module")
def measured():
    """The metric after two batches of the first pictures."""
    metric = M.MeanAveragePrecision(classes=CLASSES, capacity=PICTURES * DETECTIONS)
    for part in batches(*pictures()):
        metric.update(*part)
    return metric


def assert_scores(value, stats, what=""):
    for name, want in zip(NAMES, stats, strict=True):
        assert_close(getattr(value, name), np.float32(want), what=f"{what} {name}")


def test_the_twelve_numbers_and_each_class(measured):
    stats, precision = by_coco(*pictures())
    assert 0.1 < stats[0] < 0.9
    assert len(set(stats.round(3))) > 9  # they tell the rules apart
    value = measured.compute()
    assert_scores(value, stats)
    assert_close(value.map_per_class, precision[:, :, :, 0, 2].mean((0, 1)).astype("float32"))


@pytest.mark.parametrize("seed", range(1, 5))
def test_other_pictures_merged(measured, seed):
    """The same shapes, so that nothing compiles twice."""
    metric, other = px.copy(measured), px.copy(measured)
    metric.reset()
    other.reset()
    first, second = batches(*pictures(seed))
    metric.update(*first)
    other.update(*second)
    metric.merge(other)
    assert_scores(metric.compute(), by_coco(*pictures(seed))[0])


def test_a_scan_and_a_file(measured):
    metric = px.copy(measured)
    metric.reset()
    assert np.isnan(metric.compute().map)

    def body(metric, part):
        metric.update(*part)
        return metric, 0

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches(*pictures()))
    px.jit(lambda metric, parts: px.scan(body, metric, parts)[0])(metric, stacked)
    for path, x in px.state_dict(metric).items():
        np.testing.assert_array_equal(x, px.state_dict(measured)[path], err_msg=path)


def measure(metric, found, truth):
    """The scores of pictures, padded into batches of the one shape that is compiled."""
    metric = px.copy(metric)
    metric.reset()
    for start in range(0, len(found["labels"]), 8):
        cut = [{n: x[start : start + 8] for n, x in parts.items()} for parts in (found, truth)]
        metric.update(padded(cut[0], DETECTIONS), padded(cut[1], OBJECTS), np.arange(8) < len(cut[0]["labels"]))
    return metric.compute()


def padded(parts, count):
    fill = {"labels": -1}
    sizes = {n: [(0, 8 - len(x)), (0, count - x.shape[1])] + [(0, 0)] * (x.ndim - 2) for n, x in parts.items()}
    return {n: jnp.asarray(np.pad(x, sizes[n], constant_values=fill.get(n, 0))) for n, x in parts.items()}


def test_counted_by_hand(measured):
    """Two objects; a hit of IoU 0.8, a miss, then a whole hit: precision 1 up to a recall of 1/2, then 2/3."""
    truth = {"boxes": np.array([[[0, 0, 10, 10], [20, 20, 30, 30.0]]]), "labels": np.array([[0, 0]])}
    found = {
        "boxes": np.array([[[20, 20, 30, 30], [0, 0, 10, 8], [50, 50, 60, 60.0]]]),
        "scores": np.array([[0.1, 0.9, 0.5]], "float32"),
        "labels": np.array([[0, 0, 0]]),
    }
    value = measure(measured, found, plain(truth))
    loose, strict = (51 + 50 * 2 / 3) / 101, 51 / 3 / 101  # above 0.8 only the third hits: 1/3 up to 1/2
    assert_close(value.map, np.float32((7 * loose + 3 * strict) / 10))
    assert_close(value.map_50, np.float32(loose))
    assert_close(value.mar_1, np.float32(7 / 10 * 0.5))
    assert_close(value.mar_10, np.float32((7 * 1 + 3 * 0.5) / 10))
    assert np.isnan(value.map_large)
    np.testing.assert_allclose(value.map_per_class, [value.map, np.nan, np.nan])  # there is only the first class


def plain(truth):
    """No crowds, and the areas of the boxes."""
    sides = truth["boxes"][..., 2:] - truth["boxes"][..., :2]
    return {**truth, "crowd": np.zeros(truth["labels"].shape, bool), "area": sides.prod(-1).astype("float32")}


def test_recalls_are_rounded_as_coco_rounds_them(measured):
    """57 of 100 is no recall of 0.57 there: linspace(0, 1, 101)[57] is one rounding above it."""
    side = np.arange(100.0)[:, None] * 20
    boxes = np.concatenate([side, side * 0, side + 10, side * 0 + 10], -1)[:, None]
    truth = {"boxes": boxes, "labels": np.zeros((100, 1), int)}
    found = {"scores": np.linspace(1, 0.5, 100, dtype="float32")[:, None], **truth}
    found["labels"] = np.where(np.arange(100)[:, None] < 57, 0, -1)
    stats, _ = by_coco(found, plain(truth), range(1))
    assert stats[0] == pytest.approx(57 / 101)
    assert_close(measure(measured, found, plain(truth)).map, np.float32(stats[0]))


def refused(found=None, truth=None, **options):
    base_found, base_truth = (jax.tree.map(lambda x: x[:1], x) for x in pictures())
    metric = M.MeanAveragePrecision(classes=CLASSES, capacity=options.pop("capacity", 20))
    metric.update({**base_found, **(found or {})}, {**base_truth, **(truth or {})}, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"found": {"mask": np.ones((1, 14))}}, "prediction as a dict of boxes, scores, labels, got a dict of boxes, "),
        (
            {"found": {"scores": np.ones((1, 3))}},
            r"scores of the prediction of shape \(batch, boxes\), got float32\[1, 3",
        ),
        ({"found": {"scores": np.full((1, 14), np.nan), "labels": np.zeros((1, 14), int)}}, "scores that are numbers"),
        (
            {"found": {"labels": np.full((1, 14), 3)}},
            r"labels of the prediction in 0 … 2, or -1, got int\d+\[1, 14\] with 3",
        ),
        ({"truth": {"labels": np.zeros((1, 8))}}, r"integer labels of the target, got float32\[1, 8\]"),
        (
            {"truth": {"boxes": np.ones((1, 8, 4)) * [5, 5, 1, 1], "labels": np.zeros((1, 8), int)}},
            "boxes of the target with x1 <= x2 .*\n  fix: write boxes as corners",
        ),
        ({"weight": np.array([0.5])}, "weights of 0 and 1, got"),
        ({"capacity": 1}, "at most capacity=1 rows, got 0 so far and"),
    ],
)
def test_refusals(options, text):
    with pytest.raises(px.PhloxError, match=text):
        refused(**options)


def test_a_traced_batch_that_is_refused_elsewhere_gives_nan():
    found, truth = (jax.tree.map(lambda x: jnp.asarray(x[:2]), x) for x in pictures())

    @px.jit
    def measure(metric, labels):
        metric.update({**found, "labels": labels}, truth)
        return metric.compute().map

    metric = M.MeanAveragePrecision(classes=CLASSES, capacity=2 * DETECTIONS)
    labels = jnp.zeros_like(found["labels"])
    assert np.isfinite(measure(metric, labels))
    assert np.isnan(measure(metric, labels))  # more than there is room for
    metric.reset()
    assert np.isnan(measure(metric, labels.at[0, 0].set(CLASSES)))
