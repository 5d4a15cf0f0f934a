"""Questions about events: what can be asked, the SQL that answers, and asking it for one tenant."""

from __future__ import annotations

from ._ask import Answer, Questions
from ._journeys import KINDS, Journey, build_journey, parse_journey, travel
from ._query import MEASURES, Query, Sql, build, filters, parse_query, scope, where_of

__all__ = [
    "KINDS",
    "MEASURES",
    "Answer",
    "Journey",
    "Query",
    "Questions",
    "Sql",
    "build",
    "build_journey",
    "filters",
    "parse_journey",
    "parse_query",
    "scope",
    "travel",
    "where_of",
]
