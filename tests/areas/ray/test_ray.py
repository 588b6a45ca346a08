"""Processes that Ray starts: a training of two gives the numbers of one process."""

import sys
import warnings
from pathlib import Path

import pytest

import phlox as px

FOLDER = Path(__file__).resolve().parent


def fitted():
    """A small training, over all devices of all processes."""
    import jax
    import numpy as np

    import phlox as px

    rng = np.random.default_rng(0)
    data = rng.normal(size=(22, 4)).astype("f"), rng.integers(0, 3, 22)
    with px.seed(0):
        model = px.Chain(px.Dense(4, 8, px.tanh), px.BatchNorm(8), px.Dropout(0.3), px.Dense(8, 3))
    history = px.fit(
        model,
        data,
        loss=px.losses.cross_entropy,
        optimizer=px.optim.Adam(1e-2),
        epochs=3,
        batch_size=8,
        progress=False,
        parallel=px.parallel.data_parallel(),
    )
    return jax.process_count(), history.losses.tolist()


def failing():
    raise ValueError("as asked for")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Ray on this machine, with as many cores as the workers need; workers find this module and the source."""
    import ray

    paths = [str(FOLDER), *[path for path in sys.path if path]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        environment = {"env_vars": {"PYTHONPATH": ":".join(paths), "JAX_PLATFORMS": "cpu"}}
        ray.init(num_cpus=4, include_dashboard=False, runtime_env=environment)
        yield str(tmp_path_factory.mktemp("ray"))
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_two_workers_give_the_numbers_of_one_process(machine):
    count, losses = px.parallel.ray(fitted, 2, storage=machine)
    alone, wanted = fitted()
    assert (count, alone) == (2, 1)
    assert losses == pytest.approx(wanted, abs=1e-5)
    assert len(losses) == 9


@pytest.mark.filterwarnings("ignore")
def test_what_a_worker_raises_ends_the_training(machine):
    with pytest.raises(Exception, match="as asked for"):
        px.parallel.ray(failing, 2, storage=machine)
