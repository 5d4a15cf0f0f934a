"""A topology as JSON, GraphML or Graphviz's DOT. Pure; the tree is what `topology` gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["TOPOLOGY_FORMATS", "render_topology"]

_NAMESPACE: Final = "http://graphml.graphdrawing.org/xmlns"
_FIELDS: Final = ("kind", "label", "status", "serial_number", "alarms")
_COLOURS: Final = {"active": "palegreen", "disabled": "lightgrey", "unreachable": "lightcoral", "failed": "lightcoral"}

#: A node: id, id of its parent (empty: the stack), attributes.
Node = tuple[str, str, dict[str, str]]


def render_topology(topology: Mapping[str, Any], format: str) -> str:  # noqa: A002 - the word of the command line
    """The topology in one of `TOPOLOGY_FORMATS`; raises `ValueError` that lists them."""
    renderer = TOPOLOGY_FORMATS.get(format)
    if renderer is None:
        raise ValueError(f"no format {format!r}; there are {', '.join(TOPOLOGY_FORMATS)}")
    return renderer(topology)


def _nodes(topology: Mapping[str, Any]) -> Iterator[Node]:
    yield "stack", "", {"kind": "stack", "label": topology["stack"]}
    for olt in topology["olts"]:
        olt_node = f"olt/{olt['device_id']}"
        yield olt_node, "stack", _attributes("olt", olt["name"], olt)
        for pon in olt["pons"]:
            pon_node = f"{olt_node}/{pon['label']}"
            yield pon_node, olt_node, _attributes("pon", pon["label"], pon)
            for onu in pon["onus"]:
                yield from _onu_nodes(onu, pon_node)


def _onu_nodes(onu: Mapping[str, Any], parent: str) -> Iterator[Node]:
    onu_node = f"onu/{onu['device_id']}"
    yield onu_node, parent, _attributes("onu", onu["name"], onu)
    for uni in onu["unis"]:
        uni_node = f"{onu_node}/uni-{uni['uni']}"
        yield uni_node, onu_node, {"kind": "uni", "label": f"UNI {uni['uni']}"}
        for one in uni["subscribers"]:
            node = f"{uni_node}/{one.get('name', one['technology_profile'])}/{one['subscriber_id']}"
            yield node, uni_node, _attributes("subscriber", one["subscriber_id"], one)


def _attributes(kind: str, label: str, item: Mapping[str, Any]) -> dict[str, str]:
    shown = {name: str(item[name]) for name in ("status", "serial_number", "alarms") if item.get(name)}
    return {"kind": kind, "label": label, **shown}


def _json(topology: Mapping[str, Any]) -> str:
    return json.dumps(topology, indent=2, ensure_ascii=False) + "\n"


def _graphml(topology: Mapping[str, Any]) -> str:
    root = ET.Element("graphml", xmlns=_NAMESPACE)
    for name in _FIELDS:
        ET.SubElement(
            root,
            "key",
            {"id": name, "for": "node", "attr.name": name, "attr.type": "int" if name == "alarms" else "string"},
        )
    graph = ET.SubElement(root, "graph", {"id": "voltha", "edgedefault": "directed"})
    for node, parent, attributes in _nodes(topology):
        element = ET.SubElement(graph, "node", {"id": node})
        for name, value in attributes.items():
            ET.SubElement(element, "data", {"key": name}).text = value
        if parent:
            ET.SubElement(graph, "edge", {"source": parent, "target": node})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _dot(topology: Mapping[str, Any]) -> str:
    lines = ["digraph voltha {", "  rankdir=LR;", '  node [shape=box, style=filled, fillcolor="white"];']
    for node, parent, attributes in _nodes(topology):
        label = "\n".join(attributes[name] for name in ("label", "status") if name in attributes)
        colour = _COLOURS.get(attributes.get("status", ""), "white")
        lines.append(f"  {_quoted(node)} [label={_quoted(label)}, fillcolor={_quoted(colour)}];")
        if parent:
            lines.append(f"  {_quoted(parent)} -> {_quoted(node)};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


TOPOLOGY_FORMATS: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "json": _json,
    "graphml": _graphml,
    "dot": _dot,
}
