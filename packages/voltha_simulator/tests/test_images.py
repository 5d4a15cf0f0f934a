"""ONU software as the real stack was recorded with it (file 10): what is answered step by step, from a real HTTP server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from voltha_protos import common_pb2, device_pb2

if TYPE_CHECKING:
    from dotmac_voltha_simulator import Simulator

pytestmark = pytest.mark.voltha_simulator(olts=1, pons=1, onus=2, time_factor=0.02)
FIRST, SECOND = "BBSM000a0001", "BBSM000a0002"


class Operator:
    """One ONU's software, asked for as a client does."""

    def __init__(self, client: Any, onu: str) -> None:
        self.client = client
        self.onu = onu

    async def download(self, version: str, url: str, **more: Any) -> tuple[str, ...]:
        request = self._request(device_pb2.DeviceImageDownloadRequest, **more)
        request.image.version, request.image.url, request.image.vendor = version, url, "BBSM"
        return _told(await self.client.voltha.DownloadImageToDevice(request))

    async def ask(self, rpc: str, version: str) -> tuple[str, ...]:
        request = self._request(device_pb2.DeviceImageRequest, version=version)
        return _told(await getattr(self.client.voltha, rpc)(request))

    async def until(self, version: str, *wanted: str) -> None:
        async with asyncio.timeout(10):
            while (seen := await self.ask("GetImageStatus", version)) != wanted:
                assert seen[0] in {"STARTED", wanted[0]}, seen
                await asyncio.sleep(0.005)

    async def slots(self) -> list[tuple[str, bool, bool]]:
        images = await self.client.voltha.GetOnuImages(common_pb2.ID(id=self.onu))
        return [(one.version, one.isCommited, one.isActive) for one in images.items]

    def _request(self, kind: Any, **fields: Any) -> Any:
        return kind(device_id=[common_pb2.ID(id=self.onu)], **fields)


def _told(response: Any) -> tuple[str, ...]:
    (entry,) = json_format.MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )["device_image_states"]
    state = entry["imageState"]
    parts = {"download_state": "DOWNLOAD_", "reason": "", "image_state": "IMAGE_"}
    return tuple(state[name].removeprefix(prefix) for name, prefix in parts.items())


@pytest.fixture
async def operator(client: Any, voltha_simulator: Simulator) -> Operator:
    await client.ready(voltha_simulator)
    return Operator(client, (await client.device(FIRST)).id)


async def test_download_activation_and_commit_go_the_recorded_way(
    operator: Operator, client: Any, voltha_simulator: Simulator, onu_images: str
) -> None:
    assert await operator.slots() == [("BBSM_IMG_00001", True, True), ("BBSM_IMG_00000", False, False)]
    said = await operator.download("BBSM_IMG_00002", f"{onu_images}/BBSM_IMG_00002.img")
    assert said == ("STARTED", "NO_ERROR", "UNKNOWN")
    await operator.until("BBSM_IMG_00002", "SUCCEEDED", "NO_ERROR", "INACTIVE")
    assert await operator.slots() == [("BBSM_IMG_00001", True, True), ("BBSM_IMG_00002", False, False)]
    subscription = voltha_simulator.subscribe()
    assert await operator.ask("ActivateImage", "BBSM_IMG_00002") == ("SUCCEEDED", "NO_ERROR", "ACTIVATING")
    assert await client.state(FIRST) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    event = await subscription.wait_for("ONU_ACTIVATED_RAISE_EVENT", serial_number=FIRST)
    assert event.message.device_event.context["software-version"] == "BBSM_IMG_00002"
    await operator.until("BBSM_IMG_00002", "SUCCEEDED", "NO_ERROR", "ACTIVE")
    assert await operator.slots() == [("BBSM_IMG_00001", True, False), ("BBSM_IMG_00002", False, True)]
    assert await operator.ask("CommitImage", "BBSM_IMG_00002") == ("SUCCEEDED", "NO_ERROR", "COMMITTING")
    await operator.until("BBSM_IMG_00002", "SUCCEEDED", "NO_ERROR", "COMMITTED")
    assert await operator.slots() == [("BBSM_IMG_00001", False, False), ("BBSM_IMG_00002", True, True)]


async def test_one_request_may_ask_for_all_steps(operator: Operator, onu_images: str) -> None:
    await operator.download(
        "BBSM_IMG_00003", f"{onu_images}/BBSM_IMG_00003.img", activateOnSuccess=True, commitOnSuccess=True
    )
    await operator.until("BBSM_IMG_00003", "SUCCEEDED", "NO_ERROR", "COMMITTED")
    assert (await operator.slots())[1] == ("BBSM_IMG_00003", True, True)


