"""Many services at once: a job that goes on where it was when its host was killed, and says how far it is.

The items are stored before the first one is done; each is idempotent, so an item that was done just before the host died is done
again without harm. What may succeed later is tried again; a mistake in any item is told before anything begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential, wait_random

from dotmac_isp.plugins.core.errors import LeaseLostError, PluginError
from dotmac_isp.plugins.core.model import DeviceEvent

from .._errors import (
    AdapterError,
    DeviceBusyError,
    FlowRejectedError,
    NoRouteError,
    ServiceBusyError,
    StateTimeoutError,
    VolthaUnavailableError,
)
from ._bulk_items import Item, check_items
from ._slots import Slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from dotmac_isp.plugins.core.api import Lease, PluginAPI

__all__ = ["Bulk", "Bulks"]

_PREFIX: Final = "bulk/"
_LEASE_TIME: Final = 15.0
#: Seconds between two reports of progress.
_REPORT: Final = 1.0
_ATTEMPTS: Final = 4
#: For each service that VOLTHA works on, so many are under way: most of them are only watched.
_WATCHED: Final = 4
_KEPT: Final = 20
_LATER: Final = (
    VolthaUnavailableError,
    StateTimeoutError,
    FlowRejectedError,
    AdapterError,
    DeviceBusyError,
    NoRouteError,
    ServiceBusyError,
)


class Bulk:
    """One job: its items, and what became of each (`None`: not done yet)."""

    def __init__(self, job: str, action: str, items: Sequence[Item], results: Mapping[int, dict[str, Any]]) -> None:
        self.job: Final = job
        self.action: Final = action
        self.items: Final = items
        #: By number of the item, in the order in which they were done.
        self.results: Final[dict[int, dict[str, Any]]] = dict(results)
        self.began: Final = time.time()
        self.ended: float | None = None
        self.changed: Final = asyncio.Condition()
        self.cancelled = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.ended is not None

    def left(self) -> Iterator[int]:
        """The numbers of the items that are not done."""
        return (number for number in range(len(self.items)) if number not in self.results)

    def plain(self, after: int = 0) -> dict[str, Any]:
        """How far it is, with the results from number `after` on, in the order in which they came."""
        results = list(self.results.values())
        failed = [result for result in results if not result["ok"]]
        seconds = (self.ended or time.time()) - self.began
        return {
            "job": self.job,
            "action": self.action,
            "total": len(self.items),
            "done": len(results),
            "succeeded": len(results) - len(failed),
            "failed": len(failed),
            "finished": self.finished,
            "cancelled": self.cancelled,
            "seconds": round(seconds, 3),
            "results": results[after:],
        }

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """How far it is, each time that something was done, until it is finished."""
        seen = 0
        while True:
            shown = self.plain(seen)
            yield shown
            seen = shown["done"]
            if shown["finished"]:
                return
            async with self.changed:
                await self.changed.wait_for(lambda known=seen: self.finished or len(self.results) > known)  # type: ignore[misc]


class Bulks:
    """The jobs of one active instance. `act` does one item, `tell` relays an event, `at_once` gives how many."""

    def __init__(
        self,
        api: PluginAPI,
        *,
        act: Callable[[str, Item], Awaitable[dict[str, Any]]],
        tell: Callable[[DeviceEvent], None],
        at_once: Callable[[], int],
    ) -> None:
        self._api: Final = api
        self._act: Final = act
        self._tell: Final = tell
        self._at_once: Final = at_once
        self._jobs: dict[str, Bulk] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._retrying: Final = AsyncRetrying(
            retry=retry_if_exception_type(_LATER),
            wait=wait_exponential(multiplier=0.5, max=8.0) + wait_random(0, 0.25),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )

    def get(self, job: str) -> Bulk | None:
        """A job of this instance, or `None`."""
        return self._jobs.get(job)

    def list(self) -> list[dict[str, Any]]:
        """The jobs without their results, oldest first."""
        return [bulk.plain(len(bulk.items)) for bulk in self._jobs.values()]

    async def start(self, action: str, items: Sequence[Item], job: str | None = None) -> Bulk:
        """Store the items and begin."""
        bulk = Bulk(job or uuid.uuid4().hex[:12], action, check_items(action, list(items)), {})
        await self._api.storage.put(_PREFIX + bulk.job, {"action": action, "items": bulk.items, "results": []})
        self._begin(bulk)
        return bulk

    async def resume(self) -> None:
        """Go on with jobs that a host left; each only when no other host is at it."""
        for document in await self._api.storage.list(_PREFIX):
            value = document.value
            results = {result["number"]: result for result in value["results"]}
            self._begin(Bulk(document.key.removeprefix(_PREFIX), value["action"], value["items"], results))

    def cancel(self, job: str) -> bool:
        """Begin no further item; those under way come to their end. Gives whether it was running."""
        bulk = self._jobs.get(job)
        if bulk is None or bulk.finished:
            return False
        bulk.cancelled = True
        return True

    async def stop(self) -> None:
        """End the work; what is not done is gone on with at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, bulk: Bulk) -> None:
        finished = [job for job, each in self._jobs.items() if each.finished]
        for job in finished[: max(len(self._jobs) - _KEPT, 0)]:
            del self._jobs[job]
        self._jobs[bulk.job] = bulk
        self._tasks[bulk.job] = self._api.spawn(self._run(bulk), name=f"voltha bulk {bulk.job}")

    async def _run(self, bulk: Bulk) -> None:
        lease = await self._api.storage.acquire_lease(_PREFIX + bulk.job, ttl=_LEASE_TIME)
        while lease is None:  # the host that began it, or had it before us, may still be there
            await asyncio.sleep(_LEASE_TIME / 3)
            if await self._api.storage.get(_PREFIX + bulk.job) is None:
                self._jobs.pop(bulk.job, None)
                return
            lease = await self._api.storage.acquire_lease(_PREFIX + bulk.job, ttl=_LEASE_TIME)
        try:
            await self._work(bulk, lease)
            await self._api.storage.delete(_PREFIX + bulk.job, lease=lease)
        except LeaseLostError:
            self._api.logger.warning("bulk %s is another host's now", bulk.job)
        finally:
            self._tasks.pop(bulk.job, None)
            with contextlib.suppress(PluginError):
                await lease.release()

    async def _work(self, bulk: Bulk, lease: Lease) -> None:
        self._api.logger.info(
            "bulk %s: %s %d services, %d done before", bulk.job, bulk.action, len(bulk.items), len(bulk.results)
        )
        left = bulk.left()
        gate = asyncio.Semaphore(self._at_once())

        async def worker() -> None:
            for number in left:
                async with Slot(gate):
                    if bulk.cancelled:
                        return
                    bulk.results[number] = await self._one(bulk, number)
                async with bulk.changed:
                    bulk.changed.notify_all()

        reporter = self._api.spawn(self._report(bulk, lease), name=f"voltha bulk {bulk.job} progress")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._at_once() * _WATCHED, len(bulk.items))):
                    group.create_task(worker())
        finally:
            reporter.cancel()
            await asyncio.wait([reporter])
        bulk.ended = time.time()
        async with bulk.changed:
            bulk.changed.notify_all()
        self._say("finished", bulk)
        shown = bulk.plain(len(bulk.items))
        self._api.logger.info(
            "bulk %s: %d done, %d failed, in %.1f s", *(shown[name] for name in ("job", "done", "failed", "seconds"))
        )

    async def _one(self, bulk: Bulk, number: int) -> dict[str, Any]:
        item = bulk.items[number]
        shown = {
            "number": number,
            "subscriber_id": item["subscriber_id"],
            "device_id": item["device_id"],
        }
        try:
            done: dict[str, Any] = await self._retrying(self._act, bulk.action, item)
        except PluginError as error:
            self._api.logger.warning("bulk %s: subscriber %r: %s", bulk.job, item["subscriber_id"], error.message)
            return {**shown, "ok": False, "error": error.message, "remedy": error.remedy}
        except Exception as error:
            self._api.logger.exception("bulk %s: subscriber %r", bulk.job, item["subscriber_id"])
            return {**shown, "ok": False, "error": f"{type(error).__name__}: {error}", "remedy": None}
        return {**shown, "ok": True, "changed": bool(done.get("changed", done.get("removed", True)))}

    async def _report(self, bulk: Bulk, lease: Lease) -> None:
        """Store how far it is, tell it, and hold the lease, again and again."""
        stored = -1
        while True:
            await asyncio.sleep(_REPORT)
            try:
                await lease.renew()
            except LeaseLostError:
                bulk.cancelled = True  # another host has it now; what is under way here comes to its end
                return
            if len(bulk.results) == stored:
                continue
            stored = len(bulk.results)
            results = list(bulk.results.values())
            value = {"action": bulk.action, "items": list(bulk.items), "results": results}
            await self._api.storage.put(_PREFIX + bulk.job, value, lease=lease)
            self._say("progress", bulk)

    def _say(self, what: str, bulk: Bulk) -> None:
        shown = bulk.plain(len(bulk.items))
        text = f"bulk {bulk.job} ({bulk.action}): {shown['done']} of {shown['total']}, {shown['failed']} failed"
        self._tell(
            DeviceEvent(
                event_type=f"subscriber_bulk_{what}",
                device_id="voltha",
                source=self._api.plugin_id,
                tenant_id=self._api.tenant_id,
                severity="warning" if shown["failed"] else "info",
                message=text,
                attributes={key: value for key, value in shown.items() if key != "results"},
            )
        )
