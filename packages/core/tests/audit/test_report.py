"""The compliance report: sums and sections from records, and forms that nothing in a record can break out of."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from dotmac_isp.plugins.core.audit import (
    AuditOptions,
    AuditTrail,
    ComplianceReport,
    compliance_report,
    records,
    report_as_csv,
    report_as_html,
    verify,
)

if TYPE_CHECKING:
    from pathlib import Path


async def reported(home: Path, *, since: float = 0.0, until: float = 100.0) -> ComplianceReport:
    trail = AuditTrail(redact=str, options=AuditOptions())
    await trail.open(home)
    given = {"plugin_id": "olt", "tenant_id": "t"}
    trail.record("lifecycle", "active", at=1.0, **given)
    trail.record("lifecycle", "failed", at=2.0, detail="=HYPERLINK(1)", **given)
    trail.record("lifecycle", "active", at=3.0, detail="started", **given)
    trail.record("secret", "given", at=4.0, values={"name": "password"}, **given)
    trail.record("secret", "rotated", at=5.0, values={"name": "password"}, **given)
    trail.record("call provision", "permission", at=6.0, user_id="<script>alert(1)</script>", **given)
    trail.record("call provision", "licence", at=7.0, detail="over the limit", **given)
    trail.record("call provision", "deadline", at=8.0, **given)
    trail.record("control stop", "done", at=9.0, user_id="uid:5", **given)
    trail.record("tenant", "suspended", at=150.0, tenant_id="t")
    await trail.close()
    entries = records(home, tenant="t")
    return compliance_report(entries, verify(home), tenant="t", since=since, until=until, made=200.0)


async def test_what_ran_was_refused_changed_and_asked_for_is_summed_up(tmp_path: Path) -> None:
    report = await reported(tmp_path)
    (ran,) = report.ran
    assert (ran.starts, ran.failures, ran.last_state, ran.last_reason) == (2, 1, "active", "started")
    assert ran.failed_calls == {"deadline": 1, "licence": 1, "permission": 1}
    (secret,) = report.secrets
    assert (secret.name, secret.given, secret.rotated, secret.missing) == ("password", 1, 1, 0)
    assert [one.outcome for one in report.refusals] == ["permission", "licence"]
    assert [one.detail for one in report.licences] == ["over the limit"]
    assert [one.action for one in report.changes] == ["secret"]
    assert [one.user for one in report.administration] == ["uid:5"]
    assert {(one.operation, one.allowed, one.refused) for one in report.permissions} == {
        ("call provision", 0, 1),
        ("control stop", 1, 0),
    }
    assert (report.trail_is_whole, report.records) == (True, 9)


async def test_only_the_time_that_was_asked_for_counts(tmp_path: Path) -> None:
    report = await reported(tmp_path, since=100.0, until=160.0)
    assert report.records == 1
    assert [one.outcome for one in report.changes] == ["suspended"]
    assert report.ran == ()


async def test_no_record_breaks_out_of_the_page_or_the_table(tmp_path: Path) -> None:
    report = await reported(tmp_path)
    page = report_as_html(report)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    cells = [cell for line in csv.reader(io.StringIO(report_as_csv(report))) for cell in line]
    assert not any(cell.startswith("=") for cell in cells)
