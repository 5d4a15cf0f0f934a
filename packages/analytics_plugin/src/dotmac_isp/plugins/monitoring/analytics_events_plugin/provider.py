"""What this package gives to the host itself: a collector where none is configured, and a sink for the audit trail.

With `ANALYTICS_DB_CONNECTION` unset and a loopback `analytics_host`, the host starts one collector on that port, shared by its tenants;
one of ours that answers there already is used; anything else on the port is an error.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final

from dotmac_isp.plugins.core.hookspecs import hookimpl

if TYPE_CHECKING:
    from dotmac_isp.plugins.core.base import HostService, HostSettings

__all__ = ["provide_audit_sink", "provide_host_services"]

_DATABASE: Final = "analytics-db-connection"
#: The sink of the host that asked last for services: hosts ask for the sink right after.
_SINKS: Final[list[Any]] = []


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@hookimpl
async def provide_host_services(settings: HostSettings) -> list[HostService]:
    """The collector that the host starts, or nothing when another is configured."""
    from ._audit_ways import by_key, by_service  # noqa: PLC0415 - only where there is a host

    wanted = settings.values.audit_events != "off"
    if not _is_loopback(settings.values.analytics_host) or await settings.secrets.get(_DATABASE) is not None:
        _SINKS[:] = [by_key(settings)] if wanted else []
        return []
    from .service import CollectorService  # noqa: PLC0415 - hosts that need none load none

    service = CollectorService(
        host=settings.values.analytics_host,
        port=settings.values.analytics_port,
        data_dir=settings.data_dir,
        notify_hosts=settings.values.notify_hosts,
    )
    _SINKS[:] = [by_service(service, settings)] if wanted else []
    return [service]


@hookimpl
async def provide_audit_sink() -> object | None:
    """A sink that makes events of audit records (setting `audit_events`)."""
    return _SINKS[-1] if _SINKS else None
