"""Dashboards: panels with a question each."""

from __future__ import annotations

from ._dashboards import Dashboard, Dashboards, parse_dashboard

__all__ = ["Dashboard", "Dashboards", "parse_dashboard"]
