"""Where a service goes: from an ONU and a UNI to the ports of the logical device (section 4.7, step 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._errors import NoRouteError, RequestRefusedError
from .._follow import Follower, Seen
from ._builder import Place

if TYPE_CHECKING:
    from .._device import DeviceView
    from .._session import PortList, Session

__all__ = ["find_place", "pick_ports"]

_LIVE: Final = 4
#: Ports seen this many seconds ago are taken as they were; a port that is missing there is looked for again.
_RECENT: Final = 2.0


async def find_place(session: Session, onu: DeviceView, uni: int, follower: Follower) -> Place:
    """Wait until the ONU takes flows and its UNI port is there, and say where that is.

    A disabled ONU is an error at once: VOLTHA would accept its flows, and nobody would get any traffic. `onu` is as it was seen a
    moment ago, so it is asked for again only when it was not ready.
    """
    fresh: list[DeviceView] = [onu]

    async def look() -> tuple[Seen, Place | None]:
        now = fresh.pop() if fresh else await session.client.device(onu.id)
        if now is None:
            return Seen(reached=False, state="gone from VOLTHA"), None
        if now.admin == "DISABLED":
            raise RequestRefusedError(
                f"ONU {now.serial} is disabled ({now.state})",
                remedy="Enable it with provision_onu or configure_device first",
            )
        if not now.is_ready:
            return Seen(reached=False, state=now.state), None
        return await _on_logical_device(session, now, uni)

    return await follower.until(f"ONU {onu.serial} to be ready for flows on UNI {uni}", look)


async def _on_logical_device(session: Session, onu: DeviceView, uni: int) -> tuple[Seen, Place | None]:
    olt = await session.olt(onu.parent_id)
    if olt is None or not olt.is_ready:
        return Seen(reached=False, state=f"ONU {onu.state}, its OLT {olt.state if olt else 'gone'}"), None
    ports = pick_ports(await session.logical_ports(olt.parent_id, age=_RECENT), onu, uni)
    if ports is None:
        ports = pick_ports(await session.logical_ports(olt.parent_id), onu, uni)
    if ports is None:
        return Seen(reached=False, state=f"ONU {onu.state}, no port {onu.serial}-{uni} on logical device"), None
    uni_port, nni_port = ports
    place = Place(
        olt_serial=olt.key,
        onu_serial=onu.serial,
        olt_id=olt.id,
        onu_id=onu.id,
        logical_device_id=olt.parent_id,
        uni_port=uni_port,
        nni_port=nni_port,
    )
    return Seen(reached=True, state=onu.state), place


def pick_ports(ports: PortList, onu: DeviceView, uni: int) -> tuple[int, int] | None:
    """The numbers of UNI `uni` (from 1) of the ONU and of the uplink, or `None` while the ONU has no port at all.

    Ports come in random order; a live uplink is taken before others, then the lowest number. The state of UNI ports is not
    looked at: after a restart of VOLTHA's core it stays down although the ONU works (surprise 21).
    """
    own, uplinks = ports.by_device.get(onu.id, {}), ports.uplinks
    if not own or not uplinks:
        return None
    name = f"{onu.serial}-{uni}"
    if name not in own:
        raise NoRouteError(f"ONU {onu.serial} has no UNI {uni}; it has the ports {', '.join(sorted(own))}")
    uplink = min(uplinks, key=lambda port: (port.state != _LIVE, port.port_no))
    return own[name], uplink.port_no
