"""What `get_device_status` says: the device, its ports, and for an ONU the services on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._client import identified
from ._device import DeviceView, onus_of
from .services._flow import pon_port_no

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._session import Session
    from .services._stored import StoredService

__all__ = ["describe", "device_port"]

_ADMIN: Final = {0: "UNKNOWN", 1: "PREPROVISIONED", 2: "ENABLED", 3: "DISABLED", 4: "DOWNLOADING_IMAGE"}
_OPER: Final = {0: "UNKNOWN", 1: "DISCOVERED", 2: "ACTIVATING", 3: "TESTING", 4: "ACTIVE", 5: "FAILED"}
_KINDS: Final = {1: "nni", 2: "uni", 3: "pon", 4: "pon"}


async def describe(session: Session, device: DeviceView, services: Sequence[StoredService]) -> dict[str, Any]:
    """The status of one device, as of now."""
    ports = (await session.client.call("ListDevicePorts", identified(device.id))).items
    shown = {**device.plain(), "ready": device.is_ready, "ports": [device_port(port) for port in ports]}
    if device.is_olt:
        onus = onus_of(await session.devices(), device)
        active: dict[int, int] = {}
        for onu in onus:
            active[pon_port_no(onu.pon)] = active.get(pon_port_no(onu.pon), 0) + onu.is_active
        for port in shown["ports"]:
            if port["type"] == "pon":
                port["onus_active"] = active.get(port["port_no"], 0)
        return shown | {"onus": len(onus), "onus_active": sum(active.values())}
    return shown | {
        "flows_lost": device.has_lost_flows and bool(services),
        "subscribers": sorted({item.key.subscriber_id for item in services}),
    }


def device_port(port: Any) -> dict[str, Any]:
    """A device's port as it is shown."""
    return {
        "port_no": port.port_no,
        "label": port.label,
        "type": _KINDS.get(port.type, "other"),
        "admin_state": _ADMIN.get(port.admin_state, str(port.admin_state)),
        "oper_status": _OPER.get(port.oper_status, str(port.oper_status)),
        "peers": len(port.peers),
    }
