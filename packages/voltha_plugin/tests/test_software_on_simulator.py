"""ONU software against the simulator's own images: loaded from a real HTTP server, started with the ONU's restart, kept."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaError, VolthaIntegrationPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW = "BBSM_IMG_00002"


class Images(BaseHTTPRequestHandler):
    """An image begins with its version, which is its name; `nope.img` is not there."""

    def do_HEAD(self) -> None:
        self.send_response(404 if "nope" in self.path else 200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.path.strip("/").removesuffix(".img").encode() + bytes(10_000))

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def images() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


async def test_an_image_is_loaded_started_and_kept(
    plugin: VolthaIntegrationPlugin, active_olt: Any, images: str
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    within = PluginContext.within(30)
    await plugin.download_image(serial, NEW, f"{images}/{NEW}.img", context=within)
    await plugin.activate_image(serial, NEW, context=within)
    await plugin.commit_image(serial, NEW, context=within)
    shown = await plugin.list_images(serial)
    assert (shown["active"], shown["committed"]) == (NEW, NEW)
    status = await plugin.get_device_status(serial)
    assert status is not None
    assert status["status"] == "active"


async def test_an_image_that_is_not_there_or_is_another_is_told_and_restarts_nothing(
    plugin: VolthaIntegrationPlugin, active_olt: Any, images: str
) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    start = len(simulator.events)
    for version, name in (("BBSM_IMG_00404", "nope"), ("BBSM_IMG_00777", NEW)):
        with pytest.raises(VolthaError):
            await plugin.download_image(serial, version, f"{images}/{name}.img", context=PluginContext.within(20))
        with pytest.raises(VolthaError):
            await plugin.activate_image(serial, version, context=PluginContext.within(20))
    told = [event.name for event in simulator.events[start:]]
    assert "ONU_DYING_GASP_RAISE_EVENT" not in told
