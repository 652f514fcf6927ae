"""Tables as text for a terminal and as Markdown, and numbers as they are printed in them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.reporting.stats import Interval

Table = tuple[list[str], list[list[str]]]
"""Header, and rows of as many texts."""
WIDTH = 120
ABSENT = "–"
_DROPPED_FIRST = ("norm.", "mode", "paired by", "resamples", "frames/s", "pre-train s", "RL s", "at 0.9", "at 0.5")


@dataclass(frozen=True)
class Section:
    """A table with its heading and a caption that says how it is to be read."""

    heading: str
    caption: str
    table: Table
    in_terminal: bool = True
    """False for a table that only the report's files show."""
    terminal_columns: int = 10
    """Columns that a terminal shows, from the left."""


def number(value: float, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''}.2f}"


def count(value: float) -> str:
    """'1,234', or a dash where it is not known."""
    return ABSENT if math.isnan(value) else f"{value:,.0f}"


def listed(names: Iterable[object], last: str = "and") -> str:
    """'a, b and c'."""
    *words, end = map(str, names)
    return f"{', '.join(words)} {last} {end}" if words else end


def interval(value: Interval | None, sign: bool = False) -> str:
    """'9.00 [8.71, 9.27]'; a single unit has no interval, equal units none worth printing, mixed runs none at all."""
    if value is None:
        return ABSENT
    if math.isnan(value.low):
        return f"{number(value.estimate, sign)} [mixed]"
    if not value.usable:
        return f"{number(value.estimate, sign)} [n=1]"
    if value.low == value.high:
        return f"{number(value.estimate, sign)} [all equal]"
    return f"{number(value.estimate, sign)} [{number(value.low, sign)}, {number(value.high, sign)}]"


def frames(steps: int) -> str:
    """25_000_000 -> '25M', 2048 -> '2,048'."""
    return f"{steps / 10**6:.3g}M" if steps >= 10**6 else f"{steps:,}"


def without_empty_columns(table: Table) -> Table:
    """The table without columns that no row fills."""
    header, rows = table
    kept = [index for index in range(len(header)) if any(row[index] not in ("", ABSENT) for row in rows)]
    return [header[index] for index in kept], [[row[index] for index in kept] for row in rows]


def aligned(table: Table, width: int = WIDTH) -> str:
    """Columns side by side for a terminal; long texts of the first column are cut where the line would not fit."""
    header, rows = table
    columns = list(zip(header, *rows, strict=True))
    sizes = [max(map(len, column)) for column in columns]
    sizes[0] = max(8, min(sizes[0], width - sum(sizes[1:]) - 2 * (len(sizes) - 1)))
    lines = []
    for row in (header, ["-" * size for size in sizes], *rows):
        first = row[0] if len(row[0]) <= sizes[0] else row[0][: sizes[0] - 1] + "…"
        cells = [text.ljust(size) for text, size in zip((first, *row[1:]), sizes, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def narrowed(table: Table, width: int = WIDTH) -> Table:
    """The table without the columns a reader misses least, where a terminal line cannot hold all."""
    header, rows = table
    for name in _DROPPED_FIRST:
        sizes = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        if min(sizes[0], 24) + sum(sizes[1:]) + 2 * (len(sizes) - 1) <= width:
            break
        kept = [index for index, column in enumerate(header) if column != name]
        header, rows = [header[index] for index in kept], [[row[index] for index in kept] for row in rows]
    return header, rows


def wrapped(text: str, width: int = WIDTH) -> str:
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def pipes(table: Table) -> str:
    """A Markdown table, padded so that it also reads as plain text."""
    header, rows = table
    escaped = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    sizes = [max(map(len, column)) for column in zip(*escaped, strict=True)]
    lines = ["| " + " | ".join(t.ljust(size) for t, size in zip(row, sizes, strict=True)) + " |" for row in escaped]
    return "\n".join([lines[0], "|" + "|".join("-" * (size + 2) for size in sizes) + "|", *lines[1:]])
