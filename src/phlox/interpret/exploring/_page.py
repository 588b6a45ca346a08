"""The page: panels put where they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phlox.interpret.exploring._observations import Rows
from phlox.interpret.exploring._probe import Probe
from phlox.interpret.exploring._session import Session
from phlox.interpret.exploring.panels._attributions import Attributions
from phlox.interpret.exploring.panels._decisions import Decisions
from phlox.interpret.exploring.panels._dependence import DependencePlot
from phlox.interpret.exploring.panels._distribution import Distribution
from phlox.interpret.exploring.panels._errors import Errors
from phlox.interpret.exploring.panels._overview import Overview
from phlox.interpret.exploring.panels._picked import Picked
from phlox.interpret.exploring.panels._style import escaped, text

_TEMPLATE = Path(__file__).with_name("page.html")


def build(document: Any, explorer: Probe) -> None:
    """Fill a Bokeh document with the page of one visitor."""
    from bokeh.layouts import column
    from jinja2 import Environment

    session = Session(explorer, document.add_next_tick_callback)
    status = text(name="status", sizing_mode="stretch_width")
    session.on("status", lambda: status.update(text=_status(session.status)))
    overview, distribution, picked = Overview(session), Distribution(session), Picked(session)
    sections = {
        "overview": column(overview.layout, distribution.layout, sizing_mode="stretch_width"),
        "observation": picked.layout,
        "attributions": Attributions(session).layout,
    }
    if isinstance(explorer.observations, Rows) and picked.editor.feature.visible:
        sections["dependence"] = DependencePlot(session, picked.editor.feature).layout
    if explorer.codes is not None:
        sections["decisions"] = Decisions(session).layout
    elif explorer.observations.target is not None and not explorer.classes:
        sections["decisions"] = Errors(session).layout
    document.add_root(status)
    for name, root in sections.items():
        root.name = f"section {name}"
        document.add_root(root)
    document.title = "Explore " + " and ".join(subject.name for subject in explorer.subjects)
    document.template = Environment(autoescape=False).from_string(_TEMPLATE.read_text("utf-8"))
    document.template_variables.update(columns=_columns(sections), about=escaped(_about(explorer)))


def _columns(sections: dict[str, Any]) -> dict[str, list[str]]:
    """What stands on the left, on the right, and across the page below."""
    if "dependence" in sections:
        wanted = {"left": ("overview", "attributions"), "right": ("observation", "dependence")}
    else:
        wanted = {"left": ("overview",), "right": ("observation", "attributions")}
    return {where: list(names) for where, names in wanted.items()} | (
        {"wide": ["decisions"]} if "decisions" in sections else {}
    )


def _status(status: str) -> str:
    colour = {"ready": "#2a9d6f", "computing": "#c49a1a"}.get(status, "#b0413e")
    words = "<br>".join(escaped(line) for line in status.splitlines())
    return f"<span class='key' style='background: {colour}'></span>{words}"


def _about(explorer: Probe) -> str:
    observations, first = explorer.observations, explorer.subjects[0]
    parts = [f"{observations.count:,} {observations.kind}"]
    if isinstance(observations, Rows):
        parts.append(f"{len(observations.columns)} features")
    parts.append(f"answers read as {first.reading}")
    if explorer.classes:
        parts.append(f"classes {', '.join(explorer.classes[:6])}{', …' if len(explorer.classes) > 6 else ''}")
    return " · ".join(parts)
