"""What ``gradient_flow`` found, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phlox.core import new_figure, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 120
_BLUE, _ORANGE, _RED, _INK = "#2563b8", "#d9622b", "#b3261e", "#33383f"


@dataclass(frozen=True)
class ParameterFlow:
    """One trainable array."""

    path: str
    norm: float
    """‖w‖."""
    gradient: float
    """‖∂L/∂w‖."""
    update: float | None
    """‖Δw‖/‖w‖ of the optimiser's next step; None without an optimiser, and where all of w is zero."""


@dataclass(frozen=True)
class LayerFlow:
    """One layer."""

    path: str
    layer: str
    output: float | None
    """Root mean square of what it gives; None for one that only holds arrays."""
    gradient: float | None
    """Root mean square of the cotangent of what it gives."""
    verdict: str
    """"vanishing", "exploding", "no gradient", "no number", or nothing."""
    parameters: tuple[ParameterFlow, ...]


@dataclass(frozen=True)
class Place:
    """The first line that made no number of numbers."""

    direction: str
    """"given" for an argument, "forward" or "back" for a line of the program."""
    layer: str
    line: str
    """The line as ``px.autodiff.backward`` prints it, or the path of the argument."""
    source: str
    """The line of the user's own file that it comes from, ``train.py:12``, where it is known."""
    count: int
    """How many elements are NaN or infinite."""

    def __str__(self) -> str:
        where = f" in {self.layer}" if self.layer else ""
        source = f" ({self.source})" if self.source else ""
        return f"{self.count} NaN or infinite {self.direction}{where}: {self.line}{source}"


