"""What was read from Vault, and for how long it counts. Values over time; nothing here talks."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.model import Secret

from ._failures import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._places import Address, Spot

__all__ = ["UNKNOWN", "Document", "Lease", "Unknown", "answer_for", "current_version", "document_of", "missing"]

_RENEW_AT: Final = 2 / 3
#: How long "nothing lies there" serves: whoever puts a secret there wants it to be found.
_NOTHING_SERVES: Final = 1.0


class Unknown:
    """Stands for an answer that is not known (yet, or any more)."""


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a dynamic secret. Times are monotonic seconds."""

    id: Secret
    duration: float
    renewable: bool
    since: float
    granted: float

    @property
    def ends(self) -> float:
        return self.since + self.duration

    @property
    def due(self) -> float:
        """When to renew it, or to fetch another secret."""
        return self.since + self.duration * _RENEW_AT

    @property
    def spent(self) -> bool:
        """Renewals give less and less: its longest time to live is near."""
        return self.duration <= self.granted * (1 - _RENEW_AT)

    def renewed(self, answer: Mapping[str, Any]) -> Lease:
        """The lease as Vault's answer to a renewal has it."""
        duration = float(answer.get("lease_duration") or 0)
        return replace(self, duration=duration, renewable=bool(answer.get("renewable", True)), since=time.monotonic())


@dataclass(frozen=True, slots=True)
class Document:
    """What lay at an address when it was read or last confirmed."""

    address: Address
    #: `None`: nothing lies there.
    fields: Mapping[str, Secret] | None
    #: Of KV 2.
    version: int | None = None
    lease: Lease | None = None
    #: Monotonic seconds.
    confirmed: float = 0.0

    def fresh(self, ttl: float) -> bool:
        """Whether it serves without asking Vault."""
        now = time.monotonic()
        if self.lease is not None:
            return now < self.lease.ends
        return now - self.confirmed < (ttl if self.fields is not None else min(ttl, _NOTHING_SERVES))

    def usable(self, max_stale: float) -> bool:
        """Whether it may serve while Vault is away."""
        now = time.monotonic()
        return now - self.confirmed < max_stale and (self.lease is None or now < self.lease.ends)


def missing(address: Address) -> Document:
    """Nothing lies there."""
    return Document(address, None, confirmed=time.monotonic())


def document_of(address: Address, answer: Mapping[str, Any]) -> Document:
    """Vault's answer to a read. Raises `Unavailable` for what no Vault answers."""
    data = answer.get("data")
    version = None
    if address.engine == "kv2" and isinstance(data, dict):
        version = (data.get("metadata") or {}).get("version")
        data = data.get("data")
    if not isinstance(data, dict):
        raise Unavailable(f"what answers for {address.api_path} is no Vault: its answer has no data")
    fields = {name: Secret(name, _text(value)) for name, value in data.items() if value is not None}
    lease = _lease(answer) if address.engine == "dynamic" else None
    return Document(address, fields, version, lease, time.monotonic())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lease(answer: Mapping[str, Any]) -> Lease | None:
    lease_id, duration = answer.get("lease_id"), float(answer.get("lease_duration") or 0)
    if not lease_id or not duration:
        return None
    return Lease(Secret("lease", lease_id), duration, bool(answer.get("renewable")), time.monotonic(), duration)


def current_version(metadata: Mapping[str, Any]) -> int | None:
    """The version that a read of KV 2 would give now; `None` when that one was deleted or destroyed."""
    data = metadata.get("data") or {}
    number = data.get("current_version")
    about = (data.get("versions") or {}).get(str(number)) or {}
    # A time of deletion may lie ahead (delete_version_after); then a read tells.
    if not number or about.get("destroyed") or about.get("deletion_time"):
        return None
    return int(number)


def answer_for(spots: tuple[Spot, ...], known: Mapping[Address, Document]) -> Secret | Unknown | None:
    """The first spot that has a value, as far as is known."""
    for spot in spots:
        document = known.get(spot.address)
        if document is None:
            return UNKNOWN
        value = document.fields.get(spot.field) if document.fields is not None else None
        if value is not None and value.reveal():
            return value
    return None
