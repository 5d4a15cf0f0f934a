"""How good the network was for those behind it: outages of devices, each as long as it lasted, times the subscribers it concerned.

An outage lasts from an event that says a device is down to the next that says it is up. A subscriber is out while his device is, or the one
above it, once and not twice. Who is behind a device is told by the parameter `subscribers`, else by the events that name both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._times import clock_text
from ...store import EVENTS
from ..questions import Sql, scope, subcolumn
from ._making import Making, Section, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["network"]

#: What VOLTHA's plugin reports (`<olt|onu>_<status>`), and names that others use.
_DOWN: Final = [
    "onu_unreachable",
    "onu_failed",
    "onu_disabled",
    "onu_dying_gasp",
    "onu_los",
    "olt_unreachable",
    "olt_failed",
    "olt_disabled",
    "olt_los",
    "device_down",
    "device_unreachable",
    "link_down",
]
_UP: Final = [
    "onu_active",
    "onu_activated",
    "olt_active",
    "device_up",
    "device_reachable",
    "link_up",
    "onu_reachable",
    "olt_reachable",
    "onu_enabled",
    "olt_enabled",
]
_DEVICE: Final = {"event_type": ["device_event"]}
_ALARM: Final = {**_DEVICE, "severity": ["minor", "major", "critical", "error"]}
_LOOK_BACK: Final = 30 * 86400.0
_MOST: Final = 100_000
_MINUTE: Final = 60.0


class Outage(msgspec.Struct, frozen=True):
    """Unix seconds, within the report's time."""

    device_id: str
    begin: float
    end: float
    ongoing: bool


async def network(make: Making) -> tuple[dict[str, Any], list[Section]]:
    outages = await _outages(make)
    behind, above = await _behind(make)
    lost, concerned = lost_minutes(outages, behind, above)
    subscribers = sum(behind.values())
    whole = subscribers * (make.until - make.since) / _MINUTE
    totals: dict[str, Any] = {
        "events": await make.total(where=_DEVICE),
        "alarms": await make.total(where=_ALARM),
        "devices": await make.total(measure="unique_devices", where=_DEVICE),
        "devices_with_alarms": await make.total(measure="unique_devices", where=_ALARM),
        "outages": len(outages),
        "outage_minutes": round(sum(one.end - one.begin for one in outages) / _MINUTE, 1),
        "subscribers": subscribers,
        "subscribers_concerned": concerned,
        "subscriber_minutes_lost": round(sum(lost.values()), 1),
        "availability_percent": round(100 * (1 - sum(lost.values()) / whole), 4) if whole else None,
    }
    return totals, [
        await make.section(
            "Device events over time", "line", interval=make.interval, where=_DEVICE, group_by=("severity",)
        ),
        _outage_section(outages, behind, above, make.limit),
        _lost_section(lost, make.limit),
        await make.section("Device events by name", "bar", group_by=("event_name",), where=_DEVICE),
        await make.section("Devices with most alarms", "bar", group_by=("device_id",), where=_ALARM),
        await make.section("By severity", "bar", group_by=("severity",), where=_DEVICE),
    ]


async def _outages(make: Making) -> list[Outage]:
    condition, values = scope(make.questions.tenant, make.since - _LOOK_BACK, make.until)
    down, up = make.names.get("down_events", _DOWN), make.names.get("up_events", _UP)
    values |= {"down": down, "names": [*down, *up], "end": int(make.until * 1000), "begin": clock_text(make.since)}
    begin = "toUnixTimestamp64Milli(toDateTime64({begin:String}, 3, 'UTC'))"
    text = (
        f"SELECT device_id, greatest(one.1, {begin}) AS began, one.3 AS ended, ended = {{end:Int64}} AS ongoing FROM ("  # noqa: S608 - bound
        "SELECT device_id, arrayJoin(arrayFilter(x -> x.2 = 1, arrayMap((a, b) -> (a.1, a.2, b), changes, "
        "arrayPushBack(arrayPopFront(arrayMap(x -> x.1, changes)), {end:Int64})))) AS one FROM ("
        "SELECT device_id, arrayCompact(x -> x.2, arraySort(groupArray((toUnixTimestamp64Milli(timestamp), "
        f"event_name IN {{down:Array(String)}})))) AS changes FROM {EVENTS} WHERE {condition} "
        "AND event_name IN {names:Array(String)} AND event_type = 'device_event' AND device_id != '' GROUP BY device_id)) "
        f"WHERE ended > {begin} ORDER BY ended - began DESC, device_id LIMIT {_MOST}"
    )
    rows = (await make.questions.table(Sql(text, values))).rows
    return [Outage(row["device_id"], row["began"] / 1000, row["ended"] / 1000, bool(row["ongoing"])) for row in rows]


