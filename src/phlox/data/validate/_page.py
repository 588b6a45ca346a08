"""px.data.validate.write_page: findings as one page of HTML, which needs nothing else."""

from __future__ import annotations

import html
import os

from phlox.core import StructureError, describe
from phlox.data.validate._drift import Drift
from phlox.data.validate._html import GREY, ORANGE
from phlox.data.validate._report import Report
from phlox.data.validate._schema import Schema
from phlox.data.validate._statistics import Statistics

Finding = Statistics | Schema | Report | Drift

_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }} p.about {{ color: {GREY}; }}
.phlox-data {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
.phlox-data th {{ text-align: left; font-weight: 600; color: {GREY}; }}
.phlox-data th, .phlox-data td {{ padding: 4px 12px 4px 0; border-bottom: 1px solid #7a808a33; }}
.phlox-data td {{ vertical-align: middle; max-width: 22rem; overflow-wrap: anywhere; }}
.phlox-data .n {{ text-align: right; white-space: nowrap; }} .phlox-data svg {{ display: block; }}
.phlox-data tr.bad td:first-child {{ color: {ORANGE}; font-weight: 600; }}
"""


def write_page(path: str | os.PathLike[str], *findings: Finding, title: str = "Data") -> None:
    """Write statistics, schemas, reports and drifts as one page of HTML, which needs no network and no other file.

    Arguments:
        path: the file.
        findings: what functions of ``px.data.validate`` gave, in the order in which they are shown.
        title: of the page.

    Raises:
        StructureError: no finding, or something else. FileError: the file cannot be written.

    >>> import pathlib, tempfile, numpy as np, phlox as px
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     px.data.validate.write_page(f"{folder}/data.html", px.data.validate.statistics(np.eye(3)), title="Eye")
    ...     pathlib.Path(folder, "data.html").read_text("utf-8").count("<svg")
    3
    """
    from phlox.weights import replacing

    where = "write_page"
    if not findings:
        fix = "give px.data.validate.statistics(data)"
        raise StructureError("something to show", got="nothing", fix=fix, where=where)
    odd = next((finding for finding in findings if not isinstance(finding, Finding)), None)
    if odd is not None:
        fix = "give what statistics, schema, Schema.check or drift gave"
        raise StructureError("findings of px.data.validate", got=describe(odd), fix=fix, where=where)
    parts = "".join(f"<h2>{finding.heading}</h2>{finding._repr_html_()}" for finding in findings)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    text = (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{parts}</body></html>\n'
    )
    with replacing(path, where=where) as beside:
        beside.write_text(text, "utf-8")
