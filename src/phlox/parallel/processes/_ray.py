"""px.parallel.ray: a training in processes that Ray starts, on one machine or on its cluster."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phlox.core import MissingExtraError, RangeError

WHERE = "px.parallel.ray"


def ray(
    train: Callable[[], Any],
    workers: int = 2,
    *,
    resources: Mapping[str, float] | None = None,
    storage: str | None = None,
    restarts: int = 0,
) -> Any:
    """Train in processes that Ray starts, and return what the function returned in process 0.

    Ray Train starts the processes, sends the function to each of them, brings them together as
    ``px.parallel.initialize`` would. What the function needs it imports or makes itself. To go on a cluster, call
    ``ray.init(address)`` before.

    Arguments:
        train: a function of nothing; in it, ``px.fit(…, parallel=…)`` is one training of all processes.
        workers: how many processes.
        resources: what Ray reserves for each, such as ``{"CPU": 4, "GPU": 1}``; by default one core.
        storage: a folder for what Ray keeps, which all machines see; by default Ray's.
        restarts: how often Ray starts all workers again where one is lost or ends by an error; ``train`` then goes on
            where ``px.fit(…, checkpoint_dir=…, resume=True)`` finds a checkpoint, in a folder that all machines see.

    Returns:
        What ``train`` returned in process 0; it is pickled.

    Raises:
        MissingExtraError: Ray is not installed.
        RangeError: a number of workers below 1, of restarts below 0, or what is no function.
        Exception: what ended the training, as Ray has it.
    """
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise RangeError("a number of workers, at least 1", got=repr(workers), fix="give 2", where=WHERE)
    if not callable(train):
        fix = "pass a function that makes the model and calls px.fit"
        raise RangeError("a function of nothing", got=repr(train)[:60], fix=fix, where=WHERE)
    if not isinstance(restarts, int) or isinstance(restarts, bool) or restarts < 0:
        raise RangeError("a number of restarts, at least 0", got=repr(restarts), fix="give 3", where=WHERE)
    trainer, of_jax, scaling, running, failing = _library()
    wanted = {"CPU": 1.0, **(resources or {})}
    made = trainer(
        _reported(train),
        jax_config=of_jax(use_gpu=True),  # which means: not a TPU; then Ray brings the processes together
        scaling_config=scaling(num_workers=workers, resources_per_worker=wanted, use_gpu=wanted.get("GPU", 0) > 0),
        run_config=running(storage_path=storage, failure_config=failing(max_failures=restarts)),
    )
    return _result(made.fit())


def _library() -> tuple[Any, Any, Any, Any, Any]:
    """What of Ray Train is needed, in the version in which it knows JAX."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]  # an extra
        from ray.train.v2.jax import JaxConfig, JaxTrainer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("Ray", got="none", fix='pip install "phlox[ray]"', where=WHERE) from None
    return JaxTrainer, JaxConfig, ScalingConfig, RunConfig, FailureConfig


def _reported(train: Callable[[], Any]) -> Callable[[], None]:
    """The function of each worker: process 0 hands back what it returned, as a file, which Ray brings to the driver."""

    def run() -> None:
        import pickle
        import tempfile
        from pathlib import Path

        import ray.train as of_ray  # pyright: ignore[reportMissingImports]

        result = train()
        if of_ray.get_context().get_world_rank():
            return of_ray.report({})
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "result").write_bytes(pickle.dumps(result))
            of_ray.report({}, checkpoint=of_ray.Checkpoint.from_directory(folder))

    return run


def _result(ended: Any) -> Any:
    """What process 0 returned."""
    with ended.checkpoint.as_directory() as folder:
        return pickle.loads(Path(folder, "result").read_bytes())
