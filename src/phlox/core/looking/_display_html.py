"""The printed tree as HTML for notebooks: it folds, and reads on light and dark pages."""

from __future__ import annotations

from html import escape

from phlox.core.looking._line import Line

_OPEN = 12  # up to so many lines, a part starts unfolded

# Colours are those of the page, or stand out on white and on black alike.
_STYLE = """
.phlox{font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;color:inherit;
  max-width:68em;overflow-x:auto;padding:.2em 0}
.phlox summary{cursor:pointer;list-style:none}
.phlox summary::-webkit-details-marker{display:none}
.phlox .row{display:flex;align-items:baseline;gap:1em;padding:0 .4em;border-radius:4px;white-space:nowrap}
.phlox .row:hover{background:rgba(127,127,127,.14)}
.phlox .what::before{content:"";display:inline-block;width:1.1em}
.phlox summary .what::before{content:"▸";opacity:.6}
.phlox details[open]>summary .what::before{content:"▾"}
.phlox .parts{margin-left:.85em;padding-left:.5em;border-left:1px solid rgba(127,127,127,.35)}
.phlox .label{opacity:.7}
.phlox .name{color:#2f81d7;font-weight:600}
.phlox .function .name,.phlox .array .name{color:inherit;font-weight:400;font-style:italic}
.phlox .counts{margin-left:auto;opacity:.72;font-variant-numeric:tabular-nums}
.phlox .note,.phlox .warning{border-radius:4px;padding:0 .45em;background:rgba(127,127,127,.2)}
.phlox .warning{background:rgba(226,61,40,.22);box-shadow:inset 0 0 0 1px rgba(226,61,40,.6)}
.phlox .total{margin-top:.3em;padding:.25em .4em 0 1.5em;border-top:1px solid rgba(127,127,127,.35)}
""".replace("\n", "")


def page(tree: Line, total: str) -> str:
    """A whole tree and its totals."""
    foot = f'<div class="total">total: {escape(total)}</div>' if total and tree.parts else ""
    return f'<div class="phlox"><style>{_STYLE}</style>{_part(tree, is_root=True)}{foot}</div>'


def _part(line: Line, *, is_root: bool = False) -> str:
    if not line.parts:
        return f'<div class="row {line.kind}">{_row(line)}</div>'
    inner = "".join(map(_part, line.parts))
    start = " open" if is_root or _size(line) <= _OPEN else ""
    head = f'<summary><div class="row {line.kind}">{_row(line)}</div></summary>'
    return f'<details{start}>{head}<div class="parts">{inner}</div></details>'


def _row(line: Line) -> str:
    times = f"{line.times} × " if line.times > 1 else ""
    behind = line.text.removeprefix(line.name).removesuffix("()" if line.parts else "")
    what = (
        f'<span class="label">{escape(line.label)}{times}</span>'
        f'<span class="name">{escape(line.name)}</span><span class="arguments">{escape(behind)}</span>'
    )
    notes = "".join(f'<span class="note">{escape(note)}</span>' for note in line.notes)
    warnings = "".join(f'<span class="warning">{escape(warning)}</span>' for warning in line.warnings)
    return f'<span class="what">{what}</span>{notes}{warnings}<span class="counts">{escape(line.counts())}</span>'


def _size(line: Line) -> int:
    return 1 + sum(map(_size, line.parts))
