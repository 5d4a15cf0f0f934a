"""Revenue, what a customer brings, who came and who left."""

from __future__ import annotations

from typing import Any, Final

from ...store import EVENTS
from ..questions import Sql, scope
from ._making import Making, Section, percent

__all__ = ["business"]

#: A charge is what is owed; the payment that settles it is what came in. Refunds and credits are stored negative.
_REVENUE: Final = ["payment", "refund", "credit", "transaction"]
_SIGNUPS: Final = ["signup", "activation", "customer_created", "subscription_started"]
_CHURN: Final = ["churn", "cancellation", "customer_lost", "subscription_cancelled", "subscription_canceled"]
_CATEGORIES: Final = {"category": ["business", "financial"]}


async def business(make: Making) -> tuple[dict[str, Any], list[Section]]:
    names = make.names.get("revenue_events", _REVENUE)
    money: dict[str, Any] = {"measure": "sum", "field": "amount", "where": {"event_name": names}}
    revenue, earlier = await make.by("currency", **money), await make.before.by("currency", **money)
    paying = {"event_name": names, "amount": {">": 0.0}}
    payers = await make.by("currency", measure="unique_customers", where=paying)
    people = await _people(make, names)
    amounts = await make.section(
        "Amounts by currency", "bar", "amount", measure="sum", field="amount", group_by=("currency",)
    )
    amounts_rows = [row for row in amounts.rows if row["value"] is not None]
    totals: dict[str, Any] = {
        "events": await make.total(where=_CATEGORIES),
        "amounts": {row["currency"] or "without currency": row["value"] for row in amounts_rows},
        "revenue": {name or "without currency": value for name, value in revenue.items()},
        "revenue_change_percent": {
            name: percent(value - earlier[name], abs(earlier[name]))
            for name, value in revenue.items()
            if earlier.get(name)
        },
        "arpu": {name: round(value / payers[name], 2) for name, value in revenue.items() if payers.get(name)},
        "customers": await make.total(measure="unique_customers"),
        **people,
    }
    return totals, [
        await make.section(
            "Revenue over time", "line", "amount", interval=max(make.interval, 3600), group_by=("currency",), **money
        ),
        Section(title=amounts.title, columns=amounts.columns, rows=amounts_rows, chart="bar", unit="amount"),
        _per_currency(revenue, earlier, payers),
        await make.section("Business events", "bar", group_by=("event_name",), where=_CATEGORIES),
        await make.section(
            "Customers who brought most", "table", "amount", group_by=("customer_id", "currency"), **_positive(money)
        ),
    ]


def _positive(money: dict[str, Any]) -> dict[str, Any]:
    return {**money, "where": {**money["where"], "customer_id": {"exists": True}}}


def _per_currency(revenue: dict[str, float], earlier: dict[str, float], payers: dict[str, float]) -> Section:
    rows = [
        {
            "currency": name or "(none)",
            "revenue": value,
            "revenue before": earlier.get(name, 0.0),
            "paying customers": payers.get(name, 0),
            "per customer": round(value / payers[name], 2) if payers.get(name) else None,
        }
        for name, value in revenue.items()
    ]
    columns = ("currency", "revenue", "revenue before", "paying customers", "per customer")
    return Section(title="Revenue and what a customer brings", columns=columns, rows=rows, unit="amount")


async def _people(make: Making, names: list[str]) -> dict[str, Any]:
    """Who paid before and now; who came and who left, as told by events where there are such, else by who pays."""
    paid = await _paid(make, names)
    came = await make.total(measure="unique_customers", where={"event_name": make.names.get("signup_events", _SIGNUPS)})
    left = await make.total(measure="unique_customers", where={"event_name": make.names.get("churn_events", _CHURN)})
    told = bool(came or left)
    came, left = (came or 0, left or 0) if told else (paid["gained"], paid["lost"])
    return {
        "paying_customers": paid["now"],
        "paying_before": paid["before"],
        "new_customers": came,
        "churned_customers": left,
        "net_growth": came - left,
        "churn_percent": percent(left, paid["before"]),
        "growth_from": "events" if told else "payments",
    }


async def _paid(make: Making, names: list[str]) -> dict[str, int]:
    condition, values = scope(make.questions.tenant, make.before.since, make.until)
    values |= {"names": names, "middle": scope("", make.since, make.until)[1]["since"]}
    text = (
        "SELECT countIf(earlier) AS before, countIf(later) AS now, countIf(later AND NOT earlier) AS gained, "  # noqa: S608 - bound
        "countIf(earlier AND NOT later) AS lost FROM (SELECT customer_id, max(timestamp < {middle:DateTime64(3, 'UTC')}) AS earlier, "
        f"max(timestamp >= {{middle:DateTime64(3, 'UTC')}}) AS later FROM {EVENTS} WHERE {condition} "
        "AND event_name IN {names:Array(String)} AND customer_id != '' AND amount > 0 GROUP BY customer_id)"
    )
    return dict((await make.questions.table(Sql(text, values))).rows[0])
