"""Whose events are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..._plain import EventError, as_mapping
from ...events import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COLUMNS", "Person", "parse_person"]

COLUMNS: Final = ("customer_id", "user_id", "device_id")


class Person(msgspec.Struct, frozen=True):
    """Values by column, of which any one makes an event theirs; a value may be stored under several names (a pseudonym)."""

    names: dict[str, list[str]]

    def condition(self) -> tuple[str, dict[str, Any]]:
        """The condition and its values; the tenant is the caller's."""
        parts = [f"{column} IN {{{column}s:Array(String)}}" for column in self.names]
        return f"({' OR '.join(parts)})", {f"{column}s": names for column, names in self.names.items()}


def parse_person(given: object, names_of: Callable[[str], list[str]]) -> Person:
    """From `{"customer_id": "c7"}`, `{"user_id": "u1"}`, or both for either. Raises `EventError`."""
    wish = as_mapping(given, "customer")
    found: dict[str, list[str]] = {}
    for column in COLUMNS:
        value = wish.get(column)
        if value in (None, ""):
            continue
        if not isinstance(value, str) or len(value) > MAX_ID or not value.isprintable():
            raise EventError(column, value, f"an identifier of at most {MAX_ID} printable characters")
        found[column] = names_of(value)
    if not found:
        raise EventError("customer_id", None, "whose events: customer_id, user_id or device_id")
    return Person(found)
