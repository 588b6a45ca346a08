"""What our pages say of Keras holds on its home ground: the program of docs/coming-from.md on TensorFlow."""

import runpy
from pathlib import Path

import keras
import numpy as np

import phlox as px
from kit import assert_close

PROGRAMS = Path(__file__).resolve().parents[3] / "docs" / "coming_from"
X = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype("float32")
Y = np.random.default_rng(1).integers(0, 10, 6)


def test_the_backend_is_tensorflow():
    assert keras.backend.backend() == "tensorflow"


def test_the_same_weights_give_the_same_numbers():
    theirs, ours = (runpy.run_path(str(PROGRAMS / f"{side}_side.py")) for side in ("keras", "phlox"))
    model = px.copy(ours["model"])
    report = px.load_state_dict(model, theirs["to_phlox"](theirs["model"]), strict=False)
    assert not report.mismatched
    assert not report.unexpected
    assert_close(model(X), np.asarray(theirs["predict"](X)), what="logits", kind="grad")
