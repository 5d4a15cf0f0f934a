"""Whatever strangers send on any way in, the answer is an event, or a refusal with the reason; never anything else."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin._plain import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector._meta import Meta
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.customers import parse_person
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._forms import (
    cloud_event,
    own_form,
    segment_call,
    segment_form,
)
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._intake import rows
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.rules import Rules, parse_rules
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.schemas import mended
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = [
    *("'", '"', "`", "\\", "--", "/*", "{tenant:String}", "' OR 1=1 --", "a\0b", "\ud800", "\u202e", "\x1b[31m", ""),
    *("SETTINGS readonly=0", "UNION ALL SELECT", "INTO OUTFILE '/tmp/x'", "merge('db','^t$')", "(a+)+$", "x" * 1000),
    *(
        "event_id",
        "event_name",
        "properties",
        "tenant_id",
        "timestamp",
        "type",
        "track",
        "specversion",
        "1.0",
        "id",
        "source",
    ),
    *("hash", "drop", "retention", "*", "late", "customer_id", "user_id", "scopes", "write", "name", "rename", "set"),
]
TEXTS = st.sampled_from(WORDS) | st.text(max_size=20)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=8) | VALUES


@given(value=OBJECTS)
@example(value={"": None, "properties": {"": None}})
@settings(max_examples=60, deadline=None)
def test_an_event_in_any_form_is_taken_or_refused_with_the_field(value: Any) -> None:
    refused: list[EventError] = []
    for understood in (lambda raw: raw, segment_call, cloud_event):
        try:
            event = parse_event(understood(value))
        except EventError as error:
            refused.append(error)
            continue
        line = rows([event], "t", "2026-11-25T00:00:00.000+00:00")
        assert line.count(b"\n") == 1
        assert json.loads(line)["tenant_id"] == "t"
    assert all(error.field and str(error).isprintable() for error in refused)


@given(body=st.binary(max_size=200) | OBJECTS.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
@settings(max_examples=60, deadline=None)
def test_a_body_is_a_list_of_events_or_refused(body: bytes) -> None:
    for understood in (own_form, lambda text: segment_form(text, "batch"), lambda text: segment_form(text, "track")):
        with contextlib.suppress(EventError, msgspec.DecodeError, UnicodeDecodeError):
            assert isinstance(understood(body), list)


@pytest.fixture(scope="module")
def meta(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meta]:
    made = Meta(tmp_path_factory.mktemp("meta"))
    yield made
    made.close()


@given(value=OBJECTS)
@settings(max_examples=60, deadline=None)
def test_rules_persons_keys_and_changes_are_understood_or_refused(meta: Meta, value: Any) -> None:
    event = parse_event({"event_name": "x", "properties": {"a": 1}})
    makers: list[Any] = [
        lambda: parse_rules(value, Rules()),
        lambda: parse_person(value, lambda name: [name]).condition(),
        lambda: meta.keys.make("t", value) if isinstance(value, dict) else None,
        lambda: mended(event, value) if isinstance(value, dict) else None,
    ]
    for make in makers:
        with contextlib.suppress(EventError):
            make()


async def test_what_is_too_large_is_refused_before_it_costs_memory(server: Any) -> None:
    server.owner.admit("hostile", "hostile-key", "operator")
    headers = {"X-API-Key": "hostile-key", "Content-Type": "application/json"}
    event = json.dumps([{"event_name": "x", "properties": {"text": "y" * 10_000_000}}]).encode()
    deep = b'[{"event_name": "x", "properties": {"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}]"
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session:

        async def sent(body: bytes, **more: str) -> tuple[int, Any]:
            async with session.post("/v1/events", data=io.BytesIO(body), headers=more) as answer:
                return answer.status, await answer.json()

        status, told = await sent(event)
        assert status == 202
        assert "properties" in told["rejected"][0]["reason"]
        status, told = await sent(deep)
        assert status in {202, 400, 422}
        assert told.get("accepted", 0) == 0
        bomb = zstd.compress(b" " * (200 * 1024 * 1024))
        assert len(bomb) < 50_000
        assert (await sent(bomb, **{"Content-Encoding": "zstd"}))[0] == 413
        assert (await sent(b"x" * (17 * 1024 * 1024)))[0] == 413
        assert (await sent(b"no zstd", **{"Content-Encoding": "zstd"}))[0] == 400
        good = zstd.compress(b'[{"event_name": "fine"}]')
        assert (await sent(good, **{"Content-Encoding": "zstd"}))[1]["accepted"] == 1
