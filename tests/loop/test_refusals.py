"""What fit is given and means nothing is refused in four parts, before anything is trained."""

import numpy as np
import pytest

import phlox as px
from loop.loops import arrays, batches, mlp

CASES = {
    "epochs": ({"epochs": 0}, px.RangeError, "px.fit expects epochs to be a whole number, at least 1, got 0"),
    "accumulate": ({"accumulate": 1.5}, px.RangeError, "accumulate to be a whole number, at least 1, got 1.5"),
    "precision": ({"precision": "fp8"}, px.RangeError, "got 'fp8'"),
    "clip": ({"clip": -1}, px.RangeError, "clip to be a norm above 0.*got -1"),
    "clip by name": ({"clip": {"size": 1}}, px.RangeError, "clip to be a norm above 0"),
    "multi_step": ({"multi_step": "many"}, px.RangeError, "multi_step to be a whole number.*got 'many'"),
    "loss": ({"loss": None}, px.RangeError, "a function as loss, got None"),
    "metrics": ({"metrics": {"a": max}}, px.RangeError, "metrics: one of px.metrics"),
    "callbacks": ({"callbacks": [print]}, px.RangeError, "as callbacks, got the function print"),
    "resume": ({"resume": True}, px.RangeError, "a checkpoint_dir to resume from, got none"),
    "class weights": ({"class_weight": {1: 2.0}}, px.RangeError, "class_weight by class 0, 1"),
    "negative": ({"class_weight": [-1.0, 1.0, 1.0]}, px.RangeError, r"class_weight \(classes,\)"),
    "sample weights": ({"sample_weight": [1.0]}, px.RangeError, r"data \(x, y\) for sample_weight, got list"),
    "no batch": ({"train_data": []}, px.ShapeError, "at least one batch, got none"),
    "no data": ({"train_data": 3}, px.RangeError, "arrays, a tuple or dict of arrays.*got 3"),
    "one array": ({"train_data": [np.ones((2, 4), "f")]}, px.ShapeError, "got a single array"),
    "four parts": ({"train_data": [(1.0, 2.0, 3.0, 4.0)]}, px.ShapeError, "got a tuple of 4"),
    "batch size": ({"batch_size": 0}, px.RangeError, "px.fit expects batch_size to be a whole number"),
    "used up": ({"train_data": iter(batches(2)), "epochs": 2}, px.ShapeError, "got an iterator that is used up"),
    "progress": ({"progress": "loud"}, px.RangeError, "got 'loud'"),
    "step and clip": ({"step": print, "clip": 1.0}, px.RangeError, "your own step alone, got step and clip"),
    "no scalar": ({"loss": lambda p, y: p}, px.ShapeError, r"a loss that returns a scalar.*got float32\[6, 3\]"),
    "no dict": ({"loss": lambda p, y: (p.mean(), 3)}, px.ShapeError, "and a dict of scalars, got 3"),
    "devices": ({"devices": 64}, px.RangeError, "devices"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(name):
    given, error, text = CASES[name]
    model = mlp()
    before = arrays(model)
    options = {
        "train_data": batches(1),
        "loss": px.losses.cross_entropy,
        "optimizer": px.optim.Adam(),
        "progress": False,
    }
    with pytest.raises(error, match=f"(?s){text}") as caught:
        px.fit(model, **(options | given))
    assert "fix: " in str(caught.value)
    if name != "used up":
        for path, v in before.items():
            np.testing.assert_array_equal(arrays(model)[path], v)


def test_an_optimiser_of_another_model_and_a_model_that_is_none():
    with pytest.raises(px.StructureError, match="an optimiser of this model"):
        px.fit(mlp(), batches(1), loss=px.losses.cross_entropy, optimizer=px.Optimizer(px.optim.Adam(), px.Dense(2, 2)))
    with pytest.raises(px.StructureError, match="a Module as model, got the function <lambda>"):
        px.fit(lambda x: x, batches(1), loss=px.losses.cross_entropy, optimizer=px.optim.Adam())  # type: ignore[arg-type]
    with pytest.raises(px.RangeError, match="a loss or metrics, got neither"):
        px.evaluate(mlp(), batches(1))
