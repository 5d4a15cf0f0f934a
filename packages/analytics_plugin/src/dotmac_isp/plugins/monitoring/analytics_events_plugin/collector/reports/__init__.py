"""Reports: named sets of questions over a span of time, in several forms, now or by schedule."""

from __future__ import annotations

from ._forms import FORMS, formed
from ._making import Report, Section
from ._reports import REPORTS, make_report
from ._schedule import Schedules

__all__ = ["FORMS", "REPORTS", "Report", "Schedules", "Section", "formed", "make_report"]
