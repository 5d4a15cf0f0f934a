"""Keeping VOLTHA as it should be: compare what is stored with what is there, and repair.

It looks by interval, and soon after what may have changed something: VOLTHA is back, an ONU or an OLT came, its core restarted.
One host at a time does so (a lease); each repair is written with that lease, so that a host that lost it changes nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.errors import LeaseLostError, PluginError
from dotmac_isp.plugins.core.model import DeviceEvent

from .._errors import ServiceBusyError, VolthaError
from .._follow import Follower
from ._actual import Actual, read_actual
from ._builder import cookie_owner
from ._messages import delete_listed
from ._plan import Orphan, Plan, Step, find_orphans, judge_service
from ._slots import Slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from dotmac_isp.plugins.core.api import Lease, PluginAPI

    from .._device import DeviceView
    from .._session import Session
    from .._settings import VolthaSettings
    from ._stored import ServiceStore, StoredService
    from ._subscribers import Subscribers
    from ._uplink import StoredUplink, Uplinks

__all__ = ["Reconciler"]

_LEASE: Final = "reconciler"
_LEASE_TIME: Final = 30.0
#: After news, wait this long for more of it: an OLT's ONUs come one by one.
_GATHER: Final = 0.5
#: A full look, with each ONU's own list, at the first round and then each so many rounds.
_FULL_EVERY: Final = 10
#: While something fails or waits, the next round comes after 5, 10, 20, … s at most.
_RETRY: Final = 5.0
#: Events after which a service may have to be repaired.
_NEWS: Final = frozenset(
    {
        "voltha_reachable",
        "olt_active",
        "olt_discovered",
        "olt_state_changed",
        "onu_active",
        "onu_discovered",
        "onu_state_changed",
        "rpc_error",
    }
)


class Reconciler:
    """Of one active instance. `session` gives the present one, `tell` relays an event."""

    def __init__(
        self,
        api: PluginAPI,
        *,
        store: ServiceStore,
        subscribers: Subscribers,
        uplinks: Uplinks,
        session: Callable[[], Session],
        tell: Callable[[DeviceEvent], None],
    ) -> None:
        self._api: Final = api
        self._store: Final = store
        self._subscribers: Final = subscribers
        self._uplinks: Final = uplinks
        self._session: Final = session
        self._tell: Final = tell
        self._owner: Final = cookie_owner(api.tenant_id or "")
        self._news = asyncio.Event()
        self._busy: Final = asyncio.Lock()
        self._rounds = 0
        self._troubled = 0
        #: Counts since the instance began: rounds, repairs, failures; and what the last round found.
        self.counts: Final[Counter[str]] = Counter()
        self.last: dict[str, Any] = {}

    @property
    def _settings(self) -> VolthaSettings:
        settings: VolthaSettings = self._api.settings
        return settings

    def notice(self, event: DeviceEvent) -> None:
        """Something happened; look soon when it may concern services."""
        if event.event_type in _NEWS:
            self.soon()

    def soon(self) -> None:
        """Look soon."""
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled."""
        self.soon()
        while True:
            await self._wait()
            if self._settings.reconcile == "off":
                continue
            try:
                await self._round_of_its_own()
            except PluginError as error:
                self._troubled += 1
                self._api.logger.warning("services could not be compared with VOLTHA: %s", error)

    async def _wait(self) -> None:
        pause = self._settings.reconcile_interval
        if self._troubled:
            pause = min(pause, _RETRY * 2 ** min(self._troubled - 1, 10))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()
                await asyncio.sleep(_GATHER)
        self._news.clear()

    async def _round_of_its_own(self) -> None:
        async with self._busy, self._leading() as lease:
            if lease is None:
                return
            report = await self._round(lease, None, repair=self._settings.reconcile == "repair")
        self._troubled = self._troubled + 1 if report["failed"] or report["waiting"] else 0

    @contextlib.asynccontextmanager
    async def _leading(self) -> AsyncIterator[Lease | None]:
        """Hold the lease, renewed until the block ends; `None` when another host has it."""
        lease = await self._api.storage.acquire_lease(_LEASE, ttl=_LEASE_TIME)
        if lease is None:
            yield None
            return
        keeper = self._api.spawn(_keep(lease), name="voltha reconciler lease")
        try:
            yield lease
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await lease.release()

    async def plan(self, names: set[str] | None, *, full: bool = True) -> Plan:
        """What would be done now; nothing is changed. `names` limits it to OLTs and ONUs by id or serial number."""
        plan, _ = await self._compare(names, full=full)
        return plan

    async def reconcile(self, names: set[str] | None, *, remove_orphans: bool) -> dict[str, Any]:
        """Compare and repair now; raises `ServiceBusyError` while another host does so."""
        async with self._busy, self._leading() as lease:
            if lease is None:
                raise ServiceBusyError(
                    "another host compares and repairs services right now",
                    remedy=f"Ask again; should that host be gone, its turn ends within {_LEASE_TIME:.0f} s",
                )
            return await self._round(lease, names, repair=True, full=True, remove_orphans=remove_orphans)

    async def _round(
        self,
        lease: Lease,
        names: set[str] | None,
        *,
        repair: bool,
        full: bool | None = None,
        remove_orphans: bool = False,
    ) -> dict[str, Any]:
        if full is None:
            full = self._rounds % _FULL_EVERY == 0
        self._rounds += 1
        self.counts["rounds"] += 1
        plan, actual = await self._compare(names, full=full)
        drift = [step for step in plan.steps if step.is_repair]
        self._log_drift(drift)
        done = await self._repair(drift, actual, lease) if repair else {}
        if repair:
            await self._repair_uplinks(plan.uplinks, actual, lease)
        removed = await self._remove_orphans(plan.orphans, actual) if remove_orphans else 0
        self.last = _report(plan, done, removed)
        return self.last

    async def _compare(self, names: set[str] | None, *, full: bool) -> tuple[Plan, Actual]:
        every = [item async for item in self._store.every()]
        items = [item for item in every if names is None or names & _names(item)]
        uplinks = [each for each in await self._uplinks.every() if names is None or each.olt_serial in names]
        actual = await read_actual(self._session(), items, with_onus=full, olts=[each.olt_serial for each in uplinks])
        steps = tuple(self._judge(item, actual) for item in items)
        orphans = find_orphans(every, actual.olts.values(), self._owner) if names is None else ()
        # A service that is being added is in the index before it is stored.
        known = {(item.place.logical_device_id, flow.id) for item in self._store.index for flow in item.flows}
        known |= {(each.logical_device_id, flow.id) for each in uplinks for flow in each.flows}
        orphans = tuple(each for each in orphans if (each.logical_device_id, each.flow_id) not in known)
        foreign = {serial: table.foreign for serial, table in actual.tables.items() if table.foreign}
        bare = tuple(each for each in uplinks if _is_bare(each, actual))
        return Plan(steps, orphans, foreign, bare), actual

    def _judge(self, item: StoredService, actual: Actual) -> Step:
        if self._store.index.is_ours(item.key):
            return Step(item, "wait", "it is being worked on right now")
        onu = actual.devices.get(item.key.onu_serial)
        on_onu = actual.onus.get(item.key.onu_serial)
        return judge_service(item, onu, actual.olt_of(item), on_onu, instance=self._store.instance)

    def _log_drift(self, steps: Iterable[Step]) -> None:
        for step in steps:
            key = step.item.key
            self.counts["drift"] += 1
            self._api.logger.warning(
                "service %r of subscriber %r on ONU %s is not as it should be: %s",
                *(key.name, key.subscriber_id, key.onu_serial, step.reason),
            )
            self._say("drift", step, {"reason": step.reason, "action": step.action})

    async def _repair(self, steps: list[Step], actual: Actual, lease: Lease) -> dict[str, list[dict[str, Any]]]:
        """Carry out the steps, many at once."""
        done: dict[str, list[dict[str, Any]]] = {"repaired": [], "failed": []}
        gate = asyncio.Semaphore(self._settings.bulk_concurrency)

        async def one(step: Step) -> None:
            async with Slot(gate):
                try:
                    await self._carry_out(step, actual, lease)
                except PluginError as error:
                    self._failed(step, error)
                    done["failed"].append({**step.plain(), "error": error.message})
                else:
                    self._repaired(step)
                    done["repaired"].append(step.plain())

        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(one(step))
        return done

    async def _repair_uplinks(self, uplinks: Iterable[StoredUplink], actual: Actual, lease: Lease) -> None:
        for item in uplinks:
            olt = actual.olts[item.olt_serial].device
            follower = Follower(f"traps at the uplink of OLT {item.olt_serial}", self._settings.flow_timeout)
            try:
                await self._uplinks.ensure(self._session(), olt, item, follower, lease)
            except VolthaError as error:
                self._api.logger.warning("traps at the uplink of OLT %s: %s", item.olt_serial, error.message)
            else:
                self.counts["repairs"] += 1
                self._api.logger.info("traps at the uplink of OLT %s are there again", item.olt_serial)

    async def _carry_out(self, step: Step, actual: Actual, lease: Lease) -> None:
        item, session = step.item, self._session()
        if not lease.held:
            raise LeaseLostError("the turn of this host to repair services is over")
        what = f"repairing service {item.key.name} of subscriber {item.key.subscriber_id}"
        follower = Follower(what, self._settings.flow_timeout)
        if step.action == "remove":
            await self._subscribers.remove(session, item, follower, lease=lease)
        elif step.action == "take_out":
            await self._subscribers.suspend(session, item.key, follower, lease=lease, again=True)
        else:
            onu: DeviceView = actual.devices[item.key.onu_serial]
            now = await session.client.device(onu.id)
            anew = step.action == "reinstall"
            await self._subscribers.repair(session, now or onu, item, follower, anew=anew, lease=lease)

    def _repaired(self, step: Step) -> None:
        self.counts["repairs"] += 1
        key = step.item.key
        self._api.logger.info(
            "service %r of subscriber %r on ONU %s is as it should be again (%s)",
            *(key.name, key.subscriber_id, key.onu_serial, step.action),
        )
        self._say("repaired", step, {"reason": step.reason, "action": step.action})

    def _failed(self, step: Step, error: PluginError) -> None:
        self.counts["repair_failures"] += 1
        key = step.item.key
        self._api.logger.warning(
            "service %r of subscriber %r on ONU %s could not be repaired: %s",
            *(key.name, key.subscriber_id, key.onu_serial, error.message),
        )
        self._say("repair_failed", step, {"reason": step.reason, "action": step.action, "error": error.message})

    def _say(self, what: str, step: Step, details: dict[str, Any]) -> None:
        key = step.item.key
        self._tell(
            DeviceEvent(
                event_type=f"subscriber_service_{what}",
                device_id=step.item.place.onu_id,
                serial_number=key.onu_serial,
                source=self._api.plugin_id,
                tenant_id=self._api.tenant_id,
                severity="info" if what == "repaired" else "warning",
                message=f"service {key.name} of subscriber {key.subscriber_id} on ONU {key.onu_serial}: {what}",
                attributes={**step.plain(), **details},
            )
        )

    async def _remove_orphans(self, orphans: Iterable[Orphan], actual: Actual) -> int:
        removed = 0
        for orphan in orphans:
            listed = actual.tables[orphan.olt_serial].listed(orphan.flow_id)
            if listed is None:
                continue
            try:
                update = delete_listed(orphan.logical_device_id, listed)
                await self._session().client.call("UpdateLogicalDeviceFlowTable", update)
            except VolthaError as error:
                self._api.logger.warning("flow %s of OLT %s stays: %s", orphan.flow_id, orphan.olt_serial, error)
                continue
            self._session().forget_lists(orphan.logical_device_id)
            self._api.logger.info("flow %s of no service was taken off OLT %s", orphan.flow_id, orphan.olt_serial)
            removed += 1
        return removed


def _is_bare(item: StoredUplink, actual: Actual) -> bool:
    """Whether traps of an uplink are missing, and its OLT is there to get them."""
    olt = actual.olts.get(item.olt_serial)
    if olt is None or not olt.device.is_ready:
        return False
    moved = item.logical_device_id != olt.device.parent_id
    return moved or any(olt.logical.get(flow.id) != flow.cookie for flow in item.flows)


async def _keep(lease: Lease) -> None:
    while lease.held:
        await asyncio.sleep(_LEASE_TIME / 3)
        try:
            await lease.renew()
        except LeaseLostError:
            return  # writes with it fail from now on, which ends the round


def _names(item: StoredService) -> set[str]:
    return {item.key.onu_serial, item.place.onu_id, item.place.olt_serial, item.place.olt_id}


def _report(plan: Plan, done: dict[str, list[dict[str, Any]]], removed: int) -> dict[str, Any]:
    shown = plan.plain()
    return {
        **shown,
        "repaired": done.get("repaired", []),
        "failed": done.get("failed", []),
        "waiting": [step.plain() for step in plan.steps if step.action == "wait"],
        "blocked": [step.plain() for step in plan.steps if step.action == "blocked"],
        "orphans_removed": removed,
    }
