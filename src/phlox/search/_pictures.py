"""A search as people see it: values by trial, what trials reported, and values by each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phlox.core import new_figure
from phlox.search._result import DONE, PRUNED, TrialResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DONE, _BEST, _FAINT, _INK = "#2563b8", "#d9622b", "#b9cbe6", "#33383f"
_ACROSS = 3  # panels in a row


def plot_trials(trials: Sequence[TrialResult], best: TrialResult, mode: str, path: str | Path | None = None) -> Figure:
    """Draw the trials of a study; see ``Study.plot``."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    count = 1 + any(trial.curve for trial in trials) + len(names)
    across = min(_ACROSS, count)
    figure = new_figure(4.2 * across, 3.1 * math.ceil(count / across), "Study.plot")
    panels = iter(figure.add_subplot(math.ceil(count / across), across, n + 1) for n in range(count))
    _by_trial(next(panels), trials, mode)
    if any(trial.curve for trial in trials):
        _reported(next(panels), trials, best)
    for name, ax in zip(names, panels, strict=True):
        _by_setting(ax, trials, name, best)
    if path is not None:
        figure.savefig(path)
    return figure


def _by_trial(ax: Axes, trials: Sequence[TrialResult], mode: str) -> None:
    """Values in the order of the trials, and the best so far."""
    done = _done(trials)
    ax.plot([t.number for t in done], _values(done), "o", color=_DONE, markersize=4, label="done")
    pruned = [t for t in trials if t.state == PRUNED and t.curve]
    last = [t.curve[max(t.curve)] for t in pruned]
    ax.plot([t.number for t in pruned], last, "x", color=_FAINT, markersize=5, label="pruned, as it stood")
    better = min if mode == "min" else max
    so_far: list[float] = []
    for value in _values(done):
        so_far.append(better([*so_far[-1:], value]))
    ax.plot([t.number for t in done], so_far, color=_BEST, drawstyle="steps-post", linewidth=1.6, label="best so far")
    ax.legend(frameon=False, fontsize=8)
    _dress(ax, "value", "trial")
    ax.locator_params(axis="x", integer=True)


def _reported(ax: Axes, trials: Sequence[TrialResult], best: TrialResult) -> None:
    """What each trial reported on its way."""
    for trial in [*trials, best]:
        steps = sorted(trial.curve)
        colour = _BEST if trial is best else _DONE if trial.state == DONE else _FAINT
        values = [trial.curve[step] for step in steps]
        ax.plot(steps, values, color=colour, linewidth=1.8 if trial is best else 0.8)
        if len(steps) == 1:
            ax.plot(steps, values, "o", color=colour, markersize=3)
    _dress(ax, f"reported; the best is trial {best.number}", "step")


def _by_setting(ax: Axes, trials: Sequence[TrialResult], name: str, best: TrialResult) -> None:
    """Values by what was chosen for a setting; the line of a setting that goes over decades is that of logarithms."""
    done = [t for t in _done(trials) if name in t.settings]
    numbers = all(isinstance(t.settings[name], int | float) and not isinstance(t.settings[name], bool) for t in done)
    at: list[Any] = [t.settings[name] if numbers else _label(t.settings[name]) for t in done]
    ax.scatter(at, _values(done), c=[t.number for t in done], cmap="Blues", s=18, vmin=-max(1, len(done) // 2))
    ax.plot([at[done.index(best)]], _values([best]), "o", color=_BEST, markersize=6)
    if numbers and min(at) > 0 and max(at) > 20 * min(at):
        ax.set_xscale("log")
    _dress(ax, f"value by {name.replace('_', ' ')}", name)


def _label(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)


def _done(trials: Sequence[TrialResult]) -> list[TrialResult]:
    return [trial for trial in trials if trial.state == DONE and trial.value is not None]


def _values(done: Sequence[TrialResult]) -> list[float]:
    return [trial.value for trial in done if trial.value is not None]


def _dress(ax: Axes, title: str, x: str) -> None:
    ax.set_title(title, fontsize=10, loc="left", color=_INK)
    ax.set_xlabel(x, fontsize=9, color=_INK)
    ax.tick_params(labelsize=8, colors=_INK)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
