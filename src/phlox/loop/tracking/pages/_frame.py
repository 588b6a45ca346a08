"""The page around what is shown: one file, without script, font or picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

_STYLE = """
:root { --ink: #1d2330; --faint: #667085; --rule: #dfe3ea; --ground: #ffffff; --card: #f7f8fa;
  color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --faint: #98a2b3; --rule: #333a47; --ground: #14181f; --card: #1c222c }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; font: 15px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground) }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 18px; margin: 34px 0 10px }
.under { color: var(--faint); margin: 2px 0 0 }
.badge { border-radius: 10px; padding: 2px 10px; font-size: 13px; vertical-align: 4px; color: #fff;
  background: #667085 }
.finished { background: #2e7d4f } .failed { background: #b3372f } .interrupted, .running { background: #b7791f }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px }
.chart { width: 100%; background: var(--card); border: 1px solid var(--rule); border-radius: 8px }
.chart text { fill: var(--ink); font: 11px system-ui, sans-serif } .chart .title { font-size: 13px; font-weight: 600 }
.chart .tick { fill: var(--faint) } .grid { stroke: var(--rule); fill: none } .axis { stroke: var(--faint); fill: none }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.legend span { margin-right: 16px } .legend i { display: inline-block; width: 14px; height: 4px; margin: 0 6px 3px 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 3px 14px 3px 0; border-bottom: 1px solid var(--rule); vertical-align: top }
th { font-weight: 600; color: var(--faint) } td.number, th.number { text-align: right }
td { overflow-wrap: anywhere } .other { background: #b7791f33 }
.matrix td { text-align: center; padding: 3px 8px; border: 1px solid var(--rule); min-width: 26px }
.matrix th { padding: 3px 8px; border: 0; text-align: center }
.examples { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; padding: 8px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px }
figure img { width: 112px; height: 112px; object-fit: contain; image-rendering: pixelated; display: block;
  margin: auto }
figcaption { font-size: 12px; color: var(--faint); margin-top: 4px }
details { margin: 4px 0 4px 18px } summary { cursor: pointer; margin-left: -18px }
.leaf { margin: 4px 0 } .note { color: var(--faint); margin-left: 8px; font-size: 13px }
code, .tree { font-family: ui-monospace, monospace; font-size: 13px }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole page of HTML from its parts, which are HTML."""
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of the page under a heading; nothing where there is nothing in it."""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{body}\n</section>" if body else ""
