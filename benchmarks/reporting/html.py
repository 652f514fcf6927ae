"""Text of report.html: one file with tables, figures and pictures inside, which loads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from benchmarks.reporting import figures, notes, published, tables
from benchmarks.reporting.cells import Cell, Summary
from benchmarks.reporting.figures import Curve
from benchmarks.reporting.layout import Table

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
figure.pixels img { image-rendering: pixelated; }
figcaption { font-size: 13px; padding: 6px 2px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 8px 0 12px; font-size: 13.5px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; }
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
TEXT_COLUMNS = {"method", "mode", "task", "split", "study", "interval over", "command"}


def html(summary: Summary) -> str:
    """The whole page."""
    parts = [f"<h1>{escape(notes.title(summary))}</h1>", f'<p class="soft">{escape(notes.size(summary))}</p>']
    if summary.missing:
        parts.append(note_list("Not in the table", summary.missing, warn=True))
    if summary.cells:
        palette = figures.colours(summary.labels, summary.baseline)
        parts += ["<h2>Results</h2>", table(tables.headline(summary))]
        parts += reference_section(summary)
        parts += comparison(summary)
        parts.append(note_list("How to read this", notes.notes(summary)))
        parts += aggregate_section(summary)
        parts += ["<h2>Figures</h2>", legend(palette)]
        parts += [task_section(summary, env, levels, palette) for env in summary.envs for levels in summary.levels]
        parts += level_section(summary, palette)
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


def comparison(summary: Summary) -> list[str]:
    content = tables.against_baseline(summary)
    if not content[1]:
        return []
    return [f"<h2>Against {escape(summary.baseline)}, on unseen levels</h2>", table(content)]


def aggregate_section(summary: Summary) -> list[str]:
    content = tables.aggregates(summary)
    if not content[1]:
        return []
    return ["<h2>Over all tasks, normalised</h2>", f'<p class="soft">{notes.AGGREGATES_NOTE}</p>', table(content)]


def legend(palette: dict[str, str]) -> str:
    chips = "".join(
        f'<span><i style="background:{palette[name]}"></i>{escape(name)}</span>' for name in sorted(palette)
    )
    return f'<div class="legend">{chips}</div>'


def figure(address: str, caption: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return (
        f'<figure{css}><img alt="{escape(caption)}" src="{address}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def task_section(summary: Summary, env: str, levels: int, palette: dict[str, str]) -> str:
    """Curves, gaps and the scatter of one task."""
    cells = [cell for cell in summary.cells if (cell.env, cell.train_levels) == (env, levels)]
    if not cells:
        return ""
    panels = curve_panels(cells, palette)
    targets = list(dict.fromkeys(split for cell in cells for split in cell.gaps))
    for split in targets:
        entries = [(cell.label, cell.gaps[split]) for cell in cells if split in cell.gaps]
        drawn = figures.bars(entries, palette, f"Gap: {split}", f"return on training levels minus {split}")
        over = (
            "seeds"
            if all(interval.over == "seeds" for _, interval in entries)
            else "episodes of one agent where one seed"
        )
        caption = f"Gap to {split}, 95% intervals over {over}; in order of held-out return."
        panels.append(figure(drawn, caption))
    if targets:
        points = {
            cell.label: [(float(a), float(b)) for a, b in np.hstack([cell.means("train"), cell.means(cell.target)])]
            for cell in cells
        }
        drawn = figures.scatter(points, palette, "Training against unseen levels")
        panels.append(figure(drawn, "One dot per run, final evaluation. On the dashed diagonal nothing is lost."))
    grid = f'<div class="grid">{"".join(panels)}</div>'
    if len(summary.envs) * len(summary.levels) == 1:
        return grid
    return f"<details><summary>{escape(env)}, {levels:,} training levels</summary>{grid}</details>"


def curve_panels(cells: Sequence[Cell], palette: dict[str, str]) -> list[str]:
    """Training and held-out return on one scale, then their difference."""
    series = {key: curves_over_seeds(cells, f"eval/{key}") for key in ("train/return", "heldout/return", "gap")}
    if not series["train/return"]:
        return []
    returns = [curve for key in ("train/return", "heldout/return") for curve in series[key].values()]
    ends = [end for curve in returns for end in (curve.low, curve.high)]
    low, high = float(np.concatenate(ends).min()), float(np.concatenate(ends).max())
    margin = 0.06 * (high - low) or 0.5
    band = " Band: lowest to highest seed." if any(len(cell.runs) > 1 for cell in cells) else ""
    panels = []
    names = {"train/return": "Return on training levels", "heldout/return": "Return on held-out levels"}
    for key, name in names.items():
        drawn = figures.curves(series[key], palette, name, (low - margin, high + margin))
        panels.append(figure(drawn, f"{name} during training.{band}"))
    gaps = np.concatenate([end for c in series["gap"].values() for end in (c.low, c.high)] or [np.zeros(1)])
    limits = (min(0.0, float(gaps.min())) - margin, max(0.0, float(gaps.max())) + margin)
    drawn = figures.curves(series["gap"], palette, "Gap (training minus held-out)", limits)
    return [*panels, figure(drawn, f"Gap during training, fewer episodes than the final evaluation.{band}")]


def curves_over_seeds(cells: Sequence[Cell], metric: str) -> dict[str, Curve]:
    """Each cell's curve of a metric, over the steps that all its seeds recorded."""
    curves = {}
    for cell in cells:
        seeds = [{r["global_step"]: r[metric] for r in run.metrics if metric in r} for run in cell.runs]
        steps = sorted(set.intersection(*(set(values) for values in seeds)))
        if steps:
            values = np.array([[seed[step] for step in steps] for seed in seeds])
            curves[cell.label] = Curve(np.array(steps), values.mean(0), values.min(0), values.max(0))
    return curves


def level_section(summary: Summary, palette: dict[str, str]) -> list[str]:
    """Gap and held-out return over the number of training levels, where several were run."""
    if len(summary.levels) < 2:
        return []
    panels = []
    for env in summary.envs:
        of_env = [cell for cell in summary.cells if cell.env == env and cell.target in cell.gaps]
        cells = sorted(of_env, key=lambda cell: cell.train_levels)
        labels = [label for label in summary.labels if any(cell.label == label for cell in cells)]
        gaps = {label: [(c.train_levels, c.gaps[c.target]) for c in cells if c.label == label] for label in labels}
        unseen = {label: [(c.train_levels, c.returns[c.target]) for c in cells if c.label == label] for label in labels}
        if cells:
            for content, name in ((gaps, "Gap"), (unseen, "Held-out return")):
                drawn = figures.over_levels(content, palette, f"{name}, {env}")
                panels.append(figure(drawn, f"{name} against the number of training levels, 95% intervals."))
    return ["<h2>More training levels</h2>", f'<div class="grid">{"".join(panels)}</div>'] if panels else []


def reference_section(summary: Summary) -> list[str]:
    content = tables.references(summary)
    return ["<h2>Reference policies</h2>", table(content)] if content[1] else []


def published_section(summary: Summary) -> list[str]:
    envs = [env for env in summary.envs if published.rows(env)]
    parts = ["<h2>What papers report</h2>"] if envs else []
    for env in envs:
        inside = f'<p class="soft">{escape(notes.published_note(summary, env))}</p>'
        inside += table(tables.with_published(summary, env))
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
