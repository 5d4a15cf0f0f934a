"""What an operator of VOLTHA looks up: adapters, types, ports, flows, groups, logical devices (section 1.3), as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from .._client import identified
from .._errors import VolthaError
from .._health import version_of
from .._status import device_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._session import Session

__all__ = ["Reads"]

_LISTS: Final = {
    "flows": "ListLogicalDeviceFlows",
    "groups": "ListLogicalDeviceFlowGroups",
    "ports": "ListLogicalDevicePorts",
    "meters": "ListLogicalDeviceMeters",
}


class Reads:
    """Lists of one stack. `session` gives the connection."""

    def __init__(self, session: Callable[[], Session]) -> None:
        self._session: Final = session

    async def _call(self, rpc: str, device_id: str | None = None) -> Any:
        return await self._session().client.call(rpc, None if device_id is None else identified(device_id))

    async def version(self) -> dict[str, Any]:
        """Which VOLTHA it is and where."""
        voltha = await self._call("GetVoltha")
        return {"target": self._session().client.endpoint.label, "version": version_of(voltha), "raw": voltha.version}

    async def adapters(self) -> list[dict[str, Any]]:
        """The registered adapters with the time at which they were heard last. A dead one stays listed (surprise 23)."""
        return [
            {
                "id": item.id,
                "type": item.type,
                "vendor": item.vendor,
                "version": item.version,
                "endpoint": item.endpoint,
                "replica": item.currentReplica,
                "replicas": item.totalReplicas,
                "last_communication": item.last_communication,
            }
            for item in (await self._call("ListAdapters")).items
        ]

    async def device_types(self) -> list[dict[str, Any]]:
        """The device types that adapters brought."""
        return [
            {"id": item.id, "adapter": item.adapter_type, "vendor_ids": list(item.vendor_ids)}
            for item in (await self._call("ListDeviceTypes")).items
        ]

    async def ports(self, device_id: str) -> list[dict[str, Any]]:
        """A device's ports in order of their numbers."""
        ports = [device_port(port) for port in (await self._call("ListDevicePorts", device_id)).items]
        return sorted(ports, key=lambda port: int(port["port_no"]))

    async def flows(self, device_id: str) -> list[dict[str, Any]]:
        """The flows on a device, as VOLTHA writes them."""
        return [_plain(item) for item in (await self._call("ListDeviceFlows", device_id)).items]

    async def groups(self, device_id: str) -> list[dict[str, Any]]:
        """The groups on a device."""
        return [_plain(item) for item in (await self._call("ListDeviceFlowGroups", device_id)).items]

    async def logical_devices(self) -> list[dict[str, Any]]:
        """The logical devices, one for each OLT that works."""
        return [_plain(item) for item in (await self._call("ListLogicalDevices")).items]

    async def logical_device(self, logical_id: str, what: str) -> list[dict[str, Any]]:
        """The `flows`, `groups`, `ports` or `meters` of a logical device."""
        if what not in _LISTS:
            raise VolthaError(f"no list {what!r} of a logical device", remedy=f"Ask for {', '.join(_LISTS)}")
        return [_plain(item) for item in (await self._call(_LISTS[what], logical_id)).items]


def _plain(message: Any) -> dict[str, Any]:
    shown: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return shown
