"""px.tune: settings found by trials, over Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from phlox.core import MissingExtraError, RangeError
from phlox.loop import mode_of
from phlox.search._result import DONE, FAILED, PRUNED, RUNNING, TrialResult
from phlox.search._space import Space, as_space
from phlox.search._storage import AGAIN, WORKER, Workers, opened, ordinal, take_over, those_that_count
from phlox.search._study import Study
from phlox.search._trial import Trial, value_of

WHERE = "px.tune"
_SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler"}
_PRUNERS = {"median": "MedianPruner", "hyperband": "HyperbandPruner", "none": "NopPruner"}


def tune(
    objective: Callable[[Trial], Any],
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    monitor: str = "val_loss",
    mode: str = "auto",
    storage: Any = None,
    name: str = "study",
    sampler: Any = "tpe",
    pruner: Any = "median",
    seed: int = 0,
    log_dir: str | Path | None = None,
    time_limit: float | timedelta | None = None,
    catch: tuple[type[Exception], ...] = (),
) -> Study:
    """Look for the settings of a training that come out best, trial by trial, over Optuna.

    With a ``storage`` the study goes on where it stopped: run the program again. What a process that was killed had
    chosen is tried again first, and the study comes out as if it had not been killed. Several processes with one
    storage work on one study; together they may do one trial more for each of them than was asked for.

    Arguments:
        objective: called with a ``Trial``; returns a number, or what ``px.fit`` returned, of which the best ``monitor``
            counts. ``callbacks=[trial.pruning()]`` ends trainings that lag behind.
        space: by name, ``px.search.Uniform``, ``Integer``, ``Choice``, or a list of options.
        trials: how many there are to be in all, also over several starts and processes.
        monitor: of a history, the number that counts.
        mode: "min" or "max"; "auto": told from the name of the monitor.
        storage: a path, which becomes a database of SQLite; an address of one that Optuna knows; a storage of Optuna's.
            None keeps nothing.
        name: of the study; a storage may hold several.
        sampler: "tpe", "random", or one of Optuna's, which then draws by its own seed.
        pruner: "median", "hyperband", "none", or one of Optuna's.
        seed: of what is drawn.
        log_dir: where each trial gets a folder of its own, ``trial.folder``.
        time_limit: seconds, or a ``timedelta``, after which no trial begins.
        catch: errors of the objective by which a trial fails and the search goes on.

    Returns:
        The ``Study``. Ctrl-C in a training ends the search too; that trial is done again the next time.

    Raises:
        MissingExtraError: Optuna is not installed.
        RangeError: an argument that means nothing; an objective that returns no number.
        Exception: whatever the objective raises, unless it is to be caught.
    """
    known = as_space(space, WHERE)
    _check(objective, trials, mode)
    mode = mode_of(monitor, WHERE) if mode == "auto" else mode
    address, file = opened(storage)
    workers = Workers(file)
    with workers.at_work():
        study = _study(address, name, mode, _sampler(sampler, seed), _one_of(pruner, _PRUNERS, "pruners"))
        take_over(study, workers)
        folder = None if log_dir is None else Path(log_dir)
        search = Search(study, objective, known, workers, mode, monitor, sampler, seed, folder, catch)
        search.go(trials, _seconds(time_limit))
        return results(study, known, name, mode)


def read_study(storage: Any, space: Mapping[str, Any] | None = None, *, name: str = "study") -> Study:
    """What came of a search, or what there is of it while it goes on.

    Arguments:
        storage: as for ``px.tune``.
        space: as for ``px.tune``, for options that are functions or classes; without it they are told by their names.
        name: of the study.

    Raises:
        MissingExtraError: Optuna is not installed.
        RangeError: the storage has no study of this name.
    """
    optuna = _library()
    address, _ = opened(storage)
    try:
        study = optuna.load_study(study_name=name, storage=address)
    except KeyError:
        names = ", ".join(optuna.get_all_study_names(address)) or "none"
        raise RangeError(f"a study {name!r}", got=names, fix="give its name", where="px.search.read_study") from None
    mode = "min" if study.direction.name == "MINIMIZE" else "max"
    return results(study, {} if space is None else as_space(space, "px.search.read_study"), name, mode)


@dataclass(frozen=True)
class Search:
    """A search under way: asks Optuna what to try, and tells it what came of that."""

    study: Any
    objective: Callable[[Trial], Any]
    space: Space
    workers: Workers
    mode: str
    monitor: str
    sampler: Any
    seed: int
    log_dir: Path | None
    catch: tuple[type[Exception], ...]

    def go(self, trials: int, seconds: float) -> None:
        """Try until there are so many, or the time is over, or Ctrl-C."""
        began = time.monotonic()
        while len(those_that_count(self.study)) < trials and time.monotonic() - began < seconds:
            if not self.one():
                return

    def one(self) -> bool:
        """Do one trial; whether there may be another."""
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]  # an extra

        asked = self.study.ask()
        asked.set_user_attr(WORKER, self.workers.me)
        number = asked.user_attrs.get(AGAIN, ordinal(self.study, asked.number))
        trial = self.trial(asked, number)
        try:
            value = value_of(self.objective(trial), trial, self.monitor, self.mode, WHERE)
        except self.catch as error:
            self.study.tell(asked, state=TrialState.FAIL)
            print(f"{WHERE}: trial {number} failed: {type(error).__name__}: {error}", flush=True)
            return True
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.put_back(asked, number)
            else:
                self.study.tell(asked, state=TrialState.FAIL)
            raise
        if trial.interrupted:
            self.put_back(asked, number)
            return False
        if trial.pruned:
            self.study.tell(asked, state=TrialState.PRUNED)
        elif value is None:
            self.study.tell(asked, state=TrialState.FAIL)
        else:
            self.study.tell(asked, value)
        return True

    def trial(self, asked: Any, number: int) -> Trial:
        """What the objective gets: settings drawn by a seed that is that of the trial alone."""
        if isinstance(self.sampler, str):  # else it has a seed of its own
            self.study.sampler = _sampler(self.sampler, _seed(self.seed, number))
        drawn = {name: _suggested(asked, name, one) for name, one in self.space.items()}
        settings = {name: self.space[name].value(told) for name, told in drawn.items()}

        def report(step: int, value: float) -> bool:
            asked.report(value, step)
            return bool(asked.should_prune())

        return Trial(number, settings, seed=_seed(self.seed, number), log_dir=self.log_dir, report=report)

    def put_back(self, asked: Any, number: int) -> None:
        """Have a trial that Ctrl-C ended done again, the next time."""
        from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

        self.study.enqueue_trial(asked.params, user_attrs={AGAIN: number})
        self.study.tell(asked, state=TrialState.FAIL)


def results(study: Any, space: Space, name: str, mode: str) -> Study:
    """A study of Optuna's as ours."""
    from optuna.trial import TrialState  # pyright: ignore[reportMissingImports]

    ended = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
    found = []
    for number, trial in enumerate(those_that_count(study)):
        settings = {n: space[n].value(v) if n in space else v for n, v in trial.params.items()}
        seconds = None if trial.duration is None else trial.duration.total_seconds()
        value = trial.value if trial.state == TrialState.COMPLETE else None
        curve = dict(trial.intermediate_values)
        found.append(TrialResult(number, settings, value, ended.get(trial.state, RUNNING), curve, seconds))
    return Study(found, mode, name, study)


