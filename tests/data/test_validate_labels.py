"""Wrong labels by confident learning, rows of the test data among those of training, and the page of findings."""

import html
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

import phlox as px

validate = px.data.validate


def test_planted_wrong_labels_are_found_on_real_data():
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = np.sort(rng.choice(len(y), 90, replace=False))
    noisy = y.copy()
    noisy[wrong] = (y[wrong] + rng.integers(1, 10, 90)) % 10
    model = KNeighborsClassifier(15)
    p = cross_val_predict(model, x / 16, noisy, cv=3, method="predict_proba")
    found = validate.label_noise(noisy, p)
    hit = np.isin(found.rows, wrong)
    assert hit.sum() >= 0.85 * 90
    assert hit[:60].mean() >= 0.95  # the most certain first
    assert hit.mean() >= 0.8
    right = found.suggested == y[found.rows]
    assert right[hit].mean() > 0.9
    assert abs(found.share - 90 / len(y)) < 0.03
    clean = validate.label_noise(y, cross_val_predict(model, x / 16, y, cv=3, method="predict_proba"))
    assert clean.share < found.share / 2


def test_it_is_the_papers_rule_by_hand():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1.0, 0.7, 0.5], 60)
    y = np.array([rng.choice(3, p=row) for row in p])
    thresholds = [p[y == j][:, j].mean() for j in range(3)]
    joint, rows = np.zeros((3, 3)), set()
    for i in range(60):
        able = [j for j in range(3) if p[i, j] >= thresholds[j]]
        if able:
            best = max(able, key=lambda j: p[i, j])
            joint[y[i], best] += 1
    joint = joint / joint.sum(1, keepdims=True) * np.bincount(y)[:, None] / 60
    for label in range(3):
        behind = sorted((p[i, label] - max(np.delete(p[i], label)), i) for i in range(60) if y[i] == label)
        rows |= {i for d, i in behind[: round(60 * (joint[label].sum() - joint[label, label]))] if d < 0}
    found = validate.label_noise(y, p)
    assert set(found.rows) == rows
    assert len(rows) > 10
    np.testing.assert_allclose(found.joint, joint)
    assert (np.diff(found.margins) <= 0).all()
    np.testing.assert_allclose(found.joint.sum(1), np.bincount(y) / 60)
    with_absent = validate.label_noise(y, np.concatenate([p, np.zeros((60, 1))], 1))
    np.testing.assert_array_equal(with_absent.rows, found.rows)


def test_labels_and_probabilities_are_checked():
    p = np.full((3, 2), 0.5)
    with pytest.raises(px.RangeError, match="labels from 0 to 1, got 0 … 2"):
        validate.label_noise([0, 1, 2], p)
    with pytest.raises(px.RangeError, match=r"rows of probabilities, got .* in row 1"):
        validate.label_noise([0, 1, 1], [[0.5, 0.5], [2.0, 1.0], [1, 0]])
    with pytest.raises(px.ShapeError, match=r"labels \(n,\)"):
        validate.label_noise([0, 1], p)
    with pytest.raises(px.ShapeError, match="2 classes, got 1"):
        validate.label_noise([0, 1, 1], p, classes=["a"])


def test_rows_of_the_test_data_among_those_of_training_are_found():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.choice(["x", "y"], 300), "id": np.arange(300)})
    train, test = frame.iloc[:200], pd.concat([frame.iloc[200:], frame.iloc[[5, 17]]])
    found = validate.leakage(train, test)
    assert found.pairs.tolist() == [[5, 100], [17, 101]]
    assert found.share == 2 / 102
    moved = test.assign(id=np.arange(1000, 1102))
    assert not validate.leakage(train, moved)
    assert validate.leakage(train, moved, ignore=["id"]).pairs.tolist() == [[5, 100], [17, 101]]
    assert validate.leakage(train[["b", "id", "a"]], test).pairs.tolist() == [[5, 100], [17, 101]]
    with pytest.raises(px.StructureError, match="the same columns in both, got 'id' in one"):
        validate.leakage(train, test.drop(columns="id"))


def test_images_are_compared_by_their_content_and_near_ones_by_their_angle():
    rng = np.random.default_rng(0)
    images, y = rng.random((50, 8, 8, 1)), np.arange(50) % 3
    test = images[[3, 40]].copy()
    test[1] = test[1] * 1.05 + rng.normal(0, 0.01, test[1].shape)
    assert validate.leakage((images, y), (test, y[[3, 40]])).pairs.tolist() == [[3, 0]]
    assert validate.leakage((images, y), (test, np.array([9, 9])), ignore=["y"]).pairs.tolist() == [[3, 0]]
    found = validate.leakage((images, y), (test, y[[3, 40]]), near=0.98)
    assert found.pairs.tolist() == [[3, 0], [40, 1]]
    assert found.likeness[0] == 1 > found.likeness[1] > 0.98
    centred = [(v - images.mean(0)).ravel() for v in (images[40], test[1])]
    cosine = centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1])
    np.testing.assert_allclose(found.likeness[1], cosine, rtol=1e-5)
    assert not validate.leakage(images[:20], images[20:], near=0.98)
    with pytest.raises(px.RangeError, match="near above 0, up to 1, got 3"):
        validate.leakage(images, images, near=3)
    with pytest.raises(px.StructureError, match="rows of numbers to find near ones"):
        validate.leakage(["a", "b"], ["a"], near=0.9)


def test_a_page_holds_what_was_found_and_nothing_from_outside(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"<b>size</b>": rng.normal(size=200), "kind": rng.choice(["<i>a</i>", "b"], 200)})
    later = frame.assign(**{"<b>size</b>": rng.normal(2, 1, 200)})
    schema = validate.schema(frame)
    found = [validate.statistics(frame), schema, schema.check(later), validate.drift(frame, later)]
    path = tmp_path / "page.html"
    validate.write_page(path, *found, title="A & B")
    text = path.read_text("utf-8")
    assert "<title>A &amp; B</title>" in text
    assert text.count("<svg") == 4
    assert not re.findall(r"(?:src|href)=|url\(|<script|<b>size|<i>a", text)
    for word in ("What is in it", "What is expected", "What is against the schema", "What has drifted"):
        assert f"<h2>{word}</h2>" in text
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="#3b7dd8"><title>', text.split("</svg>")[0])]
    counts = np.array(found[0]["<b>size</b>"].histogram)
    np.testing.assert_allclose(heights, 44 * counts / counts.max(), atol=0.06)
    drifted = found[3]["<b>size</b>"]
    assert html.escape(f"{drifted.bins[0]}: {drifted.shares[0][0]:.1%}, {drifted.shares[1][0]:.1%}") in text
    assert found[0]._repr_html_() in text
    with pytest.raises(px.StructureError, match="something to show, got nothing"):
        validate.write_page(path)
    with pytest.raises(px.StructureError, match=r"findings of px\.data\.validate, got 3"):
        validate.write_page(path, 3)
