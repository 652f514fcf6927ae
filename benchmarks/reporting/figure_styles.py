"""Styles of figures: one colour, line and marker for each method, and the settings of every figure.

Figures are drawn without pyplot; the same numbers give the same bytes. A style means one method on the whole page, so
the page has the legend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.reporting import layout

BASELINE_COLOUR = "#5f6670"
# Okabe and Ito's palette without its yellow, which is too pale for thin lines: distinct also to colour-blind readers
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
LINES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx")
INK, SOFT, FAINT, GRID, ZERO = "#30343b", "#616873", "#d9dce1", "#eef0f3", "#9aa1ab"
"""Colours of text, ticks, axes, grid, and of lines that mark a value."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and found by the browser's search
    "svg.hashsalt": "report",  # element ids would be random otherwise
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Curve:
    """Mean over seeds at each step, and the lowest and highest seed; all (P,)."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Style:
    """Look of one method in every figure; no two of the first 28 methods or 28 baselines share one."""

    colour: str
    line: str
    marker: str
    hatch: str
    """Pattern of its bars."""


def styles(labels: Collection[str], baselines: Iterable[str] = ()) -> dict[str, Style]:
    """One style for each method: the baselines are grey; colours repeat with other lines, markers and hatches.

    Where all are baselines, as when one setting after another is changed, the one with the shortest label alone is.
    """
    table: dict[str, Style] = {}
    grey = sorted(set(baselines), key=lambda label: (len(label), label))
    if set(labels) <= set(grey):
        grey = grey[:1]
    for index, label in enumerate(grey):
        table[label] = Style(BASELINE_COLOUR, LINES[index % 4], MARKERS[index % 7], HATCHES[index % 4])
    for index, label in enumerate(sorted(set(labels) - set(grey))):
        turn = index // len(PALETTE)
        table[label] = Style(PALETTE[index % len(PALETTE)], LINES[turn % 4], MARKERS[turn % 7], HATCHES[turn % 4])
    return table


def draw_line(axes: Axes, curve: Curve, style: Style, markersize: float) -> Any:
    """Draw the mean, and the band from the lowest to the highest seed; returns the line."""
    axes.fill_between(curve.steps, curve.low, curve.high, color=style.colour, alpha=0.15, linewidth=0)
    drawing: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
    return axes.plot(curve.steps, curve.mean, markersize=markersize, **drawing)[0]


def over_frames(axes: Axes) -> None:
    """Name the horizontal axis: frames from 0, with short ticks."""
    axes.set_xlim(left=0)
    axes.set_xlabel("frames")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    return f"{value / 1000:g}k" if 1000 <= value < 10**6 else layout.frames(int(value))


def shortened(label: str, longest: int = 30) -> str:
    """The label, cut where an axis has no room for it."""
    return label if len(label) <= longest else label[: longest - 1] + "…"
