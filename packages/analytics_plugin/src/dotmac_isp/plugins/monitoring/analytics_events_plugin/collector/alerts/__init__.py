"""Alert rules and their states."""

from __future__ import annotations

from ._alerts import AlertRule, Alerts, AlertState, next_state, parse_rule

__all__ = ["AlertRule", "AlertState", "Alerts", "next_state", "parse_rule"]
