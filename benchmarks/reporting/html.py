"""Text of report.html: one file with tables, figures and pictures inside, which loads nothing else.

The templates lie in ``templates``; everything that comes from outside is escaped there, and the page's own policy
forbids it to load or to run anything that was not written into it here.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from benchmarks.reporting import context_tables, figures, notes, page_figures, published
from benchmarks.reporting.figure_styles import Style, styles
from benchmarks.reporting.inline_svg import numbered
from benchmarks.reporting.page_figures import Panel
from benchmarks.reporting.sections import sections
from benchmarks.reporting.summary import Summary

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("lines.js", "levels.js", "explain.js", "player.js")
STYLES = ("page.css", "player.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {}"
"""Content-Security-Policy: nothing from elsewhere, and no script but the player's, by its hash."""
TEXT_COLUMNS = {"method", "mode", "task", "split", "study", "outcome", "against", "paired by", "resamples", "command"}
TEXT_COLUMNS |= {"fell by", "seeds", "on levels", "training levels", "data"}


@dataclass(frozen=True)
class Task:
    """Figures of one task; folded where there are several."""

    name: str
    panels: list[Panel]


def html(summary: Summary, player: Mapping[str, Any] | None = None) -> str:
    """The whole page.

    Args:
        player: of ``reporting.player``; None leaves it out.
    """
    script = template_text(SCRIPTS) if player and player["data"] else ""
    page = {
        "policy": POLICY.format(f"'{script_hash(script)}'" if script else "'none'"),
        "css": template_text(STYLES),
        "script": script,
        "player": player,
        "title": notes.title(summary),
        "size": notes.size(summary),
        "missing": summary.missing,
        "sections": sections(summary),
        "notes": notes.notes(summary) if summary.cells else [],
        "published": published_tables(summary),
        "studies": notes.studies(summary),
        "pictures": pictures(summary),
        "origin": notes.origin(summary),
        **drawn(summary),
    }
    return environment().get_template("page.html").render(page)


def environment() -> jinja2.Environment:
    """The templates, which escape every value that is not ``Markup`` and refuse unknown names."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    settings: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    made = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, **settings)
    made.filters["column_class"] = lambda name: "" if name in TEXT_COLUMNS else Markup(' class="number"')
    return made


def template_text(files: Sequence[str]) -> Markup:
    """Styles or scripts, as they stand in the page."""
    return Markup("\n".join((TEMPLATES / file).read_text(encoding="utf-8") for file in files))


def script_hash(script: str) -> str:
    """The name by which the page's policy lets a script run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def drawn(summary: Summary) -> dict[str, Any]:
    """The page's figures: its legend, those of each task, and those over tasks."""
    style_of = styles(summary.labels, summary.baselines)
    numbers = itertools.count()
    tasks = [(env, levels) for env in summary.envs for levels in summary.levels]
    return {
        "legend": [(name, placed(figures.chip(style), numbers)) for name, style in sorted(style_of.items())],
        "tasks": [
            Task(f"{env}, {cells[0].levels_in_words}", inside(page_figures.task_panels(cells, style_of), numbers))
            for env, levels in tasks
            if (cells := [cell for cell in summary.cells if cell.task == (env, levels)])
        ],
        "groups": [(heading, inside(panels, numbers)) for heading, panels in over_tasks(summary, style_of).items()],
    }


def over_tasks(summary: Summary, style_of: Mapping[str, Style]) -> dict[str, list[Panel]]:
    """Heading -> figures over several tasks or several numbers of training levels."""
    return {
        "Over all tasks": page_figures.profile_panels(summary, style_of),
        "More training levels": page_figures.level_count_panels(summary, style_of),
    }


def placed(svg: str, numbers: Iterator[int]) -> Markup:
    """A figure as part of the page, with ids that no other has."""
    return Markup(numbered(svg, next(numbers)))  # labels were escaped when the SVG was written


def inside(panels: Sequence[Panel], numbers: Iterator[int]) -> list[Panel]:
    """The panels as parts of the page."""
    return [replace(panel, svg=placed(panel.svg, numbers)) for panel in panels]


def published_tables(summary: Summary) -> list[dict[str, Any]]:
    """Rows of papers beside ours, for each task that has some."""
    return [
        {
            "env": env,
            "note": notes.published_note(summary, env),
            "table": context_tables.with_published(summary, env),
        }
        for env in summary.envs
        if published.rows(env)
    ]


def pictures(summary: Summary) -> list[dict[str, Any]]:
    """Pictures of each cell's first seed; more would make the file heavy and show the same."""
    return [
        {
            "heading": f"{cell.label}, {cell.env}, {cell.levels_in_words}, seed {cell.seeds[0]}",
            "images": [
                (path.stem.replace("_", " "), figures.picture(path.read_bytes())) for path in cell.runs[0].pictures
            ],
        }
        for cell in summary.cells
        if cell.runs[0].pictures
    ]