async def _behind(make: Making) -> tuple[dict[str, int], dict[str, str]]:
    """How many subscribers are right behind each device, and which device is above it."""
    condition, values = scope(make.questions.tenant, make.since - _LOOK_BACK, make.until)
    found = [f"ifNull({subcolumn(name)}, '')" for name in ("subscriber_id", "parent_id", "olt_id")]
    text = (
        f"SELECT device_id, uniqExactIf(who, who != '') AS subscribers, argMaxIf(parent, timestamp, parent != '') AS above FROM ("  # noqa: S608 - bound
        f"SELECT device_id, timestamp, if(customer_id != '', customer_id, {found[0]}) AS who, "
        f"if({found[1]} != '', {found[1]}, {found[2]}) AS parent FROM {EVENTS} "
        f"WHERE {condition} AND device_id != '') GROUP BY device_id LIMIT {_MOST}"
    )
    rows = (await make.questions.table(Sql(text, values))).rows
    above = {row["device_id"]: row["above"] for row in rows if row["above"] and row["above"] != row["device_id"]}
    counted = {row["device_id"]: row["subscribers"] for row in rows if row["subscribers"]}
    return {**counted, **make.subscribers}, above


def lost_minutes(
    outages: Iterable[Outage], behind: dict[str, int], above: dict[str, str]
) -> tuple[dict[str, float], int]:
    """Minutes lost by the subscribers of each device, and how many subscribers were concerned at all."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for one in outages:
        spans.setdefault(one.device_id, []).append((one.begin, one.end))
    lost: dict[str, float] = {}
    concerned = 0
    for device, count in behind.items():
        own = [*spans.get(device, ()), *spans.get(above.get(device, ""), ())]
        if own and count:
            concerned += count
            lost[device] = count * _joined(own) / _MINUTE
    return lost, concerned


def _joined(spans: list[tuple[float, float]]) -> float:
    """The seconds that at least one of the spans covers."""
    total = 0.0
    reached = float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _outage_section(outages: list[Outage], behind: dict[str, int], above: dict[str, str], limit: int) -> Section:
    below: dict[str, int] = {}
    for device, parent in above.items():
        below[parent] = below.get(parent, 0) + behind.get(device, 0)
    rows = [
        {
            "device_id": one.device_id,
            "began": _clock(one.begin),
            "minutes": round((one.end - one.begin) / _MINUTE, 1),
            "ongoing": "yes" if one.ongoing else "",
            "subscribers": behind.get(one.device_id, 0) + below.get(one.device_id, 0),
        }
        for one in outages[:limit]
    ]
    columns = ("device_id", "began", "minutes", "ongoing", "subscribers")
    return Section(title="Longest outages", columns=columns, rows=rows, unit="minutes")


def _clock(seconds: float) -> str:
    return clock_text(seconds)[:19].replace(" ", "T") + "Z"


def _lost_section(lost: dict[str, float], limit: int) -> Section:
    ranked = sorted(lost.items(), key=lambda item: (-item[1], item[0]))[:limit]
    whole = sum(lost.values())
    rows = [
        {"device_id": name, "value": round(value, 1), "share_percent": percent(value, whole)} for name, value in ranked
    ]
    chart = [{key: row[key] for key in ("device_id", "value")} for row in rows]
    return Section(
        title="Subscriber minutes lost by device",
        columns=("device_id", "value"),
        rows=chart,
        chart="bar",
        unit="minutes",
    )
