"""What the supervisor does for an instance in a process of its own: the other side of `PluginAPI`.

Everything here works on the parts that were made for this one instance, so whatever a hostile process asks for, it can name
only what is its own.
"""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..._scope import CallScope
from ...errors import LeaseLostError
from ...hookspecs import HOOKS
from ...telemetry import RateLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ...api import Change, Document, Lease
    from .._fence import Running
    from .._inline import InlineAPI
    from .._tasks import TaskKeeper, TaskOwner

__all__ = ["ApiService"]

_LOG: Final = logging.getLogger("dotmac.hosting")
_MOST_LEASES: Final = 1000
_LOGS_PER_SECOND: Final = 200.0
_LOGS_AT_ONCE: Final = 1000.0
_REPORTS_PER_SECOND: Final = 10.0
_REPORTS_AT_ONCE: Final = 100.0
_LONGEST_TEXT: Final = 16 * 1024


class ApiService:
    """The doors that are open for one instance."""

    def __init__(self, api: InlineAPI, tasks: TaskKeeper, owner: TaskOwner) -> None:
        self._api: Final = api
        self._tasks: Final = tasks
        self._owner: Final = owner
        self._leases: dict[int, Lease] = {}
        self._lease_numbers: Final = itertools.count(1)
        self._logs: Final = RateLimit(_LOGS_PER_SECOND, _LOGS_AT_ONCE)
        self._reports: Final = RateLimit(_REPORTS_PER_SECOND, _REPORTS_AT_ONCE)
        storage, secrets = api.storage, api.secrets
        self._doors: Final[dict[str, Callable[..., Any]]] = {
            "secrets.get": secrets.get,
            "secrets.require": secrets.require,
            "storage.get": storage.get,
            "storage.put": self._put,
            "storage.delete": self._delete,
            "storage.list": self._list,
            "storage.watch": self._watch,
            "storage.acquire": self._acquire,
            "storage.renew": self._renew,
            "storage.release": self._release,
            **{
                f"hook.{name}": getattr(api.hooks, name)
                for name, rule in HOOKS.items()
                if rule.family in {"device", "metrics"}
            },
        }
        self._events: Final[dict[str, Callable[..., None]]] = {
            "log": self._log,
            "count": self._count,
            "set": self._set,
            "observe": self._observe,
            "secret_changed": api.secret_changed,
            "report": self._report,
        }

    # Doors

    def find(self, name: str) -> Callable[..., Any] | None:
        return self._doors.get(name)

    def scope(self, name: str, request_id: str) -> CallScope:
        return CallScope(self._api.plugin_id, self._api.tenant_id, f"api.{name}", request_id, self._owner)

    def began(self, running: Running, scope: CallScope) -> None:
        self._tasks.adopt(running.task, scope)

    def event(self, name: str, arguments: list[Any]) -> None:
        known = self._events.get(name)
        try:
            if known is None:
                raise LookupError(f"there is no event {name!r}")
            known(*arguments)
        except Exception as error:  # noqa: BLE001 - what a plugin tells wrongly is its own matter
            if self._allowed(self._reports, "event"):
                self._api.logger.warning("its process told %s wrongly: %s", name[:40], str(error)[:_LONGEST_TEXT])

    def count_licensed(self, limit: object, amount: object) -> str | None:
        """Count against a limit of the licence; why it cannot be, or `None`."""
        if type(limit) is not str or type(amount) is not int:
            return "a limit is a text and an amount a whole number"
        return self._api.refuse_count(limit, amount)

    # storage

    async def _put(self, key: str, value: Any, expected: int | None, lease: int | None) -> Document:
        return await self._api.storage.put(key, value, expected_version=expected, lease=self._lease(lease))

    async def _delete(self, key: str, expected: int | None, lease: int | None) -> bool:
        return await self._api.storage.delete(key, expected_version=expected, lease=self._lease(lease))

    async def _list(self, prefix: str, limit: int | None, after: str | None) -> list[Document]:
        return list(await self._api.storage.list(prefix, limit=limit, after=after))

    def _watch(self, prefix: str) -> AsyncIterator[Change]:
        return self._api.storage.watch(prefix)

    async def _acquire(self, name: str, ttl: float) -> tuple[int, int] | None:
        if len(self._leases) >= _MOST_LEASES:
            self._leases = {number: lease for number, lease in self._leases.items() if lease.held}
        lease = await self._api.storage.acquire_lease(name, ttl=ttl)
        if lease is None:
            return None
        number = next(self._lease_numbers)
        self._leases[number] = lease
        return number, lease.token

    async def _renew(self, number: int) -> None:
        lease = self._lease(number)
        assert lease is not None  # noqa: S101 - a number was given
        await lease.renew()

    async def _release(self, number: int) -> None:
        lease = self._leases.pop(number, None)
        if lease is not None:
            await lease.release()

    def _lease(self, number: int | None) -> Lease | None:
        if number is None:
            return None
        lease = self._leases.get(number)
        if lease is None:
            raise LeaseLostError("the lease is not held any more", remedy="Acquire it anew")
        return lease

    # events

    def _allowed(self, limit: RateLimit, key: str) -> bool:
        now = time.monotonic()
        for _, dropped in limit.take_dropped(now):
            self._api.logger.warning("%d records of its process were dropped: it says too much", dropped)
        return limit.allow((key,), now)

    def _log(self, level: int, name: str, text: str, origin: list[str], extra: dict[str, Any]) -> None:
        if not self._allowed(self._logs, "warn" if level >= logging.WARNING else "log"):
            return
        logger = self._api.logger
        if not logger.isEnabledFor(level):
            return
        own = f"dotmac.plugin.{self._api.plugin_id}"
        record = logging.LogRecord(own, int(level), "", 0, _cut(text), (), None)
        if name != own:
            record.msg = f"[{name[:80]}] {record.msg}"
        operation, request_id = origin
        # What the record says of its origin is what we know, not what the process tells.
        vars(record).update({key: value for key, value in extra.items() if key not in vars(record)})
        instance = {"plugin": self._api.plugin_id, "tenant": self._api.tenant_id or "-"}
        vars(record).update(instance, operation=str(operation)[:80], request_id=str(request_id)[:80])
        logger.logger.handle(record)

    def _count(self, name: str, value: float, labels: dict[str, str]) -> None:
        self._api.metrics.count(name, value, **labels)

    def _set(self, name: str, value: float, labels: dict[str, str]) -> None:
        self._api.metrics.set(name, value, **labels)

    def _observe(self, name: str, value: float, labels: dict[str, str]) -> None:
        self._api.metrics.observe(name, value, **labels)

    def _report(self, operation: str, kind: str, text: str) -> None:
        """A task of the plugin failed in its process."""
        if self._allowed(self._reports, "report"):
            scope = CallScope(self._api.plugin_id, self._api.tenant_id, str(operation)[:80], owner=self._owner)
            self._api.report(scope, _stand_in(str(kind)[:80], _cut(text)))


def _stand_in(kind: str, text: str) -> Exception:
    name = kind if kind.isidentifier() else "Exception"
    error: Exception = type(name, (RuntimeError,), {})(text)
    return error


def _cut(text: object) -> str:
    return str(text)[:_LONGEST_TEXT]
