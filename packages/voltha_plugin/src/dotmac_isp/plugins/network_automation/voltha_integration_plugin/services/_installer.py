"""Putting meters and flows into VOLTHA, seeing that they arrived on the devices, and taking them out again (section 4.7).

Each flow call answers before the adapters have done anything; a flow that they refuse disappears again. So a service counts as
installed when its flows are in the logical table and on OLT and ONU, the ONU says that they were pushed, and all of it is so
after a moment of waiting (surprise 6: the ONU's reason alone says nothing about downstream).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from .._errors import (
    AdapterError,
    DeviceBusyError,
    DeviceNotFoundError,
    FlowRejectedError,
    NoRouteError,
    RequestRefusedError,
)
from .._follow import Follower, Seen
from ._flow import FlowSpec, device_flows
from ._messages import flow_update, meter_update
from ._slots import release_slot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from .._device import DeviceView
    from .._session import FlowTable, Locks, Session
    from ._builder import Place
    from ._index import ServiceIndex
    from ._meter import MeterSpec
    from ._stored import StoredService

__all__ = [
    "add_flows",
    "add_meters",
    "is_installed",
    "judge",
    "missing_on_devices",
    "remove_flows",
    "remove_meters",
    "verify",
]

_PUSHED: Final = "omci-flows-pushed"
_FAILED_REASONS: Final = ("tech-profile-config-download-failed",)
#: Reasons that tell of something else that was done to the ONU (surprises 8 and 36) and may stay when nothing new is pushed.
_LASTING_REASONS: Final = ("onu-reenabled", "omci-flows-deleted")
#: A list this many seconds old says enough about meters that were there already.
_RECENT: Final = 2.0
#: While the ONU has not said that its flows were pushed, the tables are looked at this often: a refused flow shows there.
_TABLES_EVERY: Final = 0.4
#: No ONU has pushed its flows sooner than this (recordings, timing): looking before is in vain.
_SOONEST: Final = 0.03


async def add_meters(session: Session, item: StoredService, locks: Locks, follower: Follower) -> None:
    """Add the meters that are not there, and wait until they are listed: a flow right after its meter can fail.

    The service must be in the index already, so that nobody deletes a meter that it found.
    """
    for meter in item.meters:
        await _add_meter(session, item.place, meter, locks[f"meter/{item.place.olt_serial}/{meter.id}"], follower)


async def _add_meter(session: Session, place: Place, meter: MeterSpec, lock: asyncio.Lock, follower: Follower) -> None:
    """One of many who want the meter adds it; the others wait for that and then share one look at the list."""
    async with lock:
        if (await session.meters(place.logical_device_id, age=_RECENT)).get(meter.id) == meter.bands:
            return
        if (await session.meters(place.logical_device_id)).get(meter.id) == meter.bands:
            return
        update = meter_update(place.logical_device_id, meter, "add")
        await session.client.call("UpdateLogicalDeviceMeterTable", update)
        await _await_meter(session, place, meter, follower)


async def _await_meter(session: Session, place: Place, meter: MeterSpec, follower: Follower) -> None:
    async def look() -> tuple[Seen, bool]:
        listed = (await session.meters(place.logical_device_id)).get(meter.id)
        if listed is not None and listed != meter.bands:
            raise FlowRejectedError(f"meter {meter.id} of OLT {place.olt_serial} has other bands: {listed}")
        return Seen(reached=listed is not None, state="not listed"), True

    await follower.until(f"meter {meter.id} to be listed on OLT {place.olt_serial}", look)


async def remove_meters(session: Session, item: StoredService, locks: Locks, index: ServiceIndex) -> int:
    """Delete those of the service's meters that nobody uses any more; the service itself must be out of `index`.

    A meter that any listed flow uses stays, whoever's flow it is: deleting it would drop that flow (surprise 15).
    """
    place, removed = item.place, 0
    for meter in dict.fromkeys(item.meters):
        async with locks[f"meter/{place.olt_serial}/{meter.id}"]:
            if index.uses_of(place.olt_serial, meter.id):
                continue
            try:
                if meter.id in (await session.logical_flows(place.logical_device_id)).meters:
                    continue
                if meter.id not in await session.meters(place.logical_device_id):
                    continue
                await session.client.call(
                    "UpdateLogicalDeviceMeterTable", meter_update(place.logical_device_id, meter, "delete")
                )
                session.forget_lists(place.logical_device_id)
                removed += 1
            except DeviceNotFoundError:
                return removed  # the logical device is gone, and its meters with it
    return removed


async def add_flows(session: Session, item: StoredService) -> None:
    """Add the flows in their order."""
    for flow in item.flows:
        update = flow_update(item.place.logical_device_id, flow, "add", xid=flow.cookie & 0x7FFFFFFF)
        await session.client.call("UpdateLogicalDeviceFlowTable", update)


async def verify(session: Session, item: StoredService, follower: Follower, *, settle: float, before: str = "") -> None:
    """Follow the flows until they are on the devices to stay; raises `FlowRejectedError` or `StateTimeoutError`.

    `before` is the ONU's reason before its flows were added.
    """
    step = f"the flows of subscriber {item.key.subscriber_id!r} on OLT {item.place.olt_serial} and ONU {item.key.onu_serial}"
    looked, settled = time.monotonic(), False
    await asyncio.sleep(min(_SOONEST, follower.remaining))

    async def look() -> tuple[Seen, bool]:
        nonlocal looked, settled
        onu = await session.client.device(item.place.onu_id)
        pushed = _says_pushed(item.flows, onu, before)
        if pushed and not settled:
            release_slot()
            await asyncio.sleep(min(settle, follower.remaining))
            settled = True
        elif not pushed and onu is not None and time.monotonic() - looked < _TABLES_EVERY:
            return Seen(reached=False, state=f"ONU {onu.state}"), True
        looked = time.monotonic()
        return await _look(session, item, onu, before), True

    await follower.until(step, look)


async def _look(session: Session, item: StoredService, onu: DeviceView | None, before: str) -> Seen:
    place = item.place
    logical, olt, own = await asyncio.gather(
        session.logical_flows(place.logical_device_id),
        session.device_flows(place.olt_id),
        session.device_flows(place.onu_id),
    )
    return judge(item.flows, logical, olt, own, onu, before=before)


def _says_pushed(flows: Sequence[FlowSpec], onu: DeviceView | None, before: str) -> bool:
    """Whether the ONU's reason is what it should be; without flows upstream nothing is pushed to it."""
    if onu is None:
        return False
    lasting = before in _LASTING_REASONS and onu.reason == before
    return onu.reason == _PUSHED or lasting or not any(flow.upstream for flow in flows)


