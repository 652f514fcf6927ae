"""Figures of the reports, drawn without pyplot; the same numbers give the same bytes.

A page's figures are SVG, one panel each. A style (colour, line and marker) means one method on the whole page, so the
page has the legend.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from benchmarks.reporting import layout
from benchmarks.reporting.stats import Interval

BASELINE_COLOUR = "#5f6670"
# Okabe and Ito's palette without its yellow, which is too pale for thin lines: distinct also to colour-blind readers
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
LINES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx")
INK, FAINT = "#30343b", "#d9dce1"
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
    "grid.color": "#eef0f3",
    "xtick.color": "#6b727c",
    "ytick.color": "#6b727c",
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


def styles(labels: Iterable[str], baselines: Iterable[str] = ()) -> dict[str, Style]:
    """One style for each method: the baselines are grey; colours repeat with other lines, markers and hatches."""
    table: dict[str, Style] = {}
    grey = sorted(set(baselines))
    for index, label in enumerate(grey):
        table[label] = Style(BASELINE_COLOUR, LINES[index % 4], MARKERS[index % 7], HATCHES[index % 4])
    for index, label in enumerate(sorted(set(labels) - set(grey))):
        turn = index // len(PALETTE)
        table[label] = Style(PALETTE[index % len(PALETTE)], LINES[turn % 4], MARKERS[turn % 7], HATCHES[turn % 4])
    return table


def _panel(title: str, height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.tick_params(length=0)
    return figure, axes


def curves(series: Mapping[str, Curve], style_of: Mapping[str, Style], title: str, limits: tuple[float, float]) -> str:
    """Return over frames; panels that stand side by side share the ``limits`` of the return."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title)
        for label, curve in series.items():
            _line(axes, curve, style_of[label], markersize=4)
        axes.set_ylim(*limits)
        _over_frames(axes)
        return _uri(figure)


def learning(
    panels: Mapping[str, tuple[Mapping[str, Curve], float]],
    style_of: Mapping[str, Style],
    band: str = "",
    ylabel: str = "return (training)",
) -> bytes:
    """Return (or ``ylabel``) during training (PNG): a panel for each task, its threshold dashed, one legend for all."""
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    size = (max(6.4, 5.2 * across), 3.4 * down + 0.3 * len(style_of) / across + 0.3)
    with matplotlib.rc_context(STYLE), io.BytesIO() as file:
        figure = Figure(figsize=size, layout="constrained")
        places = figure.subplots(down, across, squeeze=False).ravel()
        shown: dict[str, Any] = {}
        for axes, (title, (series, threshold)) in zip(places, panels.items(), strict=False):
            axes.set_title(title)
            axes.tick_params(length=0)
            axes.axhline(threshold, color="#9aa1ab", linewidth=1, linestyle=(0, (4, 3)))
            for label, curve in series.items():
                shown.setdefault(label, _line(axes, curve, style_of[label], markersize=0))
            axes.set_ylabel(ylabel)
            _over_frames(axes)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        figure.legend(shown.values(), shown, loc="outside lower left", ncols=across, frameon=False, title=band or None)
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()


def traces(panels: Mapping[str, Mapping[str, Sequence[NDArray[np.float64]]]], style_of: Mapping[str, Style]) -> bytes:
    """Metrics during training (PNG): a panel for each, in it the points (P, 2) of every run as a line."""
    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    size = (5.2 * across, 2.6 * down + 0.3 * len(style_of) + 0.3)
    with matplotlib.rc_context(STYLE), io.BytesIO() as file:
        figure = Figure(figsize=size, layout="constrained")
        places = figure.subplots(down, across, squeeze=False).ravel()
        shown: dict[str, Any] = {}
        for axes, (title, lines_of) in zip(places, panels.items(), strict=False):
            axes.set_title(title)
            axes.tick_params(length=0)
            for label, lines in lines_of.items():
                drawing: dict[str, Any] = {"color": style_of[label].colour, "linestyle": style_of[label].line}
                for points in lines:
                    shown[label] = axes.plot(points[:, 0], points[:, 1], linewidth=1.2, **drawing)[0]
            _over_frames(axes)
        for axes in places[len(panels) :]:
            axes.set_axis_off()
        figure.legend(shown.values(), shown, loc="outside lower left", frameon=False)
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()


