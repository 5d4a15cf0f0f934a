"""What a real VOLTHA answered, request by request (``data/README.md`` says where the rows come from)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import json_format, message_factory
from voltha_protos import extensions_pb2, voltha_pb2

EMPTY_ROWS = [json.loads(line) for line in (Path(__file__).parent / "data" / "empty.jsonl").read_text().splitlines()]


async def test_an_empty_stack_answers_every_call_with_the_recorded_status_and_text(client: Any) -> None:
    differences = []
    for row in EMPTY_ROWS:
        found = await _answer(client, row)
        expected = (row["status"], row.get("details", ""))
        if found != expected:
            differences.append((row["rpc"], row.get("request"), found, expected))
    assert differences == []


async def _answer(client: Any, row: dict[str, Any]) -> tuple[str, str]:
    service, _, name = row["rpc"].partition("/")
    module, stub = (extensions_pb2, client.extension) if service == "Extension" else (voltha_pb2, client.voltha)
    method = module.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    request = json_format.ParseDict(row["request"], message_factory.GetMessageClass(method.input_type)())
    try:
        await getattr(stub, name)(request, timeout=0.3 if row["status"] == "DEADLINE_EXCEEDED" else 10)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


def _rows(name: str) -> list[dict[str, Any]]:
    text = (Path(__file__).parent / "data" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


#: BBSim has no distances; the simulator has (data/README.md).
DIFFERENT_VALUES = {
    "distance on OLT",
    "distance of unknown ONU on OLT",
    "distance while ONU disabled",
    "distance while ONU off",
}


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_every_value_request_is_answered_as_recorded(voltha_simulator: Any, client: Any) -> None:
    olt, logical = await client.ready(voltha_simulator)
    onu = (await client.device("BBSM000a0001")).id
    differences = []
    for row in _rows("extension"):
        if "note" in row:
            await voltha_simulator.power_off("BBSM000a0001")
            continue
        own = json.dumps(row).replace("$OLT", olt).replace("$LD", logical).replace("$BBSM000a0001", onu)
        wanted = json.loads(own)
        found = await _value(client, wanted)
        if row.get("ends_the_adapter"):
            expected: tuple[Any, ...] = ("INVALID_ARGUMENT",)
            found = found[:1]
        else:
            expected = (
                wanted["status"],
                wanted.get("details", ""),
                *(wanted.get(key) for key in ("answer", "reason", "kind")),
            )
        if found != expected and row.get("tag") not in DIFFERENT_VALUES:
            differences.append((row["rpc"], row.get("tag"), found, expected))
    assert differences == []


async def _value(client: Any, row: dict[str, Any]) -> tuple[Any, ...]:
    service, _, name = row["rpc"].partition("/")
    module, stub = (extensions_pb2, client.extension) if service == "Extension" else (voltha_pb2, client.voltha)
    method = module.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    request = json_format.ParseDict(row["request"], message_factory.GetMessageClass(method.input_type)())
    try:
        answer = await getattr(stub, name)(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or "", None, None, None
    if service != "Extension":
        return "OK", "", None, None, None
    names = {field.name for field, _ in answer.response.ListFields()} - {"status", "errReason"}
    values = {field.name: field for field in answer.response.DESCRIPTOR.fields}
    status = values["status"].enum_type.values_by_number[answer.response.status].name
    reason = values["errReason"].enum_type.values_by_number[answer.response.errReason].name
    return "OK", "", status, reason, next(iter(names), None)


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_every_recorded_alarm_gives_the_recorded_events(voltha_simulator: Any, client: Any) -> None:
    await client.ready(voltha_simulator)
    differences = []
    places = {("olt", "OLT_PON_LOS"): "BBSIM_OLT_10/pon-0", ("olt", "OLT_NNI_LOS"): "BBSIM_OLT_10/nni-0"}
    for row in _rows("alarms"):
        start = len(voltha_simulator.events)
        do = voltha_simulator.raise_alarm if row["action"] == "raise" else voltha_simulator.clear_alarm
        try:
            await do(row["alarm"], places.get((row["kind"], row["alarm"]), row["where"][0]))
        except (ValueError, LookupError):
            assert row["events"] == [], "what the real stack tells, the simulator knows"
            continue
        names = (event.name for event in voltha_simulator.events[start:])
        found = sorted(name for name in names if name != "DEVICE_STATE_CHANGE_RAISE_EVENT")
        if found != row["events"]:
            differences.append((row["action"], row["alarm"], found, row["events"]))
    assert differences == []
