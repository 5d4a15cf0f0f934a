"""Questions about events: what can be asked, the SQL that answers, and asking it for one tenant."""

from __future__ import annotations

from ._ask import Answer, Questions
from ._filters import Wanted, expression, filters, subcolumn, where_of
from ._free import SqlMissingError, free_sql
from ._journeys import KINDS, Journey, build_journey, parse_journey, travel
from ._query import MEASURES, Query, Sql, aggregate, build, fits_rollup, parse_query, scope

__all__ = [
    "KINDS",
    "MEASURES",
    "Answer",
    "Journey",
    "Query",
    "Questions",
    "Sql",
    "SqlMissingError",
    "Wanted",
    "aggregate",
    "build",
    "build_journey",
    "expression",
    "filters",
    "fits_rollup",
    "free_sql",
    "parse_journey",
    "parse_query",
    "scope",
    "subcolumn",
    "travel",
    "where_of",
]
