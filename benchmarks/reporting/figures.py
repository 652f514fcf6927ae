"""Figures of the page as inline SVG, one panel each; the same numbers give the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting import layout
from benchmarks.reporting.figure_styles import INK, STYLE, ZERO, Curve, Style, draw_line, over_frames, shortened
from benchmarks.reporting.inline_svg import inline, tip
from benchmarks.reporting.stats import Interval


def _panel(title: str, height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.tick_params(length=0)
    return figure, axes


def _spot(axes: Axes, x: float, y: float, text: str) -> None:
    """A place of a line that shows ``text`` under the pointer, and nothing else."""
    axes.plot([x], [y], marker="o", markersize=9, color=INK, alpha=0, gid=tip(text))


def curves(series: Mapping[str, Curve], style_of: Mapping[str, Style], title: str, limits: tuple[float, float]) -> str:
    """Return over frames; panels that stand side by side share the ``limits`` of the return."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title)
        for label, curve in series.items():
            draw_line(axes, curve, style_of[label], markersize=4).set_gid(tip(label))
            for step, mean, low, high in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True):
                band = f" ({low:.2f} to {high:.2f})" if low < high else ""
                _spot(axes, step, mean, f"{label}, {step:,.0f} frames: {mean:.2f}{band}")
        axes.set_ylim(*limits)
        over_frames(axes)
        return inline(figure)


def bars(entries: Sequence[tuple[str, Interval]], style_of: Mapping[str, Style], title: str, xlabel: str) -> str:
    """Horizontal bars with 95% intervals, in the given order from the top."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title, height=1.3 + 0.34 * len(entries))
        heights = np.arange(len(entries))[::-1]
        for height, (label, interval) in zip(heights, entries, strict=True):
            style = style_of[label]
            drawing: dict[str, Any] = {"color": style.colour, "hatch": style.hatch, "edgecolor": "w", "alpha": 0.75}
            (bar,) = axes.barh(height, interval.estimate, 0.58, **drawing)
            bar.set_gid(tip(f"{label}: {layout.interval(interval)}"))
            if interval.usable:
                axes.plot([interval.low, interval.high], [height, height], color=INK, linewidth=1.3)
        axes.axvline(0, color=ZERO, linewidth=1)
        axes.set_yticks(heights, [shortened(label) for label, _ in entries])
        axes.tick_params(axis="y", colors=INK)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(xlabel)
        return inline(figure)


def level_returns(rows: Sequence[tuple[str, np.ndarray]], title: str, unit: str) -> str:
    """Mean return of each level, a row for each method: (label, (L,)), all of one length, columns in that order."""
    values = np.array([means for _, means in rows])
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10.6, 1.25 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        shown = axes.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set_yticks(range(len(rows)), [shortened(label) for label, _ in rows])
        axes.set_xlabel(f"{values.shape[1]:,} levels, the hardest on the left")
        axes.set_xticks([])
        axes.tick_params(length=0)
        figure.colorbar(shown, ax=axes, label=unit, pad=0.01)
        return inline(figure)


def profiles(series: Mapping[str, tuple[np.ndarray, np.ndarray]], style_of: Mapping[str, Style], title: str) -> str:
    """Performance profiles: fraction of runs (P,) with more than each normalised score (P,)."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title)
        for label, (scores, fractions) in series.items():
            style = style_of[label]
            drawing: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "drawstyle": "steps-post"}
            axes.plot(scores, fractions, gid=tip(label), **drawing)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("normalised return on unseen levels")
        axes.set_ylabel("fraction of runs above it")
        return inline(figure)


def chip(style: Style) -> str:
    """A legend's sample of a style: line and marker."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.55, 0.2))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, 2)
        axes.plot([0.1, 1, 1.9], [0, 0, 0], color=style.colour, linestyle=style.line, linewidth=2)
        axes.plot([1], [0], color=style.colour, marker=style.marker, markersize=6)
        return inline(figure)


def scatter(points: Mapping[str, Sequence[tuple[float, float]]], style_of: Mapping[str, Style], title: str) -> str:
    """Held-out over training return, one dot per run; on the diagonal nothing is lost on unseen levels."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _panel(title, height=4.6)
        numbers = [number for dots in points.values() for dot in dots for number in dot]
        margin = 0.08 * (max(numbers) - min(numbers)) or 0.5
        limits = (min(numbers) - margin, max(numbers) + margin)
        axes.plot(limits, limits, color=ZERO, linewidth=1, linestyle=(0, (4, 3)))
        for label, dots in points.items():
            style = style_of[label]
            drawing: dict[str, Any] = {"color": style.colour, "marker": style.marker, "edgecolor": "w"}
            for x, y in dots:
                words = tip(f"{label}: training {x:.2f}, held-out {y:.2f}")
                axes.scatter([x], [y], s=46, linewidth=0.8, gid=words, **drawing)
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_aspect("equal")
        axes.set_xlabel("return on training levels")
        axes.set_ylabel("return on held-out levels")
        return inline(figure)


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
                _spot(axes, count, interval.estimate, f"{label}, {count:,} levels: {layout.interval(interval)}")
                if interval.usable:
                    ends = [interval.low, interval.high]
                    axes.plot([count, count], ends, color=style.colour, linewidth=1.2, alpha=0.7)
        axes.set_xscale("log")
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.xaxis.minorticks_off()
        axes.set_xlabel("training levels")
        return inline(figure)


def picture(data: bytes) -> str:
    """A PNG file's bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()
