"""A topology as rows of a table: one for each subscriber's service, or for what has none. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TABLE_COLUMNS", "rows"]

TABLE_COLUMNS: Final = (
    "olt",
    "pon",
    "splitter",
    "onu",
    "status",
    "alarms",
    "uni",
    "subscriber",
    "s_tag",
    "service",
    "location",
)


def rows(topology: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows in the order of the tree."""
    for olt in topology["olts"]:
        if not olt["pons"]:
            yield {"olt": olt["name"], "status": olt["status"]}
        for pon in olt["pons"]:
            place = {"olt": olt["name"], "pon": pon["label"]}
            if not pon["onus"]:
                yield {**place, "status": pon["status"]}
            for onu in pon["onus"]:
                yield from _onu_rows(onu, place)
    for one in topology["unplaced"]:
        yield {
            "onu": one["onu"],
            "status": "missing",
            "subscriber": one["subscriber_id"],
            "s_tag": one.get("s_tag", ""),
        }


def _onu_rows(onu: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    own = {
        **place,
        "splitter": onu.get("splitter", ""),
        "onu": onu["name"],
        "status": onu["status"],
        "alarms": onu["alarms"] or "",
        "location": onu.get("location", {}).get("text", ""),
    }
    services = [(uni["uni"], one) for uni in onu["unis"] for one in uni["subscribers"]]
    for uni, one in services:
        shown = {"uni": uni, "subscriber": one["subscriber_id"], "s_tag": one["s_tag"], "service": one["status"]}
        yield {**own, **shown}
    if not services:
        yield own
