"""The documents of one plugin for one tenant: what a plugin gets as `api.storage`, on either engine."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Any, Final

from ..errors import LeaseLostError, StorageConflictError, StorageError
from ._types import Fence
from ._values import check_key, encode_key, encode_value, prefix_range
from ._watch import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType
    from weakref import WeakValueDictionary

    from ..api import Change, Lease
    from ._types import Backend, ScopeKey, StoredDocument
    from ._watch import Hub

__all__ = ["HeldLease", "ScopedStorage"]

#: How often `update` tries again before it gives up; between hosts one of all always succeeds.
_ATTEMPTS: Final = 200
_LONGEST_PAUSE: Final = 0.05


class ScopedStorage:
    """`api.Storage` of one (tenant, plugin). Cheap: it holds nothing but its name and the engine."""

    __slots__ = ("_backend", "_hub", "_locks", "_scope")

    def __init__(
        self,
        backend: Backend,
        hub: Hub,
        scope: ScopeKey,
        locks: WeakValueDictionary[tuple[ScopeKey, bytes], asyncio.Lock],
    ) -> None:
        self._backend = backend
        self._hub = hub
        self._scope = scope
        self._locks = locks

    async def get(self, key: str) -> StoredDocument | None:
        """The document, or `None`."""
        row = await self._backend.get(self._scope, encode_key(key))
        return None if row is None else row.document()

    async def put(
        self, key: str, value: Any, *, expected_version: int | None = None, lease: Lease | None = None
    ) -> StoredDocument:
        """Write; it is on the disk when this returns. A call that is cancelled may or may not have written.

        Raises `StorageConflictError` (not in the expected version), `LeaseLostError`, `StorageError` (no JSON, no key).
        """
        encoded = encode_key(key)
        return await self._put(encoded, encode_value(value), _version(expected_version), _fence(lease))

    async def update(self, key: str, change: Callable[[Any], Any], *, lease: Lease | None = None) -> StoredDocument:
        """Read, change, write as one atomic step.

        `change` runs in the caller's event loop and is called again when another host was faster, so it must be pure.
        """
        encoded = encode_key(key)
        fence = _fence(lease)
        lock = self._locks.setdefault((self._scope, encoded), asyncio.Lock())
        # Among the tasks of this process one waits for the other, instead of all trying in vain.
        async with lock:
            for attempt in range(_ATTEMPTS):
                row = await self._backend.get(self._scope, encoded)
                document = None if row is None else row.document()
                value = change(None if document is None else document.value)
                expected = 0 if document is None else document.version
                try:
                    return await self._put(encoded, encode_value(value), expected, fence)
                except StorageConflictError:
                    pause = min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 6))
                    await asyncio.sleep(pause * random.random())  # noqa: S311 - only spreads the attempts
        raise StorageConflictError(
            f"the document {key!r} changed {_ATTEMPTS} times while it was to be updated",
            remedy="Give what many hosts count in one document a document for each host",
        )

    async def delete(self, key: str, *, expected_version: int | None = None, lease: Lease | None = None) -> bool:
        """Remove; `False` when there was nothing. Raises as `put`."""
        return await self._backend.delete(self._scope, encode_key(key), _version(expected_version), _fence(lease))

    async def list(
        self, prefix: str = "", *, limit: int | None = None, after: str | None = None
    ) -> Sequence[StoredDocument]:
        """Documents whose key begins with `prefix`, sorted by key as Python sorts texts.

        At most `limit`; to page on, give the last key of the page as `after` (it need not exist any more).
        """
        if limit is not None and limit < 0:
            raise StorageError(f"a limit of {limit}", remedy="Give 0 or more, or None for all")
        start, end = prefix_range(prefix)
        beyond = None if after is None else check_key(after, "key")
        rows = await self._backend.select(self._scope, start, beyond, end, -1 if limit is None else limit)
        return [document for row in rows if (document := row.document()) is not None]

    def watch(self, prefix: str = "") -> AsyncIterator[Change]:
        """Changes from this call on, also those that other hosts make.

        Each write of this process is one change; of several writes of another one to the same key, quickly one after
        the other, only the last may be seen. The iterator ends when the engine closes, or by its `aclose()`.
        """
        watcher = Watcher(self._hub, self._scope, check_key(prefix, "prefix"))
        # In this order: what is written between the two is newer than the position, and the watcher has it.
        self._hub.add(watcher)
        watcher.since = self._backend.position()
        return watcher

    async def acquire_lease(self, name: str, *, ttl: float) -> HeldLease | None:
        """Try to hold the lease `name` for `ttl` seconds; `None` while another holder has it."""
        if not (ttl > 0 and math.isfinite(ttl)):
            raise StorageError(f"a lease of {ttl!r} seconds", remedy="Give a time to live above 0")
        encoded = encode_key(name, "lease name")
        asked_at = time.monotonic()
        token = await self._backend.acquire(self._scope, encoded, ttl)
        if token is None:
            return None
        return HeldLease(self._backend, self._scope, name, token, ttl, asked_at)

    async def _put(self, key: bytes, body: str, expected: int | None, fence: Fence | None) -> StoredDocument:
        row = await self._backend.put(self._scope, key, body, expected, fence)
        document = row.document()
        assert document is not None  # noqa: S101 - a written row has a body
        return document


class HeldLease:
    """`api.Lease`: the right to act, until its time to live runs out.

    Time is counted from before the request was sent, so this side stops believing in it before the database does.
    """

    def __init__(self, backend: Backend, scope: ScopeKey, name: str, token: int, ttl: float, asked_at: float) -> None:
        self._backend = backend
        self._scope = scope
        self._name = name
        self._token = token
        self._ttl = ttl
        self._ends_at = asked_at + ttl
        self._lost = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def token(self) -> int:
        """Greater than that of every holder before."""
        return self._token

    @property
    def held(self) -> bool:
        """Whether it is still ours, by this machine's monotonic clock."""
        return not self._lost and time.monotonic() < self._ends_at

    async def renew(self) -> None:
        """Hold it for another time to live. Raises `LeaseLostError` when it was given back or somebody else has it."""
        asked_at = time.monotonic()
        if self._lost or not await self._backend.renew(self._scope, self._fence, self._ttl):
            self._lost = True
            raise LeaseLostError(f"the lease {self._name!r} is not held any more", remedy="Acquire it anew")
        self._ends_at = asked_at + self._ttl

    async def release(self) -> None:
        """Give it back; no error when it is lost already."""
        self._lost = True
        await self._backend.release(self._scope, self._fence)

    async def __aenter__(self) -> HeldLease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error out of the block matters more than one of giving back: the lease runs out by itself.
        with contextlib.suppress(*([StorageError] if kind is not None else [])):
            await self.release()

    @property
    def _fence(self) -> Fence:
        return Fence(encode_key(self._name, "lease name"), self._token)

    def __repr__(self) -> str:
        return f"<Lease {self._name!r} token {self._token} {'held' if self.held else 'not held'}>"


def _fence(lease: Lease | None) -> Fence | None:
    return None if lease is None else Fence(encode_key(lease.name, "lease name"), lease.token)


def _version(expected: int | None) -> int | None:
    if expected is not None and expected < 0:
        raise StorageError(
            f"the expected version {expected!r}", remedy="Give a document's version, 0 for 'must not exist', or None"
        )
    return expected
