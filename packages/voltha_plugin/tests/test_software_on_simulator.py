"""ONU software against the simulator's own images: loaded from a real HTTP server, started with the ONU's restart, kept."""

from __future__ import annotations

from typing import Any

import pytest

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaError, VolthaIntegrationPlugin

NEW = "BBSM_IMG_00002"


async def test_an_image_is_loaded_started_and_kept(
    plugin: VolthaIntegrationPlugin, active_olt: Any, onu_images: str
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    within = PluginContext.within(30)
    await plugin.download_image(serial, NEW, f"{onu_images}/{NEW}.img", context=within)
    await plugin.activate_image(serial, NEW, context=within)
    await plugin.commit_image(serial, NEW, context=within)
    shown = await plugin.list_images(serial)
    assert (shown["active"], shown["committed"]) == (NEW, NEW)
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert status["status"] == "active"


async def test_an_image_that_is_not_there_or_is_another_is_told_and_restarts_nothing(
    plugin: VolthaIntegrationPlugin, active_olt: Any, onu_images: str
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    start = len(simulator.events)
    for version, name in (("BBSM_IMG_00404", "nope"), ("BBSM_IMG_00777", NEW)):
        with pytest.raises(VolthaError):
            await plugin.download_image(serial, version, f"{onu_images}/{name}.img", context=PluginContext.within(20))
        with pytest.raises(VolthaError):
            await plugin.activate_image(serial, version, context=PluginContext.within(20))
    told = [event.name for event in simulator.events[start:]]
    assert "ONU_DYING_GASP_RAISE_EVENT" not in told
