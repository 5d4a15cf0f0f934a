"""A topology drawn as SVG: from the stack on the left to the subscribers on the right. Pure; it needs no fonts and no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from ._nodes import COLOURS, Node, nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render_svg"]

_COLUMN: Final = 220
_ROW: Final = 34
_WIDTH: Final = 170
_HEIGHT: Final = 26
_MARGIN: Final = 20
_LONGEST: Final = 24
_EDGES: Final = "#7a7a7a"
_ALARM: Final = "#c0392b"


class _Box:
    def __init__(self, node: Node, column: int) -> None:
        self.node = node
        self.column = column
        self.row = 0.0
        self.children: list[_Box] = []

    @property
    def x(self) -> int:
        return _MARGIN + self.column * _COLUMN

    @property
    def y(self) -> float:
        return _MARGIN + self.row * _ROW


def render_svg(topology: Mapping[str, Any]) -> str:
    """The picture. Each box has its details as title, which browsers show under the pointer."""
    boxes = _boxes(topology)
    rows = _place(next(iter(boxes.values())))
    width = _MARGIN * 2 + max(box.column for box in boxes.values()) * _COLUMN + _WIDTH
    height = int(_MARGIN * 2 + max(rows, 1) * _ROW)
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "font-family": "sans-serif",
            "font-size": "11",
            "role": "img",
        },
    )
    ET.SubElement(root, "title").text = f"Topology of {topology['stack']}"
    edges = ET.SubElement(root, "g", {"fill": "none", "stroke": _EDGES})
    for box in boxes.values():
        for child in box.children:
            _edge(edges, box, child)
    for box in boxes.values():
        _draw(root, box)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _boxes(topology: Mapping[str, Any]) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    for node in nodes(topology):
        parent = boxes.get(node.parent)
        box = boxes[node.id] = _Box(node, 0 if parent is None else parent.column + 1)
        if parent is not None:
            parent.children.append(box)
    return boxes


def _place(root: _Box) -> float:
    """Give each leaf a row of its own and each other box the middle of its children; a network is no deeper than a few levels."""

    def down(box: _Box, row: float) -> float:
        if not box.children:
            box.row = row
            return row + 1
        for child in box.children:
            row = down(child, row)
        box.row = (box.children[0].row + box.children[-1].row) / 2
        return row

    return down(root, 0)


def _edge(parent_element: ET.Element, box: _Box, child: _Box) -> None:
    from_x, from_y = box.x + _WIDTH, box.y + _HEIGHT / 2
    to_x, to_y = child.x, child.y + _HEIGHT / 2
    middle = (from_x + to_x) / 2
    line = ET.SubElement(
        parent_element,
        "path",
        {"d": f"M{from_x},{from_y:g} C{middle:g},{from_y:g} {middle:g},{to_y:g} {to_x},{to_y:g}"},
    )
    if child.node.cable:
        ET.SubElement(line, "title").text = f"cable {child.node.cable}"
        line.set("stroke-width", "2")


def _draw(root: ET.Element, box: _Box) -> None:
    node = box.node
    group = ET.SubElement(root, "g", {"class": node.kind})
    ET.SubElement(group, "title").text = "\n".join(f"{key}: {value}" for key, value in node.attributes.items())
    shape = {"x": str(box.x), "y": f"{box.y:g}", "width": str(_WIDTH), "height": str(_HEIGHT), "stroke": _EDGES}
    fill = COLOURS.get(node.attributes.get("status", ""), "white")
    ET.SubElement(group, "rect", {**shape, "rx": "12" if node.kind == "splitter" else "4", "fill": fill})
    label = node.attributes["label"]
    shown = label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…"
    text = ET.SubElement(group, "text", {"x": str(box.x + 8), "y": f"{box.y + _HEIGHT / 2 + 4:g}"})
    text.text = shown
    if node.attributes.get("alarms"):
        place = {"cx": str(box.x + _WIDTH - 10), "cy": f"{box.y + _HEIGHT / 2:g}", "r": "5", "fill": _ALARM}
        ET.SubElement(group, "circle", place)
