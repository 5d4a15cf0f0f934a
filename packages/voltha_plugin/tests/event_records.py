"""Recorded events, and events made for a test, as the bytes that Kafka carries."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from voltha_protos import events_pb2

DATA = Path(__file__).parent / "data"
#: When the recording began; Unix seconds.
BEGAN = 1795358756.0


def recorded(first: float = 0.0, last: float = 1000.0) -> list[bytes]:
    """The recorded events between two times of the recording."""
    lines = [json.loads(line) for line in (DATA / "alarms.jsonl").read_text().splitlines()]
    return [_value(line) for line in lines if first <= line["t"] <= last]


def _value(line: dict[str, Any]) -> bytes:
    if "value_b64" in line:
        return base64.b64decode(line["value_b64"])
    if "decoded" in line:
        return json_format.ParseDict(line["decoded"], events_pb2.Event()).SerializeToString()
    short = line["short"]
    return made(short["device_event_name"], short["resource_id"], BEGAN + line["t"], short["context"])


def made(name: str, resource_id: str, at: float, context: dict[str, str]) -> bytes:
    """A device event of that time (Unix seconds)."""
    event = events_pb2.Event()
    event.header.id = f"Voltha.openolt.{name}.{at}"
    event.header.type = 3
    event.header.raised_ts.seconds = int(at)
    event.header.reported_ts.FromNanoseconds(int(at * 1e9))
    event.device_event.device_event_name = name
    event.device_event.resource_id = resource_id
    event.device_event.context.update(context)
    return event.SerializeToString()
