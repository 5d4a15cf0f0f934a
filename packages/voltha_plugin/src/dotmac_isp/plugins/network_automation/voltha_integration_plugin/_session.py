"""What works with one VOLTHA while the plugin is active: the client, its shared reads, the directory, one lock per thing changed."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from dotmac_isp.plugins.core.model import Secret

from ._client import Endpoint, Login, VolthaClient, identified
from ._device import DeviceView, from_proto
from ._directory import Directory
from ._errors import DeviceNotFoundError, VolthaConfigurationError
from ._shared_reads import SharedReads
from .services._flow import is_nni
from .services._foreign import foreign_flows
from .services._messages import (
    count_queues,
    count_tunnels,
    listed_meters,
    referenced_meters,
    source_ports,
    written_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from dotmac_isp.plugins.core.api import PluginAPI

    from ._settings import VolthaSettings
    from .services._meter import Band

__all__ = ["FlowTable", "Locks", "Session", "open_session"]

_SHARED_OLT: Final = 1.0


class FlowTable:
    """One list of flows as VOLTHA gave it: cookies by flow id, and the meters in use (looked up when asked for)."""

    def __init__(self, flows: Any) -> None:
        self.cookies: Final[dict[int, int]] = {flow.id: flow.cookie for flow in flows.items}
        self._flows: Final = flows

    @property
    def meters(self) -> set[int]:
        """The ids of the meters that these flows use."""
        return referenced_meters(self._flows)

    def listed(self, flow_id: int) -> Any:
        """One flow as VOLTHA listed it, or `None`."""
        return next((flow for flow in self._flows.items if flow.id == flow_id), None)

    def written(self, flow_ids: Collection[int]) -> dict[int, int]:
        """What these flows write as metadata (tags, technology profile, port), by flow id; 0: nothing."""
        return written_metadata(self._flows, flow_ids)

    @cached_property
    def sources(self) -> frozenset[int]:
        """The ports from which these flows come."""
        return frozenset(source_ports(self._flows))

    @cached_property
    def queues(self) -> dict[tuple[int, int], tuple[int, int]]:
        """How many flows come from and go to each user port, by port and technology profile."""
        return count_queues(self._flows)

    @cached_property
    def tunnels(self) -> dict[int, int]:
        """How many of an OLT's own flows belong to each user port."""
        return count_tunnels(self._flows)

    @cached_property
    def foreign(self) -> dict[str, int]:
        """How many flows here are not of this plugin, by who seems to have made them."""
        return foreign_flows(self._flows)


class PortList(list[Any]):
    """The ports of a logical device (`logical_device.LogicalPort`), in no order, and by device once that is asked."""

    @cached_property
    def by_device(self) -> dict[str, dict[str, int]]:
        """The numbers of each device's ports by their names."""
        found: dict[str, dict[str, int]] = {}
        for port in self:
            found.setdefault(port.device_id, {})[port.ofp_port.name] = port.ofp_port.port_no
        return found

    @cached_property
    def uplinks(self) -> list[Any]:
        """The uplinks (`openflow_13.ofp_port`)."""
        return [port.ofp_port for port in self if is_nni(port.ofp_port.port_no)]


