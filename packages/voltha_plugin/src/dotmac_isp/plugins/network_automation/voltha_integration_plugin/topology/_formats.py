"""A topology as JSON, GraphML, Graphviz's DOT, or SVG. Pure; the tree is what `topology` gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from ._nodes import COLOURS, nodes
from ._svg import render_svg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TOPOLOGY_FORMATS", "render_topology"]

_NAMESPACE: Final = "http://graphml.graphdrawing.org/xmlns"
_FIELDS: Final = ("kind", "label", "status", "serial_number", "alarms", "location")


def render_topology(topology: Mapping[str, Any], format: str) -> str:  # noqa: A002 - the word of the command line
    """The topology in one of `TOPOLOGY_FORMATS`; raises `ValueError` that lists them."""
    renderer = TOPOLOGY_FORMATS.get(format)
    if renderer is None:
        raise ValueError(f"no format {format!r}; there are {', '.join(TOPOLOGY_FORMATS)}")
    return renderer(topology)


def _json(topology: Mapping[str, Any]) -> str:
    return json.dumps(topology, indent=2, ensure_ascii=False) + "\n"


def _graphml(topology: Mapping[str, Any]) -> str:
    root = ET.Element("graphml", xmlns=_NAMESPACE)
    for name in _FIELDS:
        kind = "int" if name == "alarms" else "string"
        ET.SubElement(root, "key", {"id": name, "for": "node", "attr.name": name, "attr.type": kind})
    ET.SubElement(root, "key", {"id": "cable", "for": "edge", "attr.name": "cable", "attr.type": "string"})
    graph = ET.SubElement(root, "graph", {"id": "voltha", "edgedefault": "directed"})
    for node in nodes(topology):
        element = ET.SubElement(graph, "node", {"id": node.id})
        for name, value in node.attributes.items():
            ET.SubElement(element, "data", {"key": name}).text = value
        if node.parent:
            edge = ET.SubElement(graph, "edge", {"source": node.parent, "target": node.id})
            if node.cable:
                ET.SubElement(edge, "data", {"key": "cable"}).text = node.cable
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _dot(topology: Mapping[str, Any]) -> str:
    lines = ["digraph voltha {", "  rankdir=LR;", '  node [shape=box, style=filled, fillcolor="white"];']
    for node in nodes(topology):
        label = "\n".join(node.attributes[name] for name in ("label", "status") if name in node.attributes)
        colour = COLOURS.get(node.attributes.get("status", ""), "white")
        shape = ", shape=trapezium" if node.kind == "splitter" else ""
        lines.append(f"  {_quoted(node.id)} [label={_quoted(label)}, fillcolor={_quoted(colour)}{shape}];")
        if node.parent:
            cable = f" [label={_quoted(node.cable)}]" if node.cable else ""
            lines.append(f"  {_quoted(node.parent)} -> {_quoted(node.id)}{cable};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


TOPOLOGY_FORMATS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "json": _json,
    "graphml": _graphml,
    "dot": _dot,
    "svg": render_svg,
}
