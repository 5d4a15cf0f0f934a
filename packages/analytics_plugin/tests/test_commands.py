"""`dotmac-plugins analytics …` as an operator types it, with a host that ends with the command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("dotmac_plugins_console", reason="the console package is not installed")


@pytest.fixture
def analytics(server: Any, tmp_path: Path) -> Callable[..., Any]:
    server.owner.admit("commands", "command-key", "operator")
    environment = {
        **os.environ,
        "DOTMAC_HOME": str(tmp_path),
        "ANALYTICS_HOST": "127.0.0.1",
        "ANALYTICS_PORT": str(server.port),
        "ANALYTICS_API_KEY": "command-key",
        # A database of its own: then the host starts no collector, and uses the one that is there.
        "ANALYTICS_DB_CONNECTION": "clickhouse://elsewhere.invalid",
    }

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dotmac_plugins_console", "analytics", *arguments, "--tenant", "commands"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.mark.slow
async def test_an_operator_asks_from_the_command_line(analytics: Any, server: Any, tmp_path: Path) -> None:
    import aiohttp

    events = [
        {
            "event": "cmd_view",
            "user_id": "u1",
            "timestamp": time.time() - 5,
            "properties": {"page": "/a", "bad": "\x1b[31m"},
        },
        {"event": "cmd_pay", "user_id": "u1", "amount": "0.10", "currency": "EUR"},
    ]
    headers = {"X-API-Key": "command-key"}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers=headers) as session,
        session.post("/v1/events", json=events) as answer,
    ):
        assert (await answer.json())["accepted"] == 2
    code, out, err = await analytics("tail", "-n", "5", "--event", "cmd_view")
    assert (code, "cmd_view" in out, "\x1b" in out) == (0, True, False), err
    code, out, err = await analytics("query", "count", "--event", "cmd_view", "--by", "page", "--json")
    assert (code, json.loads(out)) == (0, [{"properties.page": "/a", "value": 1}]), err
    code, out, err = await analytics("funnel", "cmd_view", "cmd_pay", "--json")
    assert (code, [row["people"] for row in json.loads(out)]) == (0, [1, 1]), err
    code, out, err = await analytics("report", "make", "summary", "--format", "csv")
    assert (code, "Most frequent events" in out, ".csv" in out) == (0, True, True), err
    code, out, err = await analytics(
        "sql", "SELECT count() AS n FROM events WHERE event_name = {e:String}", "--value", "e=cmd_pay"
    )
    assert (code, out.split()) == (0, ["n", "1"]), err
    code, out, err = await analytics("paths", "--json")
    assert (code, json.loads(out)[0]["path"]) == (0, ["cmd_view", "cmd_pay"]), err
    code, out, err = await analytics("retention", "cmd_view", "--after", "1", "--json")
    assert (code, json.loads(out)[0]["people"]) == (0, 1), err
    code, out, err = await analytics("sessions", "--json")
    assert (code, json.loads(out)[0]["sessions"]) == (0, 1), err


@pytest.mark.slow
async def test_an_operator_keeps_dashboards_reports_and_silences(analytics: Any, tmp_path: Path) -> None:
    for name in ("croniter", "vl_convert"):
        pytest.importorskip(name, reason=f"{name} is not installed (extras 'alerts', 'reports')")
    code, out, err = await analytics("dashboard", "create", "--template", "sales", "--json")
    ident = json.loads(out)[0]["id"]
    assert code == 0, err
    code, out, err = await analytics("dashboard", "share", ident, "--for", "1h", "--json")
    share = json.loads(out)[0]
    assert (code, "/d/" in share["url"]) == (0, True), err
    code, out, err = await analytics("dashboard", "unshare", ident, share["share_id"])
    assert code == 0, err
    code, out, err = await analytics("dashboard", "unshare", ident, share["share_id"], "--json")
    assert (code, "there is no link" in json.loads(out)["error"]["message"]) == (1, True), err
    plan, rule = tmp_path / "plan.json", tmp_path / "rule.json"
    plan.write_text(
        json.dumps({"report_type": "summary", "schedule": "0 6 * * MON", "notify": ["https://x.invalid/h"]})
    )
    code, out, err = await analytics("report", "schedule", str(plan), "--json")
    schedule = json.loads(out)[0]
    assert (code, schedule["notify"]) == (0, ["https://x.invalid/…"]), err
    code, out, err = await analytics("report", "unschedule", schedule["schedule_id"])
    assert code == 0, err
    code, out, err = await analytics("silence", "add", "--match", "team=noc", "--for", "2h", "--json")
    assert (code, json.loads(out)[0]["match"]) == (0, {"team": "noc"}), err
    rule.write_text(json.dumps({"name": "Many", "metric": "cmd_view", "threshold": 1000}))
    code, out, err = await analytics("alert", "backtest", str(rule), "--since", "1h", "--json")
    assert (code, json.loads(out)["episodes"]) == (0, 0), err
    code, out, err = await analytics("alert", "acknowledge", "0" * 32, "--by", "me")
    assert (code, "there is no alert" in err) == (1, True)


@pytest.mark.slow
async def test_an_operator_keeps_schemas_alerts_and_the_quarantine(analytics: Any, tmp_path: Path) -> None:
    pytest.importorskip("jsonschema_rs", reason="jsonschema-rs is not installed (extra 'schemas')")
    rule, schema = tmp_path / "rule.json", tmp_path / "schema.json"
    rule.write_text(json.dumps({"name": "Many", "metric": "cmd_view", "threshold": 1000}))
    schema.write_text(json.dumps({"type": "object"}))
    code, out, err = await analytics("alert", "create", str(rule), "--json")
    assert (code, len(json.loads(out)[0]["alert_id"])) == (0, 32), err
    code, out, err = await analytics("schema", "add", "cmd_schema", str(schema), "--mode", "warn", "--json")
    assert (code, json.loads(out)[0]["version"]) == (0, 1), err
    code, out, err = await analytics("quarantine", "list", "--json")
    assert (code, json.loads(out)) == (0, []), err


async def test_a_mistake_is_told_in_a_sentence(analytics: Any) -> None:
    code, out, err = await analytics("query", "count", "--by", "a`b", "--json")
    assert (code, "Traceback" in err) == (1, False)
    assert "a`b" in json.loads(out)["error"]["message"]
    code, _, err = await analytics("query", "--where", "nothing")
    assert (code, "NAME=VALUE" in err) == (2, True)


@pytest.mark.slow
async def test_an_operator_keeps_rules_keys_and_customers_from_the_command_line(
    analytics: Any, server: Any, tmp_path: Path
) -> None:
    import aiohttp

    async def json_of(*arguments: str) -> Any:
        code, out, err = await analytics(*arguments)
        assert code == 0, err
        return json.loads(out)

    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"retention": {"security": 90}}))
    assert (await json_of("rules", "set", str(rules), "--json"))["retention"] == {"security": 90}
    assert (await json_of("rules", "show"))["late"] == "reject"
    (key,) = await json_of("key", "make", "portal", "--scope", "write", "--json")
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}", headers={"X-API-Key": key["key"]}) as session,
        session.post("/v1/events", json=[{"event": "cmd_bye", "customer_id": "cmd c1"}]) as answer,
    ):
        assert (await answer.json())["accepted"] == 1
    (rotated,) = await json_of("key", "rotate", key["key_id"], "--overlap", "1h", "--json")
    assert rotated["scopes"] == ["write"]
    assert await json_of("key", "revoke", key["key_id"], "--json") == [{"revoked": True}]
    code, _, err = await analytics("key", "revoke", key["key_id"])
    assert (code, "no key of its own" in err) == (1, True)
    code, out, err = await analytics("export-customer", "cmd c1")
    assert (code, json.loads(out)["event_name"]) == (0, "cmd_bye"), err
    (done,) = await json_of("delete-customer", "cmd c1", "--json")
    assert done["deleted_events"] == 1
    assert (await json_of("deletions", "--json"))[-1]["deletion_id"] == done["deletion_id"]
