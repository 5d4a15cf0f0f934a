"""How audit events reach the collector: over its owner's socket where the host started it, else with the system tenant's key."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dotmac_isp.plugins.core.errors import NotReady

from ._audit import AuditEvents
from ._wire import SYSTEM_TENANT

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.base import HostSettings

    from .events import Event
    from .service import CollectorService

__all__ = ["by_key", "by_service"]

_MOST_WAITING: Final = 1000
_ByTenant = Mapping[str | None, Sequence["Event"]]


def by_service(service: CollectorService, settings: HostSettings) -> AuditEvents:
    """Each tenant's records become events of that tenant, or all of the system tenant: as the setting `audit_events` says."""
    with_key = _with_key(settings)
    waiting: deque[tuple[str | None, Event]] = deque(maxlen=_MOST_WAITING)

    async def send(by_tenant: _ByTenant) -> None:
        if service.stopped:
            # What is audited while the collector is stopped with its host, or starts anew, goes with the next; the chain has all of it.
            waiting.extend((tenant, event) for tenant, events in by_tenant.items() for event in events)
            return
        left, together = list(waiting), {tenant: list(events) for tenant, events in by_tenant.items()}
        for tenant, event in left:
            together.setdefault(tenant, []).append(event)
        await deliver(together)
        waiting.clear()

    async def deliver(by_tenant: _ByTenant) -> None:
        if not service.is_ours:
            await with_key(by_tenant)
        elif settings.values.audit_events == "tenants":
            for tenant, events in by_tenant.items():
                await service.track(tenant, events)
        else:
            await service.track(None, _all(by_tenant))

    return AuditEvents(send)


def by_key(settings: HostSettings) -> AuditEvents:
    """All records become events of the system tenant, with the property `tenant`: its key opens no other tenant."""
    return AuditEvents(_with_key(settings))


def _with_key(settings: HostSettings) -> Any:
    async def send(by_tenant: _ByTenant) -> None:
        from .delivery import API_KEY, CollectorClient  # noqa: PLC0415 - only when there is something to send

        if await settings.secrets.get(API_KEY) is None:
            raise NotReady(f"audit events wait for the system tenant's secret {API_KEY!r}")
        client = CollectorClient(settings.values, settings.secrets, None)
        try:
            await client.call("POST", "/v1/events", _all(by_tenant))
        finally:
            await client.close()

    return send


def _all(by_tenant: _ByTenant) -> list[Event]:
    return [_marked(event, tenant) for tenant, given in by_tenant.items() for event in given]


def _marked(event: Event, tenant: str | None) -> Event:
    told = {**event.properties, "tenant": SYSTEM_TENANT if tenant is None else tenant}
    return msgspec.structs.replace(event, properties=told)
