"""Reports: what they count, their forms, and sending them by schedule to real servers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import signal
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dotmac_isp.plugins.monitoring.analytics_events_plugin import EventError
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector import Collector, CollectorConfig
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.reports import Report, Section
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.reports._forms import as_csv
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.reports._network import Outage, lost_minutes
from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.reports._schedule import parse_schedule

DAY = 86400.0


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_the_business_report_knows_revenue_what_a_customer_brings_and_who_left(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    now = time.time()
    await other.track_transaction("1000", "EUR", customer_id="x")
    await other.flush()

    async def pays(customer: str, amount: str, days: float, kind: str = "payment", currency: str = "EUR") -> None:
        await plugin.track_transaction(
            amount, currency, kind=kind, customer_id=customer, timestamp=now - days * DAY - 60
        )

    await pays("a", "10.10", 8)
    await pays("b", "20", 8)
    await pays("a", "30", 1)
    await pays("c", "10", 2)
    await pays("c", "4.50", 1, "refund")
    await pays("d", "7", 1, currency="USD")
    await pays("a", "99", 1, "charge")
    totals = (await plugin.generate_report("business", {"since": "7d"}))["totals"]
    assert totals["revenue"] == {"EUR": 35.5, "USD": 7.0}
    assert totals["revenue_change_percent"] == {"EUR": 17.94}
    assert totals["arpu"] == {"EUR": 17.75, "USD": 7.0}
    names = ("paying_customers", "paying_before", "new_customers", "churned_customers", "net_growth", "growth_from")
    assert [totals[name] for name in names] == [3, 2, 2, 1, 1, "payments"]
    assert totals["churn_percent"] == 50.0
    await plugin.track_events_batch(
        [
            {"event_name": "signup", "customer_id": "e"},
            {"event_name": "signup", "customer_id": "f"},
            {"event_name": "left_us", "customer_id": "b"},
        ]
    )
    told = (await plugin.generate_report("business", {"since": "7d", "churn_events": ["left_us"]}))["totals"]
    assert [told[name] for name in names[2:]] == [2, 1, 1, "events"]


async def test_the_network_report_multiplies_outages_by_those_behind_the_device(shared: Any) -> None:
    plugin, other = await shared.started("tenant_a"), await shared.started("tenant_b")
    start = time.time() // 60 * 60 - 6 * 3600

    def event(name: str, device: str, minutes: float, **more: Any) -> dict[str, Any]:
        at = {"timestamp": start + minutes * 60, "device_id": device, "event_name": name}
        return {**at, "event_type": "device_event", "category": "technical", **more}

    await other.track_events_batch([event("onu_unreachable", "onu-1", 10, customer_id="theirs")])
    await other.flush()
    await plugin.track_events_batch(
        [
            event("subscriber_service_added", "onu-1", -600, properties={"subscriber_id": "s1", "olt_id": "olt"}),
            event("subscriber_service_added", "onu-2", -600, properties={"subscriber_id": "s2", "olt_id": "olt"}),
            event("subscriber_service_added", "onu-2", -600, properties={"subscriber_id": "s3", "olt_id": "olt"}),
            event("onu_unreachable", "onu-1", -60, severity="major"),
            event("onu_active", "onu-1", 30),
            event("onu_unreachable", "onu-2", 60, severity="major"),
            event("onu_failed", "onu-2", 65, severity="major"),
            event("onu_active", "onu-2", 70),
            event("olt_unreachable", "olt", 65, severity="critical"),
            event("olt_active", "olt", 85),
            event("onu_unreachable", "onu-3", 300, severity="major"),
        ]
    )
    span = {"since": start, "until": start + 6 * 3600}
    report = await plugin.generate_report("network", span)
    totals = report["totals"]
    assert (totals["outages"], totals["subscribers"], totals["subscribers_concerned"]) == (4, 3, 3)
    # onu-1: 30 minutes of its own and 20 with the OLT; onu-2: from 60 to 85 for two.
    assert totals["subscriber_minutes_lost"] == 30 + 20 + 2 * 25
    assert totals["availability_percent"] == round(100 * (1 - 100 / (3 * 360)), 4)
    longest = next(section for section in report["sections"] if section["title"] == "Longest outages")["rows"]
    assert [(row["device_id"], row["minutes"], row["ongoing"]) for row in longest][:2] == [
        ("onu-3", 60.0, "yes"),
        ("onu-1", 30.0, ""),
    ]
    told = await plugin.generate_report("network_quality", {**span, "subscribers": {"onu-3": 32}})
    assert told["totals"]["subscriber_minutes_lost"] == 100 + 32 * 60
    with pytest.raises(EventError, match=r"subscribers\.onu-3"):
        await plugin.generate_report("network", {"subscribers": {"onu-3": -1}})


def test_a_subscriber_is_out_once_while_his_device_or_the_one_above_is() -> None:
    outages = [Outage("onu", 0, 600, False), Outage("olt", 300, 900, False), Outage("onu", 1200, 1260, False)]
    assert lost_minutes(outages, {"onu": 2, "else": 5}, {"onu": "olt"}) == ({"onu": 32.0}, 2)


async def test_the_retention_report_leaves_out_periods_that_have_not_come(shared: Any) -> None:
    plugin = await shared.started()
    noon = (time.time() // DAY - 5) * DAY + DAY / 2
    visits = {"a": [0, 1], "b": [0], "c": [4, 5]}
    await plugin.track_events_batch(
        [
            {"event_name": "visit", "user_id": user, "timestamp": min(noon + day * DAY, time.time())}
            for user, days in visits.items()
            for day in days
        ]
    )
    report = await plugin.generate_report("retention", {"since": "10d", "event": "visit", "periods": [1, 3, 9]})
    average = report["sections"][1]["rows"]
    assert [(row["after"], row["people"], row["came_back"]) for row in average][1:] == [
        ("day 3", 2, 0),
        ("day 9", 0, 0),
    ]
    assert average[0]["people"] == 3


async def test_a_report_comes_in_every_form(shared: Any, charts: None) -> None:
    pypdf = pytest.importorskip("pypdf", reason="pypdf is not installed (extra 'reports')")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra 'parquet')")
    plugin = await shared.started()
    await plugin.track_events_batch(
        [{"event_name": "visit", "user_id": f"u{n}", "properties": {"page": "=1+1"}} for n in range(5)]
        + [{"event_name": "Привет 名前", "severity": "error"}]
    )
    pdf = await plugin.generate_report("summary", {"format": "pdf"})
    pages = pypdf.PdfReader(pdf["path"]).pages
    text = "".join(page.extract_text() for page in pages)
    assert "Summary report" in text
    assert "Most frequent events" in text
    assert float(pages[0].mediabox.width) == pytest.approx(595, abs=2)
    assert pdf["totals"]["events"] == 6
    png = await plugin.generate_report("summary", {"format": "png"})
    assert read(png["path"]).startswith(b"\x89PNG")
    behaviour = await plugin.generate_report("user_behavior", {"format": "csv", "since": "1h"})
    rows = list(csv.DictReader(io.StringIO(read(behaviour["path"]).decode("utf-8-sig"))))
    assert {"section": "totals", "total": "events", "value": "0"}.items() <= rows[0].items()
    table = parquet.read_table((await plugin.generate_report("summary", {"format": "parquet"}))["path"]).to_pylist()
    assert {row["event_name"]: row["value"] for row in table if row["event_name"]} == {"visit": 5, "Привет 名前": 1}
    page = await plugin.generate_report("summary", {"format": "html"})
    assert page["path"].endswith(".html")
    with pytest.raises(EventError, match=r"parameters.format: 'docx' given, expected one of json, html, pdf, png"):
        await plugin.generate_report("summary", {"format": "docx"})


def test_a_spreadsheet_takes_nothing_for_a_formula() -> None:
    section = Section(title="S", columns=("name", "value"), rows=[{"name": '=cmd|"/c calc"', "value": -5}])
    stamp = "2026-11-22T00:00:00Z"
    report = Report(
        report_type="x", title="X", generated_at=stamp, since=stamp, until=stamp, totals={"n": 1}, sections=[section]
    )
    rows = list(csv.reader(io.StringIO(as_csv(report).decode("utf-8-sig"))))
    assert rows[0] == ["section", "total", "name", "value"]
    assert rows[2] == ["S", "", '\'=cmd|"/c calc"', "-5"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"report_type": "sums"}, "report_type: 'sums' given"),
        ({"schedule": "soon"}, "schedule: 'soon' given, expected five fields"),
        ({"schedule": "0 0 31 2 *"}, "schedule"),
        ({"notify": []}, "notify"),
        ({"notify": ["ftp://x"]}, "notify: 'ftp://…' given"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"format": "docx"}, "parameters.format"),
        ({"parameters": {"colour": 1}}, "parameters.colour"),
    ],
)
def test_a_schedule_that_makes_no_sense_says_why(wish: dict[str, Any], words: str) -> None:
    pytest.importorskip("croniter", reason="croniter is not installed (extra 'alerts')")
    good = {"report_type": "summary", "schedule": "0 6 * * MON", "notify": ["https://x.example/hook"]}
    with pytest.raises(EventError, match=words):
        parse_schedule({**good, **wish}, 1_790_000_000.0)


def make_due(collector: Collector, schedule_id: str) -> None:
    """The minute has come."""
    place = ("tenant_a", schedule_id)
    schedule = collector.schedules._all[place]
    due = msgspec.structs.replace(schedule, next_at=time.time() - 1)
    collector.schedules._save(*place, due)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_report_that_was_being_made_when_the_collector_ended_goes_out_when_it_is_back(
    engine: None, tmp_path: Path, hook: tuple[str, asyncio.Queue[Any]]
) -> None:
    pytest.importorskip("croniter", reason="croniter is not installed (extra 'alerts')")
    address, got = hook
    config = CollectorConfig(data_dir=tmp_path, port=0, notify_hosts=("127.0.0.1",))
    async with Collector(config) as collector:
        # Once a year, so that only the minute of this test comes.
        wish = {"report_type": "summary", "schedule": "0 0 1 1 *", "format": "csv", "notify": [address]}
        made = collector.schedules.create("tenant_a", wish)
        os.kill(collector.describe()["pid"], signal.SIGSTOP)  # its numbers never come
        make_due(collector, made["schedule_id"])
        await asyncio.sleep(2.5)  # it is begun within a second, and nothing tells of it
        assert got.empty()
    async with Collector(config) as collector:
        parts = await asyncio.wait_for(got.get(), 30)
        assert json.loads(parts["message"][1])["report_type"] == "summary"
        (listed,) = collector.schedules.list("tenant_a")
        assert listed["next_at"] > time.time()
    assert got.empty()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_scheduled_report_goes_out_by_mail_and_to_a_webhook(
    engine: None, tmp_path: Path, port: int, hook: tuple[str, asyncio.Queue[Any]]
) -> None:
    for name in ("croniter", "apprise"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra 'alerts')")
    controller = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")
    letters: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            loop.call_soon_threadsafe(letters.put_nowait, envelope)
            return "250 taken"

    smtp = controller.Controller(Handler(), hostname="127.0.0.1", port=port)
    smtp.start()
    address, got = hook
    mail = f"mailto://127.0.0.1:{port}?from=noc@isp.example&to=boss@isp.example&mode=insecure"
    wish = {
        "report_type": "summary",
        "schedule": "* * * * *",
        "format": "csv",
        "notify": [address, mail],
        "name": "Weekly",
    }
    try:
        config = CollectorConfig(data_dir=tmp_path, port=0, notify_hosts=("127.0.0.1",))
        async with Collector(config) as collector:
            made = collector.schedules.create("tenant_a", wish)
            assert made["notify"] == [f"{address[:-4]}…", f"mailto://127.0.0.1:{port} to boss@isp.example"]
            make_due(collector, made["schedule_id"])
            parts = await asyncio.wait_for(got.get(), 30)
            told = json.loads(parts["message"][1])
            assert (told["tenant"], told["report_type"], told["totals"]["events"]) == ("tenant_a", "summary", 0)
            assert parts["file"][0].startswith("summary-")
            assert parts["file"][1].startswith(b"\xef\xbb\xbfsection,")
            letter = message_from_bytes((await asyncio.wait_for(letters.get(), 30)).content)
            assert letter["Subject"] == "Weekly: Summary report"
            assert [part.get_filename() for part in letter.walk() if part.get_filename()] == [parts["file"][0]]
            done = await collector.schedules.run_now("tenant_a", made["schedule_id"])
            assert done == {"schedule_id": made["schedule_id"], "sent": 2, "error": ""}
            # Nobody else's.
            assert collector.schedules.list("tenant_b") == []
            assert await collector.schedules.run_now("tenant_b", made["schedule_id"]) is None
            assert collector.schedules.delete("tenant_b", made["schedule_id"]) is False
            (listed,) = collector.schedules.list("tenant_a")
            assert listed["next_at"] > time.time()
        async with Collector(config) as collector:
            assert [one["name"] for one in collector.schedules.list("tenant_a")] == ["Weekly"]
            assert collector.schedules.delete("tenant_a", made["schedule_id"]) is True
    finally:
        smtp.stop()
