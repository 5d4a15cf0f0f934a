"""A topology as a tree on the terminal. Loaded by the command only, so rich comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tree"]

_STYLES: Final = {"active": "green", "disabled": "dim", "unreachable": "red", "failed": "red", "removing": "yellow"}


def tree(topology: Mapping[str, Any]) -> Tree:
    """The tree; names come from the network, so they are text and no markup."""
    root = Tree(Text(topology["stack"]))
    for olt in topology["olts"]:
        branch = root.add(_line("OLT", olt["name"], olt))
        for pon in olt["pons"]:
            _add_pon(branch.add(_line("PON", pon["label"], pon)), pon)
    if topology["unplaced"]:
        lost = root.add(Text("services of ONUs that VOLTHA does not have", "yellow"))
        for one in topology["unplaced"]:
            lost.add(Text(f"{one['subscriber_id']} on {one['onu']}"))
    return root


def _add_pon(branch: Tree, pon: Mapping[str, Any]) -> None:
    splitters: dict[str, Tree] = {}
    for one in pon.get("splitters", ()):
        ratio = f" 1:{one['ports']}" if one["ports"] else ""
        splitters[one["id"]] = splitters.get(one["parent"], branch).add(
            Text(f"splitter {one['id']}{ratio}{_where(one)}")
        )
    for onu in pon["onus"]:
        line = _line("ONU", onu["name"], onu)
        line.append(_where(onu), "dim")
        _add_onu(splitters.get(onu.get("splitter", ""), branch).add(line), onu)


def _where(item: Mapping[str, Any]) -> str:
    text = item.get("location", {}).get("text", "")
    return f" ({text})" if text else ""


def _add_onu(branch: Tree, onu: Mapping[str, Any]) -> None:
    for uni in onu["unis"]:
        port = branch.add(Text(f"UNI {uni['uni']}"))
        for one in uni["subscribers"]:
            port.add(_line("subscriber", f"{one['subscriber_id']} (S-tag {one['s_tag']})", one))


def _line(kind: str, name: str, item: Mapping[str, Any]) -> Text:
    line = Text.assemble(f"{kind} {name} ", (item["status"], _STYLES.get(item["status"], "")))
    if item.get("alarms"):
        line.append(f", {item['alarms']} alarm{'s' if item['alarms'] > 1 else ''}", "red")
    return line
