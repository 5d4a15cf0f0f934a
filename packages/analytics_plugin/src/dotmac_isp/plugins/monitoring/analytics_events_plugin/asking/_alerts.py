"""Alert rules, silences, and who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._plain import as_mapping
from ._asker import Asker, is_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotmac_isp.plugins.core.model import Alert, AlertStatus, PluginContext

__all__ = ["Alerts"]


class Alerts(Asker):
    """The plugin's methods about alerts."""

    async def create_alert(self, alert_data: Alert, context: PluginContext | None = None) -> str:
        """Store a rule: `{"name": …, "metric": "login_failed", "operator": ">", "threshold": 5, "window": "5m", "for": "1m"}`.

        Kinds: threshold, change, absence, ratio, funnel, sql, anomaly; `condition` in CEL instead of operator and threshold; `group_by`
        makes each group an alert of its own; `keep_firing_for`, `on_no_data`, `on_error`, `severity`, `labels`, `notify`, `notify_on`.
        """
        del context
        made = await self._asked("POST", "/v1/alerts", dict(as_mapping(alert_data, "alert_data")))
        return str(made["alert_id"])

    async def alerts(self) -> list[dict[str, Any]]:
        """All rules with their states, as they were last evaluated."""
        return list(await self._asked("GET", "/v1/alerts"))

    async def change_alert(self, alert_id: str, alert_data: Alert) -> bool:
        """Put another rule in the place of one; its states begin anew. `False`: there is no such alert."""
        wish = dict(as_mapping(alert_data, "alert_data"))
        return bool(await self._of_alert("PUT", alert_id, "", wish))

    async def delete_alert(self, alert_id: str) -> bool:
        """Forget a rule. `False`: there is no such alert."""
        return bool(await self._of_alert("DELETE", alert_id, "", None))

    async def acknowledge_alert(self, alert_id: str, by: str, note: str = "") -> int | None:
        """Say that somebody looks after what fires now: it is not repeated until it ends. How many fire; `None`: no such alert."""
        done = await self._of_alert("POST", alert_id, "/acknowledge", {"by": by, "note": note})
        return None if done is None else int(done["acknowledged"])

    async def _of_alert(self, method: str, alert_id: str, action: str, value: Any) -> Any:
        if not is_id(alert_id):
            return None
        return await self._asked(method, f"/v1/alerts/{alert_id}{action}", value)

    async def backtest_alert(
        self, rule: Alert, since: Any = "7d", until: Any = "now", step: Any = None
    ) -> dict[str, Any]:
        """What a rule would have done: `episodes`, `firing_seconds`, `changes` (time, labels, state, value) and the `values`."""
        wish = {"rule": dict(as_mapping(rule, "rule")), "since": since, "until": until}
        return dict(await self._asked("POST", "/v1/alerts/backtest", wish | ({"step": step} if step else {})))

    async def silence_alerts(self, silence: Mapping[str, Any]) -> dict[str, Any]:
        """Tell nobody for a while: `{"alert_id": …}` or `{"match": {label: value}}`, with `duration` or `ends_at`.

        With `schedule` (five fields of cron, in `timezone`) it is a maintenance window that comes again. States go on meanwhile, and
        what still fires afterwards is told then.
        """
        return dict(await self._asked("POST", "/v1/silences", dict(silence)))

    async def silences(self) -> list[dict[str, Any]]:
        """The silences and maintenance windows that are in force or will be."""
        return list(await self._asked("GET", "/v1/silences"))

    async def end_silence(self, silence_id: str) -> bool:
        """End a silence now. `False`: there is no such silence."""
        if not is_id(silence_id):
            return False
        return (await self._asked("DELETE", f"/v1/silences/{silence_id}")) is not None

    async def alert_policy(self, policy: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """How alerts are told, or (with `policy`) shall be: `notify`, `group_by`, `group_wait`, `group_interval`, `repeat_interval`.

        `notify` are addresses: `https://…` gets JSON, `mailto://user:password@host?to=…` and others go through apprise.
        """
        if policy is None:
            return dict(await self._asked("GET", "/v1/alerts/policy"))
        return dict(await self._asked("PUT", "/v1/alerts/policy", dict(policy)))

    async def get_alert_status(self, alert_id: str, context: PluginContext | None = None) -> AlertStatus | None:
        """Evaluate an alert now: `state` (ok, pending, firing, recovering, no_data, error), `value`, `since`, `history`; `None`: not one of these."""
        del context
        if not is_id(alert_id):
            return None
        status: AlertStatus | None = await self._asked("GET", f"/v1/alerts/{alert_id}")
        return status
