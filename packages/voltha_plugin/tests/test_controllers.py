"""A controller that programs the flows: asked over its documented REST interface, and what it did seen in VOLTHA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    ControllerError,
    ForeignFlowsError,
    ServiceConfigError,
    ServiceConflictError,
    StateTimeoutError,
    UnsupportedByVolthaError,
    VolthaIntegrationPlugin,
)

from .controllers import Onos, Programmer, Vgc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPEED = {"bandwidth_down": 100000, "bandwidth_up": 50000}
QINQ = {"tagging": "double", "uni_tag": 35, "c_tag": 901, "s_tag": 900, **SPEED}


async def serve(app: web.Application) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.fixture
async def programmer(active_olt: tuple[Any, str]) -> AsyncIterator[Programmer]:
    made = Programmer(active_olt[0].target)
    yield made
    await made.close()


@pytest.fixture
async def vgc(programmer: Programmer, host: Any) -> AsyncIterator[Vgc]:
    controller = Vgc(programmer)
    runner, port = await serve(controller.app())
    host.change(flow_owner="vgc", voltha_rest_port=port, flow_timeout=3.0)
    yield controller
    await runner.cleanup()


@pytest.fixture
async def onos(programmer: Programmer, host: Any) -> AsyncIterator[Onos]:
    controller = Onos(programmer)
    runner, port = await serve(controller.app())
    host.change(flow_owner="onos", voltha_rest_port=port, flow_timeout=3.0)
    host.secrets.values |= {"controller-username": "onos", "controller-password": "rocks"}
    yield controller
    await runner.cleanup()


async def test_vgc_programs_a_service_changes_it_and_takes_it_away(
    vgc: Vgc, plugin: VolthaIntegrationPlugin, simulator: Any
) -> None:
    serial = simulator.serial_numbers[0]
    made = await plugin.add_subscriber_flow(serial, "sub/1 ä", QINQ)
    assert (made["created"], made["owner"], made["status"], made["flows"]) == (True, "vgc", "active", [])
    [(name, (port, entry))] = vgc.services.items()
    assert (port, entry["uniTagMatch"], entry["ponCTag"], entry["ponSTag"]) == (f"{serial}-1", 35, 901, 900)
    assert name.startswith("dm")
    assert (entry["usPonCTagPriority"], entry["technologyProfileId"]) == (-1, 64)
    assert {profile["eir"] for profile in vgc.profiles.values()} == {100000, 50000}
    assert not (await plugin.add_subscriber_flow(serial, "sub/1 ä", QINQ))["created"]
    changed = await plugin.change_subscriber_speed(serial, "sub/1 ä", {"bandwidth_down": 7000})
    assert changed["changed"]
    assert {profile["eir"] for profile in vgc.profiles.values()} == {7000, 50000}, "profiles of nobody are gone"
    assert (await plugin.suspend_subscriber(serial, "sub/1 ä"))["changed"]
    assert vgc.services == {}
    assert (await plugin.restore_subscriber(serial, "sub/1 ä"))["changed"]
    assert (await plugin.remove_subscriber_flow(serial, "sub/1 ä"))["flows"] == 4
    assert (vgc.services, vgc.profiles) == ({}, {})
    assert await plugin.list_subscribers() == []


async def test_removing_one_service_of_vgc_leaves_those_with_longer_names(
    vgc: Vgc, plugin: VolthaIntegrationPlugin, simulator: Any
) -> None:
    serial = simulator.serial_numbers[0]
    for number in (1, 10):
        config = {
            **QINQ,
            "name": f"s{number}",
            "c_tag": 900 + number,
            "uni_tag": number,
            "technology_profile": 64 + number,
        }
        await plugin.add_subscriber_flow(serial, f"sub-{number}", config)
    await plugin.remove_subscriber_flow(serial, "sub-1")
    assert [entry["ponCTag"] for _, entry in vgc.services.values()] == [910]


async def test_what_vgc_lost_is_given_to_it_again(vgc: Vgc, plugin: VolthaIntegrationPlugin, simulator: Any) -> None:
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", QINQ)
    for port, entry in vgc.services.values():
        await vgc.programmer.remove(port, entry)
    vgc.services.clear()
    [step] = (await plugin.plan_services())["steps"]
    assert (step["action"], "vgc has no flows" in step["reason"]) == ("add", True)
    assert len((await plugin.reconcile_services())["repaired"]) == 1
    assert len(vgc.services) == 1


async def test_a_refusal_of_the_controller_is_told_in_its_words_and_leaves_nothing(
    vgc: Vgc, plugin: VolthaIntegrationPlugin, simulator: Any, host: Any
) -> None:
    vgc.broken = 503
    with pytest.raises(ControllerError, match=r"503: VGC is out of order"):
        await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", QINQ)
    vgc.broken = 0
    with pytest.raises(ServiceConfigError, match="EAPOL"):
        await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", {**QINQ, "eapol": True})
    host.change(controller_address="127.0.0.1:1")
    with pytest.raises(ControllerError, match="does not answer"):
        await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", QINQ)


async def test_one_olt_has_one_who_programs_it(
    vgc: Vgc, plugin: VolthaIntegrationPlugin, simulator: Any, host: Any
) -> None:
    first, second = simulator.serial_numbers[:2]
    await plugin.add_subscriber_flow(first, "sub-1", QINQ)
    host.change(flow_owner="direct")
    with pytest.raises(ServiceConflictError, match="programmed by 'vgc'"):
        await plugin.add_subscriber_flow(second, "sub-2", {**QINQ, "c_tag": 902})
    host.change(flow_owners={"BBSIM_OLT_10": "vgc"})
    assert (await plugin.add_subscriber_flow(second, "sub-2", {**QINQ, "c_tag": 902}))["owner"] == "vgc"
    for subscriber, serial in (("sub-1", first), ("sub-2", second)):
        await plugin.remove_subscriber_flow(serial, subscriber)
    host.change(flow_owners={})
    assert (await plugin.add_subscriber_flow(first, "sub-1", QINQ))["owner"] == "direct"
    host.change(flow_owner="vgc")
    with pytest.raises(ServiceConflictError, match="programmed by 'direct'"):
        await plugin.add_subscriber_flow(second, "sub-2", {**QINQ, "c_tag": 902})


@pytest.mark.parametrize(
    ("priority", "cookie", "owner"),
    [(100, (901 << 52) | 0x0200, r"VOLTHA Go controller \(VGC\): 4"), (1000, 65 << 48, r"ONOS \(app 65\): 4")],
)
async def test_direct_mode_refuses_where_a_controller_is_at_work_and_says_whose_flows_there_are(
    programmer: Programmer,
    plugin: VolthaIntegrationPlugin,
    simulator: Any,
    host: Any,
    priority: int,
    cookie: int,
    owner: str,
) -> None:
    first, second = simulator.serial_numbers[:2]
    entry = {"uniTagMatch": 35, "ponCTag": 901, "ponSTag": 900, "technologyProfileId": 64}
    await programmer.add(f"{first}-1", entry, priority, cookie)
    with pytest.raises(ForeignFlowsError, match=owner):
        await plugin.add_subscriber_flow(second, "sub-2", {**QINQ, "c_tag": 902})
    host.change(foreign_flows="allow")
    assert (await plugin.add_subscriber_flow(second, "sub-2", {**QINQ, "c_tag": 902}))["created"]
    assert list((await plugin.plan_services())["foreign"]) == ["BBSIM_OLT_10"]


async def test_onos_programs_what_sadis_says(onos: Onos, plugin: VolthaIntegrationPlugin, simulator: Any) -> None:
    serial = simulator.serial_numbers[0]
    onos.sadis[f"{serial}-1"] = [{"uniTagMatch": 35, "ponCTag": 901, "ponSTag": 900, "technologyProfileId": 64}]
    assert (await plugin.add_subscriber_flow(serial, "sub-1", QINQ))["owner"] == "onos"
    assert not (await plugin.add_subscriber_flow(serial, "sub-1", QINQ))["created"]
    with pytest.raises(UnsupportedByVolthaError, match="Sadis"):
        await plugin.change_subscriber_speed(serial, "sub-1", {"bandwidth_down": 7000})
    assert (await plugin.remove_subscriber_flow(serial, "sub-1"))["flows"] == 4
    with pytest.raises(StateTimeoutError, match="onos to program"):
        await plugin.add_subscriber_flow(serial, "sub-1", {**QINQ, "c_tag": 999})
    assert await plugin.list_subscribers() == []


async def test_onos_without_its_password_is_told_so(
    onos: Onos, plugin: VolthaIntegrationPlugin, simulator: Any, host: Any
) -> None:
    host.secrets.values["controller-password"] = "wrong"
    with pytest.raises(ControllerError, match="401") as refused:
        await plugin.add_subscriber_flow(simulator.serial_numbers[0], "sub-1", QINQ)
    assert "controller-password" in str(refused.value.remedy)
    assert "wrong" not in str(refused.value)
