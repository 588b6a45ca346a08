"""Ray Train must be there, in the version that knows JAX: without it no test of the area is skipped, all fail."""

import os
import sys
import warnings
from pathlib import Path

import pytest

os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import ray
import ray.train.v2.jax

FOLDER = Path(__file__).resolve().parent
STARTS = 5


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with as many cores as the workers need; workers find the tests and the source.

    Its node ends itself where the helpers that it starts first take more than 15 seconds, as on a busy machine, and
    nothing sets these (https://github.com/ray-project/ray/issues/65983); so it is started again.
    """
    paths = [str(FOLDER), *[path for path in sys.path if path]]
    environment = {"env_vars": {"PYTHONPATH": ":".join(paths), "JAX_PLATFORMS": "cpu"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for left in reversed(range(STARTS)):
            try:
                ray.init(num_cpus=4, include_dashboard=False, runtime_env=environment)
                break
            except Exception as error:  # Ray has no class of its own for it
                ray.shutdown()
                if not left or "timed out during startup" not in str(error):
                    raise
        yield
        ray.shutdown()
