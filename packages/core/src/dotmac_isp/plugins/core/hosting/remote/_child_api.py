"""What an instance in its own process has of its host: the parts of `PluginAPI` that are asked for over the boundary.

Nothing is decided here. The supervisor decides, and it knows by the connection whose request it is: a request names no plugin
and no tenant.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from ...errors import LeaseLostError, StorageConflictError, StorageError
from ...hookspecs import HOOKS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    from ...api import Change, Document, Lease
    from ...model import Secret
    from ._peer import Peer

__all__ = ["RemoteHooks", "RemoteMetrics", "RemoteSecrets", "RemoteStorage"]

#: As the store does it itself: how often `update` tries, and how long it rests between two tries at most.
_ATTEMPTS: Final = 200
_LONGEST_PAUSE: Final = 0.05


class RemoteSecrets:
    """`SecretReader`."""

    def __init__(self, peer: Peer) -> None:
        self._peer: Final = peer

    async def get(self, name: str) -> Secret | None:
        secret: Secret | None = await self._peer.call("secrets.get", (name,), {})
        return secret

    async def require(self, name: str) -> Secret:
        secret: Secret = await self._peer.call("secrets.require", (name,), {})
        return secret


class RemoteStorage:
    """`Storage`."""

    def __init__(self, peer: Peer) -> None:
        self._peer: Final = peer
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def get(self, key: str) -> Document | None:
        document: Document | None = await self._peer.call("storage.get", (key,), {})
        return document

    async def put(
        self, key: str, value: Any, *, expected_version: int | None = None, lease: Lease | None = None
    ) -> Document:
        asked = (key, value, expected_version, _number(lease))
        document: Document = await self._peer.call("storage.put", asked, {})
        return document

    async def update(self, key: str, change: Callable[[Any], Any], *, lease: Lease | None = None) -> Document:
        # The change is code of this process, so the steps are taken here; the version makes them one.
        async with self._locks.setdefault(key, asyncio.Lock()):
            for attempt in range(_ATTEMPTS):
                document = await self.get(key)
                value = change(None if document is None else document.value)
                expected = 0 if document is None else document.version
                try:
                    return await self.put(key, value, expected_version=expected, lease=lease)
                except StorageConflictError:
                    pause = min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 6))
                    await asyncio.sleep(pause * random.random())  # noqa: S311 - only spreads the attempts
        raise StorageConflictError(
            f"the document {key!r} changed {_ATTEMPTS} times while it was to be updated",
            remedy="Give what many hosts count in one document a document for each host",
        )

    async def delete(self, key: str, *, expected_version: int | None = None, lease: Lease | None = None) -> bool:
        return bool(await self._peer.call("storage.delete", (key, expected_version, _number(lease)), {}))

    async def list(self, prefix: str = "", *, limit: int | None = None, after: str | None = None) -> Sequence[Document]:
        documents: Sequence[Document] = await self._peer.call("storage.list", (prefix, limit, after), {})
        return documents

    def watch(self, prefix: str = "") -> AsyncIterator[Change]:
        return self._peer.stream("storage.watch", (prefix,), {}, at_once=True)

    async def acquire_lease(self, name: str, *, ttl: float) -> Lease | None:
        asked_at = time.monotonic()
        held = await self._peer.call("storage.acquire", (name, ttl), {})
        return None if held is None else RemoteLease(self._peer, name, held[0], held[1], ttl, asked_at)


class RemoteLease:
    """`Lease`. Time is counted from before the request was sent, as the host does."""

    def __init__(self, peer: Peer, name: str, number: int, token: int, ttl: float, asked_at: float) -> None:
        self._peer: Final = peer
        self._name: Final = name
        self.number: Final = number
        self._token: Final = token
        self._ttl: Final = ttl
        self._ends_at = asked_at + ttl
        self._lost = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def token(self) -> int:
        return self._token

    @property
    def held(self) -> bool:
        return not self._lost and time.monotonic() < self._ends_at

    async def renew(self) -> None:
        asked_at = time.monotonic()
        try:
            await self._peer.call("storage.renew", (self.number,), {})
        except LeaseLostError:
            self._lost = True
            raise
        self._ends_at = asked_at + self._ttl

    async def release(self) -> None:
        self._lost = True
        await self._peer.call("storage.release", (self.number,), {})

    async def __aenter__(self) -> RemoteLease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*([StorageError] if kind is not None else [])):
            await self.release()


def _number(lease: Lease | None) -> int | None:
    if lease is None:
        return None
    if not isinstance(lease, RemoteLease):
        raise StorageError(
            f"a lease of type {type(lease).__name__}", remedy="Give the one that acquire_lease of this storage gave"
        )
    return lease.number


class RemoteMetrics:
    """`MetricRecorder`. What makes no sense is said in the log: nobody waits for an answer."""

    def __init__(self, peer: Peer) -> None:
        self._peer: Final = peer
        self._loop: Final = asyncio.get_running_loop()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        self._tell("count", name, amount, labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        self._tell("set", name, value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._tell("observe", name, value, labels)

    def _tell(self, how: str, name: str, value: float, labels: dict[str, str]) -> None:
        # A plugin may count from its own threads as well.
        self._loop.call_soon_threadsafe(self._peer.event, how, name, float(value), labels)


class RemoteHooks:
    """`HookRelay`: the hooks of devices and metrics, called through the host's gate."""

    def __init__(self, peer: Peer) -> None:
        self._peer: Final = peer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in HOOKS:
            raise AttributeError(f"there is no hook {name!r}; the hooks are {', '.join(sorted(HOOKS))}")
        if HOOKS[name].family not in {"device", "metrics"}:
            raise AttributeError(f"the hook {name!r} is called by the host alone")

        async def call(**values: Any) -> Any:
            return await self._peer.call(f"hook.{name}", (), values)

        return call
