"""TensorFlow deprecates among its own parts while it is imported: that is not ours to hear."""

import os
import warnings

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow as tf


@pytest.fixture(autouse=True)
def _seeded():
    tf.random.set_seed(0)
