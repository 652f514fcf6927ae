"""Inline SVG: colours of both schemes, ids of its own, nothing of matplotlib's document around it."""

import re
from xml.etree import ElementTree as ET

import numpy as np

from benchmarks.reporting import figures
from benchmarks.reporting.figure_styles import Curve, styles
from benchmarks.reporting.html import TEMPLATES
from benchmarks.reporting.inline_svg import VARIABLES, numbered


def curve():
    steps = np.array([0.0, 1000.0])
    looks = styles(["vae", "cnn"], ["cnn"])
    series = {label: Curve(steps, steps, steps, steps + 1) for label in looks}
    return figures.curves(series, looks, "A title", (0, 1))


def test_the_page_has_each_colour_for_light_and_dark():
    light, dark = (TEMPLATES / "page.css").read_text().split("@media (prefers-color-scheme: dark)")[:2]
    for colour, name in VARIABLES.items():
        assert f"--{name}: {colour};" in light
        assert re.search(rf"--{name}: #[0-9a-f]{{6}};", dark)
        assert f"--{name}: {colour};" not in dark


def test_no_fixed_colour_is_left_in_a_figure():
    drawn = curve()
    assert re.findall("#[0-9a-f]{6}", drawn) == []
    assert "DejaVu" not in drawn
    names = set(re.findall(r"var\(--([\w-]+)\)", drawn))
    assert names >= {"ink", "soft", "grid", "axis", "baseline", "method-0"}


def test_text_stays_text_and_nothing_names_an_address():
    drawn = curve()
    assert ">A title</text>" in drawn
    assert "http" not in drawn
    assert "<style" not in drawn
    assert "metadata" not in drawn
    assert re.findall(r"\d\.\d{3,}", "".join(re.findall(r' d="(.*?)"', drawn))) == []


def test_two_figures_in_a_page_share_no_id():
    first, second = (ET.fromstring(numbered(curve(), number)) for number in (1, 2))
    ids = [{element.get("id") for element in root.iter()} - {None} for root in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for root, own in zip((first, second), ids, strict=True):
        text = ET.tostring(root, encoding="unicode")
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) == own
