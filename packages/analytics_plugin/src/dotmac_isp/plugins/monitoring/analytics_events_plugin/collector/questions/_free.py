"""Free SQL of a tenant: one SELECT over its own events, checked against lists of what is allowed, never of what is forbidden.

The statement is parsed, every table in it is replaced by the tenant's part of that table, and what goes to the engine is written anew from
the tree. Then the written text is read once more: whatever stands before a bracket must be a function of the list.
"""

from __future__ import annotations

import itertools
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from ..._plain import EventError, as_mapping, plain
from ...store import EVENT_COLUMNS, EVENTS, PER_MINUTE
from ._functions import FUNCTIONS, NODES, WORDS_BEFORE_BRACKETS
from ._past import AT, MOMENT, stop_clocks
from ._query import Sql

if TYPE_CHECKING:
    from types import ModuleType

    from sqlglot import exp

__all__ = ["SqlMissingError", "free_sql"]

_MOST_SQL: Final = 20_000
_MOST_NODES: Final = 5_000
_MOST_DEPTH: Final = 60
_MOST_ROWS: Final = 10_000
_TENANT: Final = "dotmac_tenant"
_TABLES: Final = {
    EVENTS: tuple(name for name in EVENT_COLUMNS if name != "tenant_id"),
    PER_MINUTE: ("minute", "category", "event_name", "events"),
}
_OWN: Final = f"tenant_id = {{{_TENANT}: String}}"
#: What there was of each table at a past moment; of a rollup's last minute only what its events say.
_BEFORE: Final = {
    EVENTS: f"SELECT {', '.join(_TABLES[EVENTS])} FROM {EVENTS} WHERE {_OWN} AND timestamp <= {MOMENT}",  # noqa: S608 - bound
    PER_MINUTE: (
        f"SELECT minute, category, event_name, events FROM {PER_MINUTE} WHERE {_OWN} AND minute < toStartOfMinute({MOMENT}) "  # noqa: S608
        f"UNION ALL SELECT toStartOfMinute(timestamp) AS minute, category, event_name, toInt64(uniqExact(event_id)) AS events FROM {EVENTS} "
        f"WHERE {_OWN} AND timestamp >= toStartOfMinute({MOMENT}) AND timestamp <= {MOMENT} GROUP BY minute, category, event_name"
    ),
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KINDS: Final = re.compile(
    r"(?:String|U?Int(?:8|16|32|64)|Float(?:32|64)|Date|DateTime(?:64(?:\(\d\))?)?|Bool|"
    r"Array\((?:String|U?Int64|Float64)\))"
)


class SqlMissingError(RuntimeError):
    """Free SQL cannot be checked here, so it is not asked; the message says what to install."""


def _sqlglot() -> ModuleType:
    try:
        import sqlglot  # noqa: PLC0415 - 0.2 s; only where SQL is asked
        import sqlglot.errors  # noqa: PLC0415
    except ImportError:
        raise SqlMissingError(
            "questions in SQL need sqlglot. Run: pip install 'dotmac-plugin-analytics[sql]' (about 3 MB)"
        ) from None
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    return sqlglot


def free_sql(text: object, parameters: object, tenant: str, *, at: float | None = None) -> Sql:
    """The statement that may be asked for the tenant. Raises `EventError` for what is not allowed, `SqlMissingError`.

    :param at: answer as at this moment (Unix time): for its clocks it is now, and later events are not there.
    """
    if not isinstance(text, str) or not text.strip():
        raise EventError("sql", text, "a SELECT over events or events_per_minute")
    if len(text) > _MOST_SQL:
        raise EventError("sql", f"{len(text)} characters", f"at most {_MOST_SQL}")
    _shallow(text)
    values = _values(parameters)
    statement = _parsed(str(plain(text, "sql")))
    _allowed(statement)
    _placeholders(statement, values)
    if at is not None:
        stop_clocks(statement)
    _scoped(statement, past=at is not None)
    written = statement.sql(dialect="clickhouse", comments=False)
    _written_well(written)
    moment = {} if at is None else {AT: int(at * 1000)}
    return Sql(f"SELECT * FROM ({written}) LIMIT {_MOST_ROWS}", {**values, **moment, _TENANT: tenant})  # noqa: S608 - checked


def _shallow(text: str) -> None:
    """Brackets in brackets make the parser call itself; a bound keeps it from ending the process."""
    depth = most = 0
    for character in text:
        if character in "([{":
            depth += 1
            most = max(most, depth)
        elif character in ")]}":
            depth -= 1
    if most > _MOST_DEPTH:
        raise EventError("sql", f"{most} brackets in each other", f"at most {_MOST_DEPTH}")


def _values(parameters: object) -> dict[str, Any]:
    found = {str(name): plain(value, f"parameters.{name}") for name, value in as_mapping(parameters or {}).items()}
    for name in found:
        if not _NAME.fullmatch(name) or name in {_TENANT, AT}:
            raise EventError("parameters", name, "names of letters, digits and _")
    return found


def _parsed(text: str) -> exp.Expression:
    sqlglot = _sqlglot()
    try:
        statements = [one for one in sqlglot.parse(text, dialect="clickhouse") if one is not None]
    except Exception as error:  # noqa: BLE001 - hostile texts make the parser stumble in many ways, and none of them is a SELECT
        known = isinstance(error, sqlglot.errors.SqlglotError) and str(error)
        words = str(error).splitlines()[0][:200] if known else "it cannot be parsed"
        raise EventError("sql", text, f"one SELECT as ClickHouse writes it ({words})") from None
    if len(statements) != 1:
        raise EventError("sql", text, "one statement")
    statement: exp.Expression = statements[0]
    empty = any(not select.expressions for select in statement.find_all(sqlglot.exp.Select))
    if type(statement).__name__ not in {"Select", "Union"} or empty:
        raise EventError("sql", text, "a SELECT")
    return statement


def _allowed(statement: exp.Expression) -> None:
    for count, node in enumerate(statement.walk()):
        name = type(node).__name__
        if name not in NODES and not _is_function(node):
            raise EventError("sql", node.sql(dialect="clickhouse"), f"something that is allowed here; {name} is not")
        if node.args.get("settings") or node.args.get("format") or node.args.get("into"):
            raise EventError("sql", node.sql(dialect="clickhouse"), "a SELECT without SETTINGS, FORMAT and INTO")
        if count > _MOST_NODES:
            raise EventError("sql", "more parts", f"at most {_MOST_NODES}")


def _is_function(node: exp.Expr) -> bool:
    """A function; its name is looked at when the statement has been written."""
    from sqlglot import exp  # noqa: PLC0415

    return isinstance(node, exp.Func)


def _scoped(statement: exp.Expression, *, past: bool) -> None:
    """Every table becomes the tenant's part of it; what is no table of ours and no name of WITH is refused."""
    from sqlglot import exp  # noqa: PLC0415

    known = {cte.alias for cte in statement.find_all(exp.CTE)}
    if shadowed := known & _TABLES.keys():
        raise EventError("sql", sorted(shadowed)[0], "a name in WITH that is no table's")
    for table in list(statement.find_all(exp.Table)):
        plain_name = (
            isinstance(table.this, exp.Identifier) and not table.args.get("db") and not table.args.get("catalog")
        )
        if plain_name and table.name in known:
            continue
        if not plain_name or table.name not in _TABLES:
            raise EventError("sql", table.sql(dialect="clickhouse"), "one of the tables " + ", ".join(_TABLES))
        _replace(table, past=past)
    for found in statement.find_all(exp.In):
        if found.args.get("field") is not None:
            raise EventError("sql", found.sql(dialect="clickhouse"), "IN with values or a SELECT in brackets")


def _replace(table: exp.Table, *, past: bool) -> None:
    from sqlglot import exp  # noqa: PLC0415

    columns = ", ".join(_TABLES[table.name])
    part = _BEFORE[table.name] if past else f"SELECT {columns} FROM {table.name} WHERE {_OWN}"  # noqa: S608 - bound
    own = _sqlglot().parse_one(part, dialect="clickhouse")
    alias = exp.TableAlias(this=exp.to_identifier(table.alias or table.name))
    kept = {key: value for key, value in table.args.items() if key == "joins" and value}
    table.replace(exp.Subquery(this=own, alias=alias, **kept))


def _placeholders(statement: exp.Expression, values: dict[str, Any]) -> None:
    from sqlglot import exp  # noqa: PLC0415

    for node in statement.find_all(exp.Placeholder):
        kind = node.args.get("kind")
        words = kind.sql(dialect="clickhouse") if isinstance(kind, exp.Expression) else str(kind or "")
        if node.name not in values or not _KINDS.fullmatch(
            words.replace("Nullable(", "").rstrip(")") if "Nullable" in words else words
        ):
            raise EventError("sql", node.sql(dialect="clickhouse"), "{name:Type} with a value in 'parameters'")
    named = {node.name for node in statement.find_all(exp.Placeholder)}
    for extra in values.keys() - named:
        raise EventError("parameters", extra, "the name of a {name:Type} in the statement")


def _written_well(text: str) -> None:
    """Look at the words that the engine will see: before each bracket a function of the list, and nothing that ends a SELECT."""
    tokens = _sqlglot().tokenize(text, dialect="clickhouse")
    for word, following in itertools.pairwise(tokens):
        if following.token_type.name != "L_PAREN" or not re.match(r"\w", word.text):
            continue
        if word.token_type.name in {"STRING", "NUMBER"}:
            continue
        if word.text.lower() not in FUNCTIONS and word.text.upper() not in WORDS_BEFORE_BRACKETS:
            raise EventError(
                "sql", word.text, "a function that is allowed here (aggregates, dates, texts, numbers, arrays)"
            )
