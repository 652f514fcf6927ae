"""Figures: a style for each method that no other has, the numbers that are drawn, and what a pointer is told."""

import re

import numpy as np
import pytest

from benchmarks.reporting import figures
from benchmarks.reporting.figure_styles import BASELINE_COLOUR, Curve, styles
from benchmarks.reporting.stats import Interval


def test_no_two_methods_look_alike():
    labels = [f"method {index:02}" for index in range(24)] + ["cnn a", "cnn b"]
    looks = styles(labels, ["cnn a", "cnn b"])
    assert set(looks) == set(labels)
    assert len(set(looks.values())) == 26
    assert len({(look.colour, look.line) for look in looks.values()}) == 26
    assert len({(look.colour, look.marker) for look in looks.values()}) == 26
    assert {looks[name].colour for name in ("cnn a", "cnn b")} == {BASELINE_COLOUR}
    assert looks["method 00"].line == "solid"


def test_of_baselines_alone_the_plain_one_is_grey():
    labels = ["cnn", "cnn (gamma=0.5)", "cnn (entropy=0.1)"]
    looks = styles(labels, labels)
    assert [label for label in labels if looks[label].colour == BASELINE_COLOUR] == ["cnn"]
    assert len({look.colour for look in looks.values()}) == 3


def test_the_legend_shows_line_and_marker():
    looks = styles([f"method {index}" for index in range(9)])
    samples = {figures.chip(look) for look in looks.values()}
    assert len(samples) == 9
    assert "var(--method-0)" in figures.chip(looks["method 0"])


def test_more_methods_than_colours_are_told_apart_in_curves():
    looks = styles(["a", *(f"m{index}" for index in range(7))])
    steps = np.array([0.0, 1.0])
    series = {label: Curve(steps, steps, steps, steps) for label in ("a", "m6")}
    drawn = figures.curves(series, looks, "t", (0, 1))
    assert looks["a"].colour == looks["m6"].colour
    assert drawn.count("stroke-dasharray") == 1  # m6 is dashed
    assert len(re.findall(r"var\(--method-0\)", drawn)) > 2


def titles(svg):
    return re.findall("<title>(.*?)</title>", svg)


def test_a_pointer_is_told_method_value_and_interval():
    looks = styles(["<vae>", "cnn"], ["cnn"])
    steps = np.array([0.0, 25_000.0])
    curve = Curve(steps, np.array([1.0, 2.0]), np.array([1.0, 1.5]), np.array([1.0, 2.25]))
    drawn = titles(figures.curves({"<vae>": curve}, looks, "t", (0, 3)))
    assert drawn == ["&lt;vae&gt;", "&lt;vae&gt;, 0 frames: 1.00", "&lt;vae&gt;, 25,000 frames: 2.00 (1.50 to 2.25)"]
    interval = Interval(1.0, 0.5, 1.5, "levels", 20)
    assert titles(figures.bars([("cnn", interval)], looks, "t", "gap")) == ["cnn: 1.00 [0.50, 1.50]"]
    assert titles(figures.scatter({"cnn": [(9.0, 4.0)]}, looks, "t")) == ["cnn: training 9.00, held-out 4.00"]
    drawn = titles(figures.over_levels({"cnn": [(500, interval)]}, looks, "t"))
    assert drawn == ["cnn, 500 levels: 1.00 [0.50, 1.50]"]


@pytest.mark.parametrize("label", ["cnn", "a & b"])
def test_the_same_numbers_give_the_same_bytes(label):
    looks = styles([label])
    first, second = (figures.profiles({label: (np.array([0.0, 1.0]),) * 2}, looks, "t") for _ in range(2))
    assert first == second
