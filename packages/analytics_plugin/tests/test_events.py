"""What is taken as an event, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from dotmac_isp.plugins.monitoring.analytics_events_plugin import CATEGORIES, EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

NOW = 1_760_000_000.0


def parsed(raw: Any) -> dict[str, Any]:
    result: dict[str, Any] = msgspec.to_builtins(parse_event(raw, now=NOW))
    return result


class Kind(enum.Enum):
    PAGE_VIEW = "page_view"


@dataclasses.dataclass
class AsDataclass:
    event_type: Kind = Kind.PAGE_VIEW
    user_id: int = 7
    metadata: dict[str, Any] = dataclasses.field(default_factory=lambda: {"page": "/"})


class AsModel(BaseModel):
    name: str = "page_view"
    userId: str = "7"  # noqa: N815 - as others write it
    properties: dict[str, Any] = {"page": "/"}


class AsObject:
    def __init__(self) -> None:
        self.event = "page_view"
        self.user = "7"
        self.page = "/"


@pytest.mark.parametrize(
    "raw",
    [
        {"event_type": "page_view", "user_id": 7, "properties": {"page": "/"}},
        {"event": "page_view", "userId": "7", "page": "/"},
        AsDataclass(),
        AsModel(),
        AsObject(),
    ],
)
def test_the_same_event_in_many_spellings(raw: Any) -> None:
    event = parsed(raw)
    assert (event["event_name"], event["event_type"]) == ("page_view", "page_view")
    assert (event["user_id"], event["properties"]) == ("7", {"page": "/"})
    assert (event["category"], event["severity"]) == ("user_behavior", "info")
    assert event["timestamp"] == "2025-10-09T08:53:20.000Z"
    assert UUID(event["event_id"]).version == 7


@pytest.mark.parametrize(
    "value",
    [
        datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC),
        "2025-10-09T08:53:20Z",
        "2025-10-09 10:53:20+02:00",
        1_760_000_000,
        1_760_000_000_000,
        1_760_000_000_000_000,
        "1760000000",
    ],
)
def test_a_time_in_any_common_form_is_the_same_time(value: Any) -> None:
    assert parsed({"name": "x", "timestamp": value})["timestamp"] == "2025-10-09T08:53:20.000Z"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "event_name: nothing given, expected a name such as 'page_view'"),
        (None, "event: nothing given, expected a mapping"),
        ("page_view", "event: 'page_view' given, expected a mapping"),
        ({"name": ""}, "event_name: nothing given"),
        ({"name": "x", "category": "sales"}, "category: 'sales' given, expected one of business, technical"),
        ({"name": "x", "severity": "bad"}, "severity: 'bad' given, expected one of debug, info"),
        ({"name": "x", "timestamp": "yesterday"}, "timestamp: .*expected RFC 3339"),
        ({"name": "x", "timestamp": NOW + 90_000}, "expected not more than 24 hours ahead"),
        ({"name": "x", "timestamp": NOW - 40 * 86400}, "expected not older than 30 days"),
        ({"name": "x", "timestmp": 5}, "timestmp: 5 given, expected the field 'timestamp'"),
        ({"name": "x", "event": "y"}, "event: 'y' given, expected 'event_name' given once"),
        ({"name": "x" * 201}, r"expected at most 200 characters \(it has 201\)"),
        ({"name": "a\nb"}, "expected printable characters only"),
        ({"name": "x", "user_id": ["a"]}, r"user_id: \['a'\] given, expected text"),
        ({"name": "x", "amount": "free"}, "amount: 'free' given, expected a decimal number"),
        ({"name": "x", "amount": float("nan")}, "amount: nan given"),
        ({"name": "x", "amount": "1.1234567"}, "expected at most six decimal places"),
        ({"name": "x", "currency": "euro"}, "currency: 'euro' given, expected an ISO 4217 code"),
        (
            {"name": "x", "properties": {"a": {"b": [1, float("inf")]}}},
            r"properties\.a\.b\[1\]: inf given, expected a finite",
        ),
        ({"name": "x", "properties": {"a": b"raw"}}, r"properties\.a: '3 bytes' given, expected text"),
        ({"name": "x", "properties": {"a": "\ud800"}}, "expected text without lone surrogates"),
        ({"name": "x", "properties": {"a": "y" * 40_000}}, "expected at most 32768 bytes"),
        ({"name": "x", "properties": [1]}, r"properties: \[1\] given, expected a mapping"),
        ({"name": "x", "properties": {"a": object()}}, r"properties\.a: <object"),
        ({"name": "x", "tags": "one"}, "tags: 'one' given, expected a list"),
    ],
)
def test_what_cannot_be_taken_says_which_field_and_what_would_be_right(raw: Any, words: str) -> None:
    with pytest.raises(EventError, match=words):
        parsed(raw)


def test_deep_properties_are_refused_without_exhausting_the_stack() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"d": deep}
    with pytest.raises(EventError, match="at most 16 levels"):
        parsed({"name": "x", "properties": deep})


def test_money_stays_exact() -> None:
    event = parsed({"name": "payment", "amount": Decimal("0.10"), "currency": "eur"})
    assert (event["amount"], event["currency"], event["category"]) == ("0.10", "EUR", "financial")


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_taken(category: str) -> None:
    assert parsed({"name": "x", "category": category.upper().replace("_", "-")})["category"] == category


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["name", "timestamp", "amount", "tags", "properties", "user_id", "x"]), _JSON))
def test_whatever_is_given_becomes_an_event_or_an_event_error(raw: dict[str, Any]) -> None:
    try:
        event = parse_event(raw, now=NOW)
    except EventError:
        return
    again = parse_event(msgspec.json.decode(msgspec.json.encode(event)), now=NOW)
    assert again == event
