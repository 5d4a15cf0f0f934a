"""The life of OLTs and ONUs as a real VOLTHA lived it: whole recordings, request by request (``data/README.md``).

Before the next request everything must have come that the real system showed until then: states of devices in their order, changes of
logical ports, events. Answers are compared in the fields that were recorded.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2, json_format, message_factory
from voltha_protos import common_pb2, voltha_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotmac_voltha_simulator import Simulator

DATA = Path(__file__).parent / "data"
SERVICE = voltha_pb2.DESCRIPTOR.services_by_name["VolthaService"]
PLACEHOLDER = re.compile(r"\$[A-Za-z0-9]+(?:\.\d+)?")
PATIENCE = 20.0
RECORDED_OLT = "127.0.0.1:50060"
RECORDED_IMAGES = "http://127.0.0.1:8099"


class Life:
    """Replays one recording."""

    def __init__(self, simulator: Simulator, client: Any, *, explained: frozenset[str]) -> None:
        self.simulator, self.client = simulator, client
        self._explained = explained
        self._needed: set[str] = set()
        self._failed: Counter[tuple[int, str]] = Counter()
        #: Whether ONUs can be taken over by an adapter that was started again: on one recorded stack they could not.
        self.reconciling_fails = True
        self._factor = simulator._stack.timers.factor
        #: Our ids by the recording's names for them: `$OLT`, `$BBSM000a0001`, `$BBSM000a0001.2` after it was found anew, `$LD`.
        self.ids: dict[str, str] = {}
        self.differences: list[str] = []
        self.images = RECORDED_IMAGES
        self._last = ""
        #: By device, what each field of its state was: administrative, operational, connection, reason.
        self._states: dict[str, tuple[list[str], ...]] = defaultdict(lambda: ([], [], [], []))
        self._ports: dict[str, list[str]] = defaultdict(list)
        self._gone: set[str] = set()
        self._made: dict[str, list[str]] = defaultdict(list)
        self._first_event = 0
        self._watch()

    def _watch(self) -> None:
        """Every state that a device has, also one that no reader of lists would see."""
        stack: Any = self.simulator._stack
        set_state, remember, forget = stack.set_state, stack.remember, stack.forget

        def note(record: Any) -> None:
            message = record.message
            values = (
                common_pb2.AdminState.Types.Name(message.admin_state),
                common_pb2.OperStatus.Types.Name(message.oper_status),
                common_pb2.ConnectStatus.Types.Name(message.connect_status),
                message.reason,
            )
            for seen, value in zip(self._states[record.id], values, strict=True):
                if seen[-1:] != [value]:
                    seen.append(value)

        def watched(record: Any, **states: Any) -> None:
            set_state(record, **states)
            note(record)

        def remembered(record: Any) -> None:
            remember(record)
            if record.message.serial_number:
                self._made[record.message.serial_number].append(record.id)
            note(record)

        def forgotten(record: Any) -> None:
            forget(record)
            self._gone.add(record.id)

        stack.set_state, stack.remember, stack.forget = watched, remembered, forgotten

    async def run(self, name: str) -> None:
        rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        reader = asyncio.create_task(self._read_changes())
        try:
            await self._rows(rows)
            await asyncio.sleep(0.1)
            await self._compare_changes(rows)
            await self._compare_events(rows)
            self._compare_failures(rows)
        finally:
            reader.cancel()

    async def _rows(self, rows: list[dict[str, Any]]) -> None:
        before = rows[0]["t"]
        for row, after in zip(rows, [*rows[1:], {}], strict=True):
            if row.get("call") == after.get("call") == "GetImageStatus" and row["request"] == after["request"]:
                continue  # one of many looks; where the next one is recorded, too, this one may be early or late
            await asyncio.sleep(max(0.0, row["t"] - before) * self._factor)
            before = row["t"]
            for kind, work in self._kinds().items():
                if kind in row:
                    await work(row)

    def _kinds(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return {"call": self._call, "state": self._state, "note": self._deed, "after": self._after}

    async def _deed(self, row: dict[str, Any]) -> None:
        """What was done to the hardware or the stack at this place."""
        note = row["note"]
        last = note.rsplit(maxsplit=1)[-1]
        simulator = self.simulator
        deeds: dict[str, Callable[[], Any]] = {
            "start-up lines": self._start_up,
            "onu shutdown": lambda: simulator.power_off(last),
            "onu poweron": lambda: simulator.power_on(last),
            "olt stopServer": simulator.cut_olt_link,
            "olt startServer": simulator.restore_olt_link,
            "stop rw_core": self._stop_core,
            "start rw_core": simulator.restart_core,
            "stop openolt": lambda: simulator.stop_adapter("openolt"),
            "start openolt": lambda: simulator.start_adapter("openolt"),
            "stop openonu": lambda: simulator.stop_adapter("brcm_openomci_onu"),
            "start openonu": self._start_onu_adapter,
        }
        for words, deed in deeds.items():
            if words in note:
                await deed()

    async def _stop_core(self) -> None:
        self.simulator.faults.core_down = True

    async def _start_onu_adapter(self) -> None:
        """After what was asked while it was away it gives its ONUs up (surprise 24)."""
        self.simulator.faults.reconciling_fails = self.reconciling_fails
        await self.simulator.start_adapter("brcm_openomci_onu")

    async def _start_up(self) -> None:
        await self.client.until(
            lambda devices: sum(device.reason == "initial-mib-downloaded" for device in devices) >= 4, PATIENCE
        )
        await asyncio.sleep(0.05)
        self._ports.clear()
        self._first_event = len(self.simulator.events)

    # ids

    async def _id(self, name: str) -> str:
        if name in self.ids:
            return self.ids[name]
        if name.startswith("$LD"):
            return await self._logical(name)
        serial, _, number = name[1:].partition(".")
        made = self._made[serial]
        wanted = int(number or 1)
        for _ in range(4000):
            if len(made) >= wanted:
                break
            await asyncio.sleep(0.005)
        else:
            pytest.fail(f"{name} never came: {dict(self._made)}, {self.differences}")
        self.ids[name] = made[wanted - 1]
        return self.ids[name]

    async def _logical(self, name: str) -> str:
        known = set(self.ids.values())
        for _ in range(4000):
            for item in (await self.client.voltha.ListLogicalDevices(empty_pb2.Empty())).items:
                if item.id not in known:
                    self.ids[name] = item.id
                    return str(item.id)
            await asyncio.sleep(0.005)
        pytest.fail(f"{name} never came: {self.differences}")

    async def _own(self, value: Any) -> Any:
        text = json.dumps(value).replace(RECORDED_OLT, self.simulator.olt_addresses[0])
        text = text.replace(RECORDED_IMAGES, self.images)
        for name in sorted(set(PLACEHOLDER.findall(text)), key=len, reverse=True):
            text = text.replace(name, await self._id(name))
        return json.loads(text)

    # calls

    async def _call(self, row: dict[str, Any]) -> None:
        method = SERVICE.methods_by_name[row["call"]]
        request = json_format.ParseDict(
            await self._own(row["request"]), message_factory.GetMessageClass(method.input_type)()
        )
        found, answer = await self._ask(row["call"], _sent(method, request))
        if row["call"] == "UpdateDevicePmConfigs" and request.id in self.ids.values():
            self._last = request.id
        if row["call"] == "CreateDevice" and answer is not None:
            self.ids[row["answer"]["id"]] = answer.id
        expected = (row["status"], await self._own(row.get("details", "")))
        named = f"{row['t']} {row['call']} {row.get('tag', '')}"
        if "ends_the_adapter" in row:
            if found[0] != "INVALID_ARGUMENT" or not found[1].startswith("the real VOLTHA would crash: "):
                self._differs(named, f"{found}, and not refused")
        elif found != expected:
            self._differs(named, f"{found}, recorded {expected}")
        elif row["call"] == "GetImageStatus":
            await self._follow_image(named, row, request)
        elif answer is not None and "answer" in row:
            await self._compare(named, row, answer)

    async def _follow_image(self, named: str, row: dict[str, Any], request: Any) -> None:
        """The loading of an image takes as long as HTTP does: its status is looked at until it is as recorded."""
        before = len(self.differences)
        for _ in range(300):
            del self.differences[before:]
            await self._compare(named, row, (await self._ask("GetImageStatus", request))[1])
            if len(self.differences) == before:
                return
            await asyncio.sleep(0.01)

    async def _ask(self, rpc: str, request: Any) -> tuple[tuple[str, str], Any]:
        try:
            return ("OK", ""), await getattr(self.client.voltha, rpc)(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return (error.code().name, error.details() or ""), None

    async def _compare(self, named: str, row: dict[str, Any], answer: Any) -> None:
        plain = json_format.MessageToDict(answer, preserving_proto_field_name=True)
        expected = await self._own(row["answer"])
        found = ANSWERS.get(row["call"], _whole)(plain)
        for path, theirs, ours in _unlike(expected, found):
            self._differs(f"{named} {path}", f"{ours!r}, recorded {theirs!r}")

    def _differs(self, where: str, what: str) -> None:
        known = {each for each in self._explained if re.search(each, f"{where}: {what}")}
        self._needed |= known
        if not known:
            self.differences.append(f"{where}: {what}")

    def check(self) -> None:
        """There is no difference but those that are explained, and each explanation is still needed."""
        assert self.differences == [], "\n".join(self.differences)
        assert sorted(self._explained - self._needed) == [], "explained, but no difference any more"

    async def _after(self, row: dict[str, Any]) -> None:
        """The settings of measurements as they are after the call before."""
        answer = await self.client.voltha.ListDevicePmConfigs(common_pb2.ID(id=self._last))
        found = {
            "default_freq": answer.default_freq,
            "freq_override": answer.freq_override,
            "grouped": answer.grouped,
            "groups": [[group.group_name, group.group_freq, group.enabled] for group in answer.groups],
            "metrics_disabled": [metric.name for metric in answer.metrics if not metric.enabled],
        }
        for path, theirs, ours in _unlike({key: row[key] for key in found}, found):
            self._differs(f"{row['t']} after {row['after']} {path}", f"{ours!r}, recorded {theirs!r}")

    # states and changes

    async def _state(self, row: dict[str, Any]) -> None:
        """Two adapters and the core write a device's state, and the poll that recorded it saw some fields written and others not
        yet: each field is followed on its own."""
        device = await self._id(row["device"])
        if row["state"] == "gone":
            await self._until(row, lambda: device in self._gone, lambda: "still there")
            return
        for field, value in enumerate(row["state"]):
            if value is None:
                continue  # data/README.md
            seen = self._states[device][field]
            if await self._until(row, lambda: value in seen, lambda: str(seen)):  # noqa: B023 - called at once
                del seen[: seen.index(value)]

    async def _until(self, row: dict[str, Any], reached: Callable[[], bool], shown: Callable[[], str]) -> bool:
        for _ in range(1500):
            if reached():
                return True
            await asyncio.sleep(0.002)
        self._differs(f"{row['t']} state of {row['device']}", f"{shown()}, recorded {row['state']}")
        return False

    async def _read_changes(self) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # the core restarts
                await self._read_stream()
            await asyncio.sleep(0.005)

    async def _read_stream(self) -> None:
        async for event in self.client.voltha.ReceiveChangeEvents(empty_pb2.Empty()):
            if event.HasField("port_status"):
                self._ports[event.port_status.desc.name].append(_change(event.port_status))
            elif event.HasField("device_status"):
                self._ports["device"].append(DEVICE_STATUS[event.device_status.status])
            elif event.HasField("error"):
                self._failed[event.error.header.xid, base64.b64encode(event.error.data).decode()] += 1

    async def _compare_changes(self, rows: list[dict[str, Any]]) -> None:
        recorded: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if "change" in row:
                recorded[row["port"]].append(row["change"])
        for port in sorted(recorded.keys() | self._ports.keys()):
            if _news(self._ports[port]) != _news(recorded[port]):
                self._differs(f"changes of port {port}", f"{self._ports[port]}, recorded {recorded[port]}")

    async def _compare_events(self, rows: list[dict[str, Any]]) -> None:
        recorded = Counter([f"{row['event']} {await self._own(row['of'])}" for row in rows if "event" in row])
        found = Counter(_told(event.message) for event in self.simulator.events[self._first_event :])
        del found[""]
        for name in sorted(recorded.keys() | found.keys()):
            if recorded[name] != found[name]:
                self._differs(f"event {name}", f"{found[name]} times, recorded {recorded[name]}")

    def _compare_failures(self, rows: list[dict[str, Any]]) -> None:
        """Which flows failed afterwards, as the change events and the RPC events tell it."""
        recorded = Counter((row["failed"], row["data"]) for row in rows if "failed" in row)
        flows = Counter(row["flow"] for row in rows if "flow" in row)
        if not recorded and not flows:
            return
        told = Counter(
            event.context["flow-id"] for event in self.simulator.events if event.name == "UpdateLogicalDeviceFlowTable"
        )
        for what, theirs, ours in (("FLOW_MOD_FAILED", recorded, self._failed), ("failed flows", flows, told)):
            if theirs != ours:
                self._differs(what, f"{sorted(ours.items())}, recorded {sorted(theirs.items())}")


def _sent(method: Any, request: Any) -> Any:
    """The request, or a stream of this one."""
    return iter([request]) if method.client_streaming else request


DEVICE_STATUS = ("OFPDEV_CONNECTED", "OFPDEV_DISCONNECTED")


def _news(changes: list[str]) -> list[str]:
    """Without what was said twice, and without a port's last words: whether it goes down before it goes is a matter of luck."""
    found: list[str] = []
    for change in changes:
        verb, _, state = change.partition(" ")
        if verb == "DELETE":
            if found and found[-1] == DOWN:
                found.pop()
            found.append(verb)
        elif verb != "MODIFY" or not found or found[-1].partition(" ")[2] != state:
            found.append(change)
    return found


