"""Alert rules, their states, and telling people of them."""

from __future__ import annotations

from ._backtest import backtest
from ._conditions import CelMissingError
from ._dispatch import Policy, due, parse_policy
from ._measure import measure
from ._rules import KINDS, AlertRule, parse_rule
from ._silences import Silence, check_cron, next_run, parse_silence
from ._states import AlertState, Outcome, next_state
from ._watch import Alerts

__all__ = [
    "KINDS",
    "AlertRule",
    "AlertState",
    "Alerts",
    "CelMissingError",
    "Outcome",
    "Policy",
    "Silence",
    "backtest",
    "check_cron",
    "due",
    "measure",
    "next_run",
    "next_state",
    "parse_policy",
    "parse_rule",
    "parse_silence",
]
