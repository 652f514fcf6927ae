"""Figures as SVG that stands in the page itself: colours that follow its scheme, tooltips, no address of anything.

matplotlib writes a whole document with fixed colours. Here it becomes one element of the page: text stays text, known
colours become the page's variables, and an artist named by ``tip`` gets its text as a tooltip. Several figures in one
page must not share ids, which ``numbered`` sees to.
"""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

from benchmarks.reporting.figure_styles import BASELINE_COLOUR, FAINT, GRID, INK, PALETTE, SOFT, ZERO

PAPER = "#ffffff"
VARIABLES = {INK: "ink", SOFT: "soft", FAINT: "axis", GRID: "grid", ZERO: "zero", PAPER: "paper"}
VARIABLES |= {BASELINE_COLOUR: "baseline", **{colour: f"method-{index}" for index, colour in enumerate(PALETTE)}}
"""Colour of a figure -> variable of the page, which has a value for light and one for dark."""
_TIP = "tip:"
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NUMERIC = {"d", "x", "y", "transform"}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")  # in units of 1/72 inch
_REFERENCE = re.compile(r"(?:url\(#|href=\"#)([\w-]+)")


def tip(text: str) -> str:
    """The ``gid`` that gives an artist a tooltip."""
    return _TIP + text


def inline(figure: Figure, transparent: bool = True) -> str:
    """The figure as one ``svg`` element, of the width of its place."""
    with io.BytesIO() as file:
        # without these the same numbers would give other bytes tomorrow
        metadata: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(file, format="svg", metadata=metadata, transparent=transparent)
        root = ET.fromstring(file.getvalue())
    for element in root.iter():
        _plain(element)
    _drop_unused(root)
    del root.attrib["width"], root.attrib["height"], root.attrib["version"]
    text = ET.tostring(root, encoding="unicode")
    used = set(_REFERENCE.findall(text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    return re.sub(r"\s*\n\s*", "\n", text)


def numbered(svg: str, number: int) -> str:
    """The element with ids that no other ``number`` of the page has."""
    return re.sub(r"(\bid=\"|url\(#|href=\"#)(?=[\w-])", rf"\g<1>f{number}-", svg)


def _plain(element: ET.Element) -> None:
    """Names without namespaces, colours as variables, and a tooltip for what ``tip`` named."""
    element.tag = element.tag.rpartition("}")[2]
    for name, value in list(element.attrib.items()):
        del element.attrib[name]
        element.set(name.rpartition("}")[2], value)
    for name in _NUMERIC & element.attrib.keys():
        element.set(name, _LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", element.get(name, "")))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if style := element.get("style"):
        style = _COLOUR.sub(lambda match: f"var(--{VARIABLES[match[0]]})" if match[0] in VARIABLES else match[0], style)
        element.set("style", re.sub(r"'DejaVu Sans'[^;]*", "inherit", style))
    identifier = element.get("id", "")
    if identifier.startswith(_TIP):
        del element.attrib["id"]
        title = ET.Element("title")
        title.text = identifier.removeprefix(_TIP)
        element.insert(0, title)


def _drop_unused(parent: ET.Element) -> None:
    """Leave out metadata, styles that would hold for the whole page, and groups of nothing."""
    for child in list(parent):
        _drop_unused(child)
        if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and not len(child)):
            parent.remove(child)