def heat(picture: np.ndarray, maps: Mapping[str, np.ndarray]) -> bytes:
    """Maps over the cells of a level (PNG): its ``picture`` (h, w, 3), then each map (H, W), nan outside its cells."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}), io.BytesIO() as file:
        figure = Figure(figsize=(3.2 * (1 + len(maps)), 3.0), layout="constrained")
        places = figure.subplots(1, 1 + len(maps), squeeze=False).ravel()
        places[0].imshow(picture)
        places[0].set_title("the level")
        for axes, (title, values) in zip(places[1:], maps.items(), strict=True):
            shown = axes.imshow(values, cmap="viridis", vmin=0)
            axes.set_title(title)
            figure.colorbar(shown, ax=axes, shrink=0.8)
        for axes in places:
            axes.set_xticks([])
            axes.set_yticks([])
        figure.savefig(file, format="png", dpi=100)
        return file.getvalue()


def _line(axes: Axes, curve: Curve, style: Style, markersize: float) -> Any:
    """Draw the mean, and the band from the lowest to the highest seed; returns the line."""
    axes.fill_between(curve.steps, curve.low, curve.high, color=style.colour, alpha=0.15, linewidth=0)
    drawing: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
    return axes.plot(curve.steps, curve.mean, markersize=markersize, **drawing)[0]


def _over_frames(axes: Axes) -> None:
    axes.set_xlim(left=0)
    axes.set_xlabel("frames")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def bars(entries: Sequence[tuple[str, Interval]], style_of: Mapping[str, Style], title: str, xlabel: str) -> str:
    """Horizontal bars with 95% intervals, in the given order from the top."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title, height=1.3 + 0.34 * len(entries))
        heights = np.arange(len(entries))[::-1]
        for height, (label, interval) in zip(heights, entries, strict=True):
            style = style_of[label]
            axes.barh(height, interval.estimate, 0.58, color=style.colour, alpha=0.75, hatch=style.hatch, edgecolor="w")
            if interval.usable:
                axes.plot([interval.low, interval.high], [height, height], color=INK, linewidth=1.3)
        axes.axvline(0, color="#9aa1ab", linewidth=1)
        axes.set_yticks(heights, [_short(label) for label, _ in entries])
        axes.tick_params(axis="y", colors=INK)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(xlabel)
        return _uri(figure)


def heatmap(down: Sequence[str], across: Sequence[str], values: np.ndarray, title: str) -> bytes:
    """Numbers in [0, 1] as colours with the numbers written in (PNG); below 0 is as pale as 0."""
    size = (2.5 + 0.75 * len(across) + 0.09 * max(map(len, down)), 1.6 + 0.3 * len(down))
    with matplotlib.rc_context(STYLE), io.BytesIO() as file:
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        axes.imshow(np.nan_to_num(values).clip(0, 1), cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}" if value > -9.995 else "<-10"
            axes.text(column, row, text, ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(across)), across, rotation=30, ha="right")
        axes.set_yticks(range(len(down)), down)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        figure.savefig(file, format="png", dpi=110)
        return file.getvalue()


def level_returns(rows: Sequence[tuple[str, np.ndarray]], title: str, unit: str) -> str:
    """Mean return of each level, a row for each method: (label, (L,)), all of one length, columns in that order."""
    values = np.array([means for _, means in rows])
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10.6, 1.25 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        shown = axes.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set_yticks(range(len(rows)), [_short(label) for label, _ in rows])
        axes.set_xlabel(f"{values.shape[1]:,} levels, the hardest on the left")
        axes.set_xticks([])
        axes.tick_params(length=0)
        figure.colorbar(shown, ax=axes, label=unit, pad=0.01)
        return _uri(figure)


