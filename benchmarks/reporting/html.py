"""Text of report.html: one file with tables, figures and pictures inside, which loads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.reporting import context_tables, figures, notes, page_figures, published
from benchmarks.reporting.figures import Style
from benchmarks.reporting.layout import Table
from benchmarks.reporting.sections import sections
from benchmarks.reporting.summary import Summary

CSS = """
:root { color-scheme: light; --ink: #23272e; --soft: #6b727c; --line: #e3e6ea; --paper: #fff; --wash: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 18px 64px; }
h1 { font-size: 25px; font-weight: 650; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; font-weight: 620; margin: 40px 0 10px; }
h3 { font-size: 15px; font-weight: 600; margin: 18px 0 8px; }
p { margin: 6px 0 12px; max-width: 78ch; }
.soft, caption, figcaption { color: var(--soft); }
.wide { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: left; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
tr.first td { border-top: 1px solid var(--line); }
tr.first:first-child td { border-top: 0; }
tr.first td:first-child { font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 14px; }
figure { margin: 0; background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 10px; }
figure img { width: 100%; height: auto; display: block; }
.rows { display: grid; gap: 14px; margin-top: 14px; }
figure.pixels img { image-rendering: pixelated; }
figcaption { font-size: 13px; padding: 6px 2px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 8px 0 12px; font-size: 13.5px; }
.legend img { width: 40px; height: 15px; margin-right: 6px; vertical-align: -2px; }
.note { background: var(--paper); border-left: 3px solid #0072b2; padding: 8px 14px; margin: 12px 0;
  border-radius: 0 8px 8px 0; }
.note.warn { border-color: #d55e00; }
ul { padding-left: 20px; margin: 4px 0; }
details { margin: 10px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
code { font-size: 12.5px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; }
dd { margin: 0; overflow-wrap: anywhere; }
"""
PAGE = """<!doctype html>
<html lang="en"><head>{head}</head>
<body><main>
{body}
</main></body></html>
"""
TEXT_COLUMNS = {"method", "mode", "task", "split", "study", "outcome", "against", "paired by", "resamples", "command"}
TEXT_COLUMNS |= {"fell by", "seeds", "on levels", "training levels", "data"}


def html(summary: Summary) -> str:
    """The whole page."""
    parts = [f"<h1>{escape(notes.title(summary))}</h1>", f'<p class="soft">{escape(notes.size(summary))}</p>']
    if summary.missing:
        parts.append(note_list("Not in the table", summary.missing, warn=True))
    if summary.cells:
        style_of = figures.styles(summary.labels, summary.baselines)
        first, *others = table_sections(summary)
        parts += [first, note_list("How to read this", notes.notes(summary)), *others]
        parts += ["<h2>Figures</h2>", legend(style_of)]
        parts += [task_section(summary, env, levels, style_of) for env in summary.envs for levels in summary.levels]
        parts += figure_section("Over all tasks", page_figures.profile_panels(summary, style_of))
        parts += figure_section("More training levels", page_figures.level_count_panels(summary, style_of))
        parts += published_section(summary)
        parts += picture_section(summary)
    facts = "".join(
        f"<dt class=soft>{escape(name)}</dt><dd>{code(value)}</dd>" for name, value in notes.origin(summary)
    )
    parts += ["<h2>Where the numbers come from</h2>", f"<dl>{facts}</dl>"]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    page_title = f"<title>{escape(notes.title(summary))}</title>"
    body = "\n".join(section for section in parts if section)
    return PAGE.format(head=f"{head}{page_title}<style>{CSS}</style>", body=body)


def code(text: str) -> str:
    """Escaped, with `...` as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))


def table(content: Table) -> str:
    """A table that scrolls sideways on a narrow screen; a row whose first cell is filled starts a new group."""
    header, rows = content
    kinds = ["" if name in TEXT_COLUMNS else ' class="number"' for name in header]
    top = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, header, strict=True))
    lines = []
    for row in rows:
        cells = "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True))
        lines.append(f"<tr{' class=first' if row[0] else ''}>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def note_list(heading: str, items: Sequence[str], warn: bool = False) -> str:
    points = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="note{" warn" if warn else ""}"><b>{escape(heading)}</b><ul>{points}</ul></div>'


def table_sections(summary: Summary) -> list[str]:
    """Every table under its heading, with its caption."""
    return [
        f'<h2>{escape(section.heading)}</h2><p class="soft">{escape(section.caption)}</p>{table(section.table)}'
        for section in sections(summary)
    ]


def legend(style_of: Mapping[str, Style]) -> str:
    samples = "".join(
        f'<span><img alt="" src="{figures.chip(style)}">{escape(name)}</span>'
        for name, style in sorted(style_of.items())
    )
    return f'<div class="legend">{samples}</div>'


def figure(address: str, caption: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return (
        f'<figure{css}><img alt="{escape(caption)}" src="{address}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def figure_section(heading: str, panels: Sequence[page_figures.Panel]) -> list[str]:
    return [f"<h2>{escape(heading)}</h2>", grid_of(panels)] if panels else []


def grid_of(panels: Sequence[page_figures.Panel]) -> str:
    """Panels side by side, the wide ones below each other."""
    narrow = "".join(figure(panel.address, panel.caption) for panel in panels if not panel.wide)
    wide = "".join(figure(panel.address, panel.caption) for panel in panels if panel.wide)
    return (f'<div class="grid">{narrow}</div>' if narrow else "") + (f'<div class="rows">{wide}</div>' if wide else "")


def task_section(summary: Summary, env: str, levels: int, style_of: Mapping[str, Style]) -> str:
    """Figures of one task; folded where there are several."""
    cells = [cell for cell in summary.cells if cell.task == (env, levels)]
    if not cells:
        return ""
    grid = grid_of(page_figures.task_panels(cells, style_of))
    if len(summary.envs) * len(summary.levels) == 1:
        return grid
    return f"<details><summary>{escape(env)}, {levels:,} training levels</summary>{grid}</details>"


def published_section(summary: Summary) -> list[str]:
    envs = [env for env in summary.envs if published.rows(env)]
    parts = ["<h2>What papers report</h2>"] if envs else []
    for env in envs:
        inside = f'<p class="soft">{escape(notes.published_note(summary, env))}</p>'
        inside += table(context_tables.with_published(summary, env))
        parts.append(inside if len(envs) == 1 else f"<details><summary>{escape(env)}</summary>{inside}</details>")
    if envs:
        studies = "".join(f"<li><b>{escape(k)}</b>: {escape(v)}</li>" for k, v in notes.studies(summary).items())
        parts.append(f'<ul class="soft">{studies}</ul>')
    return parts


def picture_section(summary: Summary) -> list[str]:
    """Pictures of each cell's first seed; more would make the file heavy and show the same."""
    blocks = []
    for cell in summary.cells:
        pictures = [
            figure(figures.picture(path.read_bytes()), path.stem.replace("_", " "), "pixels")
            for path in cell.runs[0].pictures
        ]
        if pictures:
            heading = f"{cell.label}, {cell.env}, {cell.train_levels:,} levels, seed {cell.seeds[0]}"
            opened = " open" if len(summary.cells) <= 4 else ""
            grid = f'<div class="grid">{"".join(pictures)}</div>'
            blocks.append(f"<details{opened}><summary>{escape(heading)}</summary>{grid}</details>")
    return ["<h2>Pictures</h2>", *blocks] if blocks else []
