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
SCENARIOS = ["dt_subscriber", "att_qinq", "tt_three_services", "flow_errors", "flow_replace"]


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_recorded_scenario_is_answered_as_the_real_system_answered_it(replay: Any, name: str) -> None:
    await replay.run(name)
    assert replay.differences == []


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, unis=4, time_factor=0.02)
async def test_only_the_first_of_four_unis_gets_a_whole_service(replay: Any) -> None:
    await replay.run("four_unis")
    assert replay.differences == []


@pytest.mark.voltha_simulator(olts=1, pons=2, onus=2, time_factor=0.02)
async def test_the_two_recorded_requests_that_end_the_adapter_are_refused_and_counted(replay: Any) -> None:
    await replay.run("flow_errors")
    assert replay.simulator.refused_crashes == 2


@pytest.mark.voltha_simulator(olts=0)
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
