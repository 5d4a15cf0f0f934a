"""The plugin's methods that ask the collector: questions, reports, dashboards, alerts."""

from __future__ import annotations

from ._alerts import Alerts
from ._dashboards import Dashboards
from ._questions import Questions
from ._reports import Reports

__all__ = ["Alerts", "Dashboards", "Questions", "Reports"]