DOWN = "MODIFY state 1 config 1"


def _told(message: Any) -> str:
    """A device event or RPC event and whom it is about; empty for state changes, which are compared as states, and values."""
    kind = message.WhichOneof("event_type")
    body = getattr(message, kind)
    if kind == "rpc_event":
        return f"RPC_ERROR {body.rpc} {body.resource_id}"
    if kind != "device_event" or "DEVICE_STATE_CHANGE" in body.device_event_name:
        return ""
    about = body.context.get("serial-number") or body.context.get("onu-serial-number") or body.resource_id
    return f"{body.device_event_name} {about}"


def _change(status: Any) -> str:
    reason = ("ADD", "DELETE", "MODIFY")[status.reason]
    return f"{reason} state {status.desc.state} config {status.desc.config}"


def _unlike(expected: Any, found: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where the recorded values are not there. What is empty may be left out."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = sorted(expected.keys() | found.keys())
        return [each for key in keys for each in _unlike(expected.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(expected, list) and isinstance(found, list):
        expected, found = sorted(expected, key=str), sorted(found, key=str)
    nothing = (expected in EMPTY or expected is None) and (found in EMPTY or found is None)
    return [] if expected == found or nothing else [(path, expected, found)]


EMPTY = ("", 0, False, [], "0", "UNKNOWN", "DOWNLOAD_UNKNOWN", "IMAGE_UNKNOWN", "NO_ERROR")


def _pick(item: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: item[name] for name in names if name in item}


DEVICE = (
    *("id", "type", "root", "admin_state", "oper_status", "connect_status", "reason", "host_and_port", "mac_address"),
    *("serial_number", "vendor", "model", "parent_id", "parent_port_no"),
)
PORT = ("port_no", "label", "type", "admin_state", "oper_status")


def _whole(plain: dict[str, Any]) -> Any:
    if "device_image_states" in plain:
        return {each["device_id"]: each["imageState"] for each in plain["device_image_states"]}
    return plain


def _measurements(plain: dict[str, Any]) -> Any:
    groups = {
        each["group_name"]: {
            "enabled": each.get("enabled", False),
            "freq": each.get("group_freq", 0),
            "metrics": {metric["name"]: metric.get("enabled", False) for metric in each.get("metrics", [])},
        }
        for each in plain.get("groups", [])
    }
    return {**_pick(plain, ("default_freq", "grouped", "freq_override")), "groups": groups}


def _logical_port(item: dict[str, Any]) -> dict[str, Any]:
    return {**_pick(item["ofp_port"], ("port_no", "state", "config")), **_pick(item, ("id", "device_id", "root_port"))}


def _items(plain: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plain.get("items", [])
    return found


LOGICAL = ("id", "datapath_id", "root_device_id")
IMAGE = ("isCommited", "isActive", "isValid")
ANSWERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "CreateDevice": lambda plain: _pick(plain, DEVICE),
    "GetDevice": lambda plain: _pick(plain, DEVICE),
    "ListDevices": lambda plain: {each["id"]: _pick(each, DEVICE) for each in _items(plain)},
    "ListDeviceIds": lambda plain: sorted(each["id"] for each in _items(plain)),
    "ListDevicePorts": lambda plain: {str(each["port_no"]): _pick(each, PORT) for each in _items(plain)},
    "ListLogicalDevicePorts": lambda plain: {each["ofp_port"]["name"]: _logical_port(each) for each in _items(plain)},
    "ListLogicalDevices": lambda plain: {each["id"]: _pick(each, LOGICAL[1:]) for each in _items(plain)},
    "GetLogicalDevice": lambda plain: _pick(plain, LOGICAL),
    "GetOnuImages": lambda plain: {each["version"]: _pick(each, IMAGE) for each in _items(plain)},
    "ListDevicePmConfigs": _measurements,
    "ListDeviceFlows": lambda plain: {str(each["id"]): each["cookie"] for each in _items(plain)},
    "ListLogicalDeviceFlows": lambda plain: {str(each["id"]): each["cookie"] for each in _items(plain)},
    "ListLogicalDeviceMeters": lambda plain: sorted(each["config"]["meter_id"] for each in _items(plain)),
}


#: What BBSim cannot do, and the simulator can, as OLTs of hardware (surprise 25): refused here in BBSim's words.
NOT_IN_BBSIM = {
    "DisableOnuDevice": (
        "disable-child-device-failed: rpc error: code = Unimplemented desc = unknown method DisableOnu for service openolt.Openolt",
        2,
    ),
    "DisableOnuSerialNumber": (
        (
            "disable-child-serial-number-failed: rpc error: code = Unimplemented desc = unknown method DisableOnuSerialNumber"
            " for service openolt.Openolt"
        ),
        1,
    ),
}
#: What an adapter tells when it speaks to something that has just gone. This and all other differences are explained in ``data/README.md``.
UPDATE_FAILED = r"^event ONU_UPDATE_COMMUNICATION_FAILED BBSIM_OLT_10: 0 times"
OMCI_FAILED = r"^event ONU_OMCI_COMMUNICATION_FAILURE_CONFIG \S+: 0 times"
STATE_FAILED = r"^event RPC_ERROR DeviceStateUpdate \S+: 0 times, recorded 1$"


@pytest.fixture
def live(voltha_simulator: Simulator, client: Any) -> Callable[..., Life]:
    return lambda *explained: Life(voltha_simulator, client, explained=frozenset(explained))


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_the_life_of_an_olt_and_its_onus(live: Callable[..., Life]) -> None:
    not_told = r"^event RPC_ERROR DisableOnu(Device|SerialNumber) \S+: 0 times"
    life = live(UPDATE_FAILED, OMCI_FAILED, STATE_FAILED, not_told)
    for rpc, (words, times) in NOT_IN_BBSIM.items():
        life.simulator.faults.refuse(rpc, "UNKNOWN", words, times)
    await life.run("olt_life")
    life.check()


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, unis=4, time_factor=0.02)
async def test_an_olt_that_is_deleted_with_services_and_by_force(live: Callable[..., Life]) -> None:
    life = live()
    await life.run("force_delete")
    life.check()


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02, onu_metrics=True)
async def test_settings_of_measurements(live: Callable[..., Life]) -> None:
    life = live()
    await life.run("pm")
    life.check()


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_software_of_onus(live: Callable[..., Life], onu_images: str) -> None:
    # The ONU of the last steps was still coming back from a restart (surprise 40).
    life = live(
        OMCI_FAILED,
        r"^71\.52 GetImageStatus",
        r"RPC_ERROR ActivateImageUpdate .*: 1 times, recorded 0",
        r"DYING_GASP_RAISE_EVENT BBSM000a0102: 1 times, recorded 2",
    )
    life.images = onu_images
    await life.run("onu_upgrade")
    life.check()


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_restarts_of_core_adapters_and_olt(live: Callable[..., Life]) -> None:
    life = live(
        UPDATE_FAILED,
        STATE_FAILED,
        r"^5\.922 ListDeviceIds core down",  # nobody listens at all; the simulator's process lives on and says "not ready"
        r"^40\.704 UpdateLogicalDeviceFlowTable DELETE_STRICT while openonu adapter is down",
        r"^45\.70[79] UpdateLogicalDeviceFlowTable DELETE_STRICT while openonu adapter is down",
        r"^45\.709 ListDeviceFlows openonu down brcm_openomci_onu BBSM000a0102",
        r"^event RPC_ERROR UpdateLogicalDeviceFlowTable \S+: 3 times, recorded 5",
        r"^changes of port nni-16777216",
    )
    await life.run("restarts")
    life.check()


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
@pytest.mark.parametrize(
    ("name", "explained"),
    [
        ("dt_subscriber", ()),
        ("att_qinq", (r"^event RPC_ERROR StreamPacketsOut \S+: 0 times, recorded 1$",)),
        ("tt_three_services", ()),
        ("flow_errors", ()),
        ("flow_replace", ()),
        ("adapter_restart", (OMCI_FAILED, r"^changes of port nni-16777216")),
        ("power_cycle", ()),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_services_of_subscribers(live: Callable[..., Life], name: str, explained: tuple[str, ...]) -> None:
    life = live(*explained)
    life.reconciling_fails = False
    await life.run(name)
    life.check()
    assert life.simulator.refused_crashes == (2 if name == "flow_errors" else 0)
