"""Ray Train must be there, in the version that knows JAX: without it no test of the area is skipped, all fail."""

import os

os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import ray.train.v2.jax  # noqa: F401
