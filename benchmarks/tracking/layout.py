"""Drawing of a page's layout, from its JSON: panels as boxes with their titles and the names that they read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from typing import Any

from benchmarks.tracking.workspace import PanelKeys, panel_keys, table_keys

COLUMNS, WIDTH, HEIGHT, GAP = 3, 310, 132, 14
"""Panels side by side; pixels of a box, and between two."""
HEADING = 40
LONGEST = 38
"""Characters of a line in a box."""
MOST_LINES = 8
COLOURS = {
    "Bar Chart": "#4c78a8",
    "Scatter Plot": "#f58518",
    "Run History Line Plot": "#54a24b",
    "Media Browser": "#b279a2",
    "Table": "#9d755d",
}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; fill: #1f2328 } .section { font-size: 16px; font-weight: 600; fill: #1f2328 }
.key { font-family: ui-monospace, monospace; font-size: 11px }
.page { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .title, .section { fill: #f0f6fc } .page { fill: #0d1117 }
  .box { fill: #151b23; stroke: #3d444d }
}
"""


def draw(document: Mapping[str, Any]) -> str:
    """SVG of a page's layout."""
    width, top = GAP + COLUMNS * (WIDTH + GAP), GAP
    shapes: list[str] = []
    sections = [("Table of runs", [table_keys(document)])]
    sections += [(name, list(panels)) for name, panels in groupby(panel_keys(document), lambda panel: panel.section)]
    for name, panels in sections:
        shapes.append(f'<text class="section" x="{GAP}" y="{top + 24}">{escape(name)}</text>')
        top += HEADING
        for number, panel in enumerate(panels):
            row, column = divmod(number, COLUMNS)
            shapes += _box(panel, GAP + column * (WIDTH + GAP), top + row * (HEIGHT + GAP))
        top += -(-len(panels) // COLUMNS) * (HEIGHT + GAP)
    size = f'width="{width}" height="{top}" viewBox="0 0 {width} {top}"'
    page = f'<rect class="page" width="{width}" height="{top}"/>'
    body = "\n".join([f"<style>{STYLE}</style>", page, *shapes])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{body}\n</svg>\n'


def _box(panel: PanelKeys, x: int, y: int) -> Iterator[str]:
    yield f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
    yield f'<rect x="{x}" y="{y}" width="5" height="{HEIGHT}" rx="2" fill="{COLOURS.get(panel.kind, "#888888")}"/>'
    lines = [("title", line) for line in _wrapped(panel.title)]
    lines += [("", f"{panel.kind.removeprefix('Run History ').lower()}{_groups(panel)}")]
    lines += [("key", name) for name in (*panel.summary, *panel.history, *panel.media)]
    for number, (kind, line) in enumerate(lines[:MOST_LINES]):
        yield f'<text class="{kind}" x="{x + 16}" y="{y + 20 + 15 * number}">{escape(line)}</text>'


def _groups(panel: PanelKeys) -> str:
    word = "against" if panel.kind == "Scatter Plot" else "by"
    return f", {word} {', '.join(panel.config)}" if panel.config else ""


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, LONGEST)