def _suggested(asked: Any, name: str, one: Any) -> Any:
    """What Optuna chooses, or chose before, for a setting."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # pyright: ignore[reportMissingImports]

    range_ = one.optuna()
    if isinstance(range_, CategoricalDistribution):
        return asked.suggest_categorical(name, range_.choices)
    suggest = asked.suggest_float if isinstance(range_, FloatDistribution) else asked.suggest_int
    return suggest(name, range_.low, range_.high, log=range_.log, step=range_.step)


def _seed(seed: int, number: int) -> int:
    """A whole number for each trial, below 2³¹."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def _study(storage: Any, name: str, mode: str, sampler: Any, pruner: Any) -> Any:
    optuna = _library()
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=storage, study_name=name, direction=f"{mode}imize", sampler=sampler, pruner=pruner,
            load_if_exists=True,
        )  # fmt: skip
    finally:
        optuna.logging.set_verbosity(loud)


def _sampler(given: Any, seed: int) -> Any:
    return _one_of(given, _SAMPLERS, "samplers", seed=seed)


def _one_of(given: Any, known: Mapping[str, str], what: str, **options: Any) -> Any:
    """One of Optuna's by its short name, made; others as they are."""
    if not isinstance(given, str):
        return given
    if given not in known:
        fix = f"choose one of these, or pass one of optuna.{what}"
        raise RangeError(f"one of {', '.join(known)}", got=repr(given), fix=fix, where=WHERE)
    return getattr(getattr(_library(), what), known[given])(**options)


def _check(objective: Any, trials: Any, mode: Any) -> None:
    if not callable(objective):
        fix = "pass a function that trains with what trial[name] gives, and returns a number"
        raise RangeError("a function of a trial", got=repr(objective)[:60], fix=fix, where=WHERE)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise RangeError("a number of trials, at least 1", got=repr(trials), fix="give 20", where=WHERE)
    if mode not in ("auto", "min", "max"):
        raise RangeError('mode "auto", "min" or "max"', got=repr(mode), fix="choose one of these", where=WHERE)


def _seconds(limit: float | timedelta | None) -> float:
    if limit is None:
        return float("inf")
    return limit.total_seconds() if isinstance(limit, timedelta) else float(limit)


def _library() -> Any:
    try:
        import optuna  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("Optuna", got="none", fix='pip install "phlox[tune]"', where=WHERE) from None
    return optuna