def judge(
    flows: Sequence[FlowSpec],
    logical: FlowTable,
    on_olt: FlowTable,
    on_onu: FlowTable,
    onu: DeviceView | None,
    *,
    before: str = "",
) -> Seen:
    """What the lists say about a service whose flows were just added; raises `FlowRejectedError` for what will not come any more."""
    if onu is None:
        raise FlowRejectedError("the ONU went away while its flows were added")
    if onu.reason in _FAILED_REASONS:
        raise FlowRejectedError(
            f"the ONU refused its configuration: {onu.state}", remedy="Check the technology profile"
        )
    lost = [flow for flow in flows if logical.cookies.get(flow.id) != flow.cookie]
    if lost:
        raise FlowRejectedError(
            f"VOLTHA took back {_named(lost)} (ONU {onu.state})",
            remedy="Its RPC events have the reason; often the technology profile, or another service's meter on this UNI",
        )
    missing = missing_on_devices(flows, on_olt.cookies, on_onu.cookies)
    if missing:
        return Seen(reached=False, state=f"missing on the devices: {_named(missing)} (ONU {onu.state})")
    return Seen(reached=_says_pushed(flows, onu, before), state=f"ONU {onu.state}")


def missing_on_devices(
    flows: Sequence[FlowSpec], on_olt: Mapping[int, int], on_onu: Mapping[int, int]
) -> list[FlowSpec]:
    """The flows that OLT or ONU do not have, by what VOLTHA lists for them."""
    lists = {"olt": on_olt, "onu": on_onu}
    return [flow for flow in flows if any(number not in lists[side] for side, number in device_flows(flow))]


