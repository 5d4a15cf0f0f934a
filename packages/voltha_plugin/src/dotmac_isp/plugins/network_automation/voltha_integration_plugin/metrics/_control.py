"""What the plugin does with values on one stack: on demand, PM configurations, and their history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from voltha_protos import extensions_pb2

from .._client import identified
from .._errors import ServiceConfigError, StateTimeoutError
from ._ask import ask_value, check_set_response
from ._history import MetricHistory
from ._pm import PmChange, changed, pm_plain
from ._values import VALUES, samples_from, value_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dotmac_isp.plugins.core.api import PluginAPI

    from .._device import DeviceView
    from .._session import Locks, Session

__all__ = ["MetricControl"]

_VERIFY_WAIT: Final = 0.05
_VERIFY_TRIES: Final = 20
_OFFLOAD: Final = ("dhcpv4", "dhcpv6", "pppoe")


class MetricControl:
    """The values of one stack's devices."""

    def __init__(self, api: PluginAPI, *, session: Callable[[], Session], locks: Locks) -> None:
        self._api: Final = api
        self._session_now: Final = session
        self._locks: Final = locks
        settings = api.settings
        self.history: Final = MetricHistory(
            api.data_dir / f"metrics-{settings.voltha_stack}.sqlite", days=settings.metric_history_days
        )

    @property
    def _session(self) -> Session:
        return self._session_now()

    async def value(self, device: DeviceView, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a device for one value of `VALUES`."""
        kind = VALUES.get(name)
        if kind is None:
            raise ServiceConfigError(f"there is no value {name!r}", remedy=f"Ask for {', '.join(sorted(VALUES))}")
        if device.kind != kind.device:
            raise ServiceConfigError(f"{name} is a value of {kind.device.upper()}s, and {device.key} is none")
        response = await ask_value(self._session, kind.request(device, options), limit=kind.limit)
        plain = value_plain(kind, response)
        labels = {key: str(options[key]) for key in ("port", "uni") if key in options}
        samples = samples_from(kind, plain, labels)
        self.history.note(device.key, samples)
        return {
            "device_id": device.id,
            "serial_number": device.serial,
            "value": name,
            "content": plain,
            "samples": [sample.plain() for sample in samples],
        }

    async def set_offload(self, device: DeviceView, apps: Mapping[str, Any]) -> dict[str, Any]:
        """Let an OLT relay DHCP and PPPoE by itself, or not."""
        unknown = sorted(set(apps) - {*_OFFLOAD, "access_node_id"})
        if unknown or not apps:
            raise ServiceConfigError(
                f"offloading takes no {', '.join(unknown)}" if unknown else "nothing is asked for",
                remedy='For example {"dhcpv4": true, "dhcpv6": false, "pppoe": false, "access_node_id": "north-1"}',
            )
        config = extensions_pb2.AppOffloadConfig(
            enableDHCPv4RA=bool(apps.get("dhcpv4")),
            enableDHCPv6RA=bool(apps.get("dhcpv6")),
            enablePPPoEIA=bool(apps.get("pppoe")),
            accessNodeID=str(apps.get("access_node_id", "")),
        )
        await self._set(device.id, extensions_pb2.SetValueRequest(app_offload_config=config))
        shown: dict[str, Any] = json_format.MessageToDict(config, always_print_fields_with_no_presence=True)
        return {"device_id": device.id, **shown}

    async def set_onu_offload(self, onu: DeviceView, uni: int, *, circuit_id: str, remote_id: str) -> dict[str, Any]:
        """What the OLT says of a user port in what it relays."""
        if uni < 1:
            raise ServiceConfigError(f"there is no user port {uni}", remedy="User ports are counted from 1")
        config = extensions_pb2.AppOffloadOnuConfig(onuDeviceId=onu.id)
        # VOLTHA numbers them from 0 (extensions.proto, PerUniConfig).
        config.perUniInfo.add(onuUniId=uni - 1, agentCircuitID=circuit_id, agentRemoteID=remote_id)
        await self._set(onu.parent_id, extensions_pb2.SetValueRequest(app_offload_onu_config=config))
        return {"device_id": onu.id, "uni": uni, "circuit_id": circuit_id, "remote_id": remote_id}

    async def _set(self, device_id: str, content: Any) -> None:
        request = extensions_pb2.SingleSetValueRequest(targetId=device_id, request=content)
        check_set_response(await self._session.client.call("Extension/SetExtValue", request, repeat=False))

    async def pm(self, device: DeviceView) -> dict[str, Any]:
        """A device's PM configuration."""
        return {**pm_plain(await self._pm_of(device)), "serial_number": device.serial}

    async def _pm_of(self, device: DeviceView) -> Any:
        return await self._session.client.call("ListDevicePmConfigs", identified(device.id))

    async def set_pm(self, device: DeviceView, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change a device's PM configuration and see that it is so."""
        change = PmChange.parse(wanted)
        async with self._locks[f"pm/{device.key}"]:
            before = await self._pm_of(device)
            asked = changed(before, change)
            if not asked.id:
                asked.id = device.id
            if asked != before:
                await self._session.client.call("UpdateDevicePmConfigs", asked)
            return {**pm_plain(await self._verified(device, asked)), "changed": asked != before}

    async def _verified(self, device: DeviceView, asked: Any) -> Any:
        for _ in range(_VERIFY_TRIES):
            now = await self._pm_of(device)
            if pm_plain(now) == pm_plain(asked):
                return now
            await asyncio.sleep(_VERIFY_WAIT)
        raise StateTimeoutError(
            f"{device.kind.upper()} {device.key} took the PM configuration and has another one",
            step="the PM configuration to be as it was asked for",
            state=str(pm_plain(now)),
            remedy="Look who else changes it, then ask again",
        )
