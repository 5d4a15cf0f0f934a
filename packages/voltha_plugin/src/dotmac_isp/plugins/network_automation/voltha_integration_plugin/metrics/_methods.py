"""The methods on measured values that the plugin's handle has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.model import PluginContext

    from ..stacks._stacks import Stacks

__all__ = ["MetricMethods"]


class MetricMethods:
    """Values of devices: measured now, published by VOLTHA, configured, and as they were."""

    if TYPE_CHECKING:

        @property
        def _stacks(self) -> Stacks: ...

    async def collect_metrics(
        self,
        resource_ids: Sequence[str] = (),
        context: PluginContext | None = None,  # noqa: ARG002 - the host ends it at the deadline
    ) -> dict[str, Any]:
        """Counts of the tenant, and by resource (id or serial number) `samples` with Prometheus names, and `errors`.

        ONUs that are named are asked for optical levels, distance and user ports, OLTs for ports and counts, both for what the
        setting `metric_values` names; with an empty list every device comes with what VOLTHA published last, and none is asked.
        """
        return await self._stacks.collect_metrics(resource_ids)

    async def get_value(self, device_id: str, value: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask a device for one value, by voltctl's name: `onu_pon_optical_info`, `portstats`, `onu_distance`, ….

        `options`: `port` (a label: `pon-0`, `nni-16777216`), `uni` (from 1), `reset`, `app`, `serial_number`, as the value takes them.
        Raises `UnsupportedByVolthaError` where the device or its adapter does not have it.
        """
        work = await self._stacks.holding(device_id)
        return await work.values.value(await work.devices.require(device_id), value, options or {})

    async def set_offload(self, device_id: str, apps: Mapping[str, Any]) -> dict[str, Any]:
        """Let an OLT relay DHCP (`dhcpv4`, `dhcpv6`) and PPPoE (`pppoe`) by itself; `access_node_id` is its name there."""
        work = await self._stacks.holding(device_id)
        return await work.values.set_offload(await work.devices.require(device_id, "olt"), apps)

    async def set_onu_offload(
        self, device_id: str, uni: int = 1, circuit_id: str = "", remote_id: str = ""
    ) -> dict[str, Any]:
        """What the OLT puts into DHCP (option 82) and PPPoE that it relays for a user port of an ONU: circuit and remote id."""
        work = await self._stacks.holding(device_id)
        onu = await work.devices.require(device_id, "onu")
        return await work.values.set_onu_offload(onu, uni, circuit_id=circuit_id, remote_id=remote_id)

    async def get_pm_config(self, device_id: str) -> dict[str, Any]:
        """What VOLTHA measures of a device by itself and how often (seconds)."""
        work = await self._stacks.holding(device_id)
        return await work.values.pm(await work.devices.require(device_id))

    async def set_pm_config(self, device_id: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Change it: `default_freq`, `max_skew`, an OLT's `metrics` by name, an ONU's `groups` by name; gives the whole of it.

        For example `{"groups": {"PON_Optical": {"enabled": True, "freq": 60}}}`. It is read again and has to be so.
        """
        work = await self._stacks.holding(device_id)
        return await work.values.set_pm(await work.devices.require(device_id), config)

    async def metric_history(
        self, device_id: str, name: str = "", since: float = 0.0, until: float | None = None, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Values of a device over time: by series `name`, `labels` and `points` (`[Unix time, value]`, oldest first).

        As many days are kept as the setting `metric_history_days` says, over restarts and also of devices that are gone.
        """
        work = await self._stacks.holding(device_id)
        device = await work.session.directory.find(device_id)
        key = device_id if device is None else device.key
        end = time.time() if until is None else until
        return await work.values.history.read(key, name=name, since=since, until=end, limit=max(limit, 1))
