"""Which events of a block a shared store has already: several collectors before one server know each other's events only from there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._schema import EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Identity", "doubled_sql", "identities", "present_sql", "without"]


class Identity(msgspec.Struct, frozen=True):
    """What makes a stored line one event."""

    tenant_id: str
    event_id: str
    timestamp: str


_DECODER: Final = msgspec.json.Decoder(Identity)


def identities(lines: bytes) -> list[Identity]:
    """Of each line, in order."""
    return [_DECODER.decode(line) for line in lines.splitlines()]


def _half_md5(text: str) -> int:
    """As the engine's `halfMD5`: a number can be put into a statement as it is."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "big")


def present_sql(block: Sequence[Identity]) -> tuple[str, dict[str, Any]]:
    """Asks for the tenant and identifier of events that may be of the block; it is small, for the same event has the same time."""
    condition, values = _among(block)
    return f"SELECT DISTINCT tenant_id, event_id FROM {EVENTS} WHERE {condition}", values  # noqa: S608 - numbers


def doubled_sql(block: Sequence[Identity]) -> tuple[str, dict[str, Any]]:
    """Asks for the tenant and the hour (Unix time) of those events of the block that the table has more than once."""
    condition, values = _among(block)
    text = (
        f"SELECT DISTINCT tenant_id, hour FROM (SELECT tenant_id, toUnixTimestamp(toStartOfHour(min(e.timestamp))) AS hour "  # noqa: S608 - numbers
        f"FROM {EVENTS} AS e WHERE {condition} GROUP BY tenant_id, event_id HAVING count() > 1)"
    )
    return text, values


def _among(block: Sequence[Identity]) -> tuple[str, dict[str, Any]]:
    times = sorted(one.timestamp for one in block)
    numbers = ", ".join(str(number) for number in sorted({_half_md5(one.event_id) for one in block}))
    text = (
        "tenant_id IN {tenants:Array(String)} "
        "AND timestamp >= parseDateTime64BestEffort({first:String}, 3, 'UTC') "
        f"AND timestamp <= parseDateTime64BestEffort({{last:String}}, 3, 'UTC') AND halfMD5(event_id) IN ({numbers})"
    )
    return text, {"tenants": sorted({one.tenant_id for one in block}), "first": times[0], "last": times[-1]}


def without(lines: bytes, gone: set[tuple[str, str]]) -> bytes:
    """The lines whose events are not among `gone`."""
    if not gone:
        return lines
    kept = (
        line
        for line, one in zip(lines.splitlines(keepends=True), identities(lines), strict=True)
        if (one.tenant_id, one.event_id) not in gone
    )
    return b"".join(kept)
