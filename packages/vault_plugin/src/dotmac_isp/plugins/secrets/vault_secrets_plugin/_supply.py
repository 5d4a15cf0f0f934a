"""Gives secrets out, looks whether they change, and says so.

Documents are read once and kept; every name and tenant that asked is remembered with the answer it got. Whatever happens to a
document (a new version, a new lease, gone), all answers that are made of it are compared, and those that differ are told.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from dotmac_isp.plugins.core.errors import PluginError, SecretError
from dotmac_isp.plugins.core.model import Secret

from ._documents import UNKNOWN, Unknown, answer_for
from ._failures import Unavailable
from ._places import spots_for

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from ._client import Contact
    from ._documents import Document
    from ._places import Address, Spot
    from ._reading import Reader
    from .settings import VaultSettings

__all__ = ["Supply"]

_WORKERS: Final = 4
#: How often Vault is tried while it is away.
_AWAY_POLL: Final = 5.0
_LEASE_RETRY: Final = 5.0


class _Asker:
    """A name and a tenant that asked, and what they were told."""

    __slots__ = ("spots", "told")

    def __init__(self, spots: tuple[Spot, ...]) -> None:
        self.spots: Final = spots
        self.told: Secret | Unknown | None = UNKNOWN


class Supply:
    """The secrets that were asked for. `changed(name, tenant)` is called when an answer is no longer what was given out."""

    def __init__(
        self,
        settings: VaultSettings,
        reader: Reader,
        contact: Contact,
        logger: logging.LoggerAdapter[logging.Logger],
        changed: Callable[[str, str | None], None],
    ) -> None:
        self._settings: Final = settings
        self._reader: Final = reader
        self._contact: Final = contact
        self._logger: Final = logger
        self._changed: Final = changed
        self._documents: Final[dict[Address, Document]] = {}
        self._askers: Final[dict[tuple[str, str | None], _Asker]] = {}
        #: Who was answered with what lies at an address.
        self._dependants: Final[dict[Address, set[tuple[str, str | None]]]] = {}
        #: Addresses where something else lies since the answers were compared last.
        self._altered: Final[set[Address]] = set()
        self._locks: Final[dict[Address, asyncio.Lock]] = {}
        self._new_lease: Final = asyncio.Event()
        #: When leases whose renewal failed are tried again; monotonic seconds.
        self._lease_retries: Final[dict[Address, float]] = {}
        self.changes = 0

    @property
    def documents(self) -> int:
        return len(self._documents)

    @property
    def leases(self) -> int:
        return sum(one.lease is not None for one in self._documents.values())

    async def provide(self, name: str, tenant: str | None) -> Secret | None:
        """The secret, or `None` where Vault has none. Raises `SecretError`."""
        asker = self._askers.get((name, tenant))
        if asker is None:
            asker = self._askers[name, tenant] = _Asker(spots_for(self._settings, name, tenant))
            for spot in asker.spots:
                self._dependants.setdefault(spot.address, set()).add((name, tenant))
        answer = None
        for spot in asker.spots:
            document = await self._document(spot.address)
            answer = answer_for((spot,), {spot.address: document})
            if isinstance(answer, Secret):
                break
            if document.fields is not None:
                fields = ", ".join(sorted(document.fields)) or "none"
                self._logger.warning(
                    "%s has no field %r for the secret %r; it has: %s",
                    spot.address.api_path,
                    spot.field,
                    name,
                    fields,
                )
        asker.told = answer
        self._settle()
        return Secret(name, answer.reveal()) if isinstance(answer, Secret) else None

    async def poll_for_ever(self) -> None:
        """Look at everything that was given out, again and again."""
        while True:
            pause = self._settings.poll_interval
            if self._contact.away:
                pause = min(pause, _AWAY_POLL)
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - so that hosts do not ask all at once
            await self._safely(self.poll, "look for changes")

    async def poll(self) -> None:
        """One round."""
        waiting = [*self._documents]

        async def work() -> None:
            while waiting:
                if not await self._confirm(waiting.pop()):
                    waiting.clear()

        async with asyncio.TaskGroup() as workers:
            for _ in range(_WORKERS):
                workers.create_task(work())
        self._forget_stale()

    async def keep_leases(self) -> None:
        """Renew leases when they are due, for ever."""
        while True:
            self._new_lease.clear()
            due = min(map(self._lease_due, self._documents.values()), default=float("inf"))
            try:
                # At most a minute: the clock stands still while the machine sleeps.
                async with asyncio.timeout(min(max(due - time.monotonic(), 0.0), 60.0)):
                    await self._new_lease.wait()
            except TimeoutError:
                await self._safely(self._extend_due, "renew leases")

    async def replace_leased(self) -> None:
        """Fetch every dynamic secret anew: those of the token before end with it."""
        for document in [one for one in self._documents.values() if one.lease is not None]:
            async with self._lock(document.address):
                try:
                    self._keep(await self._reader.read(document.address))
                    self._settle()
                except (Unavailable, PluginError) as error:
                    self._logger.warning("%s could not be fetched anew: %s", document.address.api_path, error)

    # inside

    def _lock(self, address: Address) -> asyncio.Lock:
        return self._locks.setdefault(address, asyncio.Lock())

    async def _document(self, address: Address) -> Document:
        async with self._lock(address):
            known = self._documents.get(address)
            if known is not None and known.fresh(self._settings.cache_ttl):
                return known
            serves = known is not None and known.usable(self._settings.max_stale)
            if known is not None and serves and self._contact.away:
                return known
            try:
                found = await self._reader.read(address)
            except Unavailable as error:
                if known is not None and serves:
                    return known
                raise SecretError(error.message, remedy="It is asked again when Vault is back") from None
            self._keep(found)
            return found

    async def _safely(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Whatever one round meets with, the next one comes."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - its text is not shown: it may hold what Vault answered
            self._logger.error("could not %s: %s", what, type(error).__name__)  # noqa: TRY400 - nor is its traceback

    def _keep(self, document: Document) -> None:
        before = self._documents.get(document.address)
        if before is None or before.fields != document.fields:
            self._altered.add(document.address)
        self._documents[document.address] = document
        self._lease_retries.pop(document.address, None)
        if document.lease is not None:
            self._new_lease.set()

    async def _confirm(self, address: Address) -> bool:
        """Look whether a document changed; `False` when Vault is away."""
        async with self._lock(address):
            known = self._documents[address]
            try:
                self._keep(await self._reader.confirm(known))
                self._settle()  # at once: a round over thousands of documents takes seconds
            except Unavailable:
                return False
            except PluginError as error:
                self._logger.warning("%s cannot be looked at: %s", address.api_path, error)
        return True

    def _lease_due(self, document: Document) -> float:
        if document.lease is None:
            return float("inf")
        return self._lease_retries.get(document.address, document.lease.due)

    async def _extend_due(self) -> None:
        now = time.monotonic()
        for document in [one for one in self._documents.values() if self._lease_due(one) <= now]:
            async with self._lock(document.address):
                try:
                    self._keep(await self._reader.extend(self._documents[document.address]))
                    self._settle()
                except (Unavailable, PluginError) as error:
                    self._lease_retries[document.address] = time.monotonic() + _LEASE_RETRY
                    self._logger.warning("the lease of %s is not renewed: %s", document.address.api_path, error)

    def _forget_stale(self) -> None:
        """Vault has been away for longer than the operator lets values serve: whoever uses them is to stop."""
        limit = self._settings.max_stale
        if not self._contact.away:
            return
        for document in [*self._documents.values()]:
            if document.lease is None and not document.fresh(self._settings.cache_ttl) and not document.usable(limit):
                del self._documents[document.address]
                self._altered.add(document.address)
                self._logger.error(
                    "Vault has been away for too long: %s serves no more (max_stale is %g s)",
                    document.address.api_path,
                    limit,
                )
        self._settle()

    def _settle(self) -> None:
        """Tell of every answer that is another one by now."""
        concerned = {who for address in self._altered for who in self._dependants.get(address, ())}
        self._altered.clear()
        differing = set()
        for who in concerned:
            asker = self._askers[who]
            answer = answer_for(asker.spots, self._documents)
            if asker.told is not UNKNOWN and _differ(asker.told, answer):
                asker.told = answer
                differing.add(who)
        for name, tenant in differing:
            # The system tenant's word goes to all tenants.
            if tenant is None or (name, None) not in differing:
                self.changes += 1
                self._logger.info("the secret %s changed", name)
                self._changed(name, tenant)


def _differ(told: Secret | Unknown | None, answer: Secret | Unknown | None) -> bool:
    if isinstance(told, Secret) and isinstance(answer, Secret):
        return told != answer
    return told is not answer
