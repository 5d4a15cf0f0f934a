"""What a connection address says: where the server is, and how its tables are to be laid out."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from ._schema import Layout

__all__ = ["Connection", "parse_connection"]

_KINDS: Final = {"clickhouse": False, "clickhouses": True, "http": False, "https": True}
_KNOWN: Final = frozenset({"secure", "cluster", "row_policies"})
_EXPECTED: Final = (
    "expected clickhouse://user:password@host:8123/database (clickhouses:// for TLS), "
    "with ?cluster=NAME for replicated tables on a cluster and &row_policies=1 for row policies"
)


class Connection(msgspec.Struct, frozen=True):
    """Arguments for clickhouse-connect, the layout, and whether row policies are a second wall between tenants."""

    options: dict[str, Any]
    layout: Layout
    walls: bool = False


def parse_connection(url: str) -> Connection:
    """Understand `clickhouse://user:password@host:8123/database?cluster=main`. Raises `ValueError` without showing the password."""
    parts = urlsplit(url)
    if parts.scheme not in _KINDS or not parts.hostname:
        raise ValueError(f"a connection of the kind {parts.scheme or '(none)'!r} is not understood; {_EXPECTED}")
    given = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        raise ValueError(f"the connection's parameter {unknown[0]!r} is not understood; {_EXPECTED}")
    secure = _KINDS[parts.scheme] or _yes(given, "secure")
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or (8443 if secure else 8123),
        "username": unquote(parts.username or "default"),
        "password": unquote(parts.password or ""),
        "secure": secure,
    }
    if parts.path.strip("/"):
        options["database"] = parts.path.strip("/")
    return Connection(options, Layout(given.get("cluster", "")), _yes(given, "row_policies"))


def _yes(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "0").lower()
    if value not in {"0", "1", "true", "false"}:
        raise ValueError(f"the connection's parameter {name!r} is {value!r}, expected 1 or 0")
    return value in {"1", "true"}
