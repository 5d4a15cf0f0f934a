"""ONU software: nothing is activated that was not loaded, an ONU is followed while it restarts, a rollout stops by its rule.

The VOLTHA here is a real gRPC server that goes through the states of section 6.1 as they were recorded (file 10).
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voltha_protos import adapter_pb2, device_pb2, voltha_pb2, voltha_pb2_grpc

from dotmac_isp.plugins.core.model import PluginContext
from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    ForbiddenRequestError,
    RequestRefusedError,
    ServiceConfigError,
    StateTimeoutError,
    VolthaIntegrationPlugin,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.software import ImageState, Slots, next_step
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.software._image import ImageSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

S = device_pb2.ImageState
OLD, NEW = "IMG_00001", "IMG_00002"
URL = "http://images.local/IMG_00002.img"


class Onu:
    """An ONU with two slots, and what becomes of its next images."""

    def __init__(self, number: int) -> None:
        self.id, self.serial = f"onu-{number}", f"BBSM{number:08x}"
        self.slots = {OLD: [True, True], "IMG_00000": [False, False]}  # version: active, committed
        self.state: tuple[int, int, int] = (0, 0, 0)
        self.active = True
        self.reboots = 0
        #: "" works; "refuse" fails while loading, "fall back" starts with the old image, "dead" never comes back
        self.fate = ""


class ImageVoltha(voltha_pb2_grpc.VolthaServiceServicer):
    """As the real one answers; `step` is how long loading and starting take."""

    def __init__(self, count: int, step: float = 0.02) -> None:
        self.onus = {onu.id: onu for onu in map(Onu, range(1, count + 1))}
        self.step = step
        self.loading = self.most_loading = 0
        self.sent: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def GetVoltha(self, request: Any, context: Any) -> Any:  # noqa: N802 - VOLTHA's names
        return voltha_pb2.Voltha(version="{}")

    async def ListAdapters(self, request: Any, context: Any) -> Any:  # noqa: N802
        return adapter_pb2.Adapters()

    async def ListDevices(self, request: Any, context: Any) -> Any:  # noqa: N802
        olt = device_pb2.Device(
            id="olt-1", root=True, type="openolt", serial_number="OLT", parent_id="l", admin_state=2
        )
        olt.oper_status, olt.connect_status = 4, 2
        return device_pb2.Devices(items=[olt, *map(self._device, self.onus.values())])

    async def GetDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.id not in self.onus:
            await context.abort(grpc.StatusCode.NOT_FOUND, request.id)
        return self._device(self.onus[request.id])

    def _device(self, onu: Onu) -> Any:
        device = device_pb2.Device(id=onu.id, serial_number=onu.serial, parent_id="olt-1", admin_state=2)
        device.oper_status, device.connect_status = (4, 2) if onu.active else (1, 1)
        device.reason = "initial-mib-downloaded" if onu.active else "stopping-openomci"
        return device

    async def GetOnuImages(self, request: Any, context: Any) -> Any:  # noqa: N802
        images = device_pb2.OnuImages()
        for version, (active, committed) in self.onus[request.id].slots.items():
            images.items.add(version=version, isActive=active, isCommited=committed, isValid=True)
        return images

    def _answer(self, onu: Onu, version: str) -> Any:
        response = device_pb2.DeviceImageResponse()
        state = response.device_image_states.add(device_id=onu.id).imageState
        state.version = version
        state.download_state, state.reason, state.image_state = onu.state
        return response

    async def GetImageStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._answer(self.onus[request.device_id[0].id], request.version)

    async def DownloadImageToDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        onu = self.onus[request.device_id[0].id]
        self.sent.append(f"download {onu.serial}")
        if "missing" in request.image.url:
            response = self._answer(onu, request.image.version)
            state = response.device_image_states[0].imageState
            state.download_state, state.reason = S.DOWNLOAD_FAILED, S.INVALID_URL
            return response
        onu.state = (S.DOWNLOAD_STARTED, 0, S.IMAGE_DOWNLOADING)
        self.later(self._load(onu, request.image.version))
        return self._answer(onu, request.image.version)

    async def _load(self, onu: Onu, version: str) -> None:
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        await asyncio.sleep(self.step)
        self.loading -= 1
        if onu.state[0] != S.DOWNLOAD_STARTED:
            return
        if onu.fate == "refuse":
            onu.state = (S.DOWNLOAD_FAILED, S.IMAGE_REFUSED_BY_ONU, S.IMAGE_DOWNLOADING_ABORTED)
            return
        onu.slots = {key: value for key, value in onu.slots.items() if any(value)} | {version: [False, False]}
        onu.state = (S.DOWNLOAD_SUCCEEDED, 0, S.IMAGE_INACTIVE)

    async def ActivateImage(self, request: Any, context: Any) -> Any:  # noqa: N802
        onu = self.onus[request.device_id[0].id]
        self.sent.append(f"activate {onu.serial}")
        onu.state = (S.DOWNLOAD_SUCCEEDED, 0, S.IMAGE_ACTIVATING)
        onu.reboots += 1
        onu.active = False
        self.later(self._start(onu, request.version))
        return self._answer(onu, request.version)

    async def _start(self, onu: Onu, version: str) -> None:
        await asyncio.sleep(self.step)
        if onu.fate == "dead":
            return
        if onu.fate != "fall back":
            for key, value in onu.slots.items():
                value[0] = key == version
        onu.active = True
        onu.state = (S.DOWNLOAD_SUCCEEDED, 0, S.IMAGE_ACTIVE if onu.fate != "fall back" else S.IMAGE_ACTIVATION_ABORTED)

    async def CommitImage(self, request: Any, context: Any) -> Any:  # noqa: N802
        onu = self.onus[request.device_id[0].id]
        self.sent.append(f"commit {onu.serial}")
        for key, value in onu.slots.items():
            value[1] = key == request.version
        onu.state = (S.DOWNLOAD_SUCCEEDED, 0, S.IMAGE_COMMITTED)
        return self._answer(onu, request.version)

    async def AbortImageUpgradeToDevice(self, request: Any, context: Any) -> Any:  # noqa: N802
        onu = self.onus[request.device_id[0].id]
        self.sent.append(f"abort {onu.serial}")
        onu.state = (S.DOWNLOAD_CANCELLED, S.CANCELLED_ON_REQUEST, S.IMAGE_DOWNLOADING_ABORTED)
        return self._answer(onu, request.version)


@pytest.fixture
async def start(make_host: Callable[..., Any]) -> AsyncIterator[Callable[..., Any]]:
    """Starts a VOLTHA with ONUs, and an instance that speaks to it."""
    servers: list[grpc.aio.Server] = []
    plugins: list[VolthaIntegrationPlugin] = []

    async def begin(count: int = 1, step: float = 0.02, voltha: ImageVoltha | None = None) -> Any:
        voltha = voltha or ImageVoltha(count, step)
        server = grpc.aio.server()
        voltha_pb2_grpc.add_VolthaServiceServicer_to_server(voltha, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        host = make_host(SimpleNamespace(host="127.0.0.1", port=port), read_change_events=False)
        plugin = VolthaIntegrationPlugin(host)
        await plugin.activate()
        plugins.append(plugin)
        return plugin, voltha, host

    yield begin
    for plugin in plugins:
        await plugin.deactivate()
    for server in servers:
        await server.stop(None)


async def finished(plugin: VolthaIntegrationPlugin, rollout: str, limit: float = 30) -> dict[str, Any]:
    end = time.monotonic() + limit
    while (now := await plugin.upgrade_status(rollout))["state"] == "running":
        assert time.monotonic() < end, now
        await asyncio.sleep(0.02)
    return now


async def test_an_image_is_loaded_started_and_kept_and_nothing_is_done_twice(start: Any) -> None:
    plugin, voltha, _ = await start()
    serial = voltha.onus["onu-1"].serial
    for _ in range(2):
        loaded = await plugin.download_image(serial, NEW, URL)
        assert (loaded["reached"], NEW in loaded["images"]["valid"]) == ("loaded", True)
    for _ in range(2):
        started = await plugin.activate_image(serial, NEW)
        assert (started["reached"], started["status"], started["images"]["active"]) == ("active", "active", NEW)
    assert (await plugin.list_images(serial))["committed"] == OLD
    for _ in range(2):
        assert (await plugin.commit_image(serial, NEW))["images"]["committed"] == NEW
    assert voltha.sent == [f"download {serial}", f"activate {serial}", f"commit {serial}"]
    assert (await plugin.image_status(serial, NEW))["image_state"] == "COMMITTED"


async def test_activating_what_was_not_loaded_reboots_no_onu(start: Any) -> None:
    plugin, voltha, _ = await start()
    serial = voltha.onus["onu-1"].serial
    with pytest.raises(RequestRefusedError, match=f"no valid image {NEW}; it has {OLD}, IMG_00000"):
        await plugin.activate_image(serial, NEW)
    with pytest.raises(RequestRefusedError, match="no valid image"):
        await plugin.commit_image(serial, NEW)
    with pytest.raises(RequestRefusedError, match=f"runs {OLD}"):
        await plugin.commit_image(serial, "IMG_00000")
    assert (await plugin.abort_image(serial, NEW))["aborted"] is False
    assert (voltha.sent, voltha.onus["onu-1"].reboots) == ([], 0)
    back = await plugin.activate_image(serial, "IMG_00000")  # the other slot is a way back
    assert back["images"]["active"] == "IMG_00000"


async def test_a_bad_address_a_refusal_and_a_slow_onu_are_told_as_they_are(start: Any) -> None:
    plugin, voltha, _ = await start(2)
    one, two = voltha.onus["onu-1"], voltha.onus["onu-2"]
    with pytest.raises(RequestRefusedError, match="cannot load it from that address"):
        await plugin.download_image(one.serial, NEW, "http://images.local/missing.img")
    one.fate = "refuse"
    with pytest.raises(RequestRefusedError, match="the ONU refused it"):
        await plugin.download_image(one.serial, NEW, URL)
    one.fate = ""
    assert (await plugin.download_image(one.serial, NEW, URL))[
        "reached"
    ] == "loaded"  # what failed once may be tried again
    voltha.step = 60
    with pytest.raises(StateTimeoutError, match="load image") as caught:
        await plugin.download_image(two.serial, NEW, URL, context=PluginContext.within(1))
    assert caught.value.state == "loading"
    assert (await plugin.abort_image(two.serial, NEW))["aborted"] is True


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (ImageSpec(version="", url=URL), "1 to 14 characters"),
        (ImageSpec(version="a version with blanks", url=URL), "no blanks"),
        (ImageSpec(version=NEW, url="https://images.local/x"), "does not speak https"),
        (ImageSpec(version=NEW, url=""), "http://host/path"),
        (ImageSpec(version=NEW, url=URL, crc32=-1), "crc32"),
    ],
)
def test_an_image_that_cannot_be_is_refused(image: ImageSpec, said: str) -> None:
    with pytest.raises(ServiceConfigError, match=said):
        image.checked()


async def test_a_rollout_goes_canary_first_then_in_waves(start: Any) -> None:
    plugin, voltha, host = await start(8)
    rules = {"canary": 1, "wave": 4, "at_once": 2, "soak": 0.05}
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], rules)
    done = await finished(plugin, made["id"])
    assert (done["state"], done["done"], done["failed"], done["waves"]) == ("done", 8, 0, 3)
    canary = done["targets"][0]["serial"]
    assert voltha.sent[:3] == [f"download {canary}", f"activate {canary}", f"commit {canary}"]
    assert voltha.most_loading <= 2
    assert all(onu.slots[NEW] == [True, True] for onu in voltha.onus.values())
    assert len(await host.hooks.wait_for("onu_software_changed", 8)) == 8
    assert [each["id"] for each in await plugin.list_upgrades()] == [made["id"]]
    again = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], rules)
    sent = len(voltha.sent)
    assert (await finished(plugin, again["id"]))["done"] == 8
    assert len(voltha.sent) == sent


@pytest.mark.parametrize("fate", ["refuse", "fall back"])
async def test_a_canary_that_fails_stops_the_rollout(start: Any, fate: str) -> None:
    plugin, voltha, host = await start(4)
    voltha.onus["onu-1"].fate = fate
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], {"soak": 0, "timeout": 5})
    done = await finished(plugin, made["id"])
    assert (done["state"], done["failed"], done["waiting"]) == ("stopped", 1, 3)
    assert "the canary failed" in done["why"]
    (event,) = await host.hooks.wait_for("onu_rollout_stopped")
    assert event.severity == "warning"
    voltha.onus["onu-1"].fate = ""
    await plugin.resume_upgrade(made["id"])
    assert (await finished(plugin, made["id"]))["done"] == 4


async def test_an_onu_that_dies_while_it_soaks_is_not_committed(start: Any) -> None:
    plugin, voltha, _ = await start(3)
    rules = {"canary": 0, "wave": 3, "soak": 1.0, "stop_after": 3}
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], rules)
    end = time.monotonic() + 20
    while (await plugin.upgrade_status(made["id"]))["activated"] < 3:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    voltha.onus["onu-2"].active = False
    done = await finished(plugin, made["id"])
    assert (done["done"], done["failed"]) == (2, 1)
    assert voltha.onus["onu-2"].slots[NEW] == [True, False]
    assert "did not keep working" in done["targets"][1]["why"]


async def test_failures_after_the_canary_are_counted_against_the_limit(start: Any) -> None:
    plugin, voltha, _ = await start(9)
    for number in (3, 5):
        voltha.onus[f"onu-{number}"].fate = "refuse"
    rules = {"canary": 1, "wave": 4, "soak": 0, "stop_after": 2}
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], rules)
    done = await finished(plugin, made["id"])
    assert (done["state"], done["failed"], done["done"], done["waiting"]) == ("stopped", 2, 3, 4)
    assert "2 ONUs failed" in done["why"]


async def test_a_rollout_goes_on_after_the_instance_was_ended_in_the_middle(start: Any, make_host: Any) -> None:
    plugin, voltha, _ = await start(4, 0.3)
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], {"wave": 1, "soak": 0})
    end = time.monotonic() + 20
    while not voltha.sent:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    await plugin.deactivate()
    second, _, _ = await start(voltha=voltha)
    done = await finished(second, made["id"])
    assert (done["state"], done["done"]) == ("done", 4)
    assert sorted(voltha.sent) == sorted({*voltha.sent})  # nothing was sent twice


async def test_a_rollout_is_stopped_by_an_operator_and_its_onus_are_not_in_two(start: Any) -> None:
    plugin, voltha, _ = await start(3, 60)
    made = await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"])
    end = time.monotonic() + 20
    while not voltha.sent:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    with pytest.raises(RequestRefusedError, match="in another rollout"):
        await plugin.upgrade_onus({"version": NEW, "url": URL}, [voltha.onus["onu-2"].serial])
    stopped = await plugin.stop_upgrade(made["id"])
    assert (stopped["state"], stopped["why"]) == ("stopped", "an operator stopped it")
    assert voltha.sent[-1].startswith("abort")
    with pytest.raises(ServiceConfigError, match="wave is 0"):
        await plugin.upgrade_onus({"version": NEW, "url": URL}, ["OLT"], {"wave": 0})
    with pytest.raises(LookupError, match="no rollout"):
        await plugin.upgrade_status("nope")


@pytest.mark.parametrize("rpc", ["GetImageStatus", "ActivateImage", "CommitImage", "AbortImageUpgradeToDevice"])
def test_no_image_request_is_sent_without_its_onus(rpc: str) -> None:
    with pytest.raises(ForbiddenRequestError, match="names no ONU"):
        admit(rpc, device_pb2.DeviceImageRequest(version=NEW))


STATES = st.builds(
    ImageState,
    download=st.sampled_from(["UNKNOWN", "SUCCEEDED", "REQUESTED", "STARTED", "FAILED", "CANCELLED"]),
    reason=st.sampled_from(["NO_ERROR", "INVALID_URL", "CANCELLED_ON_ONU_STATE"]),
    image=st.sampled_from(["UNKNOWN", "INACTIVE", "ACTIVATING", "ACTIVE", "COMMITTED", "ACTIVATION_ABORTED"]),
)
VERSIONS = st.sampled_from(["", OLD, NEW, "IMG_00000"])
SLOTS = st.builds(Slots, VERSIONS, VERSIONS, st.lists(VERSIONS, max_size=2).map(tuple))


@given(
    slots=SLOTS,
    state=STATES,
    goal=st.sampled_from(["load", "activate", "commit"]),
    sent=st.sets(st.sampled_from(["download", "activate", "commit"])),
)
def test_whatever_voltha_says_only_what_the_onu_has_is_activated_and_only_what_runs_is_committed(
    slots: Slots, state: ImageState, goal: Any, sent: Any
) -> None:
    step = next_step(slots, state, NEW, goal, sent)
    if step.command is not None:
        assert step.command not in sent
    if step.command == "activate":
        assert NEW in slots.valid
        assert slots.active != NEW
    if step.command == "commit":
        assert slots.active == NEW
