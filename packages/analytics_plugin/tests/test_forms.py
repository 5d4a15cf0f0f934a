"""Page views, conversions and transactions, and the forms in which other clients send: Segment's and CloudEvents."""

from __future__ import annotations

import base64
import itertools
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_numbers = itertools.count()
_BASIC = {"Authorization": "Basic " + base64.b64encode(b"write-key:").decode()}
_CLOUD = {"Content-Type": "application/cloudevents-batch+json"}


@pytest.fixture
async def web(server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a new tenant, whose key is `write-key`."""
    tenant = f"forms{next(_numbers)}"
    server.owner.admit(tenant, "write-key", "operator")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    server.owner.dismiss(tenant, "operator")


async def rows(web: aiohttp.ClientSession, **query: Any) -> list[dict[str, Any]]:
    async with web.post("/v1/query", json=query, headers={"X-API-Key": "write-key"}) as answer:
        assert answer.status == 200, await answer.text()
        return list((await answer.json())["rows"])


async def test_page_views_conversions_and_transactions_fill_the_reports(shared: Any) -> None:
    plugin = await shared.started()
    await plugin.track_page_view("/plans", user_id="u1", properties={"referrer": "/"})
    await plugin.track_conversion("signup", amount="5", currency="EUR", user_id="u1")
    await plugin.track_transaction(Decimal("0.10"), "EUR", customer_id="c1", transaction_id="t-1")
    await plugin.track_transaction("0.20", "eur", customer_id="c1", transaction_id="t-2")
    await plugin.track_transaction("0.20", "EUR", customer_id="c1", transaction_id="t-2")
    await plugin.track_transaction("0.05", "EUR", kind="refund", customer_id="c1", transaction_id="t-2")
    money = {"measure": "sum", "field": "amount", "where": {"category": "financial"}}
    assert (await plugin.query(money))["rows"] == [{"value": 0.25}]
    report = await plugin.generate_report("conversion")
    assert report["totals"] == {"entered": 1, "converted": 1, "conversion_percent": 100.0}
    by_goal = await plugin.query({"event_name": "conversion", "group_by": ["goal"]})
    assert by_goal["rows"] == [{"properties.goal": "signup", "value": 1}]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.1, "EUR"), "amount: 0.1 given, expected a Decimal, text or whole number: a float is not exact"),
        (("19,90", "EUR"), "amount: '19,90' given, expected an exact number"),
        ((True, "EUR"), "amount: True given"),
        (("1", ""), "currency: '' given, expected an ISO 4217 code"),
        (("NaN", "EUR"), "amount: .* given, expected a decimal number"),
    ],
)
async def test_money_that_is_not_exact_is_no_transaction(shared: Any, arguments: Any, words: str) -> None:
    plugin = await shared.started()
    with pytest.raises(EventError, match=words):
        await plugin.track_transaction(*arguments)


async def test_a_batch_of_segment_s_clients_is_taken_and_a_repeated_message_counts_once(
    web: aiohttp.ClientSession,
) -> None:
    batch = {
        "context": {"library": {"name": "analytics-python"}},
        "batch": [
            {
                "type": "track",
                "event": "Order Completed",
                "userId": "u1",
                "messageId": "m1",
                "properties": {"revenue": "12.30", "currency": "EUR"},
            },
            {"type": "page", "anonymousId": "a1", "messageId": "m2", "context": {"page": {"path": "/plans"}}},
            {"type": "identify", "userId": "u1", "messageId": "m3", "traits": {"plan": "gold"}},
            {"type": "teleport", "messageId": "m4"},
            {"type": "track", "messageId": "m5"},
        ],
        "sentAt": "2026-01-01T00:00:00Z",
    }
    for given, headers, accepted in (
        (batch, _BASIC, 3),
        ({**batch, "writeKey": "write-key"}, {}, 0),
    ):
        async with web.post("/v1/batch", json=given, headers=headers) as answer:
            told = await answer.json()
            assert (answer.status, told["accepted"], told["success"]) == (200, accepted, False)
            assert [(item["index"], item["event_id"]) for item in told["rejected"]] == [(3, "m4"), (4, "m5")]
            assert "type: 'teleport' given, expected one of track, page" in told["rejected"][0]["reason"]
    counted = {row["event_name"]: row["value"] for row in await rows(web, group_by=["event_name"])}
    assert counted == {"Order Completed": 1, "page_view": 1, "identify": 1}
    assert await rows(web, event_name="page_view", group_by=["page", "user_id"]) == [
        {"properties.page": "/plans", "user_id": "a1", "value": 1}
    ]
    assert await rows(web, measure="sum", field="amount", currency="EUR") == [{"value": 12.3}]
    assert await rows(web, group_by=["properties.plan"], event_name="identify") == [
        {"properties.plan": "gold", "value": 1}
    ]


async def test_single_calls_of_segment_s_clients_need_the_key_as_well(web: aiohttp.ClientSession) -> None:
    call = {"event": "Clicked", "userId": "u1", "messageId": "m1"}
    for body, status in ((call, 401), ({**call, "writeKey": "other"}, 401), ({**call, "writeKey": "write-key"}, 200)):
        async with web.post("/v1/track", json=body) as answer:
            assert answer.status == status
    async with web.post("/v1/batch", json={"batch": 5}, headers=_BASIC) as answer:
        assert (answer.status, "batch: 5 given" in await answer.text()) == (422, True)
    assert await rows(web, group_by=["event_name"]) == [{"event_name": "Clicked", "value": 1}]


async def test_cloudevents_are_one_event_for_each_source_and_id(web: aiohttp.ClientSession) -> None:
    common = {"specversion": "1.0", "type": "net.example.onu.los"}
    batch = [
        {**common, "id": "1", "source": "/olt/a", "data": {"pon": 3}, "deviceid": "onu-1", "severity": "major"},
        {**common, "id": "1", "source": "/olt/b", "data": [1, 2], "subject": "onu-2", "tracer": "x"},
        {**common, "id": "1", "source": "/olt/a"},
        {**common, "id": "2", "source": ""},
        {**common, "id": "3", "source": "s", "specversion": "0.3"},
        "nonsense",
    ]
    headers = {"X-API-Key": "write-key"}
    async with web.post("/v1/events", json=batch, headers=headers | _CLOUD) as answer:
        told = await answer.json()
        assert (answer.status, told["accepted"], len(told["duplicates"])) == (202, 2, 1)
        reasons = {item["index"]: item["reason"] for item in told["rejected"]}
    assert reasons.keys() == {3, 4, 5}
    assert "source: '' given, expected text that is not empty" in reasons[3]
    assert "specversion: '0.3' given, expected '1.0'" in reasons[4]
    single = {**common, "id": "9", "source": "/olt/a", "time": "2020-01-01T00:00:00Z"}
    async with web.post(
        "/v1/events", json=single, headers=headers | {"Content-Type": "application/cloudevents+json"}
    ) as answer:
        assert "not older than 30 days" in (await answer.json())["rejected"][0]["reason"]
    by_source = await rows(web, group_by=["source", "device_id", "severity", "properties.ce_subject"])
    assert sorted(tuple(row.values()) for row in by_source) == [
        ("/olt/a", "onu-1", "major", "", 1),
        ("/olt/b", "", "info", "onu-2", 1),
    ]
