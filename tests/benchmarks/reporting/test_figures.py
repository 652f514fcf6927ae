"""Figures: a style for each method that no other has, and the numbers that are drawn."""

import base64
import re

import numpy as np

from benchmarks.reporting import figures


def svg(address):
    return base64.b64decode(address.partition("base64,")[2]).decode()


def test_no_two_methods_look_alike():
    labels = [f"method {index:02}" for index in range(24)] + ["cnn a", "cnn b"]
    looks = figures.styles(labels, ["cnn a", "cnn b"])
    assert set(looks) == set(labels)
    assert len(set(looks.values())) == 26
    assert len({(look.colour, look.line) for look in looks.values()}) == 26
    assert len({(look.colour, look.marker) for look in looks.values()}) == 26
    assert {looks[name].colour for name in ("cnn a", "cnn b")} == {figures.BASELINE_COLOUR}
    assert looks["method 00"].line == "solid"


def test_the_legend_shows_line_and_marker():
    looks = figures.styles([f"method {index}" for index in range(9)])
    samples = {figures.chip(look) for look in looks.values()}
    assert len(samples) == 9
    assert figures.PALETTE[0] in svg(figures.chip(looks["method 0"]))


def test_more_methods_than_colours_are_told_apart_in_curves():
    looks = figures.styles(["a", *(f"m{index}" for index in range(7))])
    steps = np.array([0.0, 1.0])
    series = {label: figures.Curve(steps, steps, steps, steps) for label in ("a", "m6")}
    drawn = svg(figures.curves(series, looks, "t", (0, 1)))
    assert looks["a"].colour == looks["m6"].colour
    assert drawn.count("stroke-dasharray") == 1  # m6 is dashed
    assert len(re.findall(looks["a"].colour, drawn)) > 2
