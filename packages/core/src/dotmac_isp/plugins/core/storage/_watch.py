"""Who watches what, and the way of a change to them."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from ._types import StoredChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..api import Change
    from ._types import Row, ScopeKey

__all__ = ["Hub", "Watcher"]

#: From this many waiting changes on, a watcher that is too slow gets only the last one of each key.
_WAITING: Final = 1000
#: Of how many keys the last published version is kept; it only has to cover what two ways may bring at the same time.
_REMEMBERED: Final = 20_000


class Watcher:
    """An iterator over changes. It counts from the moment it is made, not from the first `await`.

    It ends when the engine closes, at `aclose`, and when nobody refers to it any more. A cancelled wait loses nothing:
    the next one goes on where it was, so `asyncio.wait_for(anext(watcher), 5)` works.
    """

    def __init__(self, hub: Hub, scope: ScopeKey, prefix: bytes) -> None:
        self.scope = scope
        self.prefix = prefix
        #: Changes up to this version are past.
        self.since = 0
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, StoredChange]] = deque()
        self._collapse_at = _WAITING
        self._wake = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        while True:
            while self._waiting:
                version, change = self._waiting.popleft()
                if version > self.since:
                    return change
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    async def aclose(self) -> None:
        """End it; a wait that is under way ends too."""
        self._hub.remove(self)
        self._end()

    def hand(self, version: int, change: StoredChange | None) -> bool:
        """Give it a change, or the end (`None`), from any thread; `False` when its event loop is gone."""
        try:
            if change is None:
                self._loop.call_soon_threadsafe(self._end)
            else:
                self._loop.call_soon_threadsafe(self._push, version, change)
        except RuntimeError:
            return False
        return True

    def _push(self, version: int, change: StoredChange) -> None:
        self._waiting.append((version, change))
        if len(self._waiting) >= self._collapse_at:
            last = {one.key: (number, one) for number, one in self._waiting}
            self._waiting = deque(sorted(last.values(), key=lambda pair: pair[0]))
            self._collapse_at = max(_WAITING, 2 * len(self._waiting))
        self._wake.set()

    def _end(self) -> None:
        self._closed = True
        self._wake.set()


class Hub:
    """The watchers of one engine. Changes of one key reach them in the order of their versions, each once.

    `on_watched(True)` is called for the first watcher and `on_watched(False)` after the last one.
    """

    def __init__(self, on_watched: Callable[[bool], None]) -> None:
        self._on_watched = on_watched
        # Re-entrant: the collector may end a watcher while its thread holds the lock.
        self._lock = threading.RLock()
        self._watchers: dict[ScopeKey, dict[int, weakref.ref[Watcher]]] = {}
        self._published: OrderedDict[tuple[ScopeKey, bytes], int] = OrderedDict()

    def add(self, watcher: Watcher) -> None:
        """Let this watcher have the changes from now on."""
        key = id(watcher)
        scope = watcher.scope
        with self._lock:
            first = not self._watchers
            self._watchers.setdefault(scope, {})[key] = weakref.ref(watcher, lambda _: self._forget(scope, key))
            if first:
                self._on_watched(True)

    def remove(self, watcher: Watcher) -> None:
        """Let it have no more."""
        self._forget(watcher.scope, id(watcher))

    def watched(self, scope: ScopeKey) -> bool:
        """Whether a change there interests anybody."""
        return scope in self._watchers

    def scopes(self) -> list[ScopeKey]:
        """The scopes that somebody watches."""
        with self._lock:
            return list(self._watchers)

    def publish(self, scope: ScopeKey, row: Row) -> None:
        """Hand one change to those who watch it. Older and repeated versions of a key are left out. From any thread."""
        with self._lock:
            if scope not in self._watchers:
                return
            place = (scope, row.key)
            if self._published.get(place, 0) >= row.version:
                return
            self._published[place] = row.version
            self._published.move_to_end(place)
            if len(self._published) > _REMEMBERED:
                self._published.popitem(last=False)
            found = [reference() for reference in self._watchers[scope].values()]
            watchers = [one for one in found if one is not None and row.key.startswith(one.prefix)]
            for watcher in watchers:
                # Each its own copy: the value belongs to who gets it.
                if not watcher.hand(row.version, StoredChange(row.key.decode(), row.document())):
                    self.remove(watcher)

    def close(self) -> None:
        """End all watchers."""
        with self._lock:
            found = [reference() for group in self._watchers.values() for reference in group.values()]
            self._watchers.clear()
        for watcher in found:
            if watcher is not None:
                watcher.hand(0, None)

    def _forget(self, scope: ScopeKey, key: int) -> None:
        with self._lock:
            group = self._watchers.get(scope)
            if group is None or group.pop(key, None) is None:
                return
            if not group:
                del self._watchers[scope]
            if not self._watchers:
                self._published.clear()
                self._on_watched(False)
