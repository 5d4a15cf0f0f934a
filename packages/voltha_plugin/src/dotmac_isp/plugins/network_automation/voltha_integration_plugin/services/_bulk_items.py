"""What a job on many services may be given. Pure, and light: the plugin's class checks with it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from .._errors import ServiceConfigError, VolthaError
from ._service import ServiceConfig
from ._stored import check_subscriber_id

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ACTIONS", "Item", "check_items"]

#: What can be done with many, and what each item has beside `device_id` and `subscriber_id`.
ACTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "add": ("service",),
        "speed": ("speeds", "name"),
        "suspend": ("name",),
        "restore": ("name",),
        "remove": ("name",),
    }
)
_REQUIRED: Final = {"add": "service", "speed": "speeds"}
_SHOWN: Final = 5

Item = dict[str, Any]


def check_items(action: str, items: object) -> list[Item]:
    """The items as they are; raises `ServiceConfigError` that names what is wrong with the first few."""
    if action not in ACTIONS:
        raise ServiceConfigError(f"no action {action!r}", remedy=f"Give {', '.join(ACTIONS)}")
    if not isinstance(items, (list, tuple)) or not items:
        raise ServiceConfigError("there are no items", remedy="Give a list of mappings")
    wrong = [found for number, item in enumerate(items) if (found := _wrong(action, number, item))]
    if wrong:
        more = "" if len(wrong) <= _SHOWN else f"; and {len(wrong) - _SHOWN} more"
        raise ServiceConfigError(
            f"{len(wrong)} of {len(items)} items cannot be used, so nothing was begun: {'; '.join(wrong[:_SHOWN])}{more}"
        )
    return [dict(item) for item in items]


def _wrong(action: str, number: int, item: object) -> str:
    """What is wrong with one item; empty when nothing is."""
    names = {"device_id", "subscriber_id", *ACTIONS[action]}
    needed = {"device_id", "subscriber_id", _REQUIRED.get(action, "device_id")}
    if not isinstance(item, dict) or not needed <= item.keys() <= names:
        return f"item {number} has not exactly {', '.join(sorted(names))}"
    try:
        check_subscriber_id(item["subscriber_id"])
        if action == "add":
            ServiceConfig.parse(item["service"])
    except VolthaError as error:
        return f"item {number}: {error.message}"
    return ""
