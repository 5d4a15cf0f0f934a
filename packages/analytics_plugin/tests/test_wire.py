"""The quick way for events in the plugin's own form takes nothing that the longer way would refuse or read otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._ids import EventIds, key_of
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._intake import rows
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._wire import wire_events
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import Event, EventError, parse_event

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = st.text(max_size=30) | st.sampled_from(
    ["\0", "\ud800", "\n", " x ", "'; DROP TABLE events --", "{tenant:String}", "\u2028", "x" * 300, ""]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=20,
)
FIELDS = st.fixed_dictionaries(
    {
        "event_id": HOSTILE,
        "event_name": HOSTILE,
        "event_type": HOSTILE,
        "timestamp": st.sampled_from(
            [
                "2026-11-25T10:00:00.000Z",
                "2026-02-30T10:00:00.000Z",
                "2026-11-25T10:00:61.000Z",
                "2026-11-25 10:00:00.000Z",
                "2026-11-25T10:00:00.00\u0660Z",
                "now",
            ]
        ),
        "category": st.sampled_from(["business", "sales"]),
        "severity": st.sampled_from(["info", "INFO"]),
    },
    optional={
        "user_id": HOSTILE,
        "tags": st.lists(HOSTILE, max_size=2),
        "properties": VALUES,
        "amount": HOSTILE,
        "extra": VALUES,
    },
)


@given(given=st.lists(FIELDS, min_size=1, max_size=3), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@settings(max_examples=400, deadline=None)
def test_what_goes_the_quick_way_is_what_the_longer_way_makes_of_it(
    given: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(given, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    _compare(body)


@given(
    times=st.lists(
        st.sampled_from(
            [
                *("2026-11-25T10:00:00.000Z", "2026-11-25T10:00:00.123Z", "2026-11-25T10:00:00.123Z.456Z"),
                *("2026-11-25T10:00:00", "2026-11-25T10:00:00Z", "2026-11-25T10:00:00.Z123", "x"),
            ]
        ),
        min_size=1,
        max_size=3,
    ),
    properties=st.lists(
        st.sampled_from(
            [{}, {"a": 1}, {"a": "}"}, {"a": [[{"b": []}]] * 9}, {"a": 1e300}, {"a": "1e999"}, {"a": "{" * 20}]
        ),
        min_size=3,
        max_size=3,
    ),
    name=st.sampled_from(["x", "x y", " x", "x\x7f", "ü"]),
)
@settings(max_examples=300, deadline=None)
def test_no_event_of_a_batch_hides_behind_another(
    times: list[str], properties: list[dict[str, Any]], name: str
) -> None:
    sound = {"event_id": "a", "event_name": name, "event_type": "x", "category": "business", "severity": "info"}
    events = [{**sound, "timestamp": time, "properties": one} for time, one in zip(times, properties, strict=False)]
    _compare(json.dumps(events, separators=(",", ":"), ensure_ascii=False).encode())


def _compare(body: bytes) -> None:
    quick = wire_events(body)
    if quick is None:
        return
    lines = rows(quick, "t", "2026-11-25T10:00:00.000+00:00").splitlines()
    for line, raw in zip(lines, msgspec.json.decode(body), strict=True):
        stored = msgspec.json.decode(line)
        parsed = parse_event(raw, now=1795600000.0, max_age_days=3660)
        expected = msgspec.json.decode(rows([parsed], "t", "2026-11-25T10:00:00.000+00:00"))
        assert {"properties": {}, **stored} == {"properties": {}, **expected}


def test_the_plugins_own_events_go_the_quick_way() -> None:
    events = [
        parse_event(
            {
                "event_type": "page_view",
                "user_id": "ü",
                "tags": ["a"],
                "properties": {"page": "/ü\u2028", "n": [1, {"x": 2.5}]},
            }
        ),
        parse_event({"event_name": "x"}),
    ]
    assert [event.event_id for event in wire_events(msgspec.json.encode(events)) or ()] == [
        one.event_id for one in events
    ]


@pytest.mark.parametrize(
    "properties",
    [b'{"a":"\xff"}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":"\\u0000"}', b"[1]", b'"x"', b'{"a":' + b"[" * 20 + b"]" * 20 + b"}",
     b'{"a":NaN}', b'{"a":1}\n', b'{"a":"' + b"x" * 40_000 + b'"}'],
)  # fmt: skip
def test_properties_that_need_a_closer_look_go_the_longer_way(properties: bytes) -> None:
    event = msgspec.json.encode(parse_event({"event_name": "x"}))[:-1]
    assert wire_events(b"[" + event + b',"properties":' + properties + b"}]") is None


def test_deep_json_ends_no_process() -> None:
    event = msgspec.json.encode(parse_event({"event_name": "x"}))[:-1]
    assert wire_events(b"[" + event + b',"properties":{"a":' + b"[" * 200_000) is None
    with pytest.raises(EventError):
        parse_event({"event_name": "x", "properties": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}})


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), HOSTILE | st.uuids().map(str)), min_size=2, max_size=20, unique=True
    )
)
@settings(max_examples=100, deadline=None)
def test_no_two_identifiers_share_a_key(pairs: list[tuple[str, str]]) -> None:
    sound = [(tenant, text) for tenant, text in pairs if text.isprintable()]
    assert len({key_of(tenant, text) for tenant, text in sound}) == len(sound)


def test_the_letters_of_a_uuid_make_a_difference() -> None:
    text = "0190F3A0-0000-7000-8000-0000000000AB"
    assert key_of("t", text) != key_of("t", text.lower())


@pytest.fixture
def ids(tmp_path: Path) -> Any:
    made = EventIds(tmp_path / "ids.sqlite")
    yield made
    made.close()


def test_identifiers_are_known_after_they_were_taken_and_not_when_the_disk_refused(ids: EventIds) -> None:
    keys = [key_of("t", f"e{number}") for number in range(1200)]
    with ids.together():
        assert ids.take(keys[:700], day=1) == set()
    with pytest.raises(OSError, match="full"), ids.together():  # noqa: PT012 - both belong together
        ids.take(keys, day=1)
        raise OSError("full")
    with ids.together():
        assert ids.take(keys, day=1) == set(keys[:700])
    assert ids.known(keys) == set(keys)


def test_a_clock_that_jumps_takes_no_identifiers_with_it(ids: EventIds) -> None:
    keys = [key_of("t", f"e{number}") for number in range(10)]
    for number, day in enumerate([20_000, 20_001, 99_999, 20_002]):
        with ids.together():
            ids.take([keys[number]], day=day)
        ids.forget(3)
    assert ids.known(keys) == set(keys[1:4])
    ids.forget(3)
    assert ids.known(keys) == set(keys[1:4])


def test_an_event_is_the_same_struct_on_both_ends() -> None:
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._wire import WireEvent

    assert WireEvent.__struct_fields__ == Event.__struct_fields__
