"""Traps at an OLT's uplink: packets from the network that go to the controller, once for each OLT (section 4.4, first table).

LLDP, and what answers subscribers' DHCP, PPPoE and IGMP. Without meter and metadata; VOLTHA makes one flow at the OLT of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._errors import DeviceNotFoundError, FlowRejectedError, NoRouteError, ServiceConfigError
from .._follow import Seen
from ._builder import cookie_base
from ._flow import CONTROLLER, VLAN_PRESENT, Action, FlowSpec, device_flows
from ._messages import flow_update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotmac_isp.plugins.core.api import Lease, Storage

    from .._device import DeviceView
    from .._follow import Follower
    from .._session import Locks, Session

__all__ = ["TRAPS", "StoredUplink", "Uplinks", "uplink_flows"]

_PRIORITY: Final = 10000
_PREFIX: Final = "uplink/"
_UDP, _IGMP = 17, 2
#: The packets by name, and what is matched.
TRAPS: Final[Mapping[str, dict[str, Any]]] = {
    "lldp": {"eth_type": 0x88CC},
    "dhcp": {"eth_type": 0x0800, "ip_proto": _UDP, "udp_src": 67, "udp_dst": 68},
    "dhcpv6": {"eth_type": 0x86DD, "ip_proto": _UDP, "udp_src": 547, "udp_dst": 546},
    "igmp": {"eth_type": 0x0800, "ip_proto": _IGMP},
    "pppoe": {"eth_type": 0x8863},
}


class StoredUplink(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted at one OLT's uplink, and what was installed for it."""

    olt_serial: str
    traps: tuple[str, ...]
    dhcp_vlan: int | None = None
    logical_device_id: str = ""
    flows: tuple[FlowSpec, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The traps as `list_uplink_traps` gives them."""
        return {
            "olt_serial_number": self.olt_serial,
            "traps": list(self.traps),
            "dhcp_vlan": self.dhcp_vlan,
            "flows": [str(flow.id) for flow in self.flows],
        }


def uplink_flows(traps: Sequence[str], nni: int, cookie: int, dhcp_vlan: int | None = None) -> tuple[FlowSpec, ...]:
    """The flows of an uplink's traps. With `dhcp_vlan` DHCP is trapped in that VLAN only."""
    return tuple(
        FlowSpec(
            table=0,
            priority=_PRIORITY,
            cookie=cookie | number,
            in_port=nni,
            vlan=None if dhcp_vlan is None or name != "dhcp" else VLAN_PRESENT | dhcp_vlan,
            actions=(Action("output", CONTROLLER),),
            **TRAPS[name],
        )
        for number, name in enumerate(traps, 1)
    )


class Uplinks:
    """The uplinks' traps of one tenant."""

    def __init__(self, storage: Storage, *, tenant: str, locks: Locks) -> None:
        self._storage: Final = storage
        self._tenant: Final = tenant
        self._locks: Final = locks

    async def every(self) -> list[StoredUplink]:
        """All that are stored."""
        return [msgspec.convert(document.value, StoredUplink) for document in await self._storage.list(_PREFIX)]

    async def set(
        self, session: Session, olt: DeviceView, traps: Sequence[str], dhcp_vlan: int | None, follower: Follower
    ) -> StoredUplink:
        """Trap these packets at the OLT's uplink, and no others; seen in VOLTHA's table and on the OLT."""
        wanted = _checked(traps, dhcp_vlan)
        async with self._locks[f"uplink/{olt.key}"]:
            document = await self._storage.get(_PREFIX + olt.key)
            former = None if document is None else msgspec.convert(document.value, StoredUplink)
            item = StoredUplink(olt_serial=olt.key, traps=wanted, dhcp_vlan=dhcp_vlan)
            item = await self._placed(session, olt, item)
            kept = {flow.id for flow in item.flows}
            if former is not None:
                gone = [flow for flow in former.flows if flow.id not in kept]
                await _delete(session, former.logical_device_id, gone)
            # What is stored stands first: should this host die here, the reconciler ends it.
            await self._save(item)
            await _put_in(session, olt, item, follower)
            return item

    async def ensure(
        self, session: Session, olt: DeviceView, item: StoredUplink, follower: Follower, lease: Lease | None
    ) -> None:
        """Bring what is stored back; where the OLT has another logical device now, there."""
        async with self._locks[f"uplink/{olt.key}"]:
            placed = await self._placed(session, olt, item)
            if placed != item:
                await self._save(placed, lease)
            await _put_in(session, olt, placed, follower)

    async def _placed(self, session: Session, olt: DeviceView, item: StoredUplink) -> StoredUplink:
        uplinks = (await session.logical_ports(olt.parent_id)).uplinks
        if not uplinks:
            raise NoRouteError(f"OLT {olt.key} has no uplink port yet")
        nni = min(port.port_no for port in uplinks)
        cookie = cookie_base(self._tenant, "uplink", olt.key)
        flows = uplink_flows(item.traps, nni, cookie, item.dhcp_vlan)
        return msgspec.structs.replace(item, logical_device_id=olt.parent_id, flows=flows)

    async def _save(self, item: StoredUplink, lease: Lease | None = None) -> None:
        key = _PREFIX + item.olt_serial
        if item.traps:
            await self._storage.put(key, msgspec.to_builtins(item), lease=lease)
        else:
            await self._storage.delete(key, lease=lease)


def _checked(traps: Sequence[str], dhcp_vlan: int | None) -> tuple[str, ...]:
    unknown = [name for name in traps if name not in TRAPS]
    if unknown or isinstance(traps, str):
        raise ServiceConfigError(
            f"no trap {traps if isinstance(traps, str) else unknown[0]!r}", remedy=f"Give a list of {', '.join(TRAPS)}"
        )
    if dhcp_vlan is not None and not 1 <= dhcp_vlan <= VLAN_PRESENT - 2:
        raise ServiceConfigError(f"dhcp_vlan is {dhcp_vlan}", remedy="Give a VLAN id from 1 to 4094, or leave it out")
    return tuple(name for name in TRAPS if name in traps)


async def _put_in(session: Session, olt: DeviceView, item: StoredUplink, follower: Follower) -> None:
    for flow in item.flows:
        update = flow_update(item.logical_device_id, flow, "add", xid=flow.cookie & 0x7FFFFFFF)
        await session.client.call("UpdateLogicalDeviceFlowTable", update)

    async def look() -> tuple[Seen, bool]:
        logical = (await session.logical_flows(item.logical_device_id)).cookies
        lost = [flow for flow in item.flows if logical.get(flow.id) != flow.cookie]
        if lost:
            raise FlowRejectedError(f"VOLTHA took back {len(lost)} traps of OLT {olt.key}")
        own = (await session.device_flows(olt.id)).cookies
        absent = sum(number not in own for flow in item.flows for _, number in device_flows(flow))
        return Seen(reached=not absent, state=f"{absent} are not on the OLT"), True

    await follower.until(f"the traps at the uplink of OLT {olt.key}", look)


async def _delete(session: Session, logical_device_id: str, flows: Sequence[FlowSpec]) -> None:
    for flow in flows:
        try:
            update = flow_update(logical_device_id, flow, "delete")
            await session.client.call("UpdateLogicalDeviceFlowTable", update)
        except DeviceNotFoundError:
            return  # the logical device is gone, and its flows with it
    if flows:
        session.forget_lists(logical_device_id)
