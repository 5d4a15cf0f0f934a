"""Dashboards: panels with a question each, as a file, on paper, and live."""

from __future__ import annotations

from ._board import Board, filled
from ._config import Dashboard, parse_dashboard
from ._dashboards import Dashboards
from ._templates import TEMPLATES

__all__ = ["TEMPLATES", "Board", "Dashboard", "Dashboards", "filled", "parse_dashboard"]
