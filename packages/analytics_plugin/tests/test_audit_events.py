"""The host's audit trail as events, through a real host and a real collector."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.core.audit import AuditRecord
from dotmac_isp.plugins.core.manager import PluginManager
from dotmac_isp.plugins.monitoring.analytics_events_plugin._audit import audit_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_record_is_one_event_however_often_it_comes_and_says_what_the_record_says() -> None:
    record = AuditRecord(
        action="call configure_device",
        outcome="permission",
        plugin_id="voltha_integration",
        tenant_id="t1",
        user_id="ann",
        request_id="r1",
        detail="rule 3 says no",
        values={"before": 1},
        at=1_795_600_000.25,
    )
    event = audit_event(record)
    assert event == audit_event(record)
    assert event.event_id != audit_event(AuditRecord(action="call x", outcome="permission", at=1.0)).event_id
    assert (event.event_name, event.event_type, event.category, event.severity) == (
        "audit_call",
        "audit",
        "security",
        "warning",
    )
    assert (event.user_id, event.correlation_id, event.source) == ("ann", "r1", "voltha_integration")
    assert event.properties["operation"] == "configure_device"
    assert event.properties["values"] == {"before": 1}
    assert audit_event(AuditRecord(action="lifecycle", outcome="active")).category == "compliance"


HOSTILE = st.text(max_size=300) | st.sampled_from(["\ud800", "\0", "x" * 50_000])
VALUES = st.recursive(
    HOSTILE | st.floats() | st.binary(max_size=5) | st.integers(),
    lambda inner: st.dictionaries(HOSTILE, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(texts=st.lists(HOSTILE, min_size=5, max_size=5), values=st.dictionaries(HOSTILE, VALUES, max_size=3))
@settings(max_examples=100, deadline=None)
def test_no_record_is_too_strange_to_become_an_event(texts: list[str], values: dict[str, Any]) -> None:
    action, outcome, user, request, detail = texts
    record = AuditRecord(
        action=f"call {action}", outcome=outcome, user_id=user, request_id=request, detail=detail, values=values
    )
    assert audit_event(record).event_type == "audit"


async def eventually(ask: Callable[[], Any]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await ask()):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.1)
    return found


@pytest.mark.slow
async def test_what_the_host_audits_arrives_as_events_of_the_system_tenant_unless_told_otherwise(
    engine: None, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_PORT", str(port))
    monkeypatch.setenv("ANALYTICS_API_KEY", "one key for every tenant")
    monkeypatch.delenv("ANALYTICS_DB_CONNECTION", raising=False)
    async with PluginManager(home=tmp_path) as plugins:
        handles = {}
        for tenant in ("t1", None):
            await plugins.load("analytics_events", tenant_id=tenant)
            await plugins.start_plugin("analytics_events", tenant_id=tenant)
            handles[tenant] = plugins.get("analytics_events", tenant_id=tenant)

        async def told() -> set[str]:
            rows = (await handles[None].query({"where": {"event_type": "audit"}, "group_by": ["tenant"]}))["rows"]
            return {row[next(name for name in row if name != "value")] for row in rows}

        async def both() -> bool:
            return {"t1", "_system"} <= await told()

        await eventually(both)
        assert (await handles["t1"].query({}))["rows"] == [{"value": 0}]


async def test_what_the_host_audits_arrives_as_events_of_the_tenant_it_is_about(
    engine: None, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANALYTICS_PORT", str(port))
    monkeypatch.setenv("ANALYTICS_API_KEY", "one key for every tenant")
    monkeypatch.delenv("ANALYTICS_DB_CONNECTION", raising=False)
    told = {"vendor_integrations": {"analytics_events": {"configuration": {"audit_events": "tenants"}}}}
    (tmp_path / "vendor_integrations.json").write_text(json.dumps(told))
    async with PluginManager(home=tmp_path) as plugins:
        handles = {}
        for tenant in ("t1", "t2"):
            await plugins.load("analytics_events", tenant_id=tenant)
            await plugins.start_plugin("analytics_events", tenant_id=tenant)
            handles[tenant] = plugins.get("analytics_events", tenant_id=tenant)

        async def active(tenant: str) -> list[Any]:
            where = {"event_type": "audit", "properties.outcome": "active"}
            rows = (await handles[tenant].query({"kind": "timeline", "where": where}))["rows"]
            return [row for row in rows if row["event_name"] == "audit_lifecycle"]

        for tenant in handles:
            (row,) = await eventually(lambda tenant=tenant: active(tenant))
            assert (row["category"], row["source"]) == ("compliance", "analytics_events")
        await plugins.restart_plugin("analytics_events", tenant_id="t1")

        async def twice() -> bool:
            return len(await active("t1")) == 2

        await eventually(twice)
        assert len(await active("t2")) == 1
        assert plugins.audit.status()["sinks"]["plugin analytics_events.service"]["missed"] == 0
