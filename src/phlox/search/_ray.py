"""px.search.ray_tune: the same objectives as trials of Ray Tune, many at a time, on one machine or on its cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phlox.core import MissingExtraError, RangeError
from phlox.loop import mode_of
from phlox.search._result import DONE, FAILED, PRUNED, TrialResult
from phlox.search._space import as_space
from phlox.search._study import Study
from phlox.search._trial import Trial, value_of

WHERE = "px.search.ray_tune"
VALUE, STEP, END = "value", "step", "ended"  # what a trial reports


def ray_tune(
    objective: Callable[[Trial], Any],
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    monitor: str = "val_loss",
    mode: str = "auto",
    at_once: int | None = None,
    resources: Mapping[str, float] | None = None,
    scheduler: Any = None,
    search: Any = None,
    storage: str | Path | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Study:
    """Look for settings as ``px.tune`` does, by Ray Tune, which runs trials in processes of its own.

    To go on a cluster, call ``ray.init(address)`` before. What the objective needs it imports or makes itself.

    Arguments:
        objective, space, trials, monitor, mode: as for ``px.tune``.
        at_once: trials at a time at most; by default as many as fit.
        resources: what Ray reserves for each, such as ``{"cpu": 2, "gpu": 1}``; by default one core.
        scheduler: one of ``ray.tune.schedulers``, such as ``ASHAScheduler``, made without metric and mode; it ends
            trials that lag behind, by what ``trial.pruning()`` and ``trial.report`` tell.
        search: one of ``ray.tune.search``; by default settings are drawn at random, by the seed.
        storage, name: where Ray keeps its files.
        seed: of what is drawn.

    Returns:
        The ``Study``; its ``source`` is Ray's ``ResultGrid``.

    Raises:
        MissingExtraError: Ray Tune is not installed.
        RangeError: an argument that means nothing.
    """
    known = as_space(space, WHERE)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise RangeError("a number of trials, at least 1", got=repr(trials), fix="give 20", where=WHERE)
    mode = mode_of(monitor, WHERE) if mode == "auto" else mode
    of_ray = _library()
    wanted = {"cpu": 1, **(resources or {})}
    drawn = search
    if drawn is None:
        from ray.tune.search.basic_variant import BasicVariantGenerator  # pyright: ignore[reportMissingImports]

        drawn = BasicVariantGenerator(max_concurrent=at_once or 0, random_state=seed)
    tuner = of_ray.Tuner(
        of_ray.with_resources(_trainable(objective, known, monitor, mode, seed), wanted),
        param_space={label: one.ray() for label, one in known.items()},
        tune_config=of_ray.TuneConfig(
            metric=VALUE, mode=mode, num_samples=trials, scheduler=scheduler, search_alg=drawn,
            max_concurrent_trials=None if search is None else at_once,
        ),
        run_config=of_ray.RunConfig(
            name=name, storage_path=None if storage is None else str(Path(storage).absolute()), verbose=0
        ),
    )  # fmt: skip
    grid = tuner.fit()
    return Study([_result(n, one, known) for n, one in enumerate(grid)], mode, name or "study", grid)


def _trainable(
    objective: Callable[[Trial], Any], space: Any, monitor: str, mode: str, seed: int
) -> Callable[..., None]:
    """What Ray runs for each trial: the objective, on what was drawn."""

    def run(config: Mapping[str, Any]) -> None:
        from ray import tune  # pyright: ignore[reportMissingImports]  # an extra

        def report(step: int, value: float) -> bool:
            tune.report({VALUE: value, STEP: step, END: False})  # Ray ends the process where the trial lags behind
            return False

        number = int(tune.get_context().get_trial_id().rpartition("_")[2])
        settings = {name: space[name].value(told) for name, told in config.items()}
        trial = Trial(number, settings, seed=seed + number, report=report)
        value = value_of(objective(trial), trial, monitor, mode, WHERE)
        if value is None:
            raise ValueError("the trial came to no finite number")
        tune.report({VALUE: value, END: True})

    return run


def _result(number: int, result: Any, space: Any) -> TrialResult:
    """A trial of Ray's as ours."""
    settings = {name: space[name].value(told) for name, told in (result.config or {}).items()}
    last = result.metrics or {}
    ended = bool(last.get(END))
    rows = [] if result.metrics_dataframe is None else result.metrics_dataframe.to_dict("records")
    curve = {int(row[STEP]): row[VALUE] for row in rows if not row.get(END) and row.get(STEP) == row.get(STEP)}
    state = FAILED if result.error is not None else DONE if ended else PRUNED
    return TrialResult(number, settings, last.get(VALUE) if ended else None, state, curve, last.get("time_total_s"))


def _library() -> Any:
    try:
        from ray import tune  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("Ray Tune", got="none", fix='pip install "phlox[ray]"', where=WHERE) from None
    return tune
