"""A topology as a list of nodes, each after its parent: what the formats and the picture are made of. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["COLOURS", "Node", "nodes"]

COLOURS: Final = {"active": "palegreen", "disabled": "lightgrey", "unreachable": "lightcoral", "failed": "lightcoral"}


class Node(msgspec.Struct, frozen=True):
    """One node. `cable` is that of the edge to its parent; the stack has no parent."""

    id: str
    parent: str
    kind: str
    attributes: dict[str, str]
    cable: str = ""


def nodes(topology: Mapping[str, Any]) -> Iterator[Node]:
    """Every node, parents first."""
    yield Node("stack", "", "stack", {"kind": "stack", "label": topology["stack"]})
    for olt in topology["olts"]:
        olt_id = f"olt/{olt['device_id']}"
        yield _node(olt_id, "stack", "olt", olt["name"], olt)
        for pon in olt["pons"]:
            pon_id = f"{olt_id}/{pon['label']}"
            yield _node(pon_id, olt_id, "pon", pon["label"], pon)
            yield from _below_pon(pon, pon_id)


def _below_pon(pon: Mapping[str, Any], pon_id: str) -> Iterator[Node]:
    splitters = {one["id"]: f"{pon_id}/splitter/{one['id']}" for one in pon.get("splitters", ())}
    for one in pon.get("splitters", ()):
        label = f"{one['id']} 1:{one['ports']}" if one["ports"] else one["id"]
        yield _node(splitters[one["id"]], splitters.get(one["parent"], pon_id), "splitter", label, one)
    for onu in pon["onus"]:
        yield from _onu(onu, splitters.get(onu.get("splitter", ""), pon_id))


def _onu(onu: Mapping[str, Any], parent: str) -> Iterator[Node]:
    onu_id = f"onu/{onu['device_id']}"
    yield _node(onu_id, parent, "onu", onu["name"], onu)
    for uni in onu["unis"]:
        uni_id = f"{onu_id}/uni-{uni['uni']}"
        yield Node(uni_id, onu_id, "uni", {"kind": "uni", "label": f"UNI {uni['uni']}"})
        for one in uni["subscribers"]:
            name = f"{uni_id}/{one['technology_profile']}/{one['subscriber_id']}"
            yield _node(name, uni_id, "subscriber", one["subscriber_id"], one)


def _node(name: str, parent: str, kind: str, label: str, item: Mapping[str, Any]) -> Node:
    shown = {field: str(item[field]) for field in ("status", "serial_number", "alarms") if item.get(field)}
    if item.get("location"):
        shown["location"] = _where(item["location"])
    return Node(name, parent, kind, {"kind": kind, "label": label, **shown}, item.get("cable", ""))


def _where(location: Mapping[str, Any]) -> str:
    parts = [location["text"]] if "text" in location else []
    if "latitude" in location:
        parts.append(f"{location['latitude']:.6f},{location['longitude']:.6f}")
    return " ".join(parts)