def _named(flows: Sequence[FlowSpec]) -> str:
    names = [f"{'upstream' if flow.upstream else 'downstream'} table {flow.table} ({_devices(flow)})" for flow in flows]
    return f"{len(flows)} of its flows: {', '.join(names)}"


def _devices(flow: FlowSpec) -> str:
    return "+".join(side.upper() for side, _ in device_flows(flow))


async def is_installed(session: Session, item: StoredService) -> bool:
    """Whether everything that is remembered of a service is where it was put, and the ONU has not lost it (surprise 7)."""
    place = item.place
    try:
        logical, olt, own, onu = await asyncio.gather(
            session.logical_flows(place.logical_device_id),
            session.device_flows(place.olt_id),
            session.device_flows(place.onu_id),
            session.client.device(place.onu_id),
        )
    except DeviceNotFoundError:
        return False
    if onu is None or onu.has_lost_flows:
        return False
    listed = all(logical.cookies.get(flow.id) == flow.cookie for flow in item.flows)
    return listed and not missing_on_devices(item.flows, olt.cookies, own.cookies)


async def remove_flows(session: Session, item: StoredService, follower: Follower) -> int:
    """Delete exactly this service's flows, last added first, and follow that until they are gone; gives how many were listed.

    A flow that is listed with another cookie belongs to somebody else by now and is left alone. One that is not listed is
    deleted nevertheless: after a restart the core forgets flows that the devices still have (surprise 22).
    """
    place = item.place
    if not item.flows:
        return 0
    try:
        listed = (await session.logical_flows(place.logical_device_id)).cookies
    except DeviceNotFoundError:
        return 0  # the logical device is gone, and every flow with it
    ours = [flow for flow in item.flows if listed.get(flow.id, flow.cookie) == flow.cookie]
    for flow in reversed(ours):
        await _delete_flow(session, place, flow, follower)
    await _await_gone(session, item, ours, follower)
    session.forget_lists(place.logical_device_id)
    return sum(flow.id in listed for flow in ours)


async def _delete_flow(session: Session, place: Place, flow: FlowSpec, follower: Follower) -> None:
    """DELETE_STRICT. A busy adapter or device can be asked again; where port or device are gone there is nothing to delete."""
    update = flow_update(place.logical_device_id, flow, "delete")

    async def look() -> tuple[Seen, bool]:
        try:
            await session.client.call("UpdateLogicalDeviceFlowTable", update)
        except (AdapterError, DeviceBusyError, RequestRefusedError) as error:
            return Seen(reached=False, state=error.message), False
        except (NoRouteError, DeviceNotFoundError):
            return Seen(reached=True, state="gone"), True
        return Seen(reached=True, state="deleted"), True

    await follower.until(f"a flow of OLT {place.olt_serial} to be deleted", look)


async def _await_gone(session: Session, item: StoredService, flows: Sequence[FlowSpec], follower: Follower) -> None:
    async def look() -> tuple[Seen, bool]:
        logical = await _cookies(session.logical_flows(item.place.logical_device_id))
        lists = {
            "olt": await _cookies(session.device_flows(item.place.olt_id)),
            "onu": await _cookies(session.device_flows(item.place.onu_id)),
        }
        left = [
            flow
            for flow in flows
            if logical.get(flow.id) == flow.cookie
            or any(lists[side].get(number) == flow.cookie for side, number in device_flows(flow))
        ]
        return Seen(reached=not left, state=f"still there: {_named(left)}"), True

    await follower.until(f"the flows of subscriber {item.key.subscriber_id!r} to be gone", look)


async def _cookies(reading: Awaitable[FlowTable]) -> dict[int, int]:
    """The flows of a list; none when its device is gone."""
    try:
        return (await reading).cookies
    except DeviceNotFoundError:
        return {}