async def test_an_image_that_says_another_version_is_refused_by_the_onu(operator: Operator, onu_images: str) -> None:
    await operator.download("BBSM_IMG_00777", f"{onu_images}/small.img")
    await operator.until("BBSM_IMG_00777", "FAILED", "CANCELLED_ON_ONU_STATE", "DOWNLOADING_ABORTED")


@pytest.mark.parametrize("url", ["{onu_images}/nope.img", "http://127.0.0.1:1/x.img", "ftp://x/y"])
async def test_a_wrong_address_is_told_in_the_reply_alone(operator: Operator, onu_images: str, url: str) -> None:
    said = await operator.download("BBSM_IMG_00404", url.format(onu_images=onu_images))
    assert said == ("FAILED", "INVALID_URL", "UNKNOWN")
    assert await operator.ask("GetImageStatus", "BBSM_IMG_00404") == ("UNKNOWN", "NO_ERROR", "UNKNOWN")


async def test_activation_of_what_was_never_loaded_reboots_the_onu(operator: Operator, client: Any) -> None:
    assert await operator.ask("ActivateImage", "NONE") == ("UNKNOWN", "NO_ERROR", "ACTIVATING")
    assert await operator.ask("CommitImage", "NONE") == ("UNKNOWN", "CANCELLED_ON_ONU_STATE", "ACTIVATING")
    for rpc in ("AbortImageUpgradeToDevice", "GetImageStatus"):
        assert await operator.ask(rpc, "NONE") == ("UNKNOWN", "NO_ERROR", "UNKNOWN")
    assert await client.state(FIRST) == "ENABLED/DISCOVERED/UNREACHABLE stopping-openomci"
    await client.until_state(FIRST, "ENABLED/ACTIVE/REACHABLE initial-mib-downloaded")
    assert await operator.slots() == [("BBSM_IMG_00001", True, True), ("BBSM_IMG_00000", False, False)]


async def test_a_download_can_be_aborted_and_ends_with_its_onu(
    operator: Operator, client: Any, voltha_simulator: Simulator, onu_images: str
) -> None:
    await operator.download("BBSM_IMG_00013", f"{onu_images}/BBSM_IMG_00013.img")
    said = await operator.ask("AbortImageUpgradeToDevice", "BBSM_IMG_00013")
    assert said[:2] == ("STARTED", "CANCELLED_ON_REQUEST")
    said = await operator.ask("GetImageStatus", "BBSM_IMG_00013")
    assert said == ("CANCELLED", "CANCELLED_ON_REQUEST", "DOWNLOADING_ABORTED")
    other = Operator(client, (await client.device(SECOND)).id)
    await other.download("BBSM_IMG_00014", f"{onu_images}/BBSM_IMG_00014.img")
    await voltha_simulator.power_off(SECOND)
    said = await other.ask("GetImageStatus", "BBSM_IMG_00014")
    assert said == ("FAILED", "CANCELLED_ON_ONU_STATE", "UNKNOWN")


async def test_what_is_no_onu_gets_an_entry_of_its_own_and_without_ids_all_onus_answer(
    operator: Operator, client: Any, onu_images: str
) -> None:
    request = device_pb2.DeviceImageDownloadRequest(device_id=[common_pb2.ID(id="none")])
    request.image.version, request.image.url = "BBSM_IMG_00012", f"{onu_images}/BBSM_IMG_00012.img"
    said = _told(await client.voltha.DownloadImageToDevice(request))
    assert said == ("FAILED", "UNKNOWN_ERROR", "UNKNOWN")
    answer = await client.voltha.GetImageStatus(device_pb2.DeviceImageRequest(version="BBSM_IMG_00002"))
    assert {one.device_id for one in answer.device_image_states} == {
        (await client.device(serial)).id for serial in (FIRST, SECOND)
    }


async def test_the_legacy_calls_say_yes_and_do_nothing(operator: Operator, client: Any, refused: Any) -> None:
    old = device_pb2.ImageDownload(id=operator.onu, name="small.img", url="http://127.0.0.1", image_version="L1")
    await client.voltha.DownloadImage(old)
    assert (await refused(client.voltha.GetImageDownloadStatus(old))) == ("UNKNOWN", "unImplemented")
    done = device_pb2.ImageDownload.DOWNLOAD_SUCCEEDED
    assert (await client.voltha.GetImageDownload(old)).download_state == done
    listed = await client.voltha.ListImageDownloads(common_pb2.ID(id=operator.onu))
    assert [one.name for one in listed.items] == ["small.img"]
    await client.voltha.ActivateImageUpdate(old)
    words = f"device not in image download state {operator.onu}"
    assert (await refused(client.voltha.CancelImageDownload(old))) == ("ABORTED", words)