def profiles(series: Mapping[str, tuple[np.ndarray, np.ndarray]], style_of: Mapping[str, Style], title: str) -> str:
    """Performance profiles: fraction of runs (P,) with more than each normalised score (P,)."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title)
        for label, (scores, fractions) in series.items():
            style = style_of[label]
            axes.plot(scores, fractions, color=style.colour, linestyle=style.line, drawstyle="steps-post")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("normalised return on unseen levels")
        axes.set_ylabel("fraction of runs above it")
        return _uri(figure)


def chip(style: Style) -> str:
    """A legend's sample of a style: line and marker as a data URI."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.55, 0.2))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, 2)
        axes.plot([0.1, 1, 1.9], [0, 0, 0], color=style.colour, linestyle=style.line, linewidth=2)
        axes.plot([1], [0], color=style.colour, marker=style.marker, markersize=6)
        return _uri(figure, transparent=True)


def scatter(points: Mapping[str, Sequence[tuple[float, float]]], style_of: Mapping[str, Style], title: str) -> str:
    """Held-out over training return, one dot per run; on the diagonal nothing is lost on unseen levels."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title, height=4.6)
        numbers = [number for dots in points.values() for dot in dots for number in dot]
        margin = 0.08 * (max(numbers) - min(numbers)) or 0.5
        limits = (min(numbers) - margin, max(numbers) + margin)
        axes.plot(limits, limits, color="#9aa1ab", linewidth=1, linestyle=(0, (4, 3)))
        for label, dots in points.items():
            x, y = zip(*dots, strict=True)
            style = style_of[label]
            axes.scatter(x, y, s=46, color=style.colour, marker=style.marker, edgecolor="white", linewidth=0.8)
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_aspect("equal")
        axes.set_xlabel("return on training levels")
        axes.set_ylabel("return on held-out levels")
        return _uri(figure)


def dots(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], style_of: Mapping[str, Style], ylabel: str
) -> bytes:
    """PNG with a panel for each title: a dot for each (x, y), coloured by its name; one legend for all."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * max(len(panels), 1), 4.6), layout="constrained")
        handles: dict[str, Any] = {}
        for index, (title, points) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), index)
            axes.set_title(title, fontsize=10)
            for name, pairs in points.items():
                x, y = zip(*pairs, strict=True)
                look: dict[str, Any] = {"color": style_of[name].colour, "marker": style_of[name].marker}
                handles[name] = axes.scatter(x, y, s=36, edgecolor="white", linewidth=0.6, **look)
            axes.set_ylabel(ylabel if index == 1 else "")
        if handles:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=8, frameon=False, fontsize=8)
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
            return file.getvalue()


def over_levels(series: Mapping[str, Sequence[tuple[int, Interval]]], style_of: Mapping[str, Style], title: str) -> str:
    """A quantity over the number of training levels (log axis), with 95% intervals."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title)
        counts = sorted({levels for dots in series.values() for levels, _ in dots})
        for label, dots in series.items():
            levels, style = [count for count, _ in dots], style_of[label]
            estimates = [interval.estimate for _, interval in dots]
            axes.plot(levels, estimates, color=style.colour, linestyle=style.line, marker=style.marker, markersize=4)
            for count, interval in dots:
                if interval.usable:
                    ends = [interval.low, interval.high]
                    axes.plot([count, count], ends, color=style.colour, linewidth=1.2, alpha=0.7)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.xaxis.minorticks_off()
        axes.set_xlabel("training levels")
        return _uri(figure)


def picture(data: bytes) -> str:
    """A PNG file's bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _uri(figure: Figure, transparent: bool = False) -> str:
    with io.BytesIO() as file:
        # without these the same numbers would give other bytes tomorrow
        metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", metadata=metadata, transparent=transparent)
        # The fonts the numbers were laid out with may be missing where the page is read.
        drawn = file.getvalue().replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")
    return "data:image/svg+xml;base64," + base64.b64encode(drawn).decode()


def _tick(value: float) -> str:
    return f"{value / 1000:g}k" if 1000 <= value < 10**6 else layout.frames(int(value))


def _short(label: str, longest: int = 30) -> str:
    return label if len(label) <= longest else label[: longest - 1] + "…"