class Locks:
    """A lock for each name, for as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


class Session:
    """One connection and what is asked over it. A changed address makes a new session."""

    def __init__(self, client: VolthaClient) -> None:
        self.client: Final = client
        self._reads: Final = SharedReads(self._read)
        self.directory: Final = Directory(client, self._reads)

    async def _read(self, key: tuple[str, str]) -> Any:
        rpc, wanted = key
        answer = await self.client.call(rpc, identified(wanted) if wanted else None)
        match rpc:
            case "GetDevice":
                return from_proto(answer)
            case "ListDevices":
                return [from_proto(device) for device in answer.items]
            case "ListLogicalDeviceMeters":
                return listed_meters(answer)
            case "ListLogicalDeviceFlows" | "ListDeviceFlows":
                return FlowTable(answer)
            case "ListLogicalDevicePorts":
                return PortList(answer.items)
            case _:
                return list(answer.items)

    async def devices(self) -> list[DeviceView]:
        """All devices now."""
        return await self.directory.every()

    async def _ask(self, rpc: str, name: str, age: float) -> Any:
        """One answer, read after this call, or at most `age` seconds before it."""
        return await (self._reads.recent((rpc, name), age) if age else self._reads.fresh((rpc, name)))

    async def olt(self, device_id: str) -> DeviceView | None:
        """An OLT as it was at most a second ago: many ask at once while its services are installed."""
        try:
            found: DeviceView = await self._ask("GetDevice", device_id, _SHARED_OLT)
        except DeviceNotFoundError:
            return None
        return found

    async def logical_flows(self, logical_device_id: str, *, age: float = 0.0) -> FlowTable:
        """The flows of an OLT's logical device, read after this call, or at most `age` seconds before it."""
        table: FlowTable = await self._ask("ListLogicalDeviceFlows", logical_device_id, age)
        return table

    async def device_flows(self, device_id: str) -> FlowTable:
        """The flows on a device, read after this call."""
        table: FlowTable = await self._reads.fresh(("ListDeviceFlows", device_id))
        return table

    async def meters(self, logical_device_id: str, *, age: float = 0.0) -> dict[int, tuple[Band, ...]]:
        """The meters of a logical device, read after this call, or at most `age` seconds before it."""
        meters: dict[int, tuple[Band, ...]] = await self._ask("ListLogicalDeviceMeters", logical_device_id, age)
        return meters

    def forget_lists(self, logical_device_id: str) -> None:
        """Flows or meters were deleted: what was listed before says nothing any more."""
        for rpc in ("ListLogicalDeviceMeters", "ListLogicalDeviceFlows"):
            self._reads.forget((rpc, logical_device_id))

    async def logical_ports(self, logical_device_id: str, *, age: float = 0.0) -> PortList:
        """The ports of a logical device; `age` as in `logical_flows`."""
        ports: PortList = await self._ask("ListLogicalDevicePorts", logical_device_id, age)
        return ports


async def open_session(api: PluginAPI, login: Login) -> Session:
    """Make the session that the settings describe. Nothing is sent yet; grpcio connects at the first call."""
    settings: VolthaSettings = api.settings
    target, options = api.grpc_target(settings.voltha_host, settings.voltha_port)
    identity = await _identity(api) if settings.voltha_tls else {}
    endpoint = Endpoint(
        target=target,
        label=f"VOLTHA at {settings.voltha_host}:{settings.voltha_port}",
        options=tuple(options),
        tls=settings.voltha_tls,
        **identity,
    )
    client = VolthaClient(
        endpoint, login, call_timeout=settings.call_timeout, patience=settings.retry_time, logger=api.logger
    )
    return Session(client)


async def _identity(api: PluginAPI) -> dict[str, Any]:
    """Whom we trust, and who we are: certificates, and the key from its file or from the secret."""
    settings: VolthaSettings = api.settings
    found: dict[str, Any] = {"authorities": await _pem("voltha_tls_ca", settings.voltha_tls_ca)}
    if settings.voltha_tls_certificate is None:
        return found
    found["certificate"] = await _pem("voltha_tls_certificate", settings.voltha_tls_certificate)
    if settings.voltha_tls_key is not None:
        text = (await _pem("voltha_tls_key", settings.voltha_tls_key)).decode("ascii", "replace")
        return found | {"key": Secret("voltha-client-key", text)}
    key = await api.secrets.get("voltha-client-key")
    if key is None:
        raise VolthaConfigurationError(
            "voltha_tls_certificate is set, and there is no key to it",
            field="voltha_tls_key",
            remedy="Give the key's PEM file as voltha_tls_key, or its text as the secret voltha-client-key",
        )
    return found | {"key": key}


async def _pem(field: str, path: Path | None) -> bytes:
    return b"" if path is None else await asyncio.to_thread(_read_pem, field, path)


def _read_pem(field: str, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VolthaConfigurationError(
            f"{field} {str(path)!r} cannot be read: {error.strerror or error}",
            field=field,
            remedy="Give a PEM file, or leave it out",
        ) from None
    if b"-----BEGIN " not in content:
        raise VolthaConfigurationError(
            f"{field} {str(path)!r} is no PEM file: it has no BEGIN line", field=field, remedy="Give a PEM file"
        )
    return content
