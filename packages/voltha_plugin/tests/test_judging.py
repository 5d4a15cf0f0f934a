"""What VOLTHA's answers mean: errors by status and text, devices by state, changes as events, the installer's judgement."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dotmac_isp.plugins.core.errors import CredentialsRefused, NotReady
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    AdapterError,
    DeviceBusyError,
    DeviceNotFoundError,
    DeviceView,
    DuplicateDeviceError,
    FlowRejectedError,
    NoRouteError,
    RequestRefusedError,
    ServiceConfig,
    StateTimeoutError,
    UnsupportedByVolthaError,
    VolthaCredentialsError,
    VolthaError,
    VolthaUnavailableError,
    WrongPlaceError,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._changes import changes
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._failures import classify
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._follow import Follower, Seen
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._onu import OnuPlace, judge_onu
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._shared_reads import SharedReads
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._flow import device_flows
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._installer import judge


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNKNOWN", "device is already pre-provisioned", DuplicateDeviceError),
        ("ALREADY_EXISTS", "ip address already in use", DuplicateDeviceError),
        ("UNKNOWN", "no-device-info-present; MAC or HOSTIP&PORT", RequestRefusedError),
        ("UNKNOWN", "adapter-not-registered-for-device-type nosuchtype", AdapterError),
        ("UNAVAILABLE", "adapter-connection-down-for-1b", AdapterError),
        ("UNAVAILABLE", "adapter(s)-not-ready", NoRouteError),
        ("UNKNOWN", "no connection to 127.0.0.1:50061", AdapterError),
        ("UNKNOWN", "no downstream route from:9999 to:0 :no route", NoRouteError),
        ("UNKNOWN", "device-cannot-process-request-1b", DeviceBusyError),
        ("UNKNOWN", "unimplemented", UnsupportedByVolthaError),
        ("UNKNOWN", "flowModify not implemented", UnsupportedByVolthaError),
        ("UNIMPLEMENTED", "disabling of Port Type ETHERNET_NNI unimplemented", UnsupportedByVolthaError),
        ("NOT_FOUND", "1b", DeviceNotFoundError),
        ("FAILED_PRECONDITION", "deviceId:1b, invalid-admin-state:PREPROVISIONED", RequestRefusedError),
        ("INVALID_ARGUMENT", "no change in device address", RequestRefusedError),
        ("ABORTED", "failed deleting flows id:5, errors:[rpc error: code = Aborted desc = timeout]", AdapterError),
        ("UNAVAILABLE", "system is not ready", VolthaUnavailableError),
        ("UNAVAILABLE", "error reading from server: EOF", VolthaUnavailableError),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", VolthaUnavailableError),
        ("UNAUTHENTICATED", "", VolthaCredentialsError),
        ("PERMISSION_DENIED", "no", VolthaCredentialsError),
        ("UNKNOWN", "something else", VolthaError),
    ],
)
def test_a_failure_is_classified_by_status_and_text(code: str, details: str, kind: type[VolthaError]) -> None:
    error = classify("SomeCall", code, details, target="VOLTHA at x:1")
    assert type(error) is kind
    assert (error.rpc, error.code, error.details) == ("SomeCall", code, details)


def test_the_runtime_sees_its_own_classes_of_failure() -> None:
    not_ready = classify("GetVoltha", "UNAVAILABLE", "system is not ready", target="x")
    away = classify("GetVoltha", "UNAVAILABLE", "connect failed", target="x")
    assert isinstance(not_ready, NotReady)
    assert isinstance(not_ready, VolthaUnavailableError)
    assert not_ready.reachable
    assert isinstance(away, VolthaUnavailableError)
    assert not away.reachable
    assert isinstance(classify("GetVoltha", "UNAUTHENTICATED", ""), CredentialsRefused)


def onu(**values: Any) -> DeviceView:
    base = DeviceView(
        id="onu-1",
        is_olt=False,
        device_type="brcm_openomci_onu",
        serial="BBSM000a0001",
        parent_id="olt-1",
        admin="ENABLED",
        oper="ACTIVE",
        connect="REACHABLE",
        reason="initial-mib-downloaded",
        pon=0,
        onu_id=1,
    )
    return msgspec.structs.replace(base, **values)


def olt(**values: Any) -> DeviceView:
    base = onu(id="olt-1", is_olt=True, serial="OLT", parent_id="logical", reason="", pon=-1, onu_id=-1)
    return msgspec.structs.replace(base, **values)


@pytest.mark.parametrize(
    ("states", "status", "ready"),
    [
        ({}, "active", True),
        ({"reason": "omci-flows-pushed"}, "active", True),
        ({"reason": "tech-profile-config-download-failed"}, "active", False),
        ({"oper": "ACTIVATING", "reason": "starting-openomci"}, "activating", False),
        ({"oper": "DISCOVERED", "connect": "UNREACHABLE", "reason": "stopping-openomci"}, "unreachable", False),
        ({"admin": "DISABLED", "oper": "UNKNOWN", "reason": "omci-admin-lock"}, "disabled", False),
        ({"oper": "RECONCILING"}, "reconciling", False),
        ({"oper": "RECONCILING_FAILED"}, "failed", False),
    ],
)
def test_an_onu_is_ready_when_it_takes_flows(states: dict[str, str], status: str, ready: bool) -> None:
    device = onu(**states)
    assert (device.status, device.is_ready) == (status, ready)


def test_an_onu_is_off_when_its_adapter_is_done() -> None:
    off = onu(admin="DISABLED", oper="UNKNOWN")
    assert not off.is_switched_off, "the reason comes a moment later"
    assert not onu(admin="DISABLED", reason="omci-admin-lock").is_switched_off
    assert onu(admin="DISABLED", oper="UNKNOWN", reason="omci-admin-lock").is_switched_off
    assert onu(admin="DISABLED", oper="DISCOVERED", connect="UNREACHABLE").is_switched_off
    assert olt(admin="DISABLED", oper="UNKNOWN").is_switched_off
    assert not onu(reason="omci-admin-lock").is_ready


def told(before: list[DeviceView], after: list[DeviceView]) -> list[str]:
    return [event.event_type for event in changes(before, after, source="voltha_integration", tenant_id="t")]


def test_changes_become_events() -> None:
    gone = onu(oper="DISCOVERED", connect="UNREACHABLE", reason="stopping-openomci")
    assert told([], [olt(), onu(oper="ACTIVATING")]) == ["olt_discovered", "olt_active", "onu_discovered"]
    assert told([onu()], [onu()]) == []
    assert told([onu()], [onu(reason="omci-flows-pushed")]) == []
    assert told([onu()], [gone]) == ["onu_unreachable"]
    assert told([gone], [onu()]) == ["onu_active"]
    assert told([onu()], []) == ["onu_removed"]
    off = onu(admin="DISABLED", oper="UNKNOWN")
    assert told([off], [onu(admin="DISABLED", oper="DISCOVERED", connect="UNREACHABLE")]) == ["onu_state_changed"]


def test_an_onu_with_a_new_id_is_the_same_onu() -> None:
    events = changes([onu()], [onu(id="onu-2")], source="s", tenant_id="t")
    assert [event.event_type for event in events] == ["onu_state_changed"]
    assert events[0].attributes["previous_device_id"] == "onu-1"
    assert (events[0].serial_number, events[0].tenant_id) == ("BBSM000a0001", "t")


def test_an_olt_that_gets_its_serial_number_is_the_same_olt() -> None:
    before = olt(serial="", admin="PREPROVISIONED", oper="UNKNOWN", connect="UNKNOWN")
    assert told([before], [olt()]) == ["olt_active"]


def test_an_onu_somewhere_else_says_where() -> None:
    other = olt(id="olt-2", serial="OTHER")
    devices = [olt(), other, onu()]
    assert judge_onu(devices, olt(), OnuPlace(serial="BBSM000a0001", pon=0, onu_id=1)) == onu()
    assert judge_onu(devices, olt(), OnuPlace(serial="ABSENT")) is None
    with pytest.raises(WrongPlaceError, match=r"not on PON 1.*OLT OLT, PON 0, with ONU id 1"):
        judge_onu(devices, olt(), OnuPlace(serial="BBSM000a0001", pon=1))
    with pytest.raises(WrongPlaceError, match=r"not ONU id 7.*ONU id 1"):
        judge_onu(devices, olt(), OnuPlace(serial="BBSM000a0001", onu_id=7))
    with pytest.raises(WrongPlaceError, match=r"not below OLT OTHER.*OLT OLT"):
        judge_onu(devices, other, OnuPlace(serial="BBSM000a0001"))


FLOWS = service_flows(
    ServiceConfig.parse({"s_tag": 900, "bandwidth_down": 1000, "bandwidth_up": 1000}),
    Place(
        olt_serial="OLT",
        onu_serial="N",
        olt_id="olt-1",
        onu_id="onu-1",
        logical_device_id="l",
        uni_port=256,
        nni_port=16777216,
    ),
    MeterIds(0x10000, 0x10000, 0x10000, 0x10000),
    0x100,
)
LOGICAL = {flow.id: flow.cookie for flow in FLOWS}
ON_OLT, ON_ONU = (
    {number: flow.cookie for flow in FLOWS for place, number in device_flows(flow) if place == side}
    for side in ("olt", "onu")
)


def judged(logical: dict[int, int], on_olt: dict[int, int], on_onu: dict[int, int], device: DeviceView | None) -> Seen:
    tables: list[Any] = [SimpleNamespace(cookies=cookies) for cookies in (logical, on_olt, on_onu)]
    return judge(FLOWS, tables[0], tables[1], tables[2], device)


def test_a_service_is_there_when_every_list_has_it_and_the_onu_says_so() -> None:
    pushed = onu(reason="omci-flows-pushed")
    assert judged(LOGICAL, ON_OLT, ON_ONU, pushed).reached
    assert not judged(LOGICAL, ON_OLT, ON_ONU, onu()).reached, "the ONU has not said so yet"
    missing = judged(LOGICAL, {}, ON_ONU, pushed)
    assert not missing.reached
    assert "2 of its flows" in missing.state
    assert "OLT" in missing.state


@pytest.mark.parametrize("which", range(4))
def test_a_flow_that_voltha_took_back_fails_the_service_at_once(which: int) -> None:
    left = {key: cookie for key, cookie in LOGICAL.items() if key != FLOWS[which].id}
    with pytest.raises(FlowRejectedError, match=f"table {FLOWS[which].table}"):
        judged(left, ON_OLT, ON_ONU, onu())


def test_a_flow_that_somebody_replaced_fails_the_service() -> None:
    with pytest.raises(FlowRejectedError):
        judged({**LOGICAL, FLOWS[2].id: 99}, ON_OLT, ON_ONU, onu(reason="omci-flows-pushed"))


def test_an_onu_that_refuses_the_technology_profile_fails_the_service() -> None:
    with pytest.raises(FlowRejectedError, match="tech-profile-config-download-failed"):
        judged(LOGICAL, ON_OLT, ON_ONU, onu(reason="tech-profile-config-download-failed"))
    with pytest.raises(FlowRejectedError, match="went away"):
        judged(LOGICAL, ON_OLT, ON_ONU, None)


async def test_following_says_which_step_hangs_in_which_state() -> None:
    looks = 0

    async def look() -> tuple[Seen, bool]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise VolthaUnavailableError("VOLTHA is away")
        return Seen(reached=False, state="ENABLED/ACTIVATING/UNKNOWN"), True

    with pytest.raises(StateTimeoutError, match=r"provision x.*OLT to be ACTIVE.*ENABLED/ACTIVATING/UNKNOWN") as caught:
        await Follower("provision x", 0.2).until("OLT to be ACTIVE", look)
    assert (caught.value.step, caught.value.state) == ("OLT to be ACTIVE", "ENABLED/ACTIVATING/UNKNOWN")
    assert looks > 1


async def test_readers_share_a_read_that_began_after_they_asked() -> None:
    began: list[int] = []
    gate = asyncio.Event()

    async def read(key: str) -> int:
        began.append(len(began))
        number = len(began)
        await gate.wait()
        return number

    reads = SharedReads(read)
    first = asyncio.create_task(reads.fresh("x"))
    await asyncio.sleep(0)
    later = [asyncio.create_task(reads.fresh("x")) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 5


async def test_a_reader_that_is_cancelled_leaves_nobody_waiting() -> None:
    gate = asyncio.Event()

    async def read(key: str) -> str:
        await gate.wait()
        return "read"

    reads = SharedReads(read)
    first = asyncio.create_task(reads.fresh("x"))
    await asyncio.sleep(0)
    leader, follower = (asyncio.create_task(reads.fresh("x")) for _ in range(2))
    await asyncio.sleep(0)
    leader.cancel()
    gate.set()
    assert await first == "read"
    assert await follower == "read"


async def test_a_read_that_fails_fails_for_all_and_the_next_one_works() -> None:
    answers: list[Any] = ["first", VolthaError("no"), "again"]

    async def read(key: str) -> Any:
        await asyncio.sleep(0)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reads = SharedReads(read)
    results = await asyncio.gather(*(reads.fresh("x") for _ in range(3)), return_exceptions=True)
    assert results[0] == "first"
    assert [type(each) for each in results[1:]] == [VolthaError, VolthaError]
    assert await reads.fresh("x") == "again"