@dataclass(frozen=True)
class GradientFlow:
    """How large what goes through a model is, forward and back; printing it gives a table, ``plot`` a picture."""

    model: str
    value: float
    """The loss."""
    layers: tuple[LayerFlow, ...]
    """In the order in which they compute."""
    first_bad: Place | None
    """Where the first NaN or infinity comes from: forward, or else on the way back."""

    def named(self, verdict: str) -> tuple[str, ...]:
        """The paths of the layers with a verdict, such as "vanishing"."""
        return tuple(layer.path for layer in self.layers if layer.verdict == verdict)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw outputs and gradients by layer; beside them each array's gradient, or step, relative to the array.

        Arguments:
            path: a file to write; its ending says the format.

        Returns:
            The figure of matplotlib.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        figure = new_figure(10.5, 4.2, "GradientFlow.plot")
        left, right = figure.subplots(1, 2)
        self._draw_layers(left)
        self._draw_parameters(right)
        if path is not None:
            figure.savefig(path)
        return figure

    def _draw_layers(self, ax: Axes) -> None:
        layers = [layer for layer in self.layers if layer.output is not None]
        at = list(range(len(layers)))
        ax.plot(at, _drawn(layer.output for layer in layers), "o-", color=_BLUE, markersize=4, label="output")
        ax.plot(at, _drawn(layer.gradient for layer in layers), "o-", color=_ORANGE, markersize=4, label="gradient")
        wrong = [n for n in at if layers[n].verdict]
        for n in wrong:
            ax.axvspan(n - 0.5, n + 0.5, color=_RED, alpha=0.08, linewidth=0)
        for n in [n for n in wrong if n - 1 not in wrong or layers[n - 1].verdict != layers[n].verdict]:
            ax.annotate(
                layers[n].verdict, (n - 0.4, 0.98), xycoords=("data", "axes fraction"), color=_RED, fontsize=8, va="top"
            )
        _dress(ax, f"{self.model}: root mean square by layer", [layer.path or self.model for layer in layers])
        ax.legend(frameon=False, fontsize=8)

    def _draw_parameters(self, ax: Axes) -> None:
        found = [p for layer in self.layers for p in layer.parameters if p.norm]
        steps = any(p.update is not None for p in found)
        ratios = _drawn(p.update if steps else p.gradient / p.norm for p in found)
        ax.plot(range(len(found)), ratios, "o", color=_BLUE, markersize=4)
        if steps:
            ax.axhline(1e-3, color=_INK, linewidth=1, linestyle="--")
        _dress(ax, "next step / weights, norms" if steps else "gradient / weights, norms", [p.path for p in found])

    def __rich__(self) -> Any:
        """The table, for rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        steps = any(p.update is not None for layer in self.layers for p in layer.parameters)
        columns = ["layer", "output", "gradient", "array", "‖w‖", "‖∂w‖", *(["step"] if steps else []), ""]
        table = Table(show_edge=False, pad_edge=False)
        for name in columns:
            table.add_column(name, justify="left" if name in ("layer", "array", "") else "right", overflow="fold")
        for layer in self.layers:
            head = [layer.path or self.model, _told(layer.output), _told(layer.gradient)]
            for i, p in enumerate(layer.parameters or (None,)):
                array = ["", "", ""] if p is None else [_last(p.path), _told(p.norm), _told(p.gradient)]
                step = [_told(p.update) if p else ""] if steps else []
                table.add_row(*(head if i == 0 else [""] * 3), *array, *step, layer.verdict if i == 0 else "")
        return Group(Text(self._summary()), table)

    def _summary(self) -> str:
        lines = [f"{self.model}: loss {self.value:.4g}; root mean squares by layer, norms by array"]
        for verdict in ("vanishing", "exploding", "no gradient"):
            found = self.named(verdict)
            if found:
                lines.append(f"{verdict}: {found[0] or self.model}" + (f" to {found[-1]}" if len(found) > 1 else ""))
        if self.first_bad is not None:
            lines.append(str(self.first_bad))
        return "\n".join(lines)

    def __str__(self) -> str:
        return plain_text(self, _WIDTH)

    __repr__ = __str__


def judged(layers: Sequence[LayerFlow], vanishing: float, exploding: float) -> tuple[LayerFlow, ...]:
    """Layers with their verdicts: each beside the one nearest to the loss that has a gradient."""
    sizes = [g for layer in layers if (g := layer.gradient) is not None and math.isfinite(g) and g > 0]
    reference = sizes[-1] if sizes else 0.0
    return tuple(
        LayerFlow(
            layer.path,
            layer.layer,
            layer.output,
            layer.gradient,
            _verdict(layer, reference, vanishing, exploding),
            layer.parameters,
        )
        for layer in layers
    )


def _verdict(layer: LayerFlow, reference: float, vanishing: float, exploding: float) -> str:
    sizes = [v for v in (layer.output, layer.gradient, *(p.gradient for p in layer.parameters)) if v is not None]
    if not all(map(math.isfinite, sizes)):
        return "no number"
    if layer.gradient is None:
        return "" if any(p.gradient for p in layer.parameters) else "no gradient"
    if layer.gradient == 0:
        return "no gradient"
    ratio = layer.gradient / reference
    return "vanishing" if ratio < vanishing else "exploding" if ratio > exploding else ""


def _drawn(values: Any) -> list[float]:
    """Values for an axis of logarithms, which has no place for zero."""
    return [v if v and math.isfinite(v) else math.nan for v in values]


def _told(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.2g}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _dress(ax: Axes, title: str, names: Sequence[str]) -> None:
    every = max(1, math.ceil(len(names) / 24))  # labels that are further apart can be read
    ax.set_yscale("log")
    ax.margins(y=0.18)
    low, high = ax.get_ylim()
    if high < 10 * low:  # or no power of ten would be among the labels
        ax.set_ylim(low / 10, high * 10)
    ax.minorticks_off()
    ax.set_title(title, fontsize=10, loc="left", color=_INK)
    ax.set_xticks(range(0, len(names), every), names[::every], rotation=90)
    ax.tick_params(labelsize=7, colors=_INK)
    ax.grid(alpha=0.25, linewidth=0.6, axis="y")
    ax.spines[["top", "right"]].set_visible(False)
