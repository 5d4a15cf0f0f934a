"""Reports: named sets of questions over a span of time."""

from __future__ import annotations

from ._reports import REPORTS, Report, Section, make_report

__all__ = ["REPORTS", "Report", "Section", "make_report"]
