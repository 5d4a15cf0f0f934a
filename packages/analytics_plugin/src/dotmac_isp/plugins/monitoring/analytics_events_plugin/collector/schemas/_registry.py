"""The registry of schemas, by tenant, event name and version, and what it says about events on their way in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError
from ...events import MAX_NAME
from ._compatibility import COMPATIBILITIES, incompatible
from ._rules import Validator, bounded

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from ...events import Event
    from .._meta import Meta
    from ..sharing import Change

__all__ = ["MODES", "Schemas", "Verdict"]

#: What happens to an event that does not fit: nothing, a tag, put aside, refused.
MODES: Final = ("accept", "warn", "quarantine", "reject")
_KIND: Final = "schema"
_MOST_NAMES: Final = 1000
_MOST_VERSIONS: Final = 100


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One version; `mode` and `compatibility` of the latest hold for the name."""

    event_name: str
    version: int
    schema: dict[str, Any]
    mode: str
    compatibility: str
    created_at: float


class Verdict(msgspec.Struct, frozen=True):
    """`mode` says what is to be done because of the `reasons`."""

    mode: str
    reasons: tuple[str, ...]


_FITS: Final = Verdict("accept", ())


class Schemas:
    """Kept in memory whole; written through. Use on the event loop."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self._known: dict[str, dict[str, list[Entry]]] = {}
        self._compiled: dict[tuple[str, str, int], Validator] = {}
        self._load(None)

    def _load(self, tenant: str | None) -> None:
        for owner, _, value in self._meta.list(_KIND, tenant):
            entry = msgspec.convert(value, Entry)
            self._known.setdefault(owner, {}).setdefault(entry.event_name, []).append(entry)

    def heard(self, change: Change) -> None:
        """Another collector registered or changed a tenant's schema."""
        self._known.pop(change.tenant, None)
        self._load(change.tenant)
        for key in [key for key in self._compiled if key[0] == change.tenant]:
            del self._compiled[key]

    def register(self, tenant: str, given: Mapping[str, Any]) -> Entry:
        """Add a version, or change the mode or compatibility of the latest (without `schema`). Raises `EventError`."""
        name = given.get("event_name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise EventError("event_name", name, "the name of the events that the schema is for")
        versions = self._known.get(tenant, {}).get(name, [])
        last = versions[-1] if versions else None
        mode = _one_of(given, "mode", MODES, last.mode if last else "quarantine")
        rule = _one_of(given, "compatibility", COMPATIBILITIES, last.compatibility if last else "backward")
        if given.get("schema") is None and last is not None:
            entry = msgspec.structs.replace(last, mode=mode, compatibility=rule)
        else:
            entry = self._next(tenant, name, given, last, mode, rule)
        self._keep(tenant, entry)
        return entry

    def _next(
        self, tenant: str, name: str, given: Mapping[str, Any], last: Entry | None, mode: str, rule: str
    ) -> Entry:
        schema = bounded(given.get("schema"))
        version = last.version + 1 if last else 1
        if given.get("version") not in (None, version):
            raise EventError("version", given.get("version"), f"{version}, which is the next")
        if version > _MOST_VERSIONS or (last is None and len(self._known.get(tenant, {})) >= _MOST_NAMES):
            raise EventError("schema", name, f"at most {_MOST_NAMES} names and {_MOST_VERSIONS} versions of each")
        compiled = Validator(schema)
        broken = incompatible(last.schema, schema, rule) if last else []
        if broken:
            raise EventError("schema", broken[0], f"one that is compatible ({rule}) with version {version - 1}")
        self._compiled[tenant, name, version] = compiled
        return Entry(
            event_name=name, version=version, schema=schema, mode=mode, compatibility=rule, created_at=time.time()
        )

    def _keep(self, tenant: str, entry: Entry) -> None:
        self._meta.put(_KIND, tenant, f"{entry.event_name}\0{entry.version:04d}", entry)
        versions = self._known.setdefault(tenant, {}).setdefault(entry.event_name, [])
        versions[:] = [*(one for one in versions if one.version != entry.version), entry]

    def list(self, tenant: str) -> list[Entry]:
        """All versions, by name."""
        return [entry for _, versions in sorted(self._known.get(tenant, {}).items()) for entry in versions]

    def names(self, tenant: str) -> Container[str]:
        """The names of events that schemas are for."""
        return self._known.get(tenant, {})

    def judge(self, tenant: str, event: Event) -> Verdict:
        """What is to be done with an event. Its property `schema_version` chooses an older version."""
        versions = self._known.get(tenant, {}).get(event.event_name)
        if not versions or versions[-1].mode == "accept":
            return _FITS
        mode = versions[-1].mode
        wanted = event.properties.get("schema_version", versions[-1].version)
        entry = next((one for one in versions if one.version == wanted), None)
        if entry is None:
            return Verdict(mode, (f"schema_version: there is no version {wanted!r} of {event.event_name!r}"[:300],))
        reasons = self._validator(tenant, entry).reasons(event.properties)
        return Verdict(mode, tuple(reasons)) if reasons else _FITS

    def _validator(self, tenant: str, entry: Entry) -> Validator:
        key = (tenant, entry.event_name, entry.version)
        if key not in self._compiled:
            self._compiled[key] = Validator(entry.schema)
        return self._compiled[key]


def _one_of(given: Mapping[str, Any], field: str, known: tuple[str, ...], usual: str) -> str:
    value = given.get(field)
    if value is None:
        return usual
    if value not in known:
        raise EventError(field, value, "one of " + ", ".join(known))
    return str(value)
