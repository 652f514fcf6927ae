"""Figures as PNG files, which commands write beside their tables; the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.reporting.figure_styles import STYLE, ZERO, Curve, Style, draw_line, over_frames


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
            axes.axhline(threshold, color=ZERO, linewidth=1, linestyle=(0, (4, 3)))
            for label, curve in series.items():
                shown.setdefault(label, draw_line(axes, curve, style_of[label], markersize=0))
            axes.set_ylabel(ylabel)
            over_frames(axes)
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
            over_frames(axes)
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
