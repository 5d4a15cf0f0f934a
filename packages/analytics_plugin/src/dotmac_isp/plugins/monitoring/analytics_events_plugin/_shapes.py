"""What people track most, each with the fields that reports expect: page views, conversions, transactions."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ._plain import EventError, as_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRANSACTIONS", "conversion", "page_view", "transaction"]

#: The kinds of transaction.
TRANSACTIONS: Final = ("payment", "refund", "charge", "credit", "transaction")
#: Kinds that lower the sum.
_NEGATIVE: Final = frozenset({"refund", "credit"})


def page_view(page: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A page (its path or address) that was looked at."""
    if not isinstance(page, str) or not page.strip():
        raise EventError("page", page, "the page's path or address, such as '/plans'")
    return _event("page_view", "user_behavior", {"page": page.strip()}, fields)


def conversion(goal: object, amount: object, currency: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A goal that was reached, perhaps with what it is worth."""
    if not isinstance(goal, str) or not goal.strip():
        raise EventError("goal", goal, "what was reached, such as 'signup'")
    event = _event("conversion", "business", {"goal": goal.strip()}, fields)
    return event if amount is None else {**event, **_money(amount, currency)}


def transaction(kind: object, amount: object, currency: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Money that moved; what goes back to the customer is negative, however it is given."""
    if kind not in TRANSACTIONS:
        raise EventError("kind", kind, "one of " + ", ".join(TRANSACTIONS))
    money = _money(amount, currency)
    if kind in _NEGATIVE:
        money["amount"] = -abs(money["amount"])
    number = fields.get("transaction_id")
    event = _event(str(kind), "financial", {} if number is None else {"transaction_id": str(number)}, fields)
    event |= {"event_type": "transaction", **money}
    # The same transaction reported twice (a repeated webhook, say) is one event.
    return event if number is None else {"event_id": f"{kind}:{number}", **event}


def _event(name: str, category: str, told: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in fields.items() if key not in {"properties", "transaction_id"}}
    properties = as_mapping(fields.get("properties") or {}, "properties")
    return {"event_name": name, "category": category, **given, "properties": {**properties, **told}}


def _money(amount: object, currency: object) -> dict[str, Any]:
    if isinstance(amount, float):
        raise EventError(
            "amount", amount, f"a Decimal, text or whole number: a float is not exact (write '{amount!r}')"
        )
    if isinstance(amount, bool) or not isinstance(amount, (Decimal, str, int)):
        raise EventError("amount", amount, "an exact number such as Decimal('19.90') or '19.90'")
    try:
        number = Decimal(amount)
    except ArithmeticError:
        raise EventError("amount", amount, "an exact number such as Decimal('19.90') or '19.90'") from None
    if not currency:
        raise EventError("currency", currency, "an ISO 4217 code such as 'EUR'; an amount without one means nothing")
    return {"amount": number, "currency": currency}
