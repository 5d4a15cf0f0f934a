"""Schemas: registered, compared, applied in four modes, inferred; the quarantine; and schemas that mean harm."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.schemas._compatibility import incompatible
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.schemas._infer import infer
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.schemas._quarantine import Quarantine
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.schemas._rules import Validator, bounded
from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import parse_event

pytest.importorskip("jsonschema_rs", reason="jsonschema-rs is not installed (extra 'schemas')")

_PAYMENT = {"type": "object", "properties": {"plan": {"type": "string"}}, "required": ["plan"]}
_GOOD = {"event_name": "payment", "properties": {"plan": "gold"}}
_BAD = {"event_name": "payment", "event_id": "bad-1", "properties": {"plna": "gold"}}


async def counted(plugin: Any, **where: Any) -> int:
    rows = (await plugin.query({"where": where}))["rows"]
    return int(rows[0]["value"]) if rows else 0


async def test_what_does_not_fit_waits_in_quarantine_and_counts_once_when_it_is_mended(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    entry = await plugin.register_schema("payment", _PAYMENT)
    assert (entry["version"], entry["mode"], entry["compatibility"]) == (1, "quarantine", "backward")
    await plugin.track_events_batch([_GOOD, _BAD])
    await plugin.flush()
    held = await plugin.quarantine()
    assert [(item["event_id"], item["event"]["properties"]) for item in held] == [("bad-1", {"plna": "gold"})]
    assert 'properties: "plan" is a required property' in held[0]["reasons"]
    assert await counted(plugin) == 1
    assert (await other.quarantine(), await other.schemas()) == ([], [])
    assert (await other.replay(["bad-1"]))["replayed"] == 0
    still = await plugin.replay()
    assert (still["replayed"], [item["event_id"] for item in still["still_held"]]) == (0, ["bad-1"])
    for changes, words in (
        ({"drop": 5}, "a list of names"),
        ({"set": {"x": "y" * 40_000}}, "at most 32768"),
        ({"sort": 1}, "rename, drop and set"),
    ):
        with pytest.raises(EventError, match=words):
            await plugin.replay(["bad-1"], changes=changes)
    assert (await plugin.replay(["bad-1"], changes={"rename": {"plna": "plan"}}))["replayed"] == 1
    assert (await plugin.quarantine("payment"), await counted(plugin, **{"properties.plan": "gold"})) == ([], 2)
    await other.track_events_batch([{"event_name": "payment"}])
    assert await counted(other) == 1


async def test_each_mode_does_what_it_says(shared: Any) -> None:
    plugin = await shared.started()
    await plugin.register_schema("payment", _PAYMENT, mode="reject")
    await plugin.track_event(_BAD)
    await plugin.flush()
    refused = (plugin.api.data_dir / "refused.ndjson").read_text()
    assert "bad-1" in refused
    assert "is a required property" in refused
    await plugin.register_schema("payment", mode="warn")
    await plugin.track_event({**_BAD, "event_id": "bad-2"})
    assert await counted(plugin) == 1
    await plugin.register_schema("payment", mode="accept")
    await plugin.track_event({**_BAD, "event_id": "bad-3"})
    assert await counted(plugin) == 2
    assert [(item["version"], item["mode"]) for item in await plugin.schemas()] == [(1, "accept")]


async def test_a_version_must_be_compatible_and_events_may_name_an_older_one(shared: Any) -> None:
    plugin = await shared.started()
    await plugin.register_schema("payment", _PAYMENT)
    stricter = {**_PAYMENT, "required": ["plan", "method"]}
    with pytest.raises(EventError, match=r"properties\.method: is required .* compatible \(backward\) with version 1"):
        await plugin.register_schema("payment", stricter)
    assert (await plugin.register_schema("payment", stricter, compatibility="none"))["version"] == 2
    await plugin.track_event({"event_name": "payment", "properties": {"plan": "gold", "schema_version": 1}})
    await plugin.track_event({"event_name": "payment", "properties": {"plan": "gold", "schema_version": 9}})
    assert await counted(plugin) == 1
    assert "there is no version 9" in (await plugin.quarantine())[0]["reasons"][0]


async def test_a_schema_is_proposed_from_what_came(shared: Any) -> None:
    plugin = await shared.started()
    assert await plugin.infer_schema("call") is None
    await plugin.track_events_batch(
        [
            {
                "event_name": "call",
                "properties": {"ms": n, "who": {"id": "x"}, "tag": ["a"], **({"e": 0.5} if n else {})},
            }
            for n in range(2)
        ]
    )
    proposal = await plugin.infer_schema("call")
    assert proposal is not None
    assert (proposal["samples"], proposal["schema"]["required"]) == (2, ["ms", "tag", "who"])
    assert proposal["schema"]["properties"]["ms"] == {"type": "integer"}
    assert proposal["schema"]["properties"]["who"]["properties"] == {"id": {"type": "string"}}
    await plugin.register_schema("call", proposal["schema"], mode="reject")


_NAMES = st.sampled_from(["a", "b", "c"])
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=6,
)
_SAMPLES = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=3), min_size=1, max_size=4)
_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@_calm
@given(_SAMPLES)
def test_what_a_schema_was_inferred_from_fits_it(samples: list[dict[str, Any]]) -> None:
    validator = Validator(bounded(infer(samples)))
    assert [validator.reasons(sample) for sample in samples] == [[]] * len(samples)


@_calm
@given(_SAMPLES, _SAMPLES, _SAMPLES)
def test_a_version_that_is_called_backward_compatible_takes_what_fitted_the_old_one(
    old: list[dict[str, Any]], new: list[dict[str, Any]], events: list[dict[str, Any]]
) -> None:
    before, after = infer(old), infer(new)
    if incompatible(before, after, "backward"):
        return
    first, second = Validator(before), Validator(after)
    named = _named(before)
    for event in [*old, *events]:
        if not first.reasons(event) and _only(event, named):
            assert second.reasons(event) == []


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    return dict(schema.get("properties", {}))


def _only(value: Any, named: dict[str, Any]) -> bool:
    """Whether an event has nothing but what its schema names, which is what the comparison is about."""
    for name, item in value.items():
        if name not in named or isinstance(item, list):
            return False
        if isinstance(item, dict) and not _only(item, _named(named[name])):
            return False
    return True


@pytest.mark.parametrize(
    ("old", "new", "rule", "words"),
    [
        ({"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "number"}}}, "backward", ""),
        (
            {"properties": {"a": {"type": "integer"}}},
            {"properties": {"a": {"type": "number"}}},
            "full",
            "type number is not taken",
        ),
        ({"properties": {}}, {"properties": {"a": {"type": "string"}}}, "full", ""),
        ({"required": ["a"]}, {}, "forward", "properties.a: is required"),
        (
            {"properties": {"a": {"enum": ["x", "y"]}}},
            {"properties": {"a": {"enum": ["x"]}}},
            "backward",
            "value 'y' is not taken",
        ),
        (
            {"properties": {"a": {"maxLength": 9}}},
            {"properties": {"a": {"maxLength": 5}}},
            "backward",
            "'maxLength' is tighter",
        ),
        ({"properties": {"a": {}}}, {"additionalProperties": False}, "backward", "properties.a: is not known"),
        ({"anyOf": [{}]}, {"anyOf": [{"type": "object"}]}, "backward", "'anyOf' differs"),
        ({"title": "x"}, {"title": "y"}, "full", ""),
        ({"required": ["a"]}, {"required": ["b"]}, "none", ""),
    ],
)
def test_compatibility_is_judged_by_what_would_not_fit(old: Any, new: Any, rule: str, words: str) -> None:
    found = incompatible(old, new, rule)
    assert bool(found) == bool(words)
    assert words in " ".join(found)


def doubling(levels: int) -> dict[str, Any]:
    chain = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**chain, f"d{levels}": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/d0"}}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "https://example.net/schema.json"}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "nothing is fetched"),
        ({"$ref": "#"}, "a reference into this schema"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "leads back to itself"),
        ({"$ref": "#/$defs/missing"}, "a place that is in the schema"),
        ({"properties": {"a": {"$id": "https://example.net/", "$ref": "x"}}}, "no such keyword"),
        ({"$dynamicRef": "#a"}, "no such keyword"),
        ({"$schema": "https://example.net/mine"}, "one of JSON Schema 2020-12"),
        (doubling(9), "at most 1000 parts"),
        (deep(300), "at most 32 levels"),
        ({"enum": ["x" * 100_000]}, "at most 65536 bytes"),
        ({"pattern": "(a+)+" * 200}, "a pattern of at most 500 characters"),
        ({"properties": {"a": {"pattern": "(?<=x)y("}}}, "a valid JSON Schema"),
        ({"type": "strnig"}, "a valid JSON Schema"),
        ({"patternProperties": {"((a{1,1000}){1,1000}){1,1000}": {}}}, "a valid JSON Schema"),
        ([], "a JSON Schema, an object"),
    ],
)
def test_a_schema_that_means_harm_is_refused_with_the_reason(schema: Any, words: str) -> None:
    with pytest.raises(EventError, match=words):
        Validator(bounded(schema))


def test_a_pattern_that_backtracks_elsewhere_costs_nothing_here() -> None:
    validator = Validator(bounded({"properties": {"a": {"pattern": "^(a+)+$"}}}))
    assert validator.reasons({"a": "a" * 30_000 + "!"})


async def test_quarantine_is_bounded_and_keeps_an_event_once(tmp_path: Any) -> None:
    held = Quarantine(tmp_path / "held.sqlite", most=2)
    event = parse_event({"name": "x", "event_id": "1"})
    assert await asyncio.to_thread(held.put, "t", [(event, ["why"])])
    assert held.put("t", [(event, ["why"])])
    assert not held.put("t", [(event, ["a"]), (event, ["b"])])
    assert [item.reasons for item in held.list("t")] == [["why"]]
    held.close()
    again = Quarantine(tmp_path / "held.sqlite")
    assert [item.event for item in again.list("t")] == [event]
    assert again.list("u") == []
    again.close()
