"""What the engines and the scopes hand to each other."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from ..errors import LeaseLostError, StorageConflictError
from ._values import decode_value

__all__ = ["Backend", "Fence", "Row", "ScopeKey", "StoredChange", "StoredDocument", "conflict", "lost"]


class StoredDocument(msgspec.Struct, frozen=True):
    """One document as it was read or written. `value` belongs to the caller: changing it changes nothing stored."""

    key: str
    value: Any
    #: Grows with each write of the document; unique in the whole store, so a document made anew never repeats one.
    version: int
    #: Unix time in seconds, by the clock of the database.
    updated_at: float


class StoredChange(msgspec.Struct, frozen=True):
    """One change that a watcher sees; `document` is `None` for a deletion."""

    key: str
    document: StoredDocument | None


class ScopeKey(NamedTuple):
    """Whose documents: the tenant (the empty text, which no tenant can be called, is the system tenant) and the plugin."""

    tenant: str
    plugin: str


class Fence(NamedTuple):
    """The lease that a write depends on."""

    name: bytes
    token: int


class Row(NamedTuple):
    """One row of the table. `body` is JSON, or `None` for a document that was deleted a short time ago."""

    key: bytes
    body: str | None
    version: int
    updated_at: float

    def document(self) -> StoredDocument | None:
        """The document, or `None` for a deleted one."""
        if self.body is None:
            return None
        return StoredDocument(self.key.decode(), decode_value(self.body), self.version, self.updated_at)


class Backend(Protocol):
    """What SQLite and PostgreSQL each do in their way. Every method is one transaction."""

    async def get(self, scope: ScopeKey, key: bytes) -> Row | None: ...

    async def put(self, scope: ScopeKey, key: bytes, body: str, expected: int | None, fence: Fence | None) -> Row: ...

    async def delete(self, scope: ScopeKey, key: bytes, expected: int | None, fence: Fence | None) -> bool: ...

    async def select(self, scope: ScopeKey, start: bytes, after: bytes | None, end: bytes, limit: int) -> list[Row]:
        """Rows with `start <= key < end` and `key > after`, by key, deleted ones left out; `limit` -1: all."""

    async def acquire(self, scope: ScopeKey, name: bytes, ttl: float) -> int | None:
        """The new holder's token, or `None` while somebody else holds the lease."""

    async def renew(self, scope: ScopeKey, fence: Fence, ttl: float) -> bool: ...

    async def release(self, scope: ScopeKey, fence: Fence) -> None: ...

    async def drop(self, tenant: str, plugin: str | None) -> int:
        """Remove all documents and leases of a tenant, or of one plugin of it; how many documents there were."""

    def position(self) -> int:
        """The version up to which changes are past, for a watcher that begins now."""

    def watching(self, active: bool) -> None:
        """Begin or cease to look for what other processes write."""

    async def close(self) -> None: ...


def conflict(key: bytes, expected: int, current: int | None) -> StorageConflictError:
    """The error for a document in another version. `current` 0: there is none; `None`: not known."""
    wanted = "must not exist" if expected == 0 else f"was expected in version {expected}"
    found = {None: "has changed", 0: "does not exist"}.get(current, f"is in version {current}")
    return StorageConflictError(
        f"the document {key.decode()!r} {wanted} and {found}", remedy="Read it again and decide anew, or use update()"
    )


def lost(fence: Fence) -> LeaseLostError:
    """The error for a write whose lease is not the current one."""
    return LeaseLostError(
        f"the lease {fence.name.decode()!r} with token {fence.token} is not held any more; nothing was written",
        remedy="Stop what it guards, and acquire it anew",
    )
