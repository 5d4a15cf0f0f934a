"""Reports, now and by schedule."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from ._asker import Asker, is_id, written

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Reports"]


class Reports(Asker):
    """The plugin's methods about reports."""

    async def generate_report(self, report_type: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a report over what was acknowledged until now.

        Types: summary, business, user_behavior, conversion, retention, performance, security, network. Parameters: `since`, `until`,
        `limit`, `steps` and `window` (conversion), `event`, `period` and `periods` (retention), `field` (performance), `revenue_events`,
        `signup_events` and `churn_events` (business), `down_events`, `up_events` and `subscribers` (network), and `format`: html, pdf,
        png, csv or parquet write a file too, whose `path` is in the answer. Raises `EventError` for what is not understood.
        """
        wish = {"report_type": report_type, "parameters": dict(parameters or {}), "embed": True}
        report = dict(await self._asked("POST", "/v1/reports", wish))
        report["rows"] = report["sections"][0]["rows"] if report["sections"] else []
        body = report["html"].encode() if "html" in report else b64decode(report.pop("file", ""))
        if body:
            stamp = report["generated_at"].replace(":", "").replace("-", "")
            path = self.api.data_dir / "reports" / f"{report['report_type']}-{stamp}.{report.get('format', 'html')}"
            report["path"] = await written(path, body)
        return report

    async def report_types(self) -> dict[str, str]:
        """The types that `generate_report` knows, each with its title."""
        return dict(await self._asked("GET", "/v1/reports"))

    async def schedule_report(self, schedule: Mapping[str, Any]) -> dict[str, Any]:
        """Have a report made and sent again and again.

        `{"report_type": "business", "schedule": "0 6 * * MON", "timezone": "Europe/Berlin", "format": "pdf", "notify": ["mailto://…"],
        "parameters": {"since": "7d"}}`. `notify` are addresses as for alerts. Raises `EventError`.
        """
        return dict(await self._asked("POST", "/v1/reports/schedules", dict(schedule)))

    async def report_schedules(self) -> list[dict[str, Any]]:
        """The scheduled reports, each with `next_at`, `last_at` and `last_error`."""
        return list(await self._asked("GET", "/v1/reports/schedules"))

    async def run_scheduled_report(self, schedule_id: str) -> dict[str, Any] | None:
        """Make and send a scheduled report now: `sent` counts the addresses that took it. `None`: there is no such schedule."""
        if not is_id(schedule_id):
            return None
        done: dict[str, Any] | None = await self._asked("POST", f"/v1/reports/schedules/{schedule_id}/run")
        return done

    async def unschedule_report(self, schedule_id: str) -> bool:
        """Make it no more. `False`: there is no such schedule."""
        if not is_id(schedule_id):
            return False
        return (await self._asked("DELETE", f"/v1/reports/schedules/{schedule_id}")) is not None
