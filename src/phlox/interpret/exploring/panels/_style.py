"""How the page looks: colours, texts in HTML, plain figures."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INK, SOFT, LINE, PAPER = "#1d2433", "#667085", "#e4e7ec", "#ffffff"
ACCENT, OTHER, GREY = "#2f6fde", "#d9622b", "#c3c9d5"
CATEGORIES = (
    "#2f6fde", "#d9622b", "#2a9d6f", "#8a5cd1", "#c94f7c", "#8f7a2e", "#3aa0b8", "#7b8794", "#b0413e", "#3f4757",
)  # fmt: skip
MODELS = (ACCENT, OTHER)

CSS = f"""
:host {{ font: 13px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; color: {INK}; }}
h2 {{ font-size: 15px; margin: 0 0 2px; font-weight: 650; }}
p {{ margin: 2px 0; }}
.soft {{ color: {SOFT}; }}
.key {{ display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 5px 0 12px; }}
.ramp {{ display: inline-block; width: 120px; height: 10px; border-radius: 3px; margin: 0 8px; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 3px 9px; text-align: right; font-variant-numeric: tabular-nums; }}
th {{ color: {SOFT}; font-weight: 500; }}
td:first-child, th:first-child {{ text-align: left; }}
tr + tr td {{ border-top: 1px solid {LINE}; }}
.bar {{ position: relative; background: #eef1f6; border-radius: 3px; height: 14px; width: 180px; }}
.bar i {{ position: absolute; inset: 0 auto 0 0; border-radius: 3px; }}
.bar b {{ position: absolute; top: -2px; bottom: -2px; width: 2px; background: {INK}; }}
.side {{ display: flex; flex-wrap: wrap; gap: 10px 34px; }}
mark {{ border-radius: 3px; padding: 1px 2px; background: none; color: inherit; }}
"""


def text(content: str = "", **options: Any) -> Any:
    """A piece of HTML."""
    from bokeh.models import Div

    return Div(
        text=content,
        stylesheets=[CSS],
        disable_math=True,
        **{"sizing_mode": "stretch_width", "margin": (2, 5, 2, 5), **options},
    )


def changed(then: Callable[[], Any]) -> Callable[[Any, Any, Any], None]:
    """A function of nothing, as Bokeh calls one where a value has changed."""

    def hear(attr: Any, old: Any, new: Any) -> None:
        del attr, old, new
        then()

    return hear


def escaped(value: Any) -> str:
    """A value as HTML that says it, and does nothing."""
    return html.escape(str(value))


def rgb(colour: str) -> np.ndarray:
    """The red, green and blue of a colour such as #2f6fde, (3,)."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def number(value: float) -> str:
    """A number in four digits."""
    return f"{value:.4g}"


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table in HTML."""
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def plot(height: int, tools: Any = "", **options: Any) -> Any:
    """A figure as wide as its place."""
    from bokeh.plotting import figure

    look: dict[str, Any] = {
        "sizing_mode": "stretch_width", "min_border": 6, "background_fill_color": PAPER, "border_fill_color": PAPER,
        "outline_line_color": None,
    }  # fmt: skip
    made = figure(height=height, tools=tools, **(look | options))
    made.toolbar.logo = None
    for axis in made.axis:
        axis.axis_line_color = axis.major_tick_line_color = LINE
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = SOFT
        axis.axis_label_text_font_style = "normal"
    made.grid.grid_line_color = "#f0f2f6"
    return made


def canvas(source: Any, shape: tuple[int, ...], tools: Any = "", **options: Any) -> Any:
    """A figure that shows a picture of a shape (height, width, …), without axes."""
    from bokeh.models import Range1d

    height, width = shape[:2]
    side = 260 / max(height, width)
    made = plot(
        round(side * height) + 30, tools, width=round(side * width) + 40, sizing_mode="fixed",
        x_range=Range1d(start=0, end=1), y_range=Range1d(start=0, end=1), **options,
    )  # fmt: skip
    made.axis.visible = made.grid.visible = False
    made.image_rgba("image", x=0, y=0, dw=1, dh=1, source=source)
    return made


def choice(title: str, options: Sequence[str], value: str, name: str, **more: Any) -> Any:
    """One of several names."""
    from bokeh.models import Select

    return Select(
        title=title, options=list(options), value=value, name=name, **{"sizing_mode": "stretch_width", **more}
    )


def fill(shown: Any, cells: dict[str, list[Any]]) -> None:
    """Set the cells of a table. It draws anew when its view changes, which new cells alone do not do."""
    shown.source.data = cells
    shown.view.tags = [1 + next(iter(shown.view.tags), 0)]


def places(column: np.ndarray, seed: int) -> tuple[np.ndarray, dict[float, str]]:
    """Where values stand on an axis, and names for its ticks; few values are spread a little, so that all are seen."""
    numbers = column.dtype.kind in "fiub"
    values, codes = np.unique(column, return_inverse=True)
    if numbers and len(values) > 12:
        return column.astype(np.float32), {}
    base = column.astype(np.float32) if numbers else codes.astype(np.float32)
    gap = float(np.diff(values.astype(np.float64)).min()) if numbers and len(values) > 1 else 1.0
    spread = np.random.default_rng(seed).uniform(-0.18, 0.18, len(column)) * gap
    ticks = {} if numbers else {float(i): str(value) for i, value in enumerate(values.tolist())}
    return (base + spread).astype(np.float32), ticks


def set_ticks(axis: Any, ticks: dict[float, str]) -> None:
    """Names on an axis of categories, numbers on others."""
    from bokeh.models import BasicTicker, FixedTicker

    axis.ticker = FixedTicker(ticks=list(ticks)) if ticks else BasicTicker()
    axis.major_label_overrides = ticks


def set_range(shown: Any, values: np.ndarray, room: float = 0.04) -> None:
    """Have an axis show all values, and so that its reset does."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    edge = (high - low) * room or 0.5
    shown.reset_start, shown.reset_end = low - edge, high + edge
    shown.start, shown.end = low - edge, high + edge
