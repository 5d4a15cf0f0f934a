"""The plugin's methods for subscriber services, as the handle offers them. What they do is in `_desk`, which loads late."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from .._errors import VolthaError
from ._bulk_items import check_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.model import PluginContext

    from ..stacks._stacks import Stacks

__all__ = ["ServiceMethods"]


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The reports of several stacks as one."""
    whole: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if name not in whole:
                whole[name] = value
            elif isinstance(value, dict):
                whole[name] = {key: whole[name].get(key, 0) + count for key, count in value.items()} | {
                    key: kept for key, kept in whole[name].items() if key not in value
                }
            else:
                whole[name] = whole[name] + value
    return whole


def joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The parts of a job on several stacks as one."""
    if len(parts) == 1:
        return parts[0]
    sums = {name: sum(part[name] for part in parts) for name in ("total", "done", "succeeded", "failed")}
    return {
        **parts[0],
        **sums,
        "finished": all(part["finished"] for part in parts),
        "cancelled": any(part["cancelled"] for part in parts),
        "seconds": max(part["seconds"] for part in parts),
        "results": [result for part in parts for result in part["results"]],
    }


class ServiceMethods:
    """A part of `VolthaIntegrationPlugin`. Devices are ONUs, by serial number or VOLTHA's id."""

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def add_subscriber_flow(
        self,
        device_id: str,
        subscriber_id: str,
        service_config: Mapping[str, Any],
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Install a subscriber's service on an ONU and see it on the devices; on failure nothing of it stays.

        `service_config` is what `ServiceConfig` describes. Asking twice changes nothing (`created` is then false) but for
        repairing what an ONU lost; other values for the same name on the same UNI replace the service.
        """
        work = await self._stacks.holding(device_id)
        return await work.desk.add(device_id, subscriber_id, service_config, context)

    async def change_subscriber_speed(
        self,
        device_id: str,
        subscriber_id: str,
        speeds: Mapping[str, Any],
        service: str | None = None,
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Give a service other speeds: `bandwidth_down`, `bandwidth_up` in kbit/s, or profiles as in `ServiceConfig`.

        VOLTHA takes one meter for each direction while flows use it, so the flows are removed and added again; the line is down
        for that moment. A suspended service is changed for when it is restored. `service` names one of several.
        """
        work = await self._stacks.serving(subscriber_id)
        return await work.desk.change_speed(device_id, subscriber_id, speeds, service, context)

    async def suspend_subscriber(
        self, device_id: str, subscriber_id: str, service: str | None = None, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Take a subscriber's services (or the one named) out of VOLTHA and keep them, with their tags. Gives `changed`, `services`."""
        work = await self._stacks.serving(subscriber_id)
        return await work.desk.suspend(device_id, subscriber_id, service, context)

    async def restore_subscriber(
        self, device_id: str, subscriber_id: str, service: str | None = None, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Bring suspended services back, as `add_subscriber_flow` would. Gives `changed`, `services`."""
        work = await self._stacks.serving(subscriber_id)
        return await work.desk.restore(device_id, subscriber_id, service, context)

    async def set_subscriber_mac(
        self,
        device_id: str,
        subscriber_id: str,
        mac_address: str,
        service: str | None = None,
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Tell the MAC address that a service with `mac_learning` waits for: its data flows follow."""
        work = await self._stacks.serving(subscriber_id)
        return await work.desk.set_mac(device_id, subscriber_id, mac_address, service, context)

    async def remove_subscriber_flow(
        self, device_id: str, subscriber_id: str, service: str | None = None, context: PluginContext | None = None
    ) -> dict[str, Any]:
        """Remove exactly what was installed for a subscriber on an ONU (or for the service named), then meters that nobody uses.

        Gives `removed`, `services`, `flows`, `meters`; asking for what is not there is no error.
        """
        work = await self._stacks.serving(subscriber_id)
        return await work.desk.remove(device_id, subscriber_id, service, context)

    async def list_subscribers(self, device_id: str | None = None) -> list[dict[str, Any]]:
        """The services that are remembered, of all devices or of one OLT or ONU."""
        if device_id is not None:
            return await (await self._stacks.holding(device_id)).desk.list(device_id)
        return [service for work in self._stacks.works for service in await work.desk.list(None)]

    async def set_uplink_traps(
        self,
        device_id: str,
        traps: Sequence[str],
        dhcp_vlan: int | None = None,
        context: PluginContext | None = None,
    ) -> dict[str, Any]:
        """Hand these packets from an OLT's uplink to the controller, and no others: `lldp`, `dhcp`, `dhcpv6`, `igmp`, `pppoe`.

        They are kept there as services are; an empty list takes them away. With `dhcp_vlan` DHCP only in that VLAN.
        """
        work = await self._stacks.holding(device_id)
        return await work.desk.set_uplink(device_id, traps, dhcp_vlan, context)

    async def list_uplink_traps(self) -> list[dict[str, Any]]:
        """The traps at the OLTs' uplinks that are wanted."""
        return [each.plain() for work in self._stacks.works for each in await work.desk.uplinks.every()]

    async def start_bulk(self, action: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Begin a job on many services, and give it (`job`, `total`, …) while it works on, `bulk_concurrency` services at once.

        `action` is `add` (items: `device_id`, `subscriber_id`, `service`), `speed` (… `speeds`, and `name` of the service), `suspend`,
        `restore` or `remove` (… `name`). A mistake in any item is told before anything begins. What may succeed later is tried
        again. The job is stored: it goes on after a restart. Progress is told as `subscriber_bulk_progress` and `…_finished` events.
        """
        wanted = check_items(action, list(items))
        works = list(self._stacks.works)
        if len(works) <= 1:
            return (await self._stacks.primary.desk.bulks.start(action, wanted)).plain()
        parts: dict[int, tuple[Any, list[dict[str, Any]]]] = {}
        job = uuid.uuid4().hex[:12]
        for item in wanted:
            work = await self._stacks.holding(item["device_id"])
            parts.setdefault(id(work), (work, []))[1].append(item)
        return joined([(await work.desk.bulks.start(action, part, job)).plain() for work, part in parts.values()])

    async def bulk_status(self, job: str, after: int = 0) -> dict[str, Any]:
        """How far a job is: `total`, `done`, `succeeded`, `failed`, `finished`, `seconds`, and the `results` from number `after` on.

        Each result has `number` (of the item), `subscriber_id`, `device_id`, `ok`, and `changed`, or `error` and `remedy`.
        """
        found = [bulk for work in self._stacks.works if (bulk := work.desk.bulks.get(job)) is not None]
        if not found:
            raise VolthaError(f"no bulk job {job!r}", remedy="`list_bulks` gives those of this host, the latest 20")
        return joined([bulk.plain(after if len(found) == 1 else 0) for bulk in found])

    async def list_bulks(self) -> list[dict[str, Any]]:
        """The jobs of this host, oldest first, without their results."""
        return [bulk for work in self._stacks.works for bulk in work.desk.bulks.list()]

    async def cancel_bulk(self, job: str) -> bool:
        """Begin no further item of a job; those under way come to their end. Gives whether it was running."""
        cancelled = [work.desk.bulks.cancel(job) for work in self._stacks.works]
        return any(cancelled)

    async def plan_services(self, device_id: str | None = None) -> dict[str, Any]:
        """Compare the stored services (of one OLT or ONU) with VOLTHA and say what would be done, without doing it.

        Gives `checked`, `in_order`, `counts`, the `steps` (what is not in order: `action`, `reason`), `orphans` (flows of this
        tenant that no service has) and `foreign` (how many flows of whom, by OLT).
        """
        if device_id is not None:
            return await (await self._stacks.holding(device_id)).desk.plan(device_id)
        return merged([await work.desk.plan(None) for work in self._stacks.works])

    async def reconcile_services(self, device_id: str | None = None, remove_orphans: bool = False) -> dict[str, Any]:
        """Compare and repair now. Gives what `plan_services` gives, and `repaired`, `failed`, `waiting`, `blocked`.

        Flows of this tenant that no service has are only taken away with `remove_orphans`. Raises `ServiceBusyError` while another
        host with the same store does the same.
        """
        if device_id is not None:
            work = await self._stacks.holding(device_id)
            return await work.desk.reconcile(device_id, remove_orphans=remove_orphans)
        return merged([await work.desk.reconcile(None, remove_orphans=remove_orphans) for work in self._stacks.works])
